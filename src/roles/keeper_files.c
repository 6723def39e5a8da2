/* Certificates from files: read, checked, watched. */
#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/inotify.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/log.h"
#include "roles/keeper.h"
#include "roles/keeper_secret.h"

enum { SETTLE_MS = 300, DIRECTORIES_MAX = 256 };

static int add_directory(char ***directories, size_t *n, const char *file)
{
    char path[PATH_MAX];
    if (strlen(file) >= sizeof path)
        return 0;
    str_copy(path, sizeof path, str_of(file));
    const char *directory = dirname(path);
    for (size_t i = 0; i < *n; i++)
        if (strcmp((*directories)[i], directory) == 0)
            return 0;
    if (*n == DIRECTORIES_MAX)
        return 0;
    char **more = realloc(*directories, (*n + 1) * sizeof more[0]);
    if (!more)
        return -ENOMEM;
    *directories = more;
    more[*n] = strdup(directory);
    if (!more[*n])
        return -ENOMEM;
    (*n)++;
    return 0;
}

int keeper_files_directories(struct image keys, char ***ret, size_t *ret_n)
{
    char **directories = NULL;
    size_t n = 0;
    int r = 0;

    for (uint32_t i = 0; r == 0 && i < image_count(keys, IMAGE_CERTIFICATES); i++) {
        const struct image_certificate *certificate = image_certificate(keys, i);
        const struct str files[] = { image_str(keys, certificate->certificate_file), image_str(keys, certificate->key_file) };
        for (size_t j = 0; r == 0 && j < ARRAY_SIZE(files); j++) {
            if (files[j].len == 0)
                continue;
            cleanup_free char *file = strndup(files[j].ptr, files[j].len);
            if (!file)
                return -ENOMEM;
            r = add_directory(&directories, &n, file);
            /* certbot's live/ holds links into archive/: what is read is there. */
            cleanup_free char *resolved = realpath(file, NULL);
            if (r == 0 && resolved)
                r = add_directory(&directories, &n, resolved);
        }
    }
    if (r < 0) {
        for (size_t i = 0; i < n; i++)
            free(directories[i]);
        free(directories);
        return r;
    }
    *ret = directories;
    *ret_n = n;
    return 0;
}

void keeper_files_watch(struct keeper *keeper, char *const directories[], size_t n)
{
    /* Directories, not files: editors and renewal tools put a new file in the old one's place. */
    for (size_t i = 0; i < n && keeper->inotify >= 0; i++)
        if (inotify_add_watch(keeper->inotify, directories[i], IN_CLOSE_WRITE | IN_MOVED_TO | IN_CREATE | IN_DELETE | IN_ATTRIB) < 0)
            log_warning("%s can't be watched: %s; changes there are seen within a minute", directories[i], strerror(errno));
}

void keeper_files_on_change(struct keeper *keeper)
{
    char events[4096];
    while (read(keeper->inotify, events, sizeof events) > 0)
        ;
    keeper->files_due_ms = keeper_now_ms() + SETTLE_MS;
}

static struct keeper_file_stamp stamp_of(const char *file)
{
    struct stat st;
    if (stat(file, &st) < 0)
        return (struct keeper_file_stamp){ .changed_ns = -errno };
    return (struct keeper_file_stamp){
        .changed_ns = (int64_t)st.st_ctim.tv_sec * 1000000000 + st.st_ctim.tv_nsec,
        .inode = st.st_ino,
        .size = (uint64_t)st.st_size,
    };
}

bool keeper_files_have_changed(struct keeper_certificate *certificate)
{
    struct keeper_file_stamp now[2] = { stamp_of(certificate->certificate_file), stamp_of(certificate->key_file) };
    bool changed = false;
    for (size_t i = 0; i < 2; i++)
        changed |= now[i].changed_ns != certificate->stamps[i].changed_ns || now[i].inode != certificate->stamps[i].inode ||
                   now[i].size != certificate->stamps[i].size;
    memcpy(certificate->stamps, now, sizeof now);
    return changed;
}

static int read_file(const char *path, struct buf *buf, struct error *err)
{
    struct stat st;
    cleanup_close int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
    int r = fd < 0 || fstat(fd, &st) < 0 ? -errno : 0;

    if (r == -EACCES || r == -EPERM) {
        error_set(err, "%s: %s; let the keeper read it, or restart postern if it is behind a new symbolic link", path, strerror(-r));
        return r;
    }
    if (r < 0) {
        error_set(err, "%s: %s; put the file there or change tls: in the declaration", path, strerror(-r));
        return r;
    }
    if (!S_ISREG(st.st_mode) || st.st_size == 0 || st.st_size > TLS_PAIR_PEM_MAX) {
        error_set(err, "%s: expected a file of 1 byte to %d KB in PEM form", path, TLS_PAIR_PEM_MAX / 1024);
        return -EINVAL;
    }
    while (r == 0) {
        char *room = buf_reserve(buf, 4096);
        ssize_t n = room ? read(fd, room, 4096) : -1;
        if (n < 0)
            r = room ? -errno : buf->error;
        else if (n == 0)
            return 0;
        else
            buf->len += (size_t)n;
    }
    error_set(err, "%s: %s", path, strerror(-r));
    return r;
}

int keeper_files_load(struct keeper_certificate *certificate, struct tls_pair *ret, struct error *err)
{
    cleanup_secret struct buf chain = { 0 }, key = { 0 };
    struct tls_pair pair = { 0 };
    int r;

    keeper_secret_init(&chain);
    keeper_secret_init(&key);
    r = read_file(certificate->certificate_file, &chain, err);
    if (r == 0)
        r = read_file(certificate->key_file, &key, err);
    if (r < 0)
        return r;
    r = tls_pair_parse(buf_str(&chain), buf_str(&key), &pair, err);
    if (r < 0) {
        error_wrap(err, "%s, %s", certificate->certificate_file, certificate->key_file);
        return r;
    }
    r = tls_pair_check(&pair, str_of(certificate->name), keeper_now(), err);
    if (r < 0) {
        error_wrap(err, "%s", certificate->certificate_file);
        tls_pair_deinit(&pair);
        return r;
    }
    *ret = pair;
    return 0;
}
