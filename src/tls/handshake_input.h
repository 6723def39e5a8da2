/* What a holder of TLS keys may be asked to sign: a server's handshake, byte for byte, and nothing else. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/macros.h"
#include "tls/scheme.h"

/* True when the input is exactly one of
 *   - the content of a TLS 1.3 server's CertificateVerify (RFC 8446 section 4.4.3): 64 spaces, "TLS 1.3, server CertificateVerify", a zero,
 *     a SHA-256 or SHA-384 transcript hash; not with PKCS #1 v1.5, which TLS 1.3 forbids there;
 *   - the signed part of a TLS 1.2 ServerKeyExchange (RFC 8422 section 5.4): both randoms, named_curve, x25519 or secp256r1, a point of
 *     exactly that curve's length.
 * Else false, with *ret_why naming what is wrong (a constant text). */
bool tls_handshake_input_is_valid(enum tls_scheme scheme, const uint8_t *input, size_t length, const char **ret_why) must_check;
