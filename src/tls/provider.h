/* Private keys that live in another process: an OpenSSL provider whose keys know only their public half and whose signatures are made
 * by a function of ours, which is given the whole message to sign, not a digest of it. Everything else is OpenSSL's default provider.
 *
 * Handing over the message is the point: who holds the key can see what it is asked to sign, and refuse all but a handshake. */
#pragma once

#include <openssl/types.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"
#include "base/macros.h"
#include "tls/scheme.h"

enum { TLS_SIGNATURE_MAX = 512 }; /* RSA of 4096 bits */

/* Signs input with the key of that certificate. 0, with *ret_length bytes (at most size) in signature; or a negative errno: the
 * handshake fails with an internal_error alert. */
typedef int (*tls_sign_function)(void *context, uint64_t certificate, enum tls_scheme scheme, const uint8_t *input, size_t length,
                                 uint8_t *signature, size_t size, size_t *ret_length);

struct tls_provider;

/* An OpenSSL library context of its own, with the default provider and ours; openssl.cnf is not read. It must outlive every key and
 * SSL_CTX made from it. 0; -ENOMEM; -EIO when OpenSSL refuses (err says why). */
int tls_provider_new(tls_sign_function sign, void *context, struct tls_provider **ret, struct error *err) must_check;
/* NULL is fine. Always returns NULL. */
struct tls_provider *tls_provider_free(struct tls_provider *provider);
OSSL_LIB_CTX *tls_provider_library(const struct tls_provider *provider);

/* The key that belongs to the X.509 certificate, known to the signer by that number. 0, the caller's EVP_PKEY in *ret; -ENOTSUP: not
 * P-256, P-384 or RSA of 2048 to 4096 bits; -ENOMEM; -EIO. */
int tls_provider_key(struct tls_provider *provider, X509 *x509, uint64_t certificate, EVP_PKEY **ret, struct error *err) must_check;
