/* Writing whole lines in large pieces; rotation needs no signal, and a full disk costs records, never the gateway. */
#include "roles/logger_file.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "base/log.h"
#include "roles/logger_record.h"

enum { SLOW_OUTPUT_MS = 1000, SAY_AGAIN_MS = 60000 };

static int open_log(const char *path)
{
    int fd = open(path, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC | O_NOFOLLOW | O_NOCTTY | O_NONBLOCK, 0640);
    return fd < 0 ? -errno : fd;
}

static int remember(struct logger_file *file, int fd)
{
    struct stat st;
    if (fstat(fd, &st))
        return -errno;
    file->fd = fd;
    file->dev = st.st_dev;
    file->ino = st.st_ino;
    return 0;
}

/* Makes the last directory of the path where it is missing, for the logger's user: it must be able to make the next file there. */
static void make_directory(const char *path, uint32_t uid, uint32_t gid)
{
    char directory[256];
    const char *slash = strrchr(path, '/');
    if (!slash || slash == path || (size_t)(slash - path) >= sizeof directory)
        return;
    memcpy(directory, path, (size_t)(slash - path));
    directory[slash - path] = '\0';
    if (mkdir(directory, 0750) == 0 && uid > 0 && chown(directory, uid, gid))
        log_warning("%s: can't be given to uid %u: %s", directory, uid, strerror(errno));
}

int logger_file_init(struct logger_file *file, const char *path, uint32_t uid, uint32_t gid, struct error *err)
{
    *file = (struct logger_file){ .fd = STDOUT_FILENO, .said_ms = INT64_MIN / 2, .looked_ms = INT64_MIN / 2 };
    file->buffer = malloc(LOGGER_FILE_BUFFER);
    if (!file->buffer)
        return -ENOMEM;
    if (path[0] == '\0') {
        file->readable = isatty(STDOUT_FILENO);
        return 0;
    }
    file->path = path;
    make_directory(path, uid, gid);
    int fd = open_log(path);
    if (fd < 0) {
        error_set(err, "the access log %s can't be opened: %s; make its directory, or name another file under log: in the declaration", path,
                  strerror(-fd));
        return fd;
    }
    if (uid > 0 && fchown(fd, uid, gid))
        log_warning("%s: can't be given to uid %u: %s", path, uid, strerror(errno));
    return remember(file, fd);
}

/* Whoever rotates renames or removes the file: then the path names another one, or none. */
static void follow_path(struct logger_file *file, int64_t now_ms)
{
    if (!file->path || now_ms - file->looked_ms < LOGGER_FILE_LOOK_MS)
        return;
    file->looked_ms = now_ms;
    struct stat st;
    if (lstat(file->path, &st) == 0 && st.st_dev == file->dev && st.st_ino == file->ino)
        return;
    int old = file->fd;
    int fd = open_log(file->path);
    int r = fd < 0 ? fd : remember(file, fd);
    if (r == 0) {
        close(old);
        file->torn = false;
        file->reopen_failed = false;
        return;
    }
    if (fd >= 0)
        close(fd);
    if (!file->reopen_failed)
        log_warning("%s was moved and can't be made anew: %s; records still go to the old file. Let the logger's user write to the directory, or "
                    "rotate with copytruncate",
                    file->path, strerror(-r));
    file->reopen_failed = true;
}

/* All of it, or as much as goes: the rest is lost. A terminal or pipe that doesn't move for a second counts as full. */
static size_t write_all(int fd, const char *data, size_t len, int *ret_error)
{
    size_t done = 0;
    *ret_error = 0;
    while (done < len) {
        ssize_t n = write(fd, data + done, len - done);
        if (n > 0) {
            done += (size_t)n;
        } else if (n < 0 && errno == EAGAIN) {
            struct pollfd wait = { .fd = fd, .events = POLLOUT };
            if (poll(&wait, 1, SLOW_OUTPUT_MS) == 0) {
                *ret_error = EAGAIN;
                return done;
            }
        } else if (n < 0 && errno != EINTR) {
            *ret_error = errno;
            return done;
        }
    }
    return done;
}

static size_t count_lines(const char *data, size_t len)
{
    size_t n = 0;
    for (const char *at = data; (at = memchr(at, '\n', (size_t)(data + len - at))); at++)
        n++;
    return n;
}

static void say_lost(struct logger_file *file, int error, int64_t now_ms)
{
    if (now_ms - file->said_ms < SAY_AGAIN_MS)
        return;
    file->said_ms = now_ms;
    log_error("%s: %s; %llu access records are lost so far, requests go on", file->path ? file->path : "standard output", strerror(error),
              (unsigned long long)file->n_lost);
}

void logger_file_flush(struct logger_file *file, int64_t now_ms)
{
    if (file->len == 0)
        return;
    follow_path(file, now_ms);
    int error;
    size_t len = file->len, n_lines = file->n_lines;
    file->len = file->n_lines = 0;
    if (file->torn && write_all(file->fd, "\n", 1, &error) == 1)
        file->torn = false; /* the half line stands alone: no reader takes it together with the next */
    size_t done = file->torn ? 0 : write_all(file->fd, file->buffer, len, &error);
    if (done < len) {
        file->torn = file->torn || (done > 0 && file->buffer[done - 1] != '\n');
        file->n_lost += n_lines - count_lines(file->buffer, done);
        say_lost(file, error, now_ms);
    } else if (file->n_lost > 0) {
        log_warning("%s: records are written again; %llu were lost", file->path ? file->path : "standard output",
                    (unsigned long long)file->n_lost);
        file->n_lost = 0;
        file->said_ms = INT64_MIN / 2;
    }
}

char *logger_file_reserve(struct logger_file *file, int64_t now_ms)
{
    if (LOGGER_FILE_BUFFER - file->len < LOGGER_LINE_MAX)
        logger_file_flush(file, now_ms);
    return file->buffer + file->len;
}

void logger_file_commit(struct logger_file *file, size_t len)
{
    file->len += len;
    file->n_lines++;
}
