/* Each mechanism of confinement on its own, in a child that tries what it should stop and what it should let pass. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/capability.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "roles/confine_mechanism.h"
#include "roles/role.h"

enum { PASSED = 0, MISSING = 77, SOME_UID = 61998 };

typedef int (*child_function)(const void *argument);

/* The child's wait status: what it returned, or the signal that ended it. */
static int in_child(child_function run, const void *argument)
{
    int status;
    pid_t pid = fork();
    assert_true(pid >= 0);
    if (pid == 0)
        _exit(run(argument));
    assert_int_equal(waitpid(pid, &status, 0), pid);
    return status;
}

static void assert_passed(int status)
{
    if (WIFEXITED(status) && WEXITSTATUS(status) == MISSING)
        skip();
    if (!WIFEXITED(status) || WEXITSTATUS(status) != PASSED)
        fail_msg("the child failed: status %x (line %d)", (unsigned)status, WIFEXITED(status) ? WEXITSTATUS(status) : 0);
}

/* In a child: its exit status says which expectation failed. */
#define EXPECT(number, condition)                                                                                      \
    do {                                                                                                               \
        if (!(condition))                                                                                              \
            return (number);                                                                                           \
    } while (0)

/* ---- Landlock ---- */

static char directory[] = "/tmp/postern-confine-XXXXXX";

static int open_in(const char *name, int flags)
{
    char path[64];
    snprintf(path, sizeof path, "%s/%s", directory, name);
    int fd = open(path, flags | O_CLOEXEC, 0600);
    int r = fd < 0 ? -errno : 0;
    if (fd >= 0)
        close(fd);
    return r;
}

static int reads_beneath(const void *argument)
{
    char inside[64];
    (void)argument;
    snprintf(inside, sizeof inside, "%s/inside", directory);
    const struct confine_path paths[] = { { inside, CONFINE_READ }, { "/nonexistent/place", CONFINE_READ } };
    const struct confine_profile profile = { .name = "test", .paths = paths, .n_paths = ARRAY_SIZE(paths) };
    int r = confine_no_new_privileges(NULL);
    EXPECT(1, r == 0);
    r = confine_landlock(&profile, NULL);
    if (r == CONFINE_E_MISSING)
        return MISSING;
    EXPECT(2, r == 0);
    EXPECT(3, open_in("inside/file", O_RDONLY) == 0);
    EXPECT(4, open_in("inside/file", O_WRONLY) == -EACCES);
    EXPECT(5, open_in("inside/new", O_WRONLY | O_CREAT) == -EACCES);
    EXPECT(6, open_in("outside", O_RDONLY) == -EACCES);
    EXPECT(7, open_in("inside/../outside", O_RDONLY) == -EACCES);
    EXPECT(8, open_in("inside/link", O_RDONLY) == -EACCES);
    return PASSED;
}

static void only_what_is_beneath_a_path_is_read(void **state)
{
    (void)state;
    assert_passed(in_child(reads_beneath, NULL));
}

static int writes_beneath(const void *argument)
{
    (void)argument;
    const struct confine_path paths[] = { { directory, CONFINE_READ | CONFINE_WRITE } };
    const struct confine_profile profile = { .name = "test", .paths = paths, .n_paths = ARRAY_SIZE(paths) };
    if (confine_no_new_privileges(NULL) < 0 || confine_landlock(&profile, NULL) == CONFINE_E_MISSING)
        return MISSING;
    EXPECT(1, open_in("new", O_WRONLY | O_CREAT) == 0);
    EXPECT(2, open("/tmp/postern-confine-elsewhere", O_WRONLY | O_CREAT | O_CLOEXEC, 0600) < 0 && errno == EACCES);
    EXPECT(3, access("/bin/true", X_OK) != 0 || (execl("/bin/true", "true", (char *)NULL) < 0 && errno == EACCES));
    return PASSED;
}

static void nothing_is_written_or_executed_elsewhere(void **state)
{
    (void)state;
    assert_passed(in_child(writes_beneath, NULL));
}

