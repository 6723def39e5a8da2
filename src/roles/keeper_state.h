/* The keeper's part of the state directory: small files, replaced whole or not at all.
 *
 *   STATE/keeper/  0700, the keeper's: keys and certificates
 *   STATE/ca/      0755, the keeper's: root.pem, what clients are to trust
 *   STATE/acme/    0700, postern-acme's: its account
 */
#pragma once

#include <stdint.h>
#include <sys/types.h>

#include "base/buf.h"
#include "base/error.h"
#include "base/macros.h"
#include "base/str.h"

struct keeper_state {
    int keys;      /* STATE/keeper */
    int published; /* STATE/ca */
};

/* Makes what is missing, with owners where the process may; run before confinement. 0 or a negative errno with err. */
int keeper_state_prepare(const char *path, uint32_t uid, uint32_t gid, uint32_t acme_uid, uint32_t acme_gid, struct error *err) must_check;
/* 0 or a negative errno with err. */
int keeper_state_open(const char *path, struct keeper_state *ret, struct error *err) must_check;
void keeper_state_close(struct keeper_state *state);

/* Whether the content must survive a crash of the machine. What can be made again need not: syncing may take a slow disk a second, in which
 * the keeper signs nothing. */
enum keeper_durability { KEEPER_REPLACEABLE, KEEPER_DURABLE };

/* Written and renamed over name; durable content is synced, and the directory too: after a crash there is the old content or the new. */
int keeper_state_write(int directory, const char *name, struct str content, mode_t mode, enum keeper_durability durability, struct error *err) must_check;
/* Appends the file to buf, at most buf->max bytes; wipe it if it holds a key. 0; -ENOENT without err; another negative errno with err. */
int keeper_state_read(int directory, const char *name, struct buf *buf, struct error *err) must_check;
