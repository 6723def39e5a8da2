/* Session tickets: sealed with a surface's keys, which its workers share, so that any of them resumes what another began. */
#pragma once

#include <openssl/ssl.h>
#include <stdint.h>

#include "base/macros.h"
#include "tls/ticket_key.h"

/* One per worker; every context of its surface uses it. */
struct tls_ticket_keys;

/* Starts with one random key of its own, so that there always is one. 0, -ENOMEM or -EIO. */
int tls_ticket_keys_new(OSSL_LIB_CTX *library, struct tls_ticket_keys **ret) must_check;
/* Wipes the keys. NULL is fine. Always returns NULL. */
struct tls_ticket_keys *tls_ticket_keys_free(struct tls_ticket_keys *keys);
/* Replaces them all, from the next handshake on: the first seals, all of them open. 1 <= n <= TLS_TICKET_KEYS_MAX. */
void tls_ticket_keys_set(struct tls_ticket_keys *keys, const struct tls_ticket_key new_keys[], uint32_t n);

/* The body of OpenSSL's ticket callback (SSL_CTX_set_tlsext_ticket_key_evp_cb(3)). */
int tls_ticket_callback(struct tls_ticket_keys *keys, SSL *ssl, uint8_t name[16], uint8_t *iv, EVP_CIPHER_CTX *cipher, EVP_MAC_CTX *mac, int seal);