static int connects(const void *argument)
{
    const struct confine_profile profile = { .name = "test", .may_use_tcp = *(const bool *)argument };
    struct sockaddr_in to = { .sin_family = AF_INET, .sin_port = htons(1), .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (syscall(SYS_landlock_create_ruleset, NULL, 0, 1) < 4)
        return MISSING;
    EXPECT(1, confine_no_new_privileges(NULL) == 0 && confine_landlock(&profile, NULL) == 0);
    EXPECT(2, connect(fd, (struct sockaddr *)&to, sizeof to) < 0);
    EXPECT(3, errno == (profile.may_use_tcp ? ECONNREFUSED : EACCES));
    return PASSED;
}

static void tcp_is_for_profiles_that_say_so(void **state)
{
    const bool yes = true, no = false;
    (void)state;
    assert_passed(in_child(connects, &no));
    assert_passed(in_child(connects, &yes));
}

/* ---- who it is ---- */

static int becomes_another(const void *argument)
{
    static const int kept[] = { CAP_SYS_ADMIN };
    const struct confine_profile profile = { .name = "test", .capabilities = kept, .n_capabilities = 1 };
    uid_t real, effective, saved;
    int death_signal = 0;
    (void)argument;
    if (geteuid() != 0)
        return MISSING;
    prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0);
    EXPECT(1, confine_bounding(&profile, NULL) == 0);
    int r = confine_uid(SOME_UID, SOME_UID, NULL);
    if (r == CONFINE_E_MISSING)
        return MISSING;
    EXPECT(2, r == 0 && confine_capabilities(&profile, NULL) == 0);
    EXPECT(3, getresuid(&real, &effective, &saved) == 0 && real == SOME_UID && effective == SOME_UID && saved == SOME_UID);
    EXPECT(4, getgroups(0, NULL) == 0 && getegid() == SOME_UID);
    EXPECT(5, setuid(0) < 0);
    cap_t have = cap_get_proc();
    for (cap_value_t c = 0; cap_get_bound(c) >= 0; c++) {
        cap_flag_value_t held = CAP_CLEAR;
        EXPECT(6, cap_get_flag(have, c, CAP_EFFECTIVE, &held) == 0 && (held == CAP_SET) == (c == CAP_SYS_ADMIN));
        EXPECT(7, cap_get_bound(c) == (c == CAP_SYS_ADMIN));
    }
    cap_free(have);
    EXPECT(8, prctl(PR_GET_PDEATHSIG, &death_signal, 0, 0, 0) == 0 && death_signal == SIGKILL);
    EXPECT(9, prctl(PR_GET_DUMPABLE, 0, 0, 0, 0) == 0);
    return PASSED;
}

static void root_is_given_up_for_good_but_for_what_is_kept(void **state)
{
    (void)state;
    assert_passed(in_child(becomes_another, NULL));
}

static int stays(const void *argument)
{
    (void)argument;
    return confine_uid(0, 0, NULL) == CONFINE_E_MISSING ? PASSED : 1;
}

static void staying_who_it_is_is_told_as_missing(void **state)
{
    (void)state;
    assert_passed(in_child(stays, NULL));
}

static int limits(const void *argument)
{
    static const struct confine_limit wanted[] = { { RLIMIT_NOFILE, 100 }, { RLIMIT_NPROC, CONFINE_LIMIT_HARD } };
    const struct confine_profile profile = { .name = "test", .limits = wanted, .n_limits = ARRAY_SIZE(wanted) };
    struct rlimit limit;
    (void)argument;
    EXPECT(1, confine_limits(&profile, NULL) == 0);
    EXPECT(2, getrlimit(RLIMIT_CORE, &limit) == 0 && limit.rlim_cur == 0 && limit.rlim_max == 0);
    EXPECT(3, getrlimit(RLIMIT_NOFILE, &limit) == 0 && limit.rlim_cur == 100 && limit.rlim_max == 100);
    EXPECT(4, getrlimit(RLIMIT_NPROC, &limit) == 0 && limit.rlim_cur == limit.rlim_max);
    return PASSED;
}

