/* System calls: an allow-list with conditions on arguments; anything else ends the process where it stands, so that an attempt is seen. */
#include <errno.h>
#include <fcntl.h>
#include <linux/futex.h>
#include <seccomp.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "roles/confine_mechanism.h"

static const struct confine_syscall basic[] = {
    CONFINE_ALLOW(read), CONFINE_ALLOW(readv), CONFINE_ALLOW(write), CONFINE_ALLOW(writev), CONFINE_ALLOW(close), CONFINE_ALLOW(lseek),
    CONFINE_ALLOW(epoll_create1), CONFINE_ALLOW(epoll_ctl), CONFINE_ALLOW(epoll_pwait), CONFINE_ALLOW(epoll_pwait2),
#ifdef SYS_epoll_wait
    CONFINE_ALLOW(epoll_wait),
#endif
    CONFINE_ALLOW_IF(mmap, { 2, CONFINE_MASKED, 0, PROT_EXEC }),
    CONFINE_ALLOW_IF(mprotect, { 2, CONFINE_MASKED, 0, PROT_EXEC }),
    CONFINE_ALLOW(munmap), CONFINE_ALLOW(mremap), CONFINE_ALLOW(brk), CONFINE_ALLOW(madvise),
    CONFINE_ALLOW(clock_gettime), CONFINE_ALLOW(clock_getres), CONFINE_ALLOW(gettimeofday), CONFINE_ALLOW(getrandom), CONFINE_ALLOW(futex),
#ifdef SYS_time
    CONFINE_ALLOW(time),
#endif
    CONFINE_ALLOW(rt_sigreturn), CONFINE_ALLOW(rt_sigprocmask), CONFINE_ALLOW(rt_sigaction), CONFINE_ALLOW(restart_syscall),
    CONFINE_ALLOW(sysinfo), /* qsort asks how much memory there is */
    CONFINE_ALLOW(exit), CONFINE_ALLOW(exit_group), CONFINE_ALLOW(getpid), CONFINE_ALLOW(gettid), CONFINE_ALLOW(getuid), CONFINE_ALLOW(geteuid),
    CONFINE_ALLOW_IF(tgkill, { 0, CONFINE_OWN_PID }), /* abort() of a failed assertion */
    CONFINE_ALLOW_IF(fcntl, { 1, CONFINE_EQUAL, F_GET_SEALS }), CONFINE_ALLOW_IF(fcntl, { 1, CONFINE_EQUAL, F_GETFL }),
};
const struct confine_syscalls confine_basic = CONFINE_GROUP(basic);

static const struct confine_syscall channels[] = {
    CONFINE_ALLOW(sendmsg), CONFINE_ALLOW(recvmsg), CONFINE_ALLOW(ppoll),
#ifdef SYS_poll
    CONFINE_ALLOW(poll),
#endif
};
const struct confine_syscalls confine_channels = CONFINE_GROUP(channels);

static bool translate(const struct confine_condition *condition, struct scmp_arg_cmp *ret)
{
    switch ((enum confine_comparison)condition->comparison) {
    case CONFINE_ALWAYS:
        return false;
    case CONFINE_EQUAL:
        *ret = SCMP_CMP64(condition->argument, SCMP_CMP_EQ, condition->value);
        return true;
    case CONFINE_BELOW:
        *ret = SCMP_CMP64(condition->argument, SCMP_CMP_LT, condition->value);
        return true;
    case CONFINE_DESCRIPTOR_FROM: /* spread over several rules by add_descriptor_rules */
        return false;
    case CONFINE_MASKED:
        *ret = SCMP_CMP64(condition->argument, SCMP_CMP_MASKED_EQ, condition->mask, condition->value);
        return true;
    case CONFINE_OWN_PID:
        *ret = SCMP_CMP64(condition->argument, SCMP_CMP_EQ, (uint64_t)getpid());
        return true;
    }
    return false;
}

