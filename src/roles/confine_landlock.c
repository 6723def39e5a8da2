/* Landlock: only the profile's paths, no TCP but where the profile has it, no abstract sockets and no signals outside.
 *
 * The kernel's structures are written out here because the headers of the distributions we build on end at version 3 of the interface. */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "roles/confine_mechanism.h"

struct ruleset {
    uint64_t fs, net, scoped;
};

struct path_beneath {
    uint64_t access;
    int32_t parent;
} __attribute__((packed));

enum { LANDLOCK_VERSION = 1, RULE_PATH_BENEATH = 1 };
enum {
    FS_EXECUTE = 1 << 0, FS_WRITE_FILE = 1 << 1, FS_READ_FILE = 1 << 2, FS_READ_DIR = 1 << 3,
    FS_ALL_1 = (1 << 13) - 1, FS_REFER = 1 << 13, FS_TRUNCATE = 1 << 14, FS_IOCTL_DEV = 1 << 15,
    FS_OF_FILES = FS_EXECUTE | FS_WRITE_FILE | FS_READ_FILE | FS_TRUNCATE | FS_IOCTL_DEV,
    NET_BIND_TCP = 1 << 0, NET_CONNECT_TCP = 1 << 1,
    SCOPE_ABSTRACT_UNIX = 1 << 0, SCOPE_SIGNAL = 1 << 1,
};

static struct ruleset ruleset_for(long abi, bool may_use_tcp, size_t *ret_size)
{
    struct ruleset set = { .fs = FS_ALL_1 };
    if (abi >= 2)
        set.fs |= FS_REFER;
    if (abi >= 3)
        set.fs |= FS_TRUNCATE;
    if (abi >= 4 && !may_use_tcp)
        set.net = NET_BIND_TCP | NET_CONNECT_TCP;
    if (abi >= 5)
        set.fs |= FS_IOCTL_DEV;
    if (abi >= 6)
        set.scoped = SCOPE_ABSTRACT_UNIX | SCOPE_SIGNAL;
    /* An older kernel refuses bytes that it doesn't know, unless they are zero. */
    *ret_size = abi >= 6 ? sizeof set : abi >= 4 ? offsetof(struct ruleset, scoped) : offsetof(struct ruleset, net);
    return set;
}

static uint64_t access_bits(unsigned access, const struct ruleset *set)
{
    uint64_t bits = 0;
    if (access & CONFINE_READ)
        bits |= FS_READ_FILE | FS_READ_DIR;
    if (access & CONFINE_WRITE)
        bits |= (FS_ALL_1 | FS_REFER | FS_TRUNCATE) & ~(uint64_t)(FS_EXECUTE | FS_READ_FILE | FS_READ_DIR);
    if (access & CONFINE_EXECUTE)
        bits |= FS_EXECUTE;
    return bits & set->fs;
}

static int allow_path(int ruleset, const struct ruleset *set, const struct confine_path *path, struct error *err)
{
    cleanup_close int fd = open(path->path, O_PATH | O_CLOEXEC);
    if (fd < 0) {
        if (errno == ENOENT || errno == ENOTDIR || errno == EACCES)
            return 0; /* Nothing there to allow, now or, after a rename, later. */
        error_set(err, "Landlock: %s: %s", path->path, strerror(errno));
        return -errno;
    }
    struct stat st;
    if (fstat(fd, &st) < 0) {
        error_set(err, "Landlock: %s: %s", path->path, strerror(errno));
        return -errno;
    }
    struct path_beneath rule = { access_bits(path->access, set), fd };
    if (!S_ISDIR(st.st_mode))
        rule.access &= FS_OF_FILES;
    if (syscall(SYS_landlock_add_rule, ruleset, RULE_PATH_BENEATH, &rule, 0) < 0) {
        error_set(err, "Landlock: %s: %s", path->path, strerror(errno));
        return -errno;
    }
    return 0;
}

int confine_landlock(const struct confine_profile *profile, struct error *err)
{
    long abi = syscall(SYS_landlock_create_ruleset, NULL, 0, LANDLOCK_VERSION);
    if (abi < 1)
        return CONFINE_E_MISSING;
    size_t size;
    struct ruleset set = ruleset_for(abi, profile->may_use_tcp, &size);
    cleanup_close int ruleset = (int)syscall(SYS_landlock_create_ruleset, &set, size, 0);
    if (ruleset < 0) {
        error_set(err, "Landlock: %s", strerror(errno));
        return -errno;
    }
    for (size_t i = 0; i < profile->n_paths; i++) {
        int r = allow_path(ruleset, &set, &profile->paths[i], err);
        if (r < 0)
            return r;
    }
    if (syscall(SYS_landlock_restrict_self, ruleset, 0) < 0) {
        error_set(err, "Landlock: %s", strerror(errno));
        return -errno;
    }
    return 0;
}
