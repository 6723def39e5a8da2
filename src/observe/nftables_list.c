/* Asking nft: a child with a pipe, a bound on what it says and on how long it takes. */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "observe/nftables.h"

enum { READ_SIZE = 64 << 10, SAID_MAX = 400 };

static int64_t now_ms(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

static int nft_spawn(int listed, int said, pid_t *ret_pid)
{
    static const char *const places[] = { "/usr/sbin/nft", "/sbin/nft", "/usr/local/sbin/nft" };
    char *const arguments[] = { (char *)(uintptr_t) "nft", (char *)(uintptr_t) "-j", (char *)(uintptr_t) "list", (char *)(uintptr_t) "ruleset", NULL };
    posix_spawn_file_actions_t actions;
    int r = posix_spawn_file_actions_init(&actions);
    if (r != 0)
        return -r;
    r = posix_spawn_file_actions_addopen(&actions, STDIN_FILENO, "/dev/null", O_RDONLY, 0);
    if (r == 0)
        r = posix_spawn_file_actions_adddup2(&actions, listed, STDOUT_FILENO);
    if (r == 0)
        r = posix_spawn_file_actions_adddup2(&actions, said, STDERR_FILENO);
    if (r == 0) {
        r = ENOENT;
        for (size_t i = 0; i < ARRAY_SIZE(places) && r == ENOENT; i++)
            r = posix_spawn(ret_pid, places[i], &actions, NULL, arguments, environ);
    }
    posix_spawn_file_actions_destroy(&actions);
    return -r;
}

static int read_to_end(int fd, struct buf *out)
{
    int64_t deadline_ms = now_ms() + OBSERVE_NFTABLES_TIMEOUT_MS;
    for (;;) {
        struct pollfd ready = { .fd = fd, .events = POLLIN };
        int64_t left_ms = deadline_ms - now_ms();
        int n_ready = left_ms > 0 ? poll(&ready, 1, (int)left_ms) : 0;
        if (n_ready < 0 && errno == EINTR)
            continue;
        if (n_ready <= 0)
            return n_ready < 0 ? -errno : -ETIMEDOUT;
        char *room = buf_reserve(out, READ_SIZE);
        if (!room)
            return out->error;
        ssize_t n = read(fd, room, READ_SIZE);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return n < 0 ? -errno : 0;
        out->len += (size_t)n;
    }
}

static void explain(int r, int status, int said, struct error *err)
{
    char text[SAID_MAX];
    ssize_t n = said >= 0 ? pread(said, text, sizeof text, 0) : 0;
    struct str line = str_make(text, n > 0 ? (size_t)n : 0);
    line = str_first(line, str_find_char(line, '\n'));
    if (r == -ENOENT)
        error_set(err, "there is no nft; install Debian's package nftables");
    else if (r == -ETIMEDOUT)
        error_set(err, "nft didn't answer within %d seconds", OBSERVE_NFTABLES_TIMEOUT_MS / 1000);
    else if (r == -E2BIG)
        error_set(err, "nft lists more than %d MB of rules", OBSERVE_NFTABLES_MAX >> 20);
    else if (r < 0)
        error_set(err, "can't ask nft: %s", strerror(-r));
    else if (line.len)
        error_set(err, "nft: %.*s", STR_ARG(line));
    else
        error_set(err, "nft failed with status %d", status);
}

static int wait_for(pid_t pid, int *ret_status)
{
    while (waitpid(pid, ret_status, 0) < 0)
        if (errno != EINTR)
            return -errno;
    return 0;
}

int observe_nftables_list(struct buf *out, struct error *err)
{
    int ends[2] = { -1, -1 }, status = 0;
    pid_t pid;
    cleanup_close int said = memfd_create("said", MFD_CLOEXEC);
    int r = said < 0 || pipe2(ends, O_CLOEXEC) < 0 ? -errno : 0;
    cleanup_close int from = ends[0];
    if (r == 0)
        r = nft_spawn(ends[1], said, &pid);
    if (ends[1] >= 0)
        close(ends[1]);
    if (r == 0) {
        r = read_to_end(from, out);
        if (r < 0)
            kill(pid, SIGKILL);
        int waited = wait_for(pid, &status);
        r = r < 0 ? r : waited;
    }
    if (r == 0 && status == 0)
        return 0;
    explain(r, WIFEXITED(status) ? WEXITSTATUS(status) : status, said, err);
    return r < 0 ? r : -EIO;
}
