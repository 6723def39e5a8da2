/* The map in Graphviz' language, for "dot -Tsvg". */
#pragma once

#include "render/map.h"

/* Appends to out. 0 or a negative errno. */
int render_dot(const struct map *map, struct str revision, struct buf *out) must_check;
