/* The map as a Mermaid flowchart, for pages that draw those (Forgejo, GitHub, wikis). */
#pragma once

#include "render/map.h"

/* Appends to out. 0 or a negative errno. */
int render_mermaid(const struct map *map, struct str revision, struct buf *out) must_check;