static void limits_are_lowered_and_raised(void **state)
{
    (void)state;
    assert_passed(in_child(limits, NULL));
}

/* ---- system calls ---- */

struct call {
    long number;
    unsigned long arguments[3];
    bool is_allowed;
};

static const struct confine_syscall conditional[] = {
    CONFINE_ALLOW_IF(shutdown, { 0, CONFINE_DESCRIPTOR_FROM, 128 }),
    CONFINE_ALLOW_IF(accept4, { 0, CONFINE_BELOW, 128 }),
    CONFINE_ALLOW_IF(setsockopt, { 0, CONFINE_DESCRIPTOR_FROM, 128 }, { 1, CONFINE_EQUAL, SOL_SOCKET }, { 2, CONFINE_EQUAL, SO_RCVLOWAT }),
    CONFINE_ALLOW_IF(socket, { 0, CONFINE_EQUAL, AF_UNIX }, { 1, CONFINE_MASKED, SOCK_STREAM, 0xf }),
};
static const struct confine_syscalls conditional_calls = CONFINE_GROUP(conditional);

static int makes_call(const void *argument)
{
    const struct call *call = argument;
    const struct confine_profile profile = { .name = "test", .syscalls = { &confine_basic, &conditional_calls } };
    if (confine_no_new_privileges(NULL) < 0 || confine_seccomp(&profile, NULL) == CONFINE_E_MISSING)
        return MISSING;
    (void)!syscall(call->number, call->arguments[0], call->arguments[1], call->arguments[2], 0);
    return PASSED;
}

static void a_call_passes_exactly_under_its_conditions(void **state)
{
    static const struct call calls[] = {
        { SYS_shutdown, { 127 }, false }, { SYS_shutdown, { 128 }, true }, { SYS_shutdown, { 3 }, false }, { SYS_shutdown, { 255 }, true },
        { SYS_shutdown, { 256 }, true }, { SYS_shutdown, { 1 << 19 | 5 }, true }, { SYS_shutdown, { INT32_MAX }, true },
        { SYS_shutdown, { 1UL << 32 | 3 }, false }, { SYS_shutdown, { 1UL << 31 | 3 }, false }, { SYS_shutdown, { ~0UL }, false },
        { SYS_shutdown, { 1UL << 32 | 128 }, false },
        { SYS_accept4, { 127 }, true }, { SYS_accept4, { 128 }, false }, { SYS_accept4, { 1UL << 32 }, false }, { SYS_accept4, { ~0UL }, false },
        { SYS_setsockopt, { 128, SOL_SOCKET, SO_RCVLOWAT }, true }, { SYS_setsockopt, { 1 << 19, SOL_SOCKET, SO_RCVLOWAT }, true },
        { SYS_setsockopt, { 127, SOL_SOCKET, SO_RCVLOWAT }, false }, { SYS_setsockopt, { 128, SOL_SOCKET, SO_RCVBUF }, false },
        { SYS_setsockopt, { 128, IPPROTO_TCP, SO_RCVLOWAT }, false },
        { SYS_socket, { AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC }, true }, { SYS_socket, { AF_UNIX, SOCK_DGRAM }, false },
        { SYS_socket, { AF_INET, SOCK_STREAM }, false },
        { SYS_mmap, { 0, 4096, PROT_READ }, true }, { SYS_mmap, { 0, 4096, PROT_READ | PROT_EXEC }, false },
        { SYS_getppid, { 0 }, false }, { SYS_getpid, { 0 }, true },
    };
    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(calls); i++) {
        int status = in_child(makes_call, &calls[i]);
        if (WIFEXITED(status) && WEXITSTATUS(status) == MISSING)
            skip();
        bool was_allowed = WIFEXITED(status) && WEXITSTATUS(status) == PASSED;
        if (was_allowed != calls[i].is_allowed || (!was_allowed && WTERMSIG(status) != SIGSYS))
            fail_msg("call %ld(%lx, %lx): status %x", calls[i].number, calls[i].arguments[0], calls[i].arguments[1], (unsigned)status);
    }
}

