/* Starting a child with a memory file to read and a pipe to write, and waiting for it no longer than its time. */
#include "base/program.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { READ_SIZE = 64 << 10, SAID_MAX = 400 };

static int64_t now_ms(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

/* A memory file with the text, at its start. */
static int file_of(struct str text)
{
    cleanup_close int fd = memfd_create("program", MFD_CLOEXEC);
    if (fd < 0)
        return -errno;
    for (size_t done = 0; done < text.len;) {
        ssize_t n = write(fd, text.ptr + done, text.len - done);
        if (n < 0 && errno != EINTR)
            return -errno;
        done += n > 0 ? (size_t)n : 0;
    }
    return lseek(fd, 0, SEEK_SET) < 0 ? -errno : TAKE_FD(fd);
}

/* With no signal blocked, whatever the caller has blocked. A positive errno, as posix_spawn's. */
static int spawn_anywhere(const struct program *program, const posix_spawn_file_actions_t *actions, pid_t *ret_pid)
{
    static const char *const places[] = { "/usr/sbin", "/sbin", "/usr/local/sbin", "/usr/bin", "/usr/local/bin" };
    char *arguments[PROGRAM_ARGUMENTS_MAX + 2] = { (char *)(uintptr_t)program->name };
    for (size_t i = 0; i < PROGRAM_ARGUMENTS_MAX && program->arguments[i]; i++)
        arguments[i + 1] = (char *)(uintptr_t)program->arguments[i];
    posix_spawnattr_t attributes;
    sigset_t none;
    sigemptyset(&none);
    int r = posix_spawnattr_init(&attributes);
    if (r != 0)
        return r;
    r = posix_spawnattr_setsigmask(&attributes, &none);
    if (r == 0)
        r = posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETSIGMASK);
    for (size_t i = 0, missing = r == 0; missing && i < ARRAY_SIZE(places); i++) {
        char path[64];
        snprintf(path, sizeof path, "%s/%s", places[i], program->name);
        r = posix_spawn(ret_pid, path, actions, &attributes, arguments, environ);
        missing = r == ENOENT;
    }
    posix_spawnattr_destroy(&attributes);
    return r;
}

static int spawn(const struct program *program, int in, int out, int said, pid_t *ret_pid)
{
    posix_spawn_file_actions_t actions;
    int r = posix_spawn_file_actions_init(&actions);
    if (r != 0)
        return -r;
    r = posix_spawn_file_actions_adddup2(&actions, in, STDIN_FILENO);
    if (r == 0)
        r = posix_spawn_file_actions_adddup2(&actions, out, STDOUT_FILENO);
    if (r == 0)
        r = posix_spawn_file_actions_adddup2(&actions, said, STDERR_FILENO);
    if (r == 0)
        r = spawn_anywhere(program, &actions, ret_pid);
    posix_spawn_file_actions_destroy(&actions);
    return -r;
}

/* What it writes, until it has closed its end. */
static int collect(int fd, struct buf *out, int64_t deadline_ms)
{
    char piece[READ_SIZE];
    for (;;) {
        struct pollfd ready = { .fd = fd, .events = POLLIN };
        int64_t left_ms = deadline_ms - now_ms();
        int n_ready = left_ms > 0 ? poll(&ready, 1, (int)left_ms) : 0;
        if (n_ready == 0)
            return -ETIMEDOUT;
        ssize_t n = n_ready < 0 ? -1 : read(fd, piece, sizeof piece);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return n < 0 ? -errno : 0;
        if (out)
            buf_append(out, str_make(piece, (size_t)n));
        if (out && out->error)
            return out->error;
    }
}

static int wait_for(pid_t pid, int *ret_status)
{
    while (waitpid(pid, ret_status, 0) < 0)
        if (errno != EINTR)
            return -errno;
    return 0;
}

static void explain(const struct program *program, int r, int status, int said, struct error *err)
{
    char text[SAID_MAX];
    ssize_t n = said >= 0 ? pread(said, text, sizeof text, 0) : 0;
    struct str line = str_make(text, n > 0 ? (size_t)n : 0);
    line = str_first(line, str_find_char(line, '\n'));
    if (r == -ENOENT)
        error_set(err, "there is no %s; install %s", program->name, program->source);
    else if (r == -ETIMEDOUT)
        error_set(err, "%s didn't end within %d seconds", program->name, program->timeout_ms / 1000);
    else if (r == -E2BIG)
        error_set(err, "%s writes too much", program->name);
    else if (r != -EIO)
        error_set(err, "can't run %s: %s", program->name, strerror(-r));
    else if (line.len)
        error_set(err, "%s: %.*s", program->name, STR_ARG(line));
    else
        error_set(err, "%s failed with status %d", program->name, status);
}

int program_run(const struct program *program, struct str input, struct buf *out, pid_t *ret_pid, struct error *err)
{
    int ends[2] = { -1, -1 }, status = 0;
    pid_t pid = 0;
    cleanup_close int in = file_of(input), said = file_of(STR_NONE);
    int r = in < 0 ? in : said < 0 ? said : pipe2(ends, O_CLOEXEC) < 0 ? -errno : 0;
    cleanup_close int from = ends[0];
    if (r == 0)
        r = spawn(program, in, ends[1], said, &pid);
    if (ends[1] >= 0)
        close(ends[1]);
    if (r == 0) {
        r = collect(from, out, now_ms() + program->timeout_ms);
        if (r < 0)
            kill(pid, SIGKILL);
        int waited = wait_for(pid, &status);
        r = r < 0 ? r : waited;
    }
    if (r == 0 && !(WIFEXITED(status) && WEXITSTATUS(status) == 0))
        r = -EIO;
    if (r == 0 && ret_pid)
        *ret_pid = pid;
    if (r < 0)
        explain(program, r, WIFEXITED(status) ? WEXITSTATUS(status) : status, said, err);
    return r;
}
