/* A lab's directory, lock and namespaces. */
#include "lab/space.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/mount.h>
#include <sys/pidfd.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

static bool is_host_name(const char *name)
{
    return name[0] && !strchr(name, '/') && name[0] != '.';
}

static bool is_name(const char *name)
{
    size_t length = strlen(name);
    for (size_t i = 0; i < length; i++) {
        char c = name[i];
        bool alnum = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9');
        if (!alnum && (c != '-' || i == 0))
            return false;
    }
    return length > 0 && length <= SPACE_NAME_MAX;
}

int space_find(const char *name, struct space *ret, struct error *err)
{
    struct space space;
    const char *runtime = getenv("XDG_RUNTIME_DIR");
    if (!is_name(name)) {
        error_set(err, "'%s' can't name a lab: expected at most %d letters, digits and dashes", name, SPACE_NAME_MAX);
        return -EINVAL;
    }
    str_copy(space.name, sizeof(space.name), str_of(name));
    int n;
    if (geteuid() == 0)
        n = snprintf(space.base, sizeof(space.base), "/run/postern-lab");
    else if (runtime && runtime[0] == '/')
        n = snprintf(space.base, sizeof(space.base), "%s/postern-lab", runtime);
    else
        n = snprintf(space.base, sizeof(space.base), "/tmp/postern-lab-%u", geteuid());
    if (n < 0 || (size_t)n + SPACE_NAME_MAX + 16 >= sizeof(space.base)) {
        error_set(err, "XDG_RUNTIME_DIR is too long a path");
        return -ENAMETOOLONG;
    }
    snprintf(space.directory, sizeof(space.directory), "%.*s/%s", SPACE_PATH_MAX - SPACE_NAME_MAX - 2, space.base, name);
    *ret = space;
    return 0;
}

static int space_path(const struct space *space, const char *file, char path[static PATH_MAX])
{
    int n = snprintf(path, PATH_MAX, "%s/%s", space->directory, file);
    return n > 0 && n < PATH_MAX ? 0 : -ENAMETOOLONG;
}

/* A directory that is ours alone to write: anybody may have made one of that name in /tmp. */
static int own_directory(const char *path, struct error *err)
{
    struct stat st;
    if (mkdir(path, 0755) < 0 && errno != EEXIST) {
        error_set(err, "%s: %s", path, strerror(errno));
        return -errno;
    }
    if (lstat(path, &st) < 0 || !S_ISDIR(st.st_mode) || st.st_uid != geteuid() || st.st_mode & 022) {
        error_set(err, "%s must be a directory of yours that nobody else may write; it isn't", path);
        return -EPERM;
    }
    return 0;
}

static void remove_files(const char *path, const char *but)
{
    DIR *directory = opendir(path);
    for (const struct dirent *entry; directory && (entry = readdir(directory));)
        if (entry->d_name[0] != '.' && strcmp(entry->d_name, but) != 0)
            unlinkat(dirfd(directory), entry->d_name, 0);
    if (directory)
        closedir(directory);
}

void space_remove(const struct space *space)
{
    remove_files(space->directory, "");
    rmdir(space->directory);
    rmdir(space->base);
}

int space_claim(const struct space *space, int *ret_lock, struct error *err)
{
    char path[PATH_MAX];
    /* A lab that ends takes its directory away under us: then the lock is on a file that is gone, and it is made again. */
    for (unsigned attempt = 0; attempt < 100; attempt++) {
        int r = own_directory(space->base, err);
        if (r == 0)
            r = own_directory(space->directory, err);
        if (r == 0)
            r = space_path(space, "lock", path);
        if (r < 0)
            return r;
        cleanup_close int lock = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0644);
        if (lock < 0 && errno == ENOENT)
            continue;
        if (lock < 0) {
            error_set(err, "%s: %s", path, strerror(errno));
            return -errno;
        }
        if (flock(lock, LOCK_EX | LOCK_NB) < 0) {
            error_set(err, "lab '%s' is up; 'postern lab down' takes it down, --name NAME makes another beside it", space->name);
            return -EEXIST;
        }
        struct stat held, there;
        if (fstat(lock, &held) < 0 || stat(path, &there) < 0 || held.st_ino != there.st_ino)
            continue;
        /* Ours now; what else lies here was left by a lab that was killed. */
        remove_files(space->directory, "lock");
        *ret_lock = TAKE_FD(lock);
        return 0;
    }
    error_set(err, "%s does not stay", space->directory);
    return -EBUSY;
}

