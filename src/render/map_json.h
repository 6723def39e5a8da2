/* The map for scripts: who may reach which ports, and which services are behind them. */
#pragma once

#include "render/map.h"

/* Appends one JSON object and a line's end to out. 0 or a negative errno. */
int render_map_json(const struct map *map, struct str revision, struct buf *out) must_check;
