/* Who the process is and what it may be given: uid, gid, groups, capabilities, no_new_privs. */
#include <errno.h>
#include <grp.h>
#include <string.h>
#include <sys/capability.h>
#include <sys/prctl.h>
#include <unistd.h>

#include "roles/confine_mechanism.h"

static bool is_kept(const struct confine_profile *profile, int capability)
{
    for (size_t i = 0; i < profile->n_capabilities; i++)
        if (profile->capabilities[i] == capability)
            return true;
    return false;
}

int confine_bounding(const struct confine_profile *profile, struct error *err)
{
    for (int capability = 0; cap_get_bound(capability) >= 0; capability++) {
        if (cap_get_bound(capability) == 0 || is_kept(profile, capability))
            continue;
        if (cap_drop_bound(capability) < 0) {
            if (errno == EPERM)
                return 0; /* No right to drop is no right to gain either: what counts is the permitted set and no_new_privs, set next. */
            error_set(err, "dropping capability %d: %s", capability, strerror(errno));
            return -errno;
        }
    }
    return 0;
}

int confine_uid(uint32_t uid, uint32_t gid, struct error *err)
{
    if (uid == 0)
        return CONFINE_E_MISSING;
    int death_signal = 0;
    if (prctl(PR_GET_PDEATHSIG, &death_signal, 0, 0, 0) < 0 || prctl(PR_SET_KEEPCAPS, 1, 0, 0, 0) < 0) {
        error_set(err, "keeping capabilities: %s", strerror(errno));
        return -errno;
    }
    /* A user namespace with one uid has none to become (EINVAL), or forbids dropping groups (EPERM): its maker's limits, reported. */
    if (setgroups(0, NULL) < 0 || setresgid(gid, gid, gid) < 0 || setresuid(uid, uid, uid) < 0) {
        if (errno == EINVAL || errno == EPERM)
            return CONFINE_E_MISSING;
        error_set(err, "becoming uid %u: %s", (unsigned)uid, strerror(errno));
        return -errno;
    }
    if (setresuid((uid_t)-1, 0, (uid_t)-1) == 0) {
        error_set(err, "becoming uid %u: root could be taken back", (unsigned)uid);
        return -EPERM;
    }
    /* A change of uid undoes both. */
    prctl(PR_SET_PDEATHSIG, death_signal, 0, 0, 0);
    prctl(PR_SET_DUMPABLE, 0, 0, 0, 0);
    return 0;
}

int confine_capabilities(const struct confine_profile *profile, struct error *err)
{
    int r = 0;
    cap_t have = cap_get_proc(), want = cap_init();
    if (!have || !want) {
        r = -ENOMEM;
        error_set(err, "capabilities: %s", strerror(ENOMEM));
    }
    for (size_t i = 0; r == 0 && i < profile->n_capabilities; i++) {
        cap_value_t capability = profile->capabilities[i];
        cap_flag_value_t held = CAP_CLEAR;
        if (cap_get_flag(have, capability, CAP_PERMITTED, &held) == 0 && held == CAP_SET
            && (cap_set_flag(want, CAP_PERMITTED, 1, &capability, CAP_SET) < 0 || cap_set_flag(want, CAP_EFFECTIVE, 1, &capability, CAP_SET) < 0))
            r = -EINVAL;
    }
    if (r == 0 && (cap_set_proc(want) < 0 || cap_reset_ambient() < 0)) {
        r = -errno;
        error_set(err, "capabilities: %s", strerror(errno));
    }
    cap_free(have);
    cap_free(want);
    return r;
}

int confine_no_new_privileges(struct error *err)
{
    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0) {
        error_set(err, "no_new_privs: %s", strerror(errno));
        return -errno;
    }
    return 0;
}