int space_publish(const struct space *space, pid_t pid, struct error *err)
{
    char path[PATH_MAX];
    int r = space_path(space, "pid", path);
    FILE *file = r == 0 ? fopen(path, "we") : NULL;
    if (!file || fprintf(file, "%ld\n", (long)pid) < 0) {
        error_set(err, "%s/pid: %s", space->directory, strerror(errno));
        r = -EIO;
    }
    if (file && fclose(file) != 0 && r == 0)
        r = -EIO;
    return r;
}

static bool is_locked(const char *path)
{
    cleanup_close int lock = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
    return lock >= 0 && flock(lock, LOCK_SH | LOCK_NB) < 0;
}

int space_open(const struct space *space, struct error *err)
{
    char path[PATH_MAX], text[32] = "";
    uint64_t pid;
    int r = space_path(space, "pid", path);
    if (r < 0)
        return r;
    FILE *file = fopen(path, "re");
    size_t n = file ? fread(text, 1, sizeof(text) - 1, file) : 0;
    if (file)
        fclose(file);
    if (n && text[n - 1] == '\n' && str_to_u64(str_make(text, n - 1), INT32_MAX, &pid)) {
        cleanup_close int supervisor = pidfd_open((pid_t)pid, 0);
        /* The lock is still held after the process was opened: so it was the supervisor, not somebody who got its number. */
        if (supervisor >= 0 && space_path(space, "lock", path) == 0 && is_locked(path))
            return TAKE_FD(supervisor);
    }
    struct stat st;
    bool is_roots = geteuid() != 0 && snprintf(path, sizeof(path), "/run/postern-lab/%s", space->name) > 0 && stat(path, &st) == 0;
    error_set(err, is_roots ? "lab '%s' is root's: use it as root" : "lab '%s' is not up; 'postern lab up FILE' brings it up", space->name);
    return -ENOENT;
}

int space_enter(int supervisor, struct error *err)
{
    char *directory = getcwd(NULL, 0);
    int namespaces = CLONE_NEWNS | CLONE_NEWPID;
    int r = 0;
    if (geteuid() != 0)
        namespaces |= CLONE_NEWUSER;
    if (setns(supervisor, namespaces) < 0 && (errno != EPERM || setns(supervisor, namespaces | CLONE_NEWUSER) < 0)) {
        r = -errno;
        error_set(err, "can't enter the lab: %s", strerror(errno));
    } else if (!directory || chdir(directory) < 0) {
        if (chdir("/") < 0)
            r = -errno;
    }
    free(directory);
    return r;
}

static int bind_over(const char *from, const char *to, unsigned long more)
{
    return mount(from, to, NULL, MS_BIND | more, NULL) < 0 ? -errno : 0;
}

bool space_has_host(const char *host, const char *container)
{
    char path[PATH_MAX];
    int n = snprintf(path, sizeof(path), SPACE_HOSTS "/%s/%s", host, container ? container : "net");
    return is_host_name(host) && !(container && strstr(container, "..")) && n > 0 && n < PATH_MAX && access(path, F_OK) == 0;
}

int space_enter_host(const char *host, const char *container, struct error *err)
{
    char run[PATH_MAX], net[PATH_MAX];
    int n = snprintf(run, sizeof(run), SPACE_HOSTS "/%s", host);
    int m = snprintf(net, sizeof(net), SPACE_HOSTS "/%s/%s", host, container ? container : "net");
    if (n < 0 || n >= PATH_MAX || m < 0 || m >= PATH_MAX)
        return -ENAMETOOLONG;
    cleanup_close int network = open(net, O_RDONLY | O_CLOEXEC);
    if (network < 0) {
        error_set(err, "the lab has no %s: %s", net, strerror(errno));
        return -errno;
    }
    char *directory = getcwd(NULL, 0);
    int r = unshare(CLONE_NEWNS) < 0 || mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0 ? -errno : 0;
    if (r == 0) {
        /* A machine without these files is fine: then nobody reads them. */
        (void)!bind_over(SPACE_ROOT "/etc/hosts", "/etc/hosts", 0);
        (void)!bind_over(SPACE_ROOT "/etc/resolv.conf", "/etc/resolv.conf", 0);
        r = bind_over(run, "/run", MS_REC);
    }
    if (r == 0 && setns(network, CLONE_NEWNET) < 0)
        r = -errno;
    if (r < 0)
        error_set(err, "can't enter %s: %s", host, strerror(-r));
    if (directory && chdir(directory) < 0)
        r = chdir("/") < 0 ? -errno : r;
    free(directory);
    return r;
}
