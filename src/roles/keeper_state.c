/* The keeper's part of the state directory. */
#include "roles/keeper_state.h"

#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static int make_directory(const char *path, mode_t mode, uint32_t uid, uint32_t gid, struct error *err)
{
    cleanup_close int fd = -1;
    struct stat st;
    if (mkdir(path, mode) < 0 && errno != EEXIST)
        goto fail;
    fd = open(path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (fd < 0 || fstat(fd, &st) < 0)
        goto fail;
    if (uid != 0 && st.st_uid != uid && geteuid() == 0 && fchown(fd, uid, gid) < 0)
        goto fail;
    if ((st.st_mode & 07777) != mode && fchmod(fd, mode) < 0)
        goto fail;
    return 0;
fail:;
    int r = -errno;
    error_set(err, "%s: %s; the state directory must be one that postern may make and own", path, strerror(errno));
    return r;
}

int keeper_state_prepare(const char *path, uint32_t uid, uint32_t gid, uint32_t acme_uid, uint32_t acme_gid, struct error *err)
{
    char part[512];
    int r;

    /* The way to it may be missing on a first start; the directory itself stays as an administrator made it. */
    for (const char *end = strchr(path + 1, '/');; end = strchr(end + 1, '/')) {
        str_copy(part, sizeof part, end ? str_make(path, (size_t)(end - path)) : str_of(path));
        bool is_made = mkdir(part, 0755) == 0;
        if ((!is_made && errno != EEXIST) || (is_made && chmod(part, 0755) < 0)) { /* our umask is for what is inside */
            r = -errno;
            error_set(err, "%s: %s", part, strerror(errno));
            return r;
        }
        if (!end)
            break;
    }
    static const struct {
        const char *name;
        mode_t mode;
        bool is_acme;
    } parts[] = { { "keeper", 0700, false }, { "ca", 0755, false }, { "acme", 0700, true } };
    for (size_t i = 0; i < ARRAY_SIZE(parts); i++) {
        snprintf(part, sizeof part, "%s/%s", path, parts[i].name);
        r = make_directory(part, parts[i].mode, parts[i].is_acme ? acme_uid : uid, parts[i].is_acme ? acme_gid : gid, err);
        if (r < 0)
            return r;
    }
    return 0;
}

static int open_part(const char *path, const char *name, struct error *err)
{
    char part[512];
    snprintf(part, sizeof part, "%s/%s", path, name);
    int fd = open(part, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (fd < 0) {
        fd = -errno;
        error_set(err, "%s: %s", part, strerror(-fd));
    }
    return fd;
}

int keeper_state_open(const char *path, struct keeper_state *ret, struct error *err)
{
    struct keeper_state state;
    state.keys = open_part(path, "keeper", err);
    if (state.keys < 0)
        return state.keys;
    state.published = open_part(path, "ca", err);
    if (state.published < 0) {
        close(state.keys);
        return state.published;
    }
    *ret = state;
    return 0;
}

void keeper_state_close(struct keeper_state *state)
{
    close(state->keys);
    close(state->published);
}

static int write_all(int fd, struct str content)
{
    while (content.len > 0) {
        ssize_t n = write(fd, content.ptr, content.len);
        if (n < 0 && errno != EINTR)
            return -errno;
        if (n > 0)
            content = str_skip(content, (size_t)n);
    }
    return 0;
}

int keeper_state_write(int directory, const char *name, struct str content, mode_t mode, enum keeper_durability durability,
                       struct error *err)
{
    char temporary[320];
    bool sync = durability == KEEPER_DURABLE;
    int r = 0;

    /* One name per file, so that what a crash left is replaced and doesn't pile up. */
    snprintf(temporary, sizeof temporary, ".%s.new", name);
    unlinkat(directory, temporary, 0);
    cleanup_close int fd = openat(directory, temporary, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
    if (fd < 0)
        r = -errno;
    if (r == 0)
        r = write_all(fd, content);
    if (r == 0 && (fchmod(fd, mode) < 0 || (sync && fsync(fd) < 0) || renameat(directory, temporary, directory, name) < 0 ||
                   (sync && fsync(directory) < 0)))
        r = -errno;
    if (r < 0) {
        unlinkat(directory, temporary, 0);
        error_set(err, "writing %s in the state directory: %s", name, strerror(-r));
    }
    return r;
}

int keeper_state_read(int directory, const char *name, struct buf *buf, struct error *err)
{
    cleanup_close int fd = openat(directory, name, O_RDONLY | O_NOFOLLOW | O_CLOEXEC | O_NONBLOCK);
    int r = fd < 0 ? -errno : 0;

    while (r == 0) {
        char *room = buf_reserve(buf, 4096);
        ssize_t n = room ? read(fd, room, 4096) : 0;
        if (!room)
            r = buf->error;
        else if (n < 0)
            r = errno == EINTR ? 0 : -errno;
        else if (n == 0)
            return 0;
        else
            buf->len += (size_t)n;
    }
    if (r != -ENOENT)
        error_set(err, "reading %s in the state directory: %s", name, strerror(-r));
    return r;
}
