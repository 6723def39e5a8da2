/* TLS towards instances: who is verified, and against what. */
#include "tls/client.h"

#include <errno.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/x509.h>
#include <openssl/x509v3.h>
#include <stdlib.h>
#include <string.h>

#include "base/address.h"
#include "tls/crypto_error.h"

enum { PIN_SIZE = 32 };

struct tls_client {
    SSL_CTX *ssl;
};

/* Lives with the SSL_CTX, which outlasts the tls_client while connections use it. */
struct verify {
    OSSL_LIB_CTX *library;
    bool has_ca, has_pin;
    uint8_t pin[PIN_SIZE];
};

static int ctx_index = -1;

static void ctx_index_free(void *parent, void *pointer, CRYPTO_EX_DATA *data, int index, long argument, void *argument_pointer)
{
    (void)parent, (void)data, (void)index, (void)argument, (void)argument_pointer;
    free(pointer);
}

/* Replaces X509_verify_cert: the pin first, then, where a ca is given, the usual checks of chain, times and name. */
static int verify(X509_STORE_CTX *store, void *argument)
{
    const struct verify *wanted = argument;
    uint8_t digest[EVP_MAX_MD_SIZE];
    size_t length = 0;

    if (wanted->has_pin) {
        X509 *leaf = X509_STORE_CTX_get0_cert(store);
        unsigned char *spki = NULL;
        int size = leaf ? i2d_X509_PUBKEY(X509_get_X509_PUBKEY(leaf), &spki) : -1;
        bool equal = size > 0 && EVP_Q_digest(wanted->library, "SHA256", NULL, spki, (size_t)size, digest, &length) && length == PIN_SIZE &&
                     memcmp(digest, wanted->pin, PIN_SIZE) == 0;
        OPENSSL_free(spki);
        if (!equal) {
            X509_STORE_CTX_set_error(store, X509_V_ERR_CERT_REJECTED);
            return 0;
        }
    }
    if (wanted->has_ca)
        return X509_verify_cert(store);
    X509_STORE_CTX_set_error(store, X509_V_OK);
    return 1;
}

static int add_authorities(SSL_CTX *ssl, OSSL_LIB_CTX *library, struct str pem, struct error *err)
{
    X509_STORE *store = SSL_CTX_get_cert_store(ssl);
    BIO *bio = pem.len <= INT32_MAX ? BIO_new_mem_buf(pem.ptr, (int)pem.len) : NULL;
    unsigned n = 0;
    int r = 0;

    if (!bio)
        return -ENOMEM;
    for (;;) {
        X509 *x509 = X509_new_ex(library, NULL);
        bool read = x509 && PEM_read_bio_X509(bio, &x509, NULL, NULL);
        bool added = read && X509_STORE_add_cert(store, x509);
        X509_free(x509); /* NULL after one that could not be decoded */
        if (!read)
            break;
        if (!added) {
            r = -EIO;
            break;
        }
        n++;
    }
    bool at_end = ERR_GET_REASON(ERR_peek_last_error()) == PEM_R_NO_START_LINE;
    BIO_free(bio);
    if (r == 0 && (n == 0 || !at_end)) {
        error_set(err, "the ca has %s in PEM form", n == 0 ? "no certificate" : "a malformed certificate");
        r = -EINVAL;
    }
    ERR_clear_error();
    return r;
}

int tls_client_new(OSSL_LIB_CTX *library, struct str ca, struct str pin, bool insecure, struct tls_client **ret, struct error *err)
{
    struct tls_client *client = NULL;
    struct verify *wanted = NULL;
    int r = -ENOMEM;

    if (ctx_index < 0 && (ctx_index = SSL_CTX_get_ex_new_index(0, NULL, NULL, NULL, ctx_index_free)) < 0)
        return -ENOMEM;
    if (!insecure && ca.len == 0 && pin.len == 0) {
        error_set(err, "there is nothing to verify the instance by; give a ca, a pin, or insecure: true");
        return -EINVAL;
    }
    client = calloc(1, sizeof *client);
    wanted = calloc(1, sizeof *wanted);
    if (!client || !wanted)
        goto fail;
    client->ssl = SSL_CTX_new_ex(library, NULL, TLS_client_method());
    if (!client->ssl || !SSL_CTX_set_min_proto_version(client->ssl, TLS1_2_VERSION) ||
        SSL_CTX_set_alpn_protos(client->ssl, (const unsigned char *)"\x08http/1.1", 9) != 0 || !SSL_CTX_set_ex_data(client->ssl, ctx_index, wanted)) {
        tls_error_set(err, "setting up TLS");
        goto fail;
    }
    struct verify *kept = TAKE(wanted);
    kept->library = library;
    kept->has_ca = ca.len > 0;
    kept->has_pin = pin.len > 0;
    if (kept->has_pin) {
        uint8_t decoded[PIN_SIZE + 4];
        /* 44 characters, the last '=': 32 bytes and one that pads */
        if (pin.len != 44 || pin.ptr[43] != '=' || pin.ptr[42] == '=' || EVP_DecodeBlock(decoded, (const uint8_t *)pin.ptr, 44) != PIN_SIZE + 1) {
            error_set(err, "the pin is not the base64 form of a SHA-256 (44 characters, the last of them '=')");
            r = -EINVAL;
            goto fail;
        }
        memcpy(kept->pin, decoded, PIN_SIZE);
    }
    if (kept->has_ca && (r = add_authorities(client->ssl, library, ca, err)) < 0)
        goto fail;
    SSL_CTX_set_options(client->ssl, SSL_OP_NO_COMPRESSION | SSL_OP_NO_RENEGOTIATION);
    SSL_CTX_set_mode(client->ssl, SSL_MODE_RELEASE_BUFFERS | SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
    SSL_CTX_set_session_cache_mode(client->ssl, SSL_SESS_CACHE_OFF);
    SSL_CTX_set_verify(client->ssl, insecure ? SSL_VERIFY_NONE : SSL_VERIFY_PEER, NULL);
    if (!insecure)
        SSL_CTX_set_cert_verify_callback(client->ssl, verify, kept);
    *ret = client;
    return 0;
fail:
    free(wanted);
    tls_client_free(client);
    return r;
}

struct tls_client *tls_client_free(struct tls_client *client)
{
    if (client) {
        SSL_CTX_free(client->ssl);
        free(client);
    }
    return NULL;
}

SSL *tls_client_ssl(struct tls_client *client, struct str name)
{
    char text[256];
    struct address address;
    SSL *ssl = SSL_new(client->ssl);

    if (!ssl || name.len == 0 || name.len >= sizeof text)
        goto fail;
    str_copy(text, sizeof text, name);
    SSL_set_connect_state(ssl);
    if (address_parse(name, &address)) { /* RFC 6066 section 3: no server_name for addresses */
        if (!X509_VERIFY_PARAM_set1_ip_asc(SSL_get0_param(ssl), text))
            goto fail;
    } else {
        SSL_set_hostflags(ssl, X509_CHECK_FLAG_NO_PARTIAL_WILDCARDS | X509_CHECK_FLAG_NEVER_CHECK_SUBJECT);
        if (!SSL_set_tlsext_host_name(ssl, text) || !SSL_set1_host(ssl, text))
            goto fail;
    }
    return ssl;
fail:
    SSL_free(ssl);
    return NULL;
}