static int aborts(const void *argument)
{
    (void)argument;
    const struct confine_profile profile = { .name = "test", .syscalls = { &confine_basic } };
    if (confine_no_new_privileges(NULL) < 0 || confine_seccomp(&profile, NULL) == CONFINE_E_MISSING)
        return MISSING;
    abort();
}

static void a_failed_assertion_is_told_from_an_escape(void **state)
{
    (void)state;
    int status = in_child(aborts, NULL);
    if (WIFEXITED(status))
        skip();
    assert_int_equal(WTERMSIG(status), SIGABRT);
}

/* ---- blocks ---- */

static int block_with(unsigned seals)
{
    int fd = memfd_create("test", MFD_CLOEXEC | MFD_ALLOW_SEALING);
    assert_true(fd >= 0);
    assert_int_equal(write(fd, "0123456789abcdef", 16), 16);
    assert_int_equal(fcntl(fd, F_ADD_SEALS, seals), 0);
    return fd;
}

static void a_block_that_could_still_change_is_refused(void **state)
{
    static const unsigned enough = F_SEAL_WRITE | F_SEAL_GROW | F_SEAL_SHRINK;
    static const unsigned too_few[] = { 0, F_SEAL_GROW | F_SEAL_SHRINK, F_SEAL_WRITE | F_SEAL_GROW, F_SEAL_WRITE | F_SEAL_SHRINK };
    const void *data = NULL;
    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(too_few); i++) {
        int fd = block_with(too_few[i]);
        assert_int_equal(role_map_block(fd, 16, &data), -EPERM);
        close(fd);
    }
    int fd = block_with(enough);
    assert_int_equal(role_map_block(fd, 15, &data), -EINVAL);
    assert_int_equal(role_map_block(fd, 17, &data), -EINVAL);
    assert_int_equal(role_map_block(fd, 0, &data), -EINVAL);
    assert_null(data);
    assert_int_equal(role_map_block(fd, 16, &data), 0);
    assert_memory_equal(data, "0123456789abcdef", 16);
    role_unmap_block(data, 16);
    close(fd);
    int pipe_ends[2];
    assert_int_equal(pipe2(pipe_ends, O_CLOEXEC), 0);
    assert_true(role_map_block(pipe_ends[0], 16, &data) < 0);
    close(pipe_ends[0]);
    close(pipe_ends[1]);
}

/* ---- a place for the files ---- */

static void make_file(const char *name)
{
    char path[64];
    snprintf(path, sizeof path, "%s/%s", directory, name);
    int fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
    if (fd >= 0)
        close(fd);
}

static int make_place(void **state)
{
    char path[64], target[64];
    (void)state;
    if (!mkdtemp(directory))
        return -1;
    snprintf(path, sizeof path, "%s/inside", directory);
    mkdir(path, 0700);
    make_file("inside/file");
    make_file("outside");
    snprintf(path, sizeof path, "%s/inside/link", directory);
    snprintf(target, sizeof target, "%s/outside", directory);
    return symlink(target, path);
}

static int remove_place(void **state)
{
    static const char *const names[] = { "inside/link", "inside/file", "outside", "new", "inside", "" };
    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(names); i++) {
        char path[64];
        snprintf(path, sizeof path, "%s/%s", directory, names[i]);
        remove(path);
    }
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(only_what_is_beneath_a_path_is_read),
        cmocka_unit_test(nothing_is_written_or_executed_elsewhere),
        cmocka_unit_test(tcp_is_for_profiles_that_say_so),
        cmocka_unit_test(root_is_given_up_for_good_but_for_what_is_kept),
        cmocka_unit_test(staying_who_it_is_is_told_as_missing),
        cmocka_unit_test(limits_are_lowered_and_raised),
        cmocka_unit_test(a_call_passes_exactly_under_its_conditions),
        cmocka_unit_test(a_failed_assertion_is_told_from_an_escape),
        cmocka_unit_test(a_block_that_could_still_change_is_refused),
    };
    return cmocka_run_group_tests_name("confinement", tests, make_place, remove_place);
}
