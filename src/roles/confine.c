/* Puts a profile in force, step by step, and keeps account of what is in force and what is missing. */
#include "roles/confine.h"

#include "roles/confine_mechanism.h"

struct account {
    uint32_t in_force, missing;
};

static int take_account(struct account *account, uint32_t bit, int r)
{
    if (r < 0)
        return r;
    if (r == CONFINE_E_MISSING)
        account->missing |= bit;
    else
        account->in_force |= bit;
    return 0;
}

int confine_apply(const struct confine_profile *profile, uint32_t uid, uint32_t gid, uint32_t *ret_in_force, uint32_t *ret_missing, struct error *err)
{
    struct account account = { 0 };
    int r = take_account(&account, IPC_CONFINED_RLIMITS, confine_limits(profile, err));
    if (r == 0)
        r = take_account(&account, IPC_CONFINED_CAPABILITIES, confine_bounding(profile, err));
    if (r == 0)
        r = take_account(&account, IPC_CONFINED_UID, confine_uid(uid, gid, err));
    if (r == 0)
        r = take_account(&account, IPC_CONFINED_CAPABILITIES, confine_capabilities(profile, err));
    if (r == 0)
        r = take_account(&account, IPC_CONFINED_NO_NEW_PRIVILEGES, confine_no_new_privileges(err));
    if (r == 0)
        r = take_account(&account, IPC_CONFINED_LANDLOCK, confine_landlock(profile, err));
    if (r == 0)
        r = take_account(&account, IPC_CONFINED_SECCOMP, confine_seccomp(profile, err));
    if (r < 0) {
        error_wrap(err, "confining %s", profile->name);
        return r;
    }
    *ret_in_force = account.in_force & ~account.missing;
    *ret_missing = account.missing;
    return 0;
}