static int add_rule(scmp_filter_ctx filter, int number, unsigned n, const struct scmp_arg_cmp *conditions)
{
    int r = seccomp_rule_add_array(filter, SCMP_ACT_ALLOW, number, n, conditions);
    return r == -EEXIST ? 0 : r; /* two groups may share a call */
}

/* "Descriptor >= 2^k", and the n other conditions that are there already. The kernel looks at the low half of the register only, and a plain
 * comparison at all of it: 2^32 + 3 would pass for a large number and act on descriptor 3. So: the high half is zero and one of the bits from
 * k up is set, a rule for each bit. */
static int add_descriptor_rules(scmp_filter_ctx filter, int number, unsigned n, struct scmp_arg_cmp conditions[static CONFINE_CONDITIONS_MAX],
                                const struct confine_condition *condition)
{
    int r = 0;
    for (uint64_t bit = condition->value; r == 0 && bit <= INT32_MAX; bit <<= 1) {
        conditions[n] = SCMP_CMP64(condition->argument, SCMP_CMP_MASKED_EQ, (~(uint64_t)INT32_MAX) | bit, bit);
        r = add_rule(filter, number, n + 1, conditions);
    }
    return r;
}

static int add_call(scmp_filter_ctx filter, const struct confine_syscall *call)
{
    struct scmp_arg_cmp conditions[CONFINE_CONDITIONS_MAX];
    const struct confine_condition *descriptor = NULL;
    unsigned n = 0;
    for (size_t i = 0; i < CONFINE_CONDITIONS_MAX; i++) {
        const struct confine_condition *condition = &call->conditions[i];
        if (condition->comparison == CONFINE_DESCRIPTOR_FROM) {
            if (descriptor || condition->value == 0) /* a rule that is looser than it reads */
                return -EINVAL;
            descriptor = condition;
        } else if (translate(condition, &conditions[n])) {
            n++;
        }
    }
    return descriptor ? add_descriptor_rules(filter, call->number, n, conditions, descriptor) : add_rule(filter, call->number, n, conditions);
}

static bool is_narrowed(const struct confine_profile *profile, int number)
{
    for (size_t i = 0; profile->narrowed && i < profile->narrowed->n; i++)
        if (profile->narrowed->items[i].number == number)
            return true;
    return false;
}

static int add_group(scmp_filter_ctx filter, const struct confine_profile *profile, const struct confine_syscalls *group)
{
    int r = 0;
    for (size_t i = 0; r == 0 && i < group->n; i++)
        if (group == profile->narrowed || !is_narrowed(profile, group->items[i].number))
            r = add_call(filter, &group->items[i]);
    return r;
}

int confine_seccomp(const struct confine_profile *profile, struct error *err)
{
    if (IS_SANITIZED) /* its runtime makes calls of its own; such a build is for tests, and says that it runs with less */
        return CONFINE_E_MISSING;
    scmp_filter_ctx filter = seccomp_init(SCMP_ACT_KILL_PROCESS);
    if (!filter) {
        error_set(err, "seccomp: %s", strerror(ENOMEM));
        return -ENOMEM;
    }
    int r = seccomp_attr_set(filter, SCMP_FLTATR_ACT_BADARCH, SCMP_ACT_KILL_PROCESS);
    for (size_t i = 0; r == 0 && i < CONFINE_GROUPS_MAX && profile->syscalls[i]; i++)
        r = add_group(filter, profile, profile->syscalls[i]);
    if (r == 0 && profile->narrowed)
        r = add_group(filter, profile, profile->narrowed);
    if (r < 0) {
        error_set(err, "seccomp: building the filter: %s", strerror(-r));
    } else {
        r = seccomp_load(filter);
        if (r == -ENOSYS || r == -EINVAL) /* a kernel without it */
            r = CONFINE_E_MISSING;
        else if (r < 0)
            error_set(err, "seccomp: %s", strerror(-r));
    }
    seccomp_release(filter);
    return r;
}
