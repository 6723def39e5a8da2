/* What a role may still do once it has started: a profile (data, in the role's own file), and the one call that puts it in force.
 *
 * One file per mechanism: confine_identity.c (uid, groups, capabilities, no_new_privs), confine_limits.c, confine_landlock.c,
 * confine_seccomp.c. A mechanism that the kernel or the rights lack is reported, never skipped in silence. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"
#include "base/macros.h"
#include "ipc/message.h"

enum confine_comparison {
    CONFINE_ALWAYS,         /* the condition's slot is empty */
    CONFINE_EQUAL,
    CONFINE_BELOW,
    CONFINE_DESCRIPTOR_FROM, /* a descriptor >= value, a power of two; once in a call */
    CONFINE_MASKED,         /* (argument & mask) == value */
    CONFINE_OWN_PID,        /* equal to this process's id */
};

struct confine_condition {
    uint8_t argument;       /* 0 to 5 */
    uint8_t comparison;     /* enum confine_comparison */
    uint64_t value, mask;
};

enum { CONFINE_CONDITIONS_MAX = 3 };

/* One allowed call; all its conditions hold together. The same call may come again with other conditions. */
struct confine_syscall {
    int number;             /* SYS_name */
    struct confine_condition conditions[CONFINE_CONDITIONS_MAX];
};

#define CONFINE_ALLOW(name)      { SYS_##name, { { 0 } } }
#define CONFINE_ALLOW_IF(name, ...) { SYS_##name, { __VA_ARGS__ } }

/* A group of calls; profiles are put together from groups, so that a reader sees what is special about a role. */
struct confine_syscalls {
    const struct confine_syscall *items;
    size_t n;
};
#define CONFINE_GROUP(array) { (array), ARRAY_SIZE(array) }

/* What every process needs to run at all: memory that is never executable, time, signals' return, exit, read and write on what it has, epoll. */
extern const struct confine_syscalls confine_basic;
/* sendmsg and recvmsg, poll: channels of a role that passes descriptors. Not for workers. */
extern const struct confine_syscalls confine_channels;

enum confine_access { CONFINE_READ = 1, CONFINE_WRITE = 2 /* and create, rename, remove */, CONFINE_EXECUTE = 4 };

struct confine_path {
    const char *path;       /* a file, or a directory with all beneath it; what is not there is passed over */
    unsigned access;        /* bits of enum confine_access */
};

struct confine_limit {
    int resource;           /* RLIMIT_* */
    uint64_t value;         /* CONFINE_LIMIT_HARD: raise the soft limit to the hard one */
};
#define CONFINE_LIMIT_HARD UINT64_MAX

enum { CONFINE_GROUPS_MAX = 6 };

struct confine_profile {
    const char *name;
    const int *capabilities;                 /* CAP_*, kept (permitted and effective) where the process has them */
    size_t n_capabilities;
    const struct confine_syscalls *syscalls[CONFINE_GROUPS_MAX]; /* NULL ends; everything else kills the process */
    const struct confine_path *paths;        /* everything else is denied */
    size_t n_paths;
    const struct confine_limit *limits;      /* besides RLIMIT_CORE 0, which all have */
    size_t n_limits;
    const struct confine_syscalls *narrowed; /* these calls as they stand here only, whatever a group says; NULL: none */
    bool may_use_tcp;                        /* bind and connect, as far as the system calls allow them */
};

/* Puts all of the profile in force, in the order in which each step still may: limits, capabilities and identity (uid and gid 0: stay),
 * no_new_privs, Landlock, system calls. *ret_in_force and *ret_missing are bits of enum ipc_confinement. 0, or a negative errno with err
 * when a mechanism that is there refused: the process is half confined and must end. */
int confine_apply(const struct confine_profile *profile, uint32_t uid, uint32_t gid, uint32_t *ret_in_force, uint32_t *ret_missing,
    struct error *err) must_check;

/* "seccomp, landlock" of the bits; returns text. */
enum { CONFINE_TEXT_SIZE = 96 };
const char *confine_format(uint32_t bits, char text[static CONFINE_TEXT_SIZE]);
