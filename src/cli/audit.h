/* The layers of "postern audit": a new one is a line in the table of cli/audit.c and a function that reads what is there. */
#pragma once

#include "base/error.h"
#include "cli/declaration.h"
#include "policy/relation.h"
#include "render/nftables.h"

struct audit_given {
    const struct cli_declaration *declaration;
    const struct model *model;
    const char *path;          /* the layer's option's value; "-" is standard input */
    const char *nodes_path;    /* --nodes, or NULL */
    const char *host;          /* --host, or NULL: this machine */
    struct render_nftables_options nftables; /* with what the host's rules were rendered */
};

struct audit_layer {
    const char *name;          /* as people call it */
    const char *option;        /* "tailscale", for --tailscale; layers that follow each other may share one */
    const char *argument;      /* "POLICY" */
    const char *summary;
    /* Fills in what should be there, rendered and read back, what is, and what depends on something that can't be told. 0; CLI_UNKNOWN or CLI_NO
     * after a message; or a negative errno with err. */
    int (*read)(const struct audit_given *given, struct relation *expected, struct relation *actual, struct relation *unknown, struct error *err);
};
