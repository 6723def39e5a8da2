/* The state directory's files: a head of "KEY VALUE" lines, an empty line, and the declaration as it was. */
#include "enforce/state.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <time.h>

#define BOOT_ID "/proc/sys/kernel/random/boot_id"
enum { LOCK_LOOK_MS = 10, BOOT_ID_LEN = 36 };

uint64_t state_now_ms(void)
{
    struct timespec now;
    clock_gettime(CLOCK_BOOTTIME, &now);
    return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
}

/* ---- directory and lock ---- */

static int make_directories(const char *path)
{
    char part[STATE_PATH_SIZE];
    size_t len = str_copy(part, sizeof part, str_of(path));
    if (len == sizeof part - 1 || len == 0)
        return -ENAMETOOLONG;
    for (size_t i = 1; i <= len; i++) {
        if (i < len && part[i] != '/')
            continue;
        part[i] = '\0';
        if (mkdir(part, i == len ? 0700 : 0755) < 0 && errno != EEXIST)
            return -errno;
        if (i < len)
            part[i] = '/';
    }
    return 0;
}

int state_open(const char *directory, struct state *ret, struct error *err)
{
    int r = make_directories(directory);
    cleanup_close int fd = r < 0 ? -1 : open(directory, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0) {
        r = r < 0 ? r : -errno;
        error_set(err, "can't open the state directory %s: %s%s", directory, strerror(-r), r == -EACCES ? "; run it as root" : "");
        return r;
    }
    *ret = (struct state){ .directory = TAKE_FD(fd), .lock = -1 };
    return 0;
}

void state_close(struct state *state)
{
    state_unlock(state);
    if (state->directory >= 0)
        close(state->directory);
    state->directory = -1;
}

/* Whether the file that is locked is still the one that others find: it goes with the rest when nothing is in force any more. */
static bool is_current(const struct state *state, int fd)
{
    struct stat held, named;
    return fstat(fd, &held) == 0 && fstatat(state->directory, "lock", &named, AT_SYMLINK_NOFOLLOW) == 0 && held.st_ino == named.st_ino &&
           held.st_dev == named.st_dev;
}

static int lock_open(const struct state *state)
{
    int fd = openat(state->directory, "lock", O_RDWR | O_CREAT | O_NOFOLLOW | O_CLOEXEC, 0600);
    return fd < 0 ? -errno : fd;
}

int state_lock(struct state *state, struct error *err)
{
    const struct timespec pause = { .tv_nsec = LOCK_LOOK_MS * 1000000L };
    uint64_t deadline_ms = state_now_ms() + STATE_LOCK_TIMEOUT_MS;
    for (;;) {
        cleanup_close int fd = lock_open(state);
        if (fd < 0) {
            error_set(err, "can't open the lock in the state directory: %s", strerror(-fd));
            return fd;
        }
        if (flock(fd, LOCK_EX | LOCK_NB) == 0 && is_current(state, fd)) {
            state->lock = TAKE_FD(fd);
            return 0;
        }
        if (state_now_ms() > deadline_ms) {
            error_set(err, "another postern holds the lock of the state directory for more than %d seconds", STATE_LOCK_TIMEOUT_MS / 1000);
            return -ETIMEDOUT;
        }
        nanosleep(&pause, NULL);
    }
}

void state_unlock(struct state *state)
{
    if (state->lock >= 0)
        close(state->lock);
    state->lock = -1;
}

/* ---- files ---- */

static int failed(const char *doing, const char *name, int r, struct error *err)
{
    error_set(err, "can't %s %s in the state directory: %s", doing, name, strerror(-r));
    return r;
}

int state_read_text(const struct state *state, const char *name, struct buf *out, struct error *err)
{
    cleanup_close int fd = openat(state->directory, name, O_RDONLY | O_NOFOLLOW | O_CLOEXEC);
    if (fd < 0)
        return errno == ENOENT ? STATE_E_NONE : failed("read", name, -errno, err);
    for (;;) {
        char *room = buf_reserve(out, 64 << 10);
        ssize_t n = room ? read(fd, room, 64 << 10) : -1;
        if (n == 0)
            return 0;
        if (!room || (n < 0 && errno != EINTR))
            return failed("read", name, room ? -errno : out->error, err);
        out->len += n > 0 ? (size_t)n : 0;
    }
}

static int write_whole(int fd, struct str text)
{
    while (text.len) {
        ssize_t n = write(fd, text.ptr, text.len);
        if (n < 0 && errno != EINTR)
            return -errno;
        text = str_skip(text, n > 0 ? (size_t)n : 0);
    }
    return fsync(fd) < 0 ? -errno : 0;
}

