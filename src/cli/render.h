/* The targets of "postern render": a new one is a line in the table of cli/render.c and a function that appends the text. */
#pragma once

#include "cli/declaration.h"
#include "render/nftables.h"

/* What a target is written from. */
struct render_given {
    const struct cli_declaration *declaration;
    const struct model *model;
    struct str revision;       /* hex digest of the declaration */
    uint32_t host, surface;    /* which one, for targets that are written for each; MODEL_NONE elsewhere */
    const char *from;          /* --from: whose reach to show, or NULL */
    struct str base;           /* --base: the text of the user's own file that the output is to be put into; ptr NULL: none was given */
    const char *base_path;
    const char *project, *docker, *compose_path, *pool, *host_name; /* a Compose project; --docker, --compose, --pool, --host, or NULL */
    struct render_nftables_options nftables;
};

/* Hosts and surfaces may be had together. A project is always named. */
enum render_each { RENDER_ONCE = 0, RENDER_EACH_HOST = 1, RENDER_EACH_SURFACE = 2, RENDER_OF_PROJECT = 4 };

struct render_target {
    const char *name;
    const char *options;   /* letters of the options it takes besides -f, -o and -h; see options[] in cli/render.c */
    unsigned each;         /* enum render_each */
    const char *file;      /* with -o: the whole name, or what follows "HOST", "SURFACE", "HOST-SURFACE" or "PROJECT" */
    const char *summary;   /* one line, no full stop */
    /* Appends to out. 0; -EINVAL with err when there is none for that host, surface or option; other negative errno. */
    int (*write)(const struct render_given *given, struct buf *out, struct error *err);
};

enum { RENDER_OUTPUT_MAX = 1 << 30 };

/* The map of the declaration as SVG; from is whom to show the reach of, in the words of postern access, or NULL. As render_target's write. */
int cli_svg_write(const struct model *model, const char *from, struct str revision, struct buf *out, struct error *err) must_check;
/* All of them, in the order of the layers. */
const struct render_target *cli_render_targets(size_t *ret_n);
/* The declared host of that name, or MODEL_NONE after a message that offers a near one. */
uint32_t cli_host_find(const char *command, const struct model *model, struct str name) must_check;
