/* Writing and reading whole files for subcommands. */
#include "cli/files.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

enum { NAME_SIZE = 256 + 32 };

static bool failed(const char *command, const char *doing, const char *directory, const char *name)
{
    fprintf(stderr, "postern %s: can't %s %s/%s: %s\n", command, doing, directory, name, strerror(errno));
    return false;
}

static bool content_write(int fd, struct str content)
{
    while (content.len) {
        ssize_t n = write(fd, content.ptr, content.len);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return false;
        content = str_skip(content, (size_t)n);
    }
    return fsync(fd) == 0;
}

/* A link that someone put at the temporary name is not followed, and a file that an interrupted run left there is taken over. */
static bool temporary_write(int at, const char *temporary, struct str content, mode_t mode)
{
    (void)unlinkat(at, temporary, 0);
    cleanup_close int fd = openat(at, temporary, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, mode);
    if (fd < 0)
        return false;
    if (content_write(fd, content))
        return true;
    int error = errno;
    (void)unlinkat(at, temporary, 0);
    errno = error;
    return false;
}

bool cli_file_replace(const char *command, const char *directory, const char *name, struct str content, mode_t mode)
{
    char temporary[NAME_SIZE];
    int n = snprintf(temporary, sizeof temporary, ".%s.%d", name, (int)getpid());
    cleanup_close int at = open(directory, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (at < 0 || n < 0 || (size_t)n >= sizeof temporary) {
        errno = at < 0 ? errno : ENAMETOOLONG;
        return failed(command, "write", directory, name);
    }
    if (!temporary_write(at, temporary, content, mode))
        return failed(command, "write", directory, name);
    if (renameat(at, temporary, at, name) < 0) {
        int error = errno;
        (void)unlinkat(at, temporary, 0);
        errno = error;
        return failed(command, "put a new file at", directory, name);
    }
    return fsync(at) == 0 || failed(command, "sync", directory, name);
}

bool cli_directory_make(const char *command, const char *directory)
{
    struct stat st;
    if (mkdir(directory, 0755) == 0)
        return true;
    int error = errno;
    if (error == EEXIST && stat(directory, &st) == 0 && S_ISDIR(st.st_mode))
        return true;
    fprintf(stderr, "postern %s: can't make the directory %s: %s%s\n", command, directory, error == EEXIST ? "a file has that name" : strerror(error),
            error == ENOENT ? "; make the one it is in first" : "");
    return false;
}

bool cli_file_read(const char *command, const char *path, struct buf *ret)
{
    cleanup_close int fd = open(path, O_RDONLY | O_CLOEXEC);
    bool good = fd >= 0;
    while (good) {
        char *room = buf_reserve(ret, 64 << 10);
        ssize_t n = room ? read(fd, room, 64 << 10) : -1;
        if (n == 0)
            return true;
        if (!room)
            errno = ret->error == -E2BIG ? EFBIG : ENOMEM;
        good = n > 0 || (room && errno == EINTR);
        ret->len += n > 0 ? (size_t)n : 0;
    }
    fprintf(stderr, "postern %s: can't read %s: %s\n", command, path, strerror(errno));
    return false;
}
