/* Running a tool: its answer through a pipe, its complaint in a file that is nowhere. */
#include "observe/tool.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { READ_SIZE = 64 << 10, SAID_MAX = 400, ARGUMENTS_MAX = 8 };

static int64_t now_ms(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

static int tool_spawn(const struct observe_tool *tool, int listed, int said, pid_t *ret_pid)
{
    char *arguments[ARGUMENTS_MAX + 2] = { (char *)(uintptr_t)tool->name };
    for (size_t i = 0; i < ARGUMENTS_MAX && tool->arguments[i]; i++)
        arguments[i + 1] = (char *)(uintptr_t)tool->arguments[i];
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
        for (size_t i = 0; tool->places[i] && r == ENOENT; i++)
            r = posix_spawn(ret_pid, tool->places[i], &actions, NULL, arguments, environ);
    }
    posix_spawn_file_actions_destroy(&actions);
    return -r;
}

static int read_to_end(int fd, unsigned timeout_ms, struct buf *out)
{
    int64_t deadline_ms = now_ms() + timeout_ms;
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

static void explain(const struct observe_tool *tool, size_t max, int r, int status, int said, struct error *err)
{
    char text[SAID_MAX];
    ssize_t n = said >= 0 ? pread(said, text, sizeof text, 0) : 0;
    struct str line = str_make(text, n > 0 ? (size_t)n : 0);
    line = str_first(line, str_find_char(line, '\n'));
    if (r == -ENOENT)
        error_set(err, "there is no %s; install %s", tool->name, tool->package);
    else if (r == -ETIMEDOUT)
        error_set(err, "%s didn't answer within %u seconds", tool->name, tool->timeout_ms / 1000);
    else if (r == -E2BIG)
        error_set(err, "%s says more than %zu MB", tool->name, max >> 20);
    else if (r < 0)
        error_set(err, "can't ask %s: %s", tool->name, strerror(-r));
    else if (line.len)
        error_set(err, "%s: %.*s", tool->name, STR_ARG(line));
    else
        error_set(err, "%s failed with status %d", tool->name, status);
}

static int wait_for(pid_t pid, int *ret_status)
{
    while (waitpid(pid, ret_status, 0) < 0)
        if (errno != EINTR)
            return -errno;
    return 0;
}

int observe_tool_run(const struct observe_tool *tool, struct buf *out, struct error *err)
{
    int ends[2] = { -1, -1 }, status = 0;
    pid_t pid;
    cleanup_close int said = memfd_create("said", MFD_CLOEXEC);
    int r = said < 0 || pipe2(ends, O_CLOEXEC) < 0 ? -errno : 0;
    cleanup_close int from = ends[0];
    if (r == 0)
        r = tool_spawn(tool, ends[1], said, &pid);
    if (ends[1] >= 0)
        close(ends[1]);
    if (r == 0) {
        r = read_to_end(from, tool->timeout_ms, out);
        if (r < 0)
            kill(pid, SIGKILL);
        int waited = wait_for(pid, &status);
        r = r < 0 ? r : waited;
    }
    if (r == 0 && status == 0)
        return 0;
    explain(tool, out->max, r, WIFEXITED(status) ? WEXITSTATUS(status) : status, said, err);
    return r < 0 ? r : -EIO;
}
