/* A macOS host's firewall as rules for pf, to be loaded into an anchor of its own: pfctl -a postern -f FILE.
 *
 * It says what the nftables file says of a Linux host (render/nftables.h), in the words that pf has: of this host, mesh machines reach what is
 * declared and nothing else, and ports that are served on the mesh are closed on the LAN. pf takes no ranges in tables and has no sets of
 * (source, destination, port), so flows are rules, one per destination and port. What the host itself starts is let out with state, since
 * answers would be strangers to the rules that follow. */
#pragma once

#include "render/nftables.h"

/* As render_nftables_filter and _host. Of the options, mesh_interface is "utun4" or the like, and worker_uid_* say nothing. The structure has
 * one chain on the way in and one on the way out, judged by the first rule that holds. */
int render_pf_filter(const struct model *model, uint32_t host, const struct render_nftables_options *options, struct packet_filter *ret,
                     struct error *err) must_check;
int render_pf_host(const struct model *model, uint32_t host, const struct render_nftables_options *options, struct buf *out, struct error *err) must_check;
