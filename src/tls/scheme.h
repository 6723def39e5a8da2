/* The signatures that a TLS handshake of ours can need; numbered as on the keeper's channel. */
#pragma once

enum tls_scheme {
    TLS_SCHEME_ECDSA_SHA256,
    TLS_SCHEME_ECDSA_SHA384,
    TLS_SCHEME_RSA_PSS_SHA256,
    TLS_SCHEME_RSA_PSS_SHA384,
    TLS_SCHEME_RSA_PKCS1_SHA256,
};
enum { TLS_SCHEME_COUNT = TLS_SCHEME_RSA_PKCS1_SHA256 + 1 };
