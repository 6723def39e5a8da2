/* A packet filter in pf's language, as far as pf has words for it. */
#pragma once

#include "base/buf.h"
#include "policy/packet_filter.h"

/* Appends the tables, then the rules of each base chain, all "quick", so that the first that holds decides as in the structure. The filter is one
 * that render/pf.c built: named sets hold prefixes, a rule's conditions are on one field each, accept or drop. out's error sticks. */
void pf_text_write(const struct packet_filter *filter, struct buf *out);
