/* A Caddyfile for one surface of one gateway: for who keeps Caddy, and wants it to let in whom the declaration lets in.
 *
 * It decides as the gateway does (who asks by address, which service by name, everything else 404), and is less: one process with keys,
 * requests and connections; containers only over networks that it shares with them; who is no guest is hung up on after TLS, not before. The
 * file says so where it matters. What Caddy can't keep (a certificate's pin, a container without a network) it answers with 502. */
#pragma once

#include "base/error.h"
#include "render/map.h"

/* Appends to out. 0; -EINVAL with err when that host has no such surface; -ENOMEM, -E2BIG. */
int render_caddy(const struct map *map, uint32_t host, uint32_t surface, struct str revision, struct buf *out, struct error *err) must_check;
