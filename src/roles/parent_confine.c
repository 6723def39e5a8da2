/* What the parent keeps of root: what starting, owning and ending the roles takes, and what some of them are to inherit. */
#include <errno.h>
#include <string.h>
#include <sys/capability.h>
#include <sys/prctl.h>
#include <sys/resource.h>

#include "roles/parent.h"

static const cap_value_t kept[] = {
    CAP_SETUID, CAP_SETGID, CAP_SETPCAP,   /* roles: uids of their own, then the bounding set emptied */
    CAP_KILL,                              /* to end them */
    CAP_NET_BIND_SERVICE,                  /* listeners */
    CAP_CHOWN, CAP_FOWNER,                 /* the keeper's directory */
    CAP_DAC_OVERRIDE, CAP_DAC_READ_SEARCH, /* the declaration, keys of other owners (the keeper, before it is confined), namespaces */
    CAP_SYS_PTRACE,                        /* to name who holds a port */
    CAP_SYS_ADMIN, CAP_NET_ADMIN,          /* the broker's: sockets inside a container's namespace */
};

static bool is_kept(cap_value_t capability)
{
    for (size_t i = 0; i < ARRAY_SIZE(kept); i++)
        if (kept[i] == capability)
            return true;
    return false;
}

static int drop_bounding(void)
{
    for (cap_value_t capability = 0; cap_get_bound(capability) >= 0; capability++)
        if (cap_get_bound(capability) && !is_kept(capability) && cap_drop_bound(capability) < 0 && errno != EPERM)
            return -errno;
    return 0;
}

/* Of those in the list, the ones that we have. */
static int keep_permitted(void)
{
    cap_t have = cap_get_proc(), want = cap_init();
    int r = have && want ? 0 : -ENOMEM;
    for (size_t i = 0; r == 0 && i < ARRAY_SIZE(kept); i++) {
        cap_flag_value_t held = CAP_CLEAR;
        if (cap_get_flag(have, kept[i], CAP_PERMITTED, &held) == 0 && held == CAP_SET
            && (cap_set_flag(want, CAP_PERMITTED, 1, &kept[i], CAP_SET) < 0 || cap_set_flag(want, CAP_EFFECTIVE, 1, &kept[i], CAP_SET) < 0))
            r = -errno;
    }
    if (r == 0 && cap_set_proc(want) < 0)
        r = -errno;
    cap_free(have);
    cap_free(want);
    return r;
}

/* Several descriptors for each worker, and sockets for each surface: the usual soft limit is for programs that use select. */
static int raise_descriptors(void)
{
    struct rlimit limit;
    if (getrlimit(RLIMIT_NOFILE, &limit) < 0)
        return -errno;
    limit.rlim_cur = limit.rlim_max;
    return setrlimit(RLIMIT_NOFILE, &limit) < 0 ? -errno : 0;
}

int parent_confine(struct error *err)
{
    int r = raise_descriptors();
    if (r == 0)
        r = drop_bounding();
    if (r == 0)
        r = keep_permitted();
    if (r == 0 && (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0 || prctl(PR_SET_DUMPABLE, 0, 0, 0, 0) < 0))
        r = -errno;
    if (r < 0)
        error_set(err, "giving up capabilities: %s", strerror(-r));
    return r;
}
