/* Which users a privileged gateway's roles run as, unless told otherwise: firewalls name the workers' by number, so the numbers are fixed.
 * Nobody hands out 60706 to 61183: systemd's dynamic users begin at 61184 and its containers' end at 60577 (systemd, UIDS-GIDS). */
#pragma once

enum {
    UIDS_BASE = 60900,     /* the first; postern run --uid-base moves all of them */
    UIDS_OF_WORKERS = 16,  /* from the first on, one per surface: 64 */
    UIDS_OF_RELAY = 80,    /* of direct ports, and the porter of their UDP: firewalls take both for workers */
    UIDS_OF_PORTER = 81,
    UIDS_N = 82,
};
