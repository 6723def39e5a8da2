/* What this machine's nftables hold, as a packet filter: everybody's tables, since a packet meets them all.
 *
 * The text is nft's own: "nft -j list ruleset", of version 1.0.6 and later. What an expression means that is not understood here (an iptables
 * extension, a mark, a limit, a dynamic set …) can't be told for the flows that depend on it, and only for those (PACKET_OTHER,
 * PACKET_ELSEWHERE). Chains of bridges and of devices are read, too: they see some packets only, so that what they drop can't be told.
 * Postern's own tables for containers are passed over: they only take away, from containers. */
#pragma once

#include "base/buf.h"
#include "base/error.h"
#include "policy/packet_filter.h"

/* How long a text may be, what reading it may take, and how long nft may take to write it. */
enum { OBSERVE_NFTABLES_MAX = 32 << 20, OBSERVE_NFTABLES_MEMORY_MAX = 768 << 20, OBSERVE_NFTABLES_TIMEOUT_MS = 20000 };

/* name: of the filter, "nftables on roc". *ret is sealed, the caller's, untouched on failure. Not safe among threads that use jansson.
 * 0; -EINVAL with err for what no nft writes; -E2BIG, -ENOMEM. */
int observe_nftables_read(struct str text, struct str name, struct packet_filter *ret, struct error *err) must_check;
/* Appends what nft writes of the current network namespace; a short-lived child. 0 or a negative errno with err. */
int observe_nftables_list(struct buf *out, struct error *err) must_check;
