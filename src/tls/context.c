/* The TLS side of one surface: its certificates by name, its rules, its tickets. */
#include "tls/context.h"

#include <errno.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/x509.h>
#include <stdlib.h>
#include <string.h>

#include "base/table.h"
#include "tls/crypto_error.h"

struct named {
    char *name; /* "" for the default, which is the first */
    SSL_CTX *ssl;
};

struct tls_context {
    unsigned n_references;
    struct tls_ticket_keys *tickets;
    struct table by_name; /* index in named */
    uint32_t n_named;
    struct named named[];
};

/* Where an SSL keeps its reference to the context. One number for the process, as OpenSSL's tables are. */
static int ssl_index = -1;

static void ssl_index_free(void *parent, void *pointer, CRYPTO_EX_DATA *data, int index, long argument, void *argument_pointer)
{
    (void)parent, (void)data, (void)index, (void)argument, (void)argument_pointer;
    tls_context_unref(pointer);
}

/* Runs on every hello, also one without a name. OK always: whether a name has a certificate of its own shows in nothing but the certificate. */
static int on_server_name(SSL *ssl, int *ret_alert, void *argument)
{
    struct tls_context *context = SSL_get_ex_data(ssl, ssl_index);
    const char *asked = SSL_get_servername(ssl, TLSEXT_NAMETYPE_host_name);
    char name[TLS_CHAIN_NAME_MAX + 1];
    uint32_t found;
    (void)ret_alert, (void)argument;

    if (context->n_named > 1 && asked) {
        size_t length = str_copy(name, sizeof name, str_of(asked));
        for (size_t i = 0; i < length; i++)
            name[i] = str_lower_char(name[i]);
        if (length == strlen(asked) && table_get(&context->by_name, str_make(name, length), &found))
            SSL_set_SSL_CTX(ssl, context->named[found].ssl);
    }
    return SSL_TLSEXT_ERR_OK;
}

static int on_alpn(SSL *ssl, const unsigned char **ret, unsigned char *ret_length, const unsigned char *offered, unsigned length, void *argument)
{
    static const unsigned char ours[] = "\x02h2\x08http/1.1";
    (void)ssl, (void)argument;
    /* No protocol in common ends the handshake (RFC 7301 section 3.2): what was meant for another protocol must not be read as HTTP. */
    if (SSL_select_next_proto((unsigned char **)(uintptr_t)ret, ret_length, ours, sizeof ours - 1, offered, length) != OPENSSL_NPN_NEGOTIATED)
        return SSL_TLSEXT_ERR_ALERT_FATAL;
    return SSL_TLSEXT_ERR_OK;
}

static int on_ticket(SSL *ssl, unsigned char *name, unsigned char *iv, EVP_CIPHER_CTX *cipher, EVP_MAC_CTX *mac, int seal)
{
    struct tls_context *context = SSL_get_ex_data(ssl, ssl_index);
    return tls_ticket_callback(context->tickets, ssl, name, iv, cipher, mac, seal);
}

static int use_chain(SSL_CTX *ssl, struct tls_provider *provider, const struct tls_chain *chain, struct error *err)
{
    BIO *bio = BIO_new_mem_buf(chain->pem.ptr, (int)chain->pem.len);
    X509 *leaf = X509_new_ex(tls_provider_library(provider), NULL), *issuer = NULL;
    EVP_PKEY *key = NULL;
    int r = -ENOMEM;

    if (!bio || !leaf)
        goto out;
    r = -EBADMSG;
    if (!PEM_read_bio_X509(bio, &leaf, NULL, NULL)) {
        tls_error_set(err, "reading the certificate");
        goto out;
    }
    int key_status = tls_provider_key(provider, leaf, chain->certificate, &key, err);
    if (key_status < 0) {
        r = key_status == -ENOTSUP ? -EBADMSG : key_status;
        goto out;
    }
    if (SSL_CTX_use_cert_and_key(ssl, leaf, key, NULL, 1) != 1) {
        tls_error_set(err, "using the certificate");
        goto out;
    }
    while ((issuer = X509_new_ex(tls_provider_library(provider), NULL)) && PEM_read_bio_X509(bio, &issuer, NULL, NULL)) {
        if (!SSL_CTX_add0_chain_cert(ssl, issuer)) {
            tls_error_set(err, "using the chain");
            goto out;
        }
    }
    ERR_clear_error(); /* the end of the text shows as an error */
    r = 0;
out:
    X509_free(issuer);
    X509_free(leaf);
    EVP_PKEY_free(key);
    BIO_free(bio);
    return r;
}

