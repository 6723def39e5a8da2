/* Is this process that container's, and which namespace is its own? Asked of the kernel, since what the engine says may be of a moment ago.
 *
 * A pid is a number that is used again. The pidfd is taken first; then the process of that number must be in a cgroup that carries the
 * container's whole ID; then the pidfd must still be alive, so that it was this process all along. */
#include <errno.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/vfs.h>
#include <unistd.h>

#include "roles/docker.h"

enum { PROC_FILE_MAX = 16384, STAT_STARTTIME = 22, FD_PATH_SIZE = 32 };

bool docker_process_is_alive(int process)
{
    struct pollfd p = { .fd = process, .events = POLLIN };
    return process >= 0 && poll(&p, 1, 0) == 0;
}

/* The length, or negative errno. */
static ssize_t read_proc(pid_t pid, const char *file, char text[static PROC_FILE_MAX])
{
    char path[64];
    snprintf(path, sizeof path, "/proc/%d/%s", (int)pid, file);
    cleanup_close int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return -errno;
    size_t len = 0;
    while (len < PROC_FILE_MAX - 1) {
        ssize_t n = read(fd, text + len, PROC_FILE_MAX - 1 - len);
        if (n < 0)
            return -errno;
        if (n == 0)
            break;
        len += (size_t)n;
    }
    text[len] = '\0';
    return (ssize_t)len;
}

int docker_process_open(const struct docker_run *run, int *ret_process, struct error *err)
{
    char text[PROC_FILE_MAX];
    cleanup_close int process = (int)syscall(SYS_pidfd_open, run->pid, 0);
    if (process < 0 && errno == ESRCH)
        return DOCKER_SPACE_MOVED;
    if (process < 0) {
        error_set(err, "its process %d can't be held: %s", (int)run->pid, strerror(errno));
        return DOCKER_SPACE_REFUSED;
    }
    ssize_t n = read_proc(run->pid, "cgroup", text);
    if (n == -ENOENT || n == -ESRCH)
        return docker_process_is_alive(process) ? (error_set(err, "its process %d is not in our /proc", (int)run->pid), DOCKER_SPACE_REFUSED)
                                                : DOCKER_SPACE_MOVED;
    if (n < 0) {
        error_set(err, "/proc/%d/cgroup can't be read: %s", (int)run->pid, strerror((int)-n));
        return DOCKER_SPACE_REFUSED;
    }
    if (!strstr(text, run->id)) {
        if (!docker_process_is_alive(process))
            return DOCKER_SPACE_MOVED;
        error_set(err, "process %d is not in a cgroup of this container, as far as can be seen from here", (int)run->pid);
        return DOCKER_SPACE_REFUSED;
    }
    if (!docker_process_is_alive(process))
        return DOCKER_SPACE_MOVED;
    *ret_process = TAKE_FD(process);
    return 0;
}

/* Field 22, counted after the name, which may have spaces and parentheses in it (proc(5)). */
uint64_t docker_process_started(pid_t pid)
{
    char text[PROC_FILE_MAX];
    uint64_t started = 0;
    if (read_proc(pid, "stat", text) < 0)
        return 0;
    char *end = strrchr(text, ')');
    struct str rest = end ? str_of(end + 1) : STR_NONE;
    if (rest.len > 0 && rest.ptr[0] == ' ')
        rest = str_skip(rest, 1);
    for (unsigned field = 3; rest.len > 0; field++) {
        struct str word = str_split(&rest, ' ');
        if (field == STAT_STARTTIME)
            return str_to_u64(word, UINT64_MAX, &started) ? started : 0;
    }
    return 0;
}

/* Through an O_PATH descriptor first: the path is the engine's word, and opening what is no namespace could already do something to it. */
int docker_space_open(const struct docker_run *run, int *ret_space, struct error *err)
{
    if (run->sandbox_key[0] != '/') {
        error_set(err, "the engine doesn't say where its network namespace is");
        return DOCKER_SPACE_REFUSED;
    }
    cleanup_close int look = open(run->sandbox_key, O_PATH | O_CLOEXEC);
    if (look < 0) {
        error_set(err, "its network namespace %s can't be opened: %s%s", run->sandbox_key, strerror(errno),
                  errno == ENOENT ? "; a rootless engine keeps its namespaces where only it sees them" : "");
        return DOCKER_SPACE_REFUSED;
    }
    struct statfs fs;
    if (fstatfs(look, &fs) || fs.f_type != NSFS_MAGIC)
        return DOCKER_SPACE_MOVED; /* a mount point whose namespace is gone */
    char again[FD_PATH_SIZE];
    snprintf(again, sizeof again, "/proc/self/fd/%d", look);
    int fd = open(again, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (fd < 0) {
        error_set(err, "its network namespace %s can't be opened: %s; namespaces are looked for beneath /run and beside the engine's socket",
                  run->sandbox_key, strerror(errno));
        return DOCKER_SPACE_REFUSED;
    }
    *ret_space = fd;
    return 0;
}
