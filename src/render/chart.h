/* The map as nodes in boxes with edges, which Mermaid and Graphviz draw alike: one walk, two languages. */
#pragma once

#include "render/map.h"

enum chart_node { CHART_PARTY, CHART_PORT, CHART_GROUP, CHART_BUNDLE };
/* DERIVED: what no grant says but one needs, a gateway to its instance. */
enum chart_edge { CHART_ALLOWED, CHART_INSIDE, CHART_DERIVED };

/* A node is its kind and number: a party's, a port's, a group's or a bundle's in the map. Labels have '\n' between lines. */
struct chart_language {
    void (*open)(struct buf *out, unsigned depth, const char *kind, uint32_t number, struct str label); /* kind "segment" or "host" */
    void (*close)(struct buf *out, unsigned depth);
    void (*node)(struct buf *out, unsigned depth, enum chart_node kind, uint32_t number, struct str label);
    void (*edge)(struct buf *out, enum chart_node from_kind, uint32_t from, enum chart_node to_kind, uint32_t to, enum chart_edge kind);
};

/* Segments, then hosts without one, then edges; what neither asks nor serves is left out. 0 or a negative errno. */
int chart_write(const struct map *map, const struct chart_language *language, struct buf *out) must_check;
/* "party3": a name for the node that both languages take. */
void chart_name_write(struct buf *out, enum chart_node kind, uint32_t number);
