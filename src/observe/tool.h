/* Asking a tool of this machine's: a child with a pipe, a bound on what it says and on how long it takes. */
#pragma once

#include "base/buf.h"
#include "base/error.h"

struct observe_tool {
    const char *name;                /* "nft": what it is called in messages, and its argv[0] */
    const char *const *places;       /* whole paths, the first that is there is run; ends with NULL */
    const char *const *arguments;    /* after argv[0]; ends with NULL */
    const char *package;             /* "Debian's package nftables", for who hasn't got it */
    unsigned timeout_ms;
};

/* Appends what it writes to standard output, up to the buf's cap. 0; -ENOENT: it isn't installed; -ETIMEDOUT; -E2BIG; -EIO: it failed, err has
 * its first line; another negative errno. err is set with each. */
int observe_tool_run(const struct observe_tool *tool, struct buf *out, struct error *err) must_check;
