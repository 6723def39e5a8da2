/* The TLS side of one surface: its certificates by name, its rules, its tickets. Made anew when certificates change; connections keep theirs. */
#pragma once

#include <openssl/ssl.h>
#include <stdint.h>

#include "base/error.h"
#include "base/macros.h"
#include "base/str.h"
#include "tls/chains.h"
#include "tls/provider.h"
#include "tls/ticket.h"

struct tls_context;

/* From what tls_chains_decode gave; nothing of it is kept. TLS 1.2 and 1.3, forward secrecy and AEAD only, our order of preference,
 * ALPN h2 then http/1.1, no compression, renegotiation or early data. A name without a certificate of its own gets the default, without an
 * alert. Sessions resume on the surface of that name only. The provider and the tickets must outlive the context.
 * 0, one reference in *ret; -EBADMSG: no certificate in a PEM text, or one that can't be served; -ENOMEM; -EIO. */
int tls_context_new(struct tls_provider *provider, struct tls_ticket_keys *tickets, struct str surface, const struct tls_chain chains[], uint32_t n,
                    struct tls_context **ret, struct error *err) must_check;
struct tls_context *tls_context_ref(struct tls_context *context);
/* NULL is fine. Always returns NULL. */
struct tls_context *tls_context_unref(struct tls_context *context);

/* A new server-side connection (the caller's; SSL_free), which holds a reference to the context until it is freed. NULL: no memory. */
SSL *tls_context_ssl(struct tls_context *context) must_check;

enum tls_alpn { TLS_ALPN_NONE, TLS_ALPN_HTTP1, TLS_ALPN_HTTP2 };
/* What the handshake agreed on; NONE when the peer offered nothing (then it is HTTP/1). */
enum tls_alpn tls_peer_alpn(const SSL *ssl);
