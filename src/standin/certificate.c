/* The stand-in's TLS: a certificate from files, or one it makes for itself. */
#include <arpa/inet.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>
#include <stdio.h>

#include "base/log.h"
#include "standin/standin.h"

static bool certificate_extend(X509 *certificate, int nid, const char *value)
{
    X509V3_CTX context;
    X509V3_set_ctx_nodb(&context);
    X509V3_set_ctx(&context, certificate, certificate, NULL, NULL, 0);
    X509_EXTENSION *extension = X509V3_EXT_conf_nid(NULL, &context, nid, value);
    bool done = extension && X509_add_ext(certificate, extension, -1) == 1;
    X509_EXTENSION_free(extension);
    return done;
}

static X509 *certificate_make(EVP_PKEY *key, const char *name)
{
    X509 *certificate = X509_new();
    char alternative[300];
    unsigned char scratch[16];
    bool numeric = inet_pton(AF_INET, name, scratch) == 1 || inet_pton(AF_INET6, name, scratch) == 1;
    snprintf(alternative, sizeof(alternative), "%s:%s", numeric ? "IP" : "DNS", name);
    if (!certificate)
        return NULL;
    X509_NAME *subject = X509_get_subject_name(certificate);
    if (X509_set_version(certificate, 2) != 1 || ASN1_INTEGER_set(X509_get_serialNumber(certificate), 1) != 1 ||
        !X509_gmtime_adj(X509_getm_notBefore(certificate), -3600) || !X509_gmtime_adj(X509_getm_notAfter(certificate), 86400L * 30) ||
        X509_NAME_add_entry_by_txt(subject, "CN", MBSTRING_UTF8, (const unsigned char *)name, -1, -1, 0) != 1 ||
        X509_set_issuer_name(certificate, subject) != 1 || X509_set_pubkey(certificate, key) != 1 ||
        !certificate_extend(certificate, NID_subject_alt_name, alternative) || X509_sign(certificate, key, EVP_sha256()) == 0) {
        X509_free(certificate);
        return NULL;
    }
    return certificate;
}

static bool certificate_use_own(SSL_CTX *context, const char *name, const char *certificate_out)
{
    EVP_PKEY *key = EVP_EC_gen("P-256");
    X509 *certificate = key ? certificate_make(key, name) : NULL;
    bool done = certificate && SSL_CTX_use_certificate(context, certificate) == 1 && SSL_CTX_use_PrivateKey(context, key) == 1;
    if (done && certificate_out) {
        FILE *file = fopen(certificate_out, "we");
        done = file && PEM_write_X509(file, certificate) == 1;
        if (file && fclose(file) != 0)
            done = false;
        if (!done)
            log_error("cannot write the certificate to %s", certificate_out);
    }
    X509_free(certificate);
    EVP_PKEY_free(key);
    return done;
}

SSL_CTX *certificate_context(const char *certificate_file, const char *key_file, const char *name, const char *certificate_out)
{
    SSL_CTX *context = SSL_CTX_new(TLS_server_method());
    if (!context)
        return NULL;
    SSL_CTX_set_mode(context, SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER | SSL_MODE_RELEASE_BUFFERS);
    bool done;
    if (certificate_file)
        done = SSL_CTX_use_certificate_chain_file(context, certificate_file) == 1 &&
               SSL_CTX_use_PrivateKey_file(context, key_file ? key_file : certificate_file, SSL_FILETYPE_PEM) == 1;
    else
        done = certificate_use_own(context, name, certificate_out);
    if (!done) {
        log_error("no usable certificate and key%s%s", certificate_file ? " in " : "", certificate_file ? certificate_file : "");
        SSL_CTX_free(context);
        return NULL;
    }
    return context;
}
