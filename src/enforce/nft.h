/* nft as a short-lived child: rules go to its standard input, a listing comes from its standard output. */
#pragma once

#include <sys/types.h>

#include "base/buf.h"
#include "base/error.h"

enum { NFT_TIMEOUT_MS = 20000, NFT_LISTING_MAX = 64 << 20 };

/* Loads the text, one transaction. *ret_pid (may be NULL): who the kernel says it was. 0; -EIO with err for what nft refused; -ETIMEDOUT, -ENOENT
 * without an nft, or another negative errno, with err. */
int nft_load(struct str text, pid_t *ret_pid, struct error *err) must_check;
/* Appends what "nft ARGUMENTS" writes; arguments end with NULL. As above; NFT_E_NONE: there is no such table, nothing was said. */
enum { NFT_E_NONE = 1 };
int nft_list(const char *const *arguments, struct buf *out, struct error *err) must_check;
