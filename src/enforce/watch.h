/* Keeping a declaration in force on this host: containers that come and go, rules that somebody changes, declarations that are applied anew. */
#pragma once

#include "base/error.h"

/* Runs until it is told to end (SIGTERM, SIGINT), or until nothing is in force any more (postern unapply). Says what happens in the log.
 * 0: ended as it should; a negative errno with err where it could not begin. */
int watch_run(const char *state_directory, struct error *err) must_check;
