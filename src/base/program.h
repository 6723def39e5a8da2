/* One of the system's programs as a short-lived child: a text to its standard input, what it writes collected, both bounded. */
#pragma once

#include <sys/types.h>

#include "base/buf.h"
#include "base/error.h"
#include "base/str.h"

enum { PROGRAM_ARGUMENTS_MAX = 14 };

struct program {
    const char *name;             /* looked for where the system keeps its tools, never in PATH */
    const char *source;           /* what to install: "Debian's package nftables" */
    const char *const *arguments; /* after the name, NULL at the end */
    int timeout_ms;               /* then it is killed */
};

/* Appends to out what it writes, up to the buffer's limit; NULL: that isn't wanted. *ret_pid (may be NULL): what process it was.
 * 0; with err: -EIO when it failed, saying its first line; -ENOENT without it; -ETIMEDOUT; -E2BIG; or another negative errno. */
int program_run(const struct program *program, struct str input, struct buf *out, pid_t *ret_pid, struct error *err) must_check;
