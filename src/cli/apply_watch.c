/* postern apply --watch: what it begins with, and with which rights it stays. */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/capability.h>
#include <sys/prctl.h>

#include "base/log.h"
#include "cli/apply.h"
#include "enforce/watch.h"

/* It changes rules and listens, and so does the nft that it starts; root's other powers are given up. Files of its own it reads as their owner. */
static int keep_only_net_admin(void)
{
    cap_value_t kept = CAP_NET_ADMIN;
    cap_t wanted = cap_init();
    int r = wanted ? 0 : -errno;
    for (cap_value_t capability = 0; r == 0 && capability < cap_max_bits(); capability++)
        if (capability != CAP_NET_ADMIN && cap_get_bound(capability) > 0 && cap_drop_bound(capability) < 0)
            r = -errno;
    if (r == 0 && (cap_set_flag(wanted, CAP_PERMITTED, 1, &kept, CAP_SET) < 0 || cap_set_flag(wanted, CAP_EFFECTIVE, 1, &kept, CAP_SET) < 0 ||
                   cap_set_proc(wanted) < 0 || prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0))
        r = -errno;
    cap_free(wanted);
    return r;
}

/* With the lock held: the file becomes what is in force, unless a change awaits its confirmation, or was never confirmed. */
static int begin_with(const struct state *state, const struct state_declaration *applied, struct error *err)
{
    cleanup_state_declaration struct state_declaration before = { .deadline_ms = 0 };
    int r = state_read(state, "before", &before, err);
    if (r < 0)
        return r;
    if (r == STATE_E_NONE)
        return applied ? state_write(state, "in-force", applied, err) : 0;
    if (state_now_ms() < before.deadline_ms)
        return 0;
    log_warning("a change was never confirmed: what was in force before it is so again, whatever the declaration says now; 'postern apply' tries again");
    return put_undo(state, err);
}

int apply_watch(const struct apply_arguments *arguments, struct state *state)
{
    cleanup_declaration struct cli_declaration read = { 0 };
    struct state_declaration applied;
    struct error err = { "" };
    uint32_t host;
    log_init("postern-apply", LOG_INFO);
    bool is_good = cli_declaration_load(arguments->file, &read) && apply_remember(arguments, &read, &applied, &host);
    if (!is_good && !state_version(state, "in-force")) {
        log_error("nothing was in force before, and the declaration can't be used");
        return CLI_UNKNOWN;
    }
    if (!is_good)
        log_warning("the declaration can't be used: what was in force before stays");
    int r = state_lock(state, &err);
    if (r == 0)
        r = begin_with(state, is_good ? &applied : NULL, &err);
    state_unlock(state);
    if (r == 0 && (r = keep_only_net_admin()) < 0)
        error_set(&err, "can't give up rights: %s", strerror(-r));
    if (r == 0)
        r = watch_run(arguments->state_directory, &err);
    if (r < 0)
        log_error("%s", err.text[0] ? err.text : strerror(-r));
    return r < 0 ? CLI_UNKNOWN : CLI_YES;
}
