/* The internal certificate authority: a root that clients trust, an intermediate per node, leaves per surface; all P-256.
 *
 * Root and intermediate are constrained to one domain (RFC 5280 section 4.2.1.10, critical): whoever steals them can't speak for
 * any other name, so that trusting the root is trusting it for the home only. */
#pragma once

#include <stdint.h>

#include "base/error.h"
#include "base/macros.h"
#include "base/str.h"
#include "tls/pair.h"

struct tls_lifetimes {
    int64_t root_s, intermediate_s, leaf_s;
};
#define TLS_LIFETIMES_DEFAULT ((struct tls_lifetimes){ 10 * 365 * 86400LL, 365 * 86400LL, 90 * 86400LL })

/* A new self-signed root. 0, -ENOMEM or -EIO with err. */
int tls_ca_make_root(struct str domain, int64_t now, int64_t life_s, struct tls_pair *ret, struct error *err) must_check;
/* A new intermediate; its chain is itself. It ends no later than the root. */
int tls_ca_make_intermediate(struct tls_pair *root, struct str domain, int64_t now, int64_t life_s, struct tls_pair *ret, struct error *err) must_check;
/* A new key and leaf for the name ("*.x" covers x too); its chain is the leaf and the intermediate. It ends no later than that. */
int tls_ca_make_leaf(struct tls_pair *intermediate, struct str name, int64_t now, int64_t life_s, struct tls_pair *ret, struct error *err) must_check;
/* Whether a CA that is constrained to the domain can speak for the name. */
bool tls_ca_covers(struct str domain, struct str name);

/* A new P-256 key (the pair has no chain yet) and a request for the name, "*.x" with x, as PEM (PKCS #10). */
int tls_ca_make_request(struct str name, struct tls_pair *ret_key, struct buf *request_pem, struct error *err) must_check;
