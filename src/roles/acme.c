/* postern-acme: started by the keeper before it confines itself, because the keeper may start nothing and reach no network afterwards. */
#include "roles/acme.h"

#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/capability.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/log.h"
#include "roles/confine.h"

enum { PATHS_MAX = 128 };

/* lego is a program in Go, and inherits this list: threads, TCP and UDP to wherever its DNS provider is, its files, its own start. */
static const struct confine_syscall calls[] = {
    CONFINE_ALLOW(openat), CONFINE_ALLOW(newfstatat), CONFINE_ALLOW(statx), CONFINE_ALLOW(fstat), CONFINE_ALLOW(getdents64),
    CONFINE_ALLOW(mkdirat), CONFINE_ALLOW(unlinkat), CONFINE_ALLOW(renameat), CONFINE_ALLOW(renameat2), CONFINE_ALLOW(fchmodat),
    CONFINE_ALLOW(fchmod), CONFINE_ALLOW(fsync), CONFINE_ALLOW(faccessat), CONFINE_ALLOW(faccessat2), CONFINE_ALLOW(readlinkat),
    CONFINE_ALLOW(getcwd), CONFINE_ALLOW(ftruncate), CONFINE_ALLOW(fcntl), CONFINE_ALLOW(pipe2), CONFINE_ALLOW(dup3), CONFINE_ALLOW(pread64),
    CONFINE_ALLOW(pwrite64), CONFINE_ALLOW(ioctl), CONFINE_ALLOW(umask),
#ifdef SYS_open
    CONFINE_ALLOW(open), CONFINE_ALLOW(stat), CONFINE_ALLOW(lstat), CONFINE_ALLOW(access), CONFINE_ALLOW(readlink), CONFINE_ALLOW(dup2),
    CONFINE_ALLOW(mkdir), CONFINE_ALLOW(unlink), CONFINE_ALLOW(rename), CONFINE_ALLOW(pipe), CONFINE_ALLOW(arch_prctl), CONFINE_ALLOW(fork),
    CONFINE_ALLOW(vfork), CONFINE_ALLOW(getpgrp), CONFINE_ALLOW(chmod), CONFINE_ALLOW(select), CONFINE_ALLOW(eventfd),
#endif
    CONFINE_ALLOW(clone), CONFINE_ALLOW(clone3), CONFINE_ALLOW(execve), CONFINE_ALLOW(wait4), CONFINE_ALLOW(waitid), CONFINE_ALLOW(kill),
    CONFINE_ALLOW(tgkill), CONFINE_ALLOW(tkill), CONFINE_ALLOW(setpgid), CONFINE_ALLOW(prctl), CONFINE_ALLOW(set_tid_address),
    CONFINE_ALLOW(set_robust_list), CONFINE_ALLOW(rseq), CONFINE_ALLOW(prlimit64), CONFINE_ALLOW(getrlimit), CONFINE_ALLOW(setrlimit),
    CONFINE_ALLOW(membarrier), CONFINE_ALLOW(getpgid), CONFINE_ALLOW(getppid), CONFINE_ALLOW(getuid),
    CONFINE_ALLOW(geteuid), CONFINE_ALLOW(getgid), CONFINE_ALLOW(getegid), CONFINE_ALLOW(getgroups), CONFINE_ALLOW(uname),
    CONFINE_ALLOW(sysinfo), CONFINE_ALLOW(sched_yield), CONFINE_ALLOW(sched_getaffinity), CONFINE_ALLOW(sigaltstack),
    CONFINE_ALLOW(rt_sigtimedwait), CONFINE_ALLOW(rt_sigpending), CONFINE_ALLOW(nanosleep), CONFINE_ALLOW(clock_nanosleep),
    CONFINE_ALLOW(timer_create), CONFINE_ALLOW(timer_settime), CONFINE_ALLOW(timer_delete), CONFINE_ALLOW(setitimer), CONFINE_ALLOW(mincore),
    CONFINE_ALLOW(pidfd_open), CONFINE_ALLOW(pidfd_send_signal), CONFINE_ALLOW(eventfd2), CONFINE_ALLOW(socket), CONFINE_ALLOW(connect),
    CONFINE_ALLOW(bind), CONFINE_ALLOW(getsockname), CONFINE_ALLOW(getpeername), CONFINE_ALLOW(setsockopt), CONFINE_ALLOW(getsockopt),
    CONFINE_ALLOW(sendto), CONFINE_ALLOW(recvfrom), CONFINE_ALLOW(sendmmsg), CONFINE_ALLOW(recvmmsg), CONFINE_ALLOW(shutdown),
    CONFINE_ALLOW(mmap), CONFINE_ALLOW(mprotect), /* with PROT_EXEC: programs are loaded here */
};
static const struct confine_syscalls group = CONFINE_GROUP(calls);

