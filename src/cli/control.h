/* Asking the running postern: one line of JSON over RUNDIR/control.sock, one line back. */
#pragma once

#include <jansson.h>

#include "base/error.h"
#include "base/macros.h"

#define CLI_RUN_DIRECTORY "/run/postern"

/* Sends the question ({"ask": what}) and waits for the answer, an object: the caller's (json_decref). Negative errno with err, which says how
 * to start a postern where none runs. */
int control_ask(const char *run_directory, const char *what, json_t **ret, struct error *err) must_check;