static SSL_CTX *make_ssl_ctx(struct tls_provider *provider, struct str surface)
{
    SSL_CTX *ssl = SSL_CTX_new_ex(tls_provider_library(provider), NULL, TLS_server_method());
    unsigned char id[SSL_MAX_SSL_SESSION_ID_LENGTH];

    /* A session belongs to its surface: it is refused on any other, even were the ticket's keys the same. */
    if (!ssl || !EVP_Q_digest(tls_provider_library(provider), "SHA256", NULL, surface.ptr, surface.len, id, NULL) ||
        !SSL_CTX_set_session_id_context(ssl, id, sizeof id) || !SSL_CTX_set_min_proto_version(ssl, TLS1_2_VERSION) ||
        !SSL_CTX_set_max_proto_version(ssl, TLS1_3_VERSION) ||
        !SSL_CTX_set_ciphersuites(ssl, "TLS_AES_128_GCM_SHA256:TLS_AES_256_GCM_SHA384:TLS_CHACHA20_POLY1305_SHA256") ||
        !SSL_CTX_set_cipher_list(ssl, "ECDHE-ECDSA-AES128-GCM-SHA256:ECDHE-RSA-AES128-GCM-SHA256:ECDHE-ECDSA-AES256-GCM-SHA384:"
                                      "ECDHE-RSA-AES256-GCM-SHA384:ECDHE-ECDSA-CHACHA20-POLY1305:ECDHE-RSA-CHACHA20-POLY1305") ||
        !SSL_CTX_set1_groups_list(ssl, "X25519:P-256") ||
        /* What the keeper signs, and no more. */
        !SSL_CTX_set1_sigalgs_list(ssl, "ECDSA+SHA256:ECDSA+SHA384:rsa_pss_rsae_sha256:rsa_pss_rsae_sha384:RSA+SHA256")) {
        SSL_CTX_free(ssl);
        return NULL;
    }
    SSL_CTX_set_options(ssl, SSL_OP_NO_COMPRESSION | SSL_OP_NO_RENEGOTIATION | SSL_OP_CIPHER_SERVER_PREFERENCE |
                                 SSL_OP_PRIORITIZE_CHACHA); /* for e-readers and phones without AES instructions */
    /* The keeper's chain is what is sent: no search for more of it in each handshake. */
    SSL_CTX_set_mode(ssl, SSL_MODE_NO_AUTO_CHAIN | SSL_MODE_RELEASE_BUFFERS | SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
    SSL_CTX_set_read_ahead(ssl, 0);
    SSL_CTX_set_session_cache_mode(ssl, SSL_SESS_CACHE_OFF);
    SSL_CTX_set_timeout(ssl, TLS_TICKET_LIFETIME_S);
    SSL_CTX_set_num_tickets(ssl, 1);
    SSL_CTX_set_max_early_data(ssl, 0);
    SSL_CTX_set_recv_max_early_data(ssl, 0);
    SSL_CTX_set_tlsext_servername_callback(ssl, on_server_name);
    SSL_CTX_set_alpn_select_cb(ssl, on_alpn, NULL);
    SSL_CTX_set_tlsext_ticket_key_evp_cb(ssl, on_ticket);
    return ssl;
}

int tls_context_new(struct tls_provider *provider, struct tls_ticket_keys *tickets, struct str surface, const struct tls_chain chains[], uint32_t n,
                    struct tls_context **ret, struct error *err)
{
    if (ssl_index < 0 && (ssl_index = SSL_get_ex_new_index(0, NULL, NULL, NULL, ssl_index_free)) < 0)
        return -ENOMEM;
    struct tls_context *context = calloc(1, sizeof *context + ((size_t)n + 1) * sizeof context->named[0]);
    int r = 0;
    if (!context)
        return -ENOMEM;
    context->n_references = 1;
    context->tickets = tickets;
    context->n_named = 1; /* the default's place */
    for (uint32_t i = 0; i < n && r == 0; i++) {
        struct named *named = chains[i].name.len == 0 ? &context->named[0] : &context->named[context->n_named++];
        named->name = strndup(chains[i].name.len ? chains[i].name.ptr : "", chains[i].name.len);
        named->ssl = make_ssl_ctx(provider, surface);
        if (!named->name || !named->ssl) {
            tls_error_set(err, "setting up TLS");
            r = -ENOMEM;
            break;
        }
        r = use_chain(named->ssl, provider, &chains[i], err);
        if (r == 0 && chains[i].name.len > 0)
            r = table_add(&context->by_name, str_of(named->name), context->n_named - 1, NULL);
        if (r == TABLE_E_EXISTS) {
            error_set(err, "there are two certificates for the name");
            r = -EBADMSG;
        }
        if (r < 0)
            error_wrap(err, "certificate for %s", chains[i].name.len ? named->name : "the surface's default");
    }
    if (r == 0 && !context->named[0].ssl) {
        error_set(err, "there is no certificate for names in general");
        r = -EBADMSG;
    }
    if (r < 0) {
        tls_context_unref(context);
        return r;
    }
    *ret = context;
    return 0;
}

struct tls_context *tls_context_ref(struct tls_context *context)
{
    context->n_references++;
    return context;
}

struct tls_context *tls_context_unref(struct tls_context *context)
{
    if (context && --context->n_references == 0) {
        for (uint32_t i = 0; i < context->n_named; i++) {
            SSL_CTX_free(context->named[i].ssl);
            free(context->named[i].name);
        }
        table_deinit(&context->by_name);
        free(context);
    }
    return NULL;
}

SSL *tls_context_ssl(struct tls_context *context)
{
    SSL *ssl = SSL_new(context->named[0].ssl);
    if (!ssl)
        return NULL;
    if (!SSL_set_ex_data(ssl, ssl_index, context)) {
        SSL_free(ssl);
        return NULL;
    }
    tls_context_ref(context);
    SSL_set_accept_state(ssl);
    return ssl;
}

enum tls_alpn tls_peer_alpn(const SSL *ssl)
{
    const unsigned char *protocol;
    unsigned length;
    SSL_get0_alpn_selected(ssl, &protocol, &length);
    struct str name = str_make((const char *)protocol, length);
    return str_equal(name, STR("h2")) ? TLS_ALPN_HTTP2 : str_equal(name, STR("http/1.1")) ? TLS_ALPN_HTTP1 : TLS_ALPN_NONE;
}
