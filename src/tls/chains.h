/* How a surface's certificates travel from the keeper to its workers: one block of entries, written once and sealed.
 *
 *   entry = struct tls_chain_head, name (name_length bytes), PEM (pem_length bytes), zeros up to a multiple of 8
 *
 * in the machine's byte order (both ends are processes of one tree). The reader trusts nothing in it. */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/macros.h"
#include "base/str.h"

enum { TLS_CHAINS_MAX = 256, TLS_CHAIN_NAME_MAX = 253, TLS_CHAIN_PEM_MAX = 64 * 1024, TLS_CHAINS_SIZE_MAX = 4 * 1024 * 1024 };

struct tls_chain_head {
    uint64_t certificate;
    uint32_t name_length, pem_length;
};

struct tls_chain {
    uint64_t certificate; /* what the keeper is asked to sign with */
    struct str name;      /* the host name it is for, lower case; empty: the default, for every other name and for none */
    struct str pem;       /* leaf first, then the intermediates */
};

/* Appends one entry. Failures stick in the buf. */
void tls_chains_append(struct buf *buf, const struct tls_chain *chain);

/* Splits a block of exactly n entries; names and PEM texts are borrowed from data. 0, or -EBADMSG (ret then holds nothing of use): an
 * entry reaches past the end, bytes are left over, a length passes its limit, a name is not lower-case host name characters, or there
 * is not exactly one default. n up to TLS_CHAINS_MAX. */
int tls_chains_decode(const void *data, size_t size, uint32_t n, struct tls_chain ret[]) must_check;
