/* The picture of the home lab: segments, hosts, surfaces, services, and every way that the declaration allows, as one SVG 1.1 file.
 *
 * It is static (no scripts, no links, no fonts of its own), has a light and a dark look by the viewer's preference, tells surfaces apart by
 * shape as well as by colour, and says in the tooltip (<title>) of each thing which rule put it there. */
#pragma once

#include "render/map.h"

struct render_svg_options {
    struct str revision;   /* hex digest of the declaration; may be empty */
    const uint64_t *from;  /* bit set of the parties whose reach stands out from the rest, or NULL */
    struct str from_name;  /* what they are called together: "robin" */
};

/* Appends to out. 0 or a negative errno. */
int render_svg(const struct map *map, const struct render_svg_options *options, struct buf *out) must_check;
