/* A child with memory files for what it reads and says; bounded in time. */
#include "enforce/nft.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/pidfd.h>
#include <sys/stat.h>
#include <sys/wait.h>

enum { ARGUMENTS_MAX = 8, SAID_MAX = 600 };

static int file_of(struct str text)
{
    cleanup_close int fd = memfd_create("nft", MFD_CLOEXEC);
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

static int file_append(int fd, struct buf *out)
{
    struct stat status;
    if (fstat(fd, &status) < 0)
        return -errno;
    if (status.st_size > NFT_LISTING_MAX)
        return -E2BIG;
    for (off_t at = 0; at < status.st_size;) {
        char *room = buf_reserve(out, (size_t)(status.st_size - at));
        if (!room)
            return out->error;
        ssize_t n = pread(fd, room, (size_t)(status.st_size - at), at);
        if (n <= 0 && errno != EINTR)
            return n < 0 ? -errno : -EIO;
        out->len += n > 0 ? (size_t)n : 0;
        at += n > 0 ? n : 0;
    }
    return 0;
}

static int spawn(const char *const *arguments, int in, int out, int said, pid_t *ret_pid)
{
    static const char *const places[] = { "/usr/sbin/nft", "/sbin/nft", "/usr/local/sbin/nft" };
    char *argv[ARGUMENTS_MAX + 2] = { (char *)(uintptr_t) "nft" };
    posix_spawn_file_actions_t actions;
    posix_spawnattr_t attributes;
    sigset_t none;
    for (size_t i = 0; i < ARGUMENTS_MAX && arguments[i]; i++)
        argv[i + 1] = (char *)(uintptr_t)arguments[i];
    sigemptyset(&none);
    int r = posix_spawn_file_actions_init(&actions);
    if (r != 0)
        return -r;
    r = posix_spawnattr_init(&attributes);
    if (r == 0) {
        r = posix_spawnattr_setsigmask(&attributes, &none);
        if (r == 0)
            r = posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETSIGMASK);
        if (r == 0)
            r = posix_spawn_file_actions_adddup2(&actions, in, STDIN_FILENO);
        if (r == 0)
            r = posix_spawn_file_actions_adddup2(&actions, out, STDOUT_FILENO);
        if (r == 0)
            r = posix_spawn_file_actions_adddup2(&actions, said, STDERR_FILENO);
        if (r == 0) {
            r = ENOENT;
            for (size_t i = 0; i < ARRAY_SIZE(places) && r == ENOENT; i++)
                r = posix_spawn(ret_pid, places[i], &actions, &attributes, argv, environ);
        }
        posix_spawnattr_destroy(&attributes);
    }
    posix_spawn_file_actions_destroy(&actions);
    return -r;
}

/* Waits for the end; past the limit it is killed. */
static int wait_for(pid_t pid, int *ret_status)
{
    cleanup_close int pidfd = pidfd_open(pid, 0);
    struct pollfd ended = { .fd = pidfd, .events = POLLIN };
    int n = pidfd < 0 ? 1 : 0;
    while (n == 0 && (n = poll(&ended, 1, NFT_TIMEOUT_MS)) < 0 && errno == EINTR)
        n = 0;
    if (n == 0)
        kill(pid, SIGKILL);
    while (waitpid(pid, ret_status, 0) < 0)
        if (errno != EINTR)
            return -errno;
    return n == 0 ? -ETIMEDOUT : 0;
}

static void explain(int r, int said, struct error *err)
{
    char text[SAID_MAX];
    ssize_t n = said >= 0 ? pread(said, text, sizeof text, 0) : 0;
    struct str line = str_make(text, n > 0 ? (size_t)n : 0);
    line = str_first(line, str_find_char(line, '\n'));
    if (r == -ENOENT)
        error_set(err, "there is no nft; install Debian's package nftables");
    else if (r == -ETIMEDOUT)
        error_set(err, "nft didn't end within %d seconds", NFT_TIMEOUT_MS / 1000);
    else if (r == -EIO && line.len)
        error_set(err, "nft: %.*s", STR_ARG(line));
    else
        error_set(err, "can't run nft: %s", strerror(-r));
}

static bool says_none(int said)
{
    char text[SAID_MAX + 1] = "";
    return pread(said, text, SAID_MAX, 0) > 0 && strstr(text, "No such file or directory");
}

static int run(const char *const *arguments, struct str text, struct buf *out, pid_t *ret_pid, struct error *err)
{
    cleanup_close int in = file_of(text), listed = file_of(STR_NONE), said = file_of(STR_NONE);
    int status = 0, r = in < 0 ? in : listed < 0 ? listed : said < 0 ? said : 0;
    pid_t pid = 0;
    if (r == 0)
        r = spawn(arguments, in, listed, said, &pid);
    if (r == 0)
        r = wait_for(pid, &status);
    if (r == 0 && !(WIFEXITED(status) && WEXITSTATUS(status) == 0))
        r = out && says_none(said) ? NFT_E_NONE : -EIO;
    if (r == 0 && out)
        r = file_append(listed, out);
    if (r == 0 && ret_pid)
        *ret_pid = pid;
    if (r < 0)
        explain(r, said, err);
    return r;
}

int nft_load(struct str text, pid_t *ret_pid, struct error *err)
{
    static const char *const arguments[] = { "-f", "-", NULL };
    return run(arguments, text, NULL, ret_pid, err);
}

int nft_list(const char *const *arguments, struct buf *out, struct error *err)
{
    return run(arguments, STR_NONE, out, NULL, err);
}
