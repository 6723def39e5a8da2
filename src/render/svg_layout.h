/* Where everything of the picture is: a layered layout in whole pixels, the same for the same map.
 *
 * Segments are areas in up to three columns: who only asks, who has gateways, who only serves. Hosts are boxes in their areas, services chips
 * in their hosts. Lines run from taps (on a host's or an area's edge) to pins (on a host's edge) through the corridors between columns, where
 * each bundle has a vertical track of its own; what must pass a column goes over or under it on a lane. */
#pragma once

#include "render/map.h"

enum { SVG_COLUMNS = 3, SVG_FONT = 12, SVG_FONT_SMALL = 11, SVG_FONT_TITLE = 18, SVG_CURVE = 9 };
enum svg_side { SVG_LEFT, SVG_RIGHT };

struct svg_box {
    int x, y, width, height;
};

struct svg_area {
    struct svg_box box;
    uint32_t segment;             /* MODEL_NONE: a host without one; no area is drawn */
    uint32_t first_host, n_hosts;
    unsigned column;
    int header;                   /* height of the line with its name */
    uint32_t n_taps[2];           /* by side */
};

struct svg_host {
    struct svg_box box;
    uint32_t party, area;
    int header;
    uint32_t n_taps[2], n_pins[2]; /* by side */
    uint32_t first_chip, n_chips;
    int content_width;            /* that its pins and chips need */
};

struct svg_chip {
    struct svg_box box;
    uint32_t service, host;       /* host: in hosts */
    bool is_served;               /* somebody reaches it here */
};

/* Where a bundle ends at a host: its ports there, as one. */
struct svg_pin {
    struct svg_box box;
    struct str text;
    uint32_t bundle, host, first_port, n_ports;
    uint32_t trunk;
    enum svg_side side;
};

/* Where a bundle begins: at a host, or at an area when all who ask in it are of the bundle. */
struct svg_tap {
    int x, y;
    uint32_t bundle, at;          /* in hosts or areas */
    uint32_t trunk;
    bool is_area;
    enum svg_side side;
};

struct svg_trunk {
    uint32_t bundle;
    unsigned corridor;            /* the one on the right of that column */
    int x;
    int lane_y;                   /* 0: it stays in its corridor */
    bool lane_out, lane_in;       /* onto the lane, from the lane */
    uint32_t position;            /* among the corridor's tracks, from the left */
};

struct svg_layout {
    struct arena arena;
    const struct map *map;
    int width, height;            /* of the part between title and legend */
    struct svg_area *areas;
    struct svg_host *hosts;
    struct svg_chip *chips;
    struct svg_pin *pins;
    struct svg_tap *taps;
    struct svg_trunk *trunks;
    uint32_t n_areas, n_hosts, n_chips, n_pins, n_taps, n_trunks;
    uint32_t n_tracks[SVG_COLUMNS];
    int column_x[SVG_COLUMNS], column_width[SVG_COLUMNS], pins_width[SVG_COLUMNS][2];
};

/* 0 or a negative errno. Borrows the map. */
int svg_layout_init(struct svg_layout *ret, const struct map *map) must_check;
void svg_layout_deinit(struct svg_layout *layout);
#define cleanup_svg_layout cleanup(svg_layout_deinit)

/* Fills in what there is, without places; part of svg_layout_init. */
int svg_layout_find(struct svg_layout *layout) must_check;
/* Gives the tracks of each corridor the order in which lines cross least; called once ends have their heights. */
int svg_tracks_order(struct svg_layout *layout) must_check;
