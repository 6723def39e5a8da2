/* Rules given to the real nft in a network namespace of their own, and what it lists of them then. */
#pragma once

#include "base/buf.h"

/* Runs the script (sh) in the namespace with text as its standard input; appends what it writes. False: that can't be tried here, or
 * (*ret_failed) the script failed. */
bool nft_space_run(const char *script, struct str text, struct buf *out, bool *ret_failed);
/* The listing, as "nft -j list ruleset" writes it, after loading the text. */
bool nft_space_list(struct str text, struct buf *out, bool *ret_failed);
