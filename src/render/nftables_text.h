/* A packet filter in nftables' own language. */
#pragma once

#include "base/buf.h"
#include "policy/packet_filter.h"

/* Appends every table of a sealed filter: each is made anew, so that one file is one transaction that leaves nothing of what was there.
 * Texts that people wrote lose what would end an nft string. out's error sticks. */
void nftables_text_write(const struct packet_filter *filter, struct buf *out);
/* A text as it may stand between quotes or in a comment: nft has no escapes. */
void nftables_text_plain(struct buf *out, struct str text);
