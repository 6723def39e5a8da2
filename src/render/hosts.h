/* Names as plain records, one address and one name a line: for /etc/hosts, and for DNS servers that read such files. */
#pragma once

#include "base/error.h"
#include "render/map.h"

/* Each name of a web service that somebody is granted, at every gateway that serves it; names of single instances where there are several.
 * Appends to out. 0 or a negative errno. */
int render_hosts(const struct map *map, struct str revision, struct buf *out) must_check;
