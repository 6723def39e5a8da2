/* Inside supervise_launch: what runs as init of the lab. */
#pragma once

#include "lab/supervise.h"

/* report: where lines go until the lab is ready, then closed. lifeline: read end; its end ends a tied lab. log: the lab's directory as
 * seen from outside (O_PATH). Returns the exit status; every other process of the lab ends with it. */
int supervisor_run(const struct supervise_options *options, int report, int lifeline, int log) must_check;
