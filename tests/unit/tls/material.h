/* Keys, certificates and handshakes for the tests of src/tls. */
#pragma once

#include <openssl/ssl.h>
#include <stdbool.h>

#include "base/buf.h"
#include "tls/provider.h"

/* A private key as the keeper would hold it: "P-256", "P-384" or "RSA". */
EVP_PKEY *material_key(const char *kind);
/* A certificate for the name, signed by issuer_key (self-signed when issuer is NULL), as PEM appended to buf; the X509 is the caller's. */
X509 *material_certificate(EVP_PKEY *key, const char *name, X509 *issuer, EVP_PKEY *issuer_key);
void material_append_pem(struct buf *buf, X509 *x509);

/* Signs as the keeper does, with the key at that index of *keys. */
struct material_signer {
    EVP_PKEY *keys[4];
    unsigned n_calls;
    enum tls_scheme last_scheme;
    uint8_t last_input[1024];
    size_t last_length;
    int fail_with; /* instead of signing; 0: sign */
};
int material_sign(void *context, uint64_t certificate, enum tls_scheme scheme, const uint8_t *input, size_t length, uint8_t *signature, size_t size,
                  size_t *ret_length);

/* Connects both ends in memory and shakes hands; false when either fails. Both SSL stay the caller's. */
bool material_handshake(SSL *server, SSL *client);
