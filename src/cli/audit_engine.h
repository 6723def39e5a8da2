/* The container layer of "postern audit": what an engine's containers open, worst first, and against the declaration where there is one. */
#pragma once

#include "cli/declaration.h"
#include "observe/findings.h"

struct audit_engine {
    const char *source;          /* --docker: "engine", a socket's path, or a file with what docker inspect wrote; "-" is standard input */
    const char *host;            /* --host, or NULL: this machine */
    const struct model *model;   /* NULL: --no-declaration */
    bool json;
};

/* Asks or reads it. False: a message was printed under the command's name; *ret needs no release then. */
bool cli_engine_load(const char *command, const char *source, struct observe_engine *ret) must_check;
/* Appends the layer's text or its JSON object. An exit status; a message was printed where it is CLI_UNKNOWN. */
int cli_audit_engine(const struct audit_engine *given, struct buf *out);
