/* The supervisor: init of a lab's PID namespace. It builds the lab, keeps its processes, and takes all down with itself. */
#pragma once

#include "lab/space.h"
#include "lab/world.h"

struct supervise_options {
    const struct space *space;
    const struct world *world;
    const char *declaration; /* an absolute path */
    const char *programs;    /* the directory of postern */
    const char *standin;     /* postern-standin */
    bool tied;               /* the lab ends when the other end of lifeline is closed */
};

/* Starts a lab in the background. The claimed lock passes to it (the caller closes its own). *ret_report gives lines: "step TEXT" for
 * what is being done, at last "ready" or "error TEXT", then the end. *ret_lifeline: to be kept open as long as a tied lab shall live.
 * 0 or a negative errno with err. */
int supervise_launch(const struct supervise_options *options, int lock, int *ret_report, int *ret_lifeline, struct error *err) must_check;

/* One line of the lab's status, as the supervisor writes it: kind ("gateway", "stand-in"), host, name, where, pid (inside the lab),
 * state ("up", or how it ended), with tabs between. */
enum { SUPERVISE_STATUS_FIELDS = 6 };