int state_write_text(const struct state *state, const char *name, struct str text, struct error *err)
{
    (void)unlinkat(state->directory, ".new", 0);
    cleanup_close int fd = openat(state->directory, ".new", O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
    int r = fd < 0 ? -errno : write_whole(fd, text);
    if (r == 0 && renameat(state->directory, ".new", state->directory, name) < 0)
        r = -errno;
    if (r == 0 && fsync(state->directory) < 0)
        r = -errno;
    return r < 0 ? failed("write", name, r, err) : 0;
}

int state_remove(const struct state *state, const char *name, struct error *err)
{
    if (unlinkat(state->directory, name, 0) == 0 || errno == ENOENT)
        return 0;
    return failed("remove", name, -errno, err);
}

uint64_t state_version(const struct state *state, const char *name)
{
    struct stat status;
    if (fstatat(state->directory, name, &status, AT_SYMLINK_NOFOLLOW) < 0)
        return 0;
    uint64_t version = (uint64_t)status.st_ino * 0x9e3779b97f4a7c15ULL ^ (uint64_t)status.st_mtim.tv_sec << 30 ^ (uint64_t)status.st_mtim.tv_nsec;
    return version ? version : 1;
}

/* ---- declarations ---- */

static void read_boot_id(char ret[static BOOT_ID_LEN + 1])
{
    cleanup_close int fd = open(BOOT_ID, O_RDONLY | O_CLOEXEC);
    ssize_t n = fd < 0 ? 0 : read(fd, ret, BOOT_ID_LEN);
    ret[n > 0 ? n : 0] = '\0';
}

static bool head_read(struct str head, struct state_declaration *ret)
{
    char boot[BOOT_ID_LEN + 1];
    struct str was = STR_NONE;
    read_boot_id(boot);
    while (head.len) {
        struct str value = str_split(&head, '\n'), key = str_split(&value, ' ');
        if (str_equal(key, STR("host")))
            str_copy(ret->host, sizeof ret->host, value);
        else if (str_equal(key, STR("path")))
            str_copy(ret->path, sizeof ret->path, value);
        else if (str_equal(key, STR("token")))
            str_copy(ret->token, sizeof ret->token, value);
        else if (str_equal(key, STR("boot")))
            was = value;
        else if (str_equal(key, STR("nothing")))
            ret->is_nothing = true;
        else if (str_equal(key, STR("deadline")) && !str_to_u64(value, UINT64_MAX, &ret->deadline_ms))
            return false;
    }
    /* Another start of the machine, another clock: whatever was waited for is over. */
    if (!str_equal(was, str_of(boot)))
        ret->deadline_ms = 0;
    return ret->is_nothing || ret->host[0];
}

int state_read(const struct state *state, const char *name, struct state_declaration *ret, struct error *err)
{
    cleanup_buf struct buf text;
    struct state_declaration declaration = { .deadline_ms = 0 };
    buf_init(&text, STATE_FILE_MAX + (64 << 10));
    int r = state_read_text(state, name, &text, err);
    if (r != 0)
        return r;
    const char *end = memmem(text.ptr ? text.ptr : "", text.len, "\n\n", 2);
    if (!end || !head_read(str_make(text.ptr, (size_t)(end + 1 - text.ptr)), &declaration)) {
        error_set(err, "%s in the state directory is none of postern's", name);
        return -EINVAL;
    }
    buf_init(&declaration.source, STATE_FILE_MAX);
    buf_append(&declaration.source, str_skip(buf_str(&text), (size_t)(end + 2 - text.ptr)));
    if (declaration.source.error)
        return declaration.source.error;
    *ret = declaration;
    return 0;
}

int state_write(const struct state *state, const char *name, const struct state_declaration *declaration, struct error *err)
{
    cleanup_buf struct buf text;
    char boot[BOOT_ID_LEN + 1];
    read_boot_id(boot);
    buf_init(&text, STATE_FILE_MAX + (64 << 10));
    if (declaration->is_nothing)
        buf_append(&text, STR("nothing\n"));
    else
        buf_printf(&text, "host %s\npath %s\n", declaration->host, declaration->path);
    if (declaration->deadline_ms)
        buf_printf(&text, "deadline %llu\nboot %s\ntoken %s\n", (unsigned long long)declaration->deadline_ms, boot, declaration->token);
    buf_append_char(&text, '\n');
    buf_append(&text, buf_str(&declaration->source));
    return text.error ? text.error : state_write_text(state, name, buf_str(&text), err);
}
