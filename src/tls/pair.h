/* A private key with the certificates that go with it, leaf first: read, checked, written, signed with. libcrypto only. */
#pragma once

#include <openssl/types.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/error.h"
#include "base/macros.h"
#include "base/str.h"
#include "tls/scheme.h"

enum { TLS_PAIR_CHAIN_MAX = 8, TLS_PAIR_PEM_MAX = 64 * 1024 };

struct tls_pair {
    EVP_PKEY *key;
    X509 *chain[TLS_PAIR_CHAIN_MAX]; /* leaf first; no root */
    uint32_t n_chain;
    EVP_PKEY_CTX *signers[TLS_SCHEME_COUNT]; /* made at first use */
};

/* Frees everything, key material wiped; a zeroed pair is fine, and the pair is zeroed. */
void tls_pair_deinit(struct tls_pair *pair);

/* From PEM texts (which may be the same text): the first unencrypted private key of key_pem, every certificate of chain_pem.
 * 0; -EINVAL: not PEM, encrypted, a kind of key that can't be served, or the key and the leaf don't belong together (err says which);
 * -ENOMEM. */
int tls_pair_parse(struct str chain_pem, struct str key_pem, struct tls_pair *ret, struct error *err) must_check;

/* A chain that was issued for the key: takes the key out of *from. Errors as above; *from keeps its key then. */
int tls_pair_join(struct tls_pair *from, struct str chain_pem, struct tls_pair *ret, struct error *err) must_check;

/* The chain, and, only when with_key, before it the key (PKCS #8, not encrypted), as PEM. Errors stick in the buf; wipe what held a key. */
void tls_pair_append_pem(struct buf *buf, const struct tls_pair *pair, bool with_key);

int64_t tls_pair_not_before(const struct tls_pair *pair);
/* The earliest end in the chain: nothing verifies after it. */
int64_t tls_pair_not_after(const struct tls_pair *pair);
/* 0 when a client would take the leaf for that host name at that time (the name may begin with "*."); -EINVAL with err saying what's wrong. */
int tls_pair_check(const struct tls_pair *pair, struct str name, int64_t now, struct error *err) must_check;

/* A number for the key as used on that surface: the same on every start, for no other key, for no other surface. */
uint64_t tls_pair_identity(const struct tls_pair *pair, struct str surface);

/* Signs; signature has room for size bytes. 0; -EINVAL: the scheme is not this key's; -EIO. */
int tls_pair_sign(struct tls_pair *pair, enum tls_scheme scheme, const uint8_t *input, size_t length, uint8_t *signature, size_t size,
                  size_t *ret_length) must_check;

/* Seconds since 1970 of a certificate's time; 0 when it has none. */
int64_t tls_time(const ASN1_TIME *time);
/* The SHA-256 of the certificate, "AB:CD:…". */
enum { TLS_FINGERPRINT_SIZE = 96 };
void tls_fingerprint(X509 *x509, char text[static TLS_FINGERPRINT_SIZE]);