/* What a program that speaks TLS to the internet reads of the system, and where the program itself is. */
static const struct confine_path system_paths[] = {
    { "/usr", CONFINE_READ | CONFINE_EXECUTE }, { "/lib", CONFINE_READ | CONFINE_EXECUTE }, { "/lib64", CONFINE_READ | CONFINE_EXECUTE },
    { "/bin", CONFINE_READ | CONFINE_EXECUTE }, { "/etc/ssl", CONFINE_READ }, { "/etc/ca-certificates", CONFINE_READ },
    { "/etc/resolv.conf", CONFINE_READ }, { "/run/systemd/resolve", CONFINE_READ }, { "/run/resolvconf", CONFINE_READ },
    { "/etc/hosts", CONFINE_READ }, { "/etc/nsswitch.conf", CONFINE_READ }, { "/etc/host.conf", CONFINE_READ }, { "/etc/gai.conf", CONFINE_READ },
    { "/etc/services", CONFINE_READ }, { "/etc/protocols", CONFINE_READ }, { "/etc/localtime", CONFINE_READ }, { "/etc/mime.types", CONFINE_READ },
    { "/etc/ld.so.cache", CONFINE_READ }, { "/dev/null", CONFINE_READ | CONFINE_WRITE }, { "/dev/urandom", CONFINE_READ },
    { "/sys/kernel/mm/transparent_hugepage", CONFINE_READ }, { "/proc/sys/net/core", CONFINE_READ },
};

/* Root's token file is read by this process only: the right is gone in lego, which is executed by a user that isn't root. */
static const int capabilities[] = { CAP_DAC_READ_SEARCH };

static const struct confine_limit limits[] = { { RLIMIT_NOFILE, 256 }, { RLIMIT_FSIZE, 1 << 20 } };

static int confine(uint32_t uid, uint32_t gid, const char *directory, char *const files[], int n_files)
{
    struct confine_path paths[PATHS_MAX];
    size_t n = ARRAY_SIZE(system_paths);
    struct error err = { "" };
    uint32_t in_force, missing;
    char text[CONFINE_TEXT_SIZE];

    memcpy(paths, system_paths, sizeof system_paths);
    paths[n++] = (struct confine_path){ directory, CONFINE_READ | CONFINE_WRITE };
    for (int i = 0; i < n_files && n < PATHS_MAX; i++) {
        /* The directory: what renews a token puts a new file in the old one's place. */
        char *copy = strdup(files[i]);
        if (copy)
            paths[n++] = (struct confine_path){ dirname(copy), CONFINE_READ };
    }
    struct confine_profile profile = {
        .name = "acme",
        .capabilities = capabilities,
        .n_capabilities = ARRAY_SIZE(capabilities),
        .syscalls = { &confine_basic, &confine_channels, &group },
        .paths = paths,
        .n_paths = n,
        .limits = limits,
        .n_limits = ARRAY_SIZE(limits),
        .may_use_tcp = true,
    };
    int r = confine_apply(&profile, uid, gid, &in_force, &missing, &err);
    if (r < 0)
        log_error("%s", err.text);
    else if (missing)
        log_warning("runs without %s", confine_format(missing, text));
    return r;
}

static bool is_text(const char *field, size_t size)
{
    return memchr(field, 0, size) != NULL;
}

/* An order comes from the keeper, which checked nothing but lengths: a value is never an option of lego's. */
static bool is_sound(const struct acme_order *order)
{
    return is_text(order->directory, sizeof order->directory) && is_text(order->email, sizeof order->email) &&
           is_text(order->provider, sizeof order->provider) && is_text(order->environment_file, sizeof order->environment_file) &&
           is_text(order->ca_file, sizeof order->ca_file) && is_text(order->request, sizeof order->request) &&
           strncmp(order->directory, "https://", 8) == 0 && order->email[0] != '-' && order->provider[0] != '-' && order->provider[0] != '\0';
}

int main(int argc, char **argv)
{
    static struct acme_order order;
    static struct acme_answer answer;
    uint64_t uid, gid;

    log_init("postern-acme", LOG_INFO);
    if (argc < 4 || !str_to_u64(str_of(argv[1]), UINT32_MAX, &uid) || !str_to_u64(str_of(argv[2]), UINT32_MAX, &gid) ||
        fcntl(ACME_CHANNEL_FD, F_SETFD, FD_CLOEXEC) < 0) {
        log_error("this program is started by postern-keeper; run 'postern run'");
        return EXIT_FAILURE;
    }
    prctl(PR_SET_DUMPABLE, 0, 0, 0, 0);
    if (confine((uint32_t)uid, (uint32_t)gid, argv[3], argv + 4, argc - 4) < 0)
        return EXIT_FAILURE;
    for (;;) {
        ssize_t n = read(ACME_CHANNEL_FD, &order, sizeof order);
        if (n < 0 && errno == EINTR)
            continue;
        if (n != (ssize_t)sizeof order) /* 0: the keeper is gone */
            return n == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
        memset(&answer, 0, sizeof answer);
        answer.id = order.id;
        if (is_sound(&order)) {
            acme_lego_run(argv[3], &order, &answer);
        } else {
            answer.status = -EINVAL;
            str_copy(answer.trouble, sizeof answer.trouble,
                     STR("the order is malformed; expected an https URL as directory, and no option in place of provider or email"));
        }
        if (write(ACME_CHANNEL_FD, &answer, sizeof answer) != (ssize_t)sizeof answer)
            return EXIT_FAILURE;
    }
}
