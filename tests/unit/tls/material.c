/* Keys, certificates and handshakes for the tests of src/tls. */
#include "material.h"

#include <openssl/bio.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/rsa.h>
#include <openssl/x509v3.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>

EVP_PKEY *material_key(const char *kind)
{
    return strcmp(kind, "RSA") == 0 ? EVP_RSA_gen(2048) : EVP_EC_gen(kind);
}

X509 *material_certificate(EVP_PKEY *key, const char *name, X509 *issuer, EVP_PKEY *issuer_key)
{
    static long serial;
    X509 *x509 = X509_new();
    X509_NAME *subject = X509_get_subject_name(x509);
    char alternative[300];
    X509V3_CTX context;

    X509_set_version(x509, X509_VERSION_3);
    ASN1_INTEGER_set(X509_get_serialNumber(x509), ++serial);
    X509_gmtime_adj(X509_getm_notBefore(x509), -60);
    X509_gmtime_adj(X509_getm_notAfter(x509), 3600);
    X509_NAME_add_entry_by_txt(subject, "CN", MBSTRING_UTF8, (const unsigned char *)name, -1, -1, 0);
    X509_set_issuer_name(x509, issuer ? X509_get_subject_name(issuer) : subject);
    X509_set_pubkey(x509, key);
    X509V3_set_ctx(&context, issuer ? issuer : x509, x509, NULL, NULL, 0);
    snprintf(alternative, sizeof alternative, "DNS:%s", name);
    X509_EXTENSION *extension = X509V3_EXT_conf_nid(NULL, &context, NID_subject_alt_name, alternative);
    X509_add_ext(x509, extension, -1);
    X509_EXTENSION_free(extension);
    extension = X509V3_EXT_conf_nid(NULL, &context, NID_basic_constraints, issuer ? "critical,CA:FALSE" : "critical,CA:TRUE");
    X509_add_ext(x509, extension, -1);
    X509_EXTENSION_free(extension);
    X509_sign(x509, issuer_key ? issuer_key : key, EVP_sha256());
    return x509;
}

void material_append_pem(struct buf *buf, X509 *x509)
{
    BIO *bio = BIO_new(BIO_s_mem());
    char *text;
    PEM_write_bio_X509(bio, x509);
    long length = BIO_get_mem_data(bio, &text);
    buf_append(buf, str_make(text, (size_t)length));
    BIO_free(bio);
}

int material_sign(void *context, uint64_t certificate, enum tls_scheme scheme, const uint8_t *input, size_t length, uint8_t *signature, size_t size,
                  size_t *ret_length)
{
    static const char *const digests[] = { "SHA256", "SHA384", "SHA256", "SHA384", "SHA256" };
    struct material_signer *signer = context;
    EVP_MD_CTX *md = EVP_MD_CTX_new();
    EVP_PKEY_CTX *key = NULL;
    int r = -EIO;

    signer->n_calls++;
    signer->last_scheme = scheme;
    signer->last_length = length < sizeof signer->last_input ? length : sizeof signer->last_input;
    memcpy(signer->last_input, input, signer->last_length);
    *ret_length = size;
    if (signer->fail_with)
        r = signer->fail_with;
    else if (EVP_DigestSignInit_ex(md, &key, digests[scheme], NULL, NULL, signer->keys[certificate], NULL) == 1 &&
             (!(scheme == TLS_SCHEME_RSA_PSS_SHA256 || scheme == TLS_SCHEME_RSA_PSS_SHA384) ||
              (EVP_PKEY_CTX_set_rsa_padding(key, RSA_PKCS1_PSS_PADDING) == 1 && EVP_PKEY_CTX_set_rsa_pss_saltlen(key, RSA_PSS_SALTLEN_DIGEST) == 1)) &&
             EVP_DigestSign(md, signature, ret_length, input, length) == 1)
        r = 0;
    EVP_MD_CTX_free(md);
    return r;
}

bool material_handshake(SSL *server, SSL *client)
{
    BIO *a, *b;
    BIO_new_bio_pair(&a, 0, &b, 0);
    SSL_set_bio(server, a, a);
    SSL_set_bio(client, b, b);
    for (int i = 0; i < 20; i++) {
        int c = SSL_do_handshake(client), s = SSL_do_handshake(server);
        if (c == 1 && s == 1) {
            char byte;
            SSL_read(client, &byte, 1); /* takes the tickets in */
            ERR_clear_error();
            return true;
        }
        if ((c != 1 && SSL_get_error(client, c) != SSL_ERROR_WANT_READ) || (s != 1 && SSL_get_error(server, s) != SSL_ERROR_WANT_READ))
            break;
    }
    ERR_clear_error();
    return false;
}
