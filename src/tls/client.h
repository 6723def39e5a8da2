/* TLS towards instances (protocol: https): who is verified, and against what. */
#pragma once

#include <openssl/ssl.h>
#include <stdbool.h>

#include "base/error.h"
#include "base/macros.h"
#include "base/str.h"

struct tls_client;

/* TLS 1.2 or newer, ALPN http/1.1. What holds the instance to be genuine:
 *   ca: PEM text of the authorities, and the name in the certificate; empty: only the pin counts
 *   pin: base64 of the SHA-256 of its SubjectPublicKeyInfo; empty: none. With a ca, both must hold.
 *   insecure: nothing is verified (declared in so many words).
 * library: NULL for the default one. 0; -EINVAL: the pin is not 32 bytes of base64, the ca has no certificate, or neither is given and
 * insecure is false; -ENOMEM; -EIO. */
int tls_client_new(OSSL_LIB_CTX *library, struct str ca, struct str pin, bool insecure, struct tls_client **ret, struct error *err) must_check;
/* NULL is fine; connections made from it go on. Always returns NULL. */
struct tls_client *tls_client_free(struct tls_client *client);

/* A new client-side connection that asks for, and verifies, that host name or numeric address. NULL: no memory, or the name can't be one. */
SSL *tls_client_ssl(struct tls_client *client, struct str name) must_check;
