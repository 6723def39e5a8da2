/* What the parts of the picture share: what is drawn, and what stands out. */
#pragma once

#include "render/svg.h"
#include "render/svg_layout.h"

enum { SVG_SURFACE_LOOKS = 6 };

struct svg {
    const struct map *map;
    const struct svg_layout *layout;
    const struct render_svg_options *options;
    struct buf *out;
    struct arena arena;
    uint64_t *reach;      /* per party and service: the surfaces over which it may ask for it */
    bool *lit_pins, *lit_bundles, *lit_chips, *lit_hosts; /* all true without options->from */
    int top;              /* where the layout begins */
};

/* The class of a bundle's lines and fills: "s0" to "s5" by surface, "direct", "port", "derived". */
const char *svg_class_of(const struct svg *svg, uint32_t bundle, char text[static 16]);
/* The small sign of a surface, or of a service's own port with MODEL_NONE, its middle at x, y. */
void svg_sign_write(struct svg *svg, uint32_t surface, int x, int y);
/* Fills in reach and what is lit. 0 or -ENOMEM. */
int svg_light(struct svg *svg) must_check;
void svg_lines_write(struct svg *svg);
/* The texts behind things: <title> with everything that a person who points there wants to know. */
void svg_title_of_bundle(struct svg *svg, uint32_t bundle);
void svg_title_of_pin(struct svg *svg, const struct svg_pin *pin);
void svg_title_of_chip(struct svg *svg, const struct svg_chip *chip);
void svg_title_of_host(struct svg *svg, uint32_t party);
