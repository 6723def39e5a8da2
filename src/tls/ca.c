/* The internal certificate authority. */
#include "tls/ca.h"

#include <errno.h>
#include <openssl/bio.h>
#include <openssl/bn.h>
#include <openssl/crypto.h>
#include <openssl/ec.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/rand.h>
#include <openssl/x509.h>
#include <openssl/x509v3.h>
#include <stdio.h>
#include <string.h>

#include "tls/chains.h"
#include "tls/crypto_error.h"

enum { SKEW_S = 3600 }; /* valid from an hour ago: clocks of e-readers */

/* The configuration language of X509V3_EXT_conf would read a name's commas as syntax; so only what host names are made of goes in. */
static bool is_plain(struct str name)
{
    struct str rest = str_starts_with(name, STR("*.")) ? str_skip(name, 2) : name;
    for (size_t i = 0; i < rest.len; i++) {
        char c = rest.ptr[i];
        if (!((c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '-' || c == '.' || c == '_'))
            return false;
    }
    return rest.len > 0 && name.len <= TLS_CHAIN_NAME_MAX;
}

static bool add_extension(X509 *x509, X509 *issuer, int nid, const char *value)
{
    X509V3_CTX context;
    X509V3_set_ctx(&context, issuer, x509, NULL, NULL, 0);
    X509V3_set_ctx_nodb(&context);
    X509_EXTENSION *extension = X509V3_EXT_conf_nid(NULL, &context, nid, value);
    bool added = extension && X509_add_ext(x509, extension, -1);
    X509_EXTENSION_free(extension);
    return added;
}

static bool set_serial(X509 *x509)
{
    uint8_t bytes[16];
    if (RAND_bytes(bytes, sizeof bytes) != 1)
        return false;
    bytes[0] = (uint8_t)((bytes[0] & 0x7f) | 0x40); /* positive, and always as long */
    BIGNUM *number = BN_bin2bn(bytes, sizeof bytes, NULL);
    bool set = number && BN_to_ASN1_INTEGER(number, X509_get_serialNumber(x509));
    BN_free(number);
    return set;
}

static bool set_subject(X509 *x509, const char *common_name)
{
    X509_NAME *name = X509_get_subject_name(x509);
    /* ub-common-name is 64 (RFC 5280 appendix A.1); the names that count are in subjectAltName. */
    struct str text = str_first(str_of(common_name), 64);
    return X509_NAME_add_entry_by_NID(name, NID_organizationName, MBSTRING_UTF8, (const uint8_t *)"postern", -1, -1, 0) &&
           X509_NAME_add_entry_by_NID(name, NID_commonName, MBSTRING_UTF8, (const uint8_t *)text.ptr, (int)text.len, -1, 0);
}

/* Everything that root, intermediate and leaf have in common; issuer NULL: self-signed. The caller adds extensions and signs. */
static int begin(struct tls_pair *pair, const struct tls_pair *issuer, const char *common_name, int64_t now, int64_t life_s)
{
    int64_t ends = now + life_s;
    X509 *x509;

    pair->key = EVP_EC_gen("P-256");
    pair->chain[0] = x509 = X509_new();
    if (!pair->key || !x509)
        return -ENOMEM;
    pair->n_chain = 1;
    if (issuer && tls_pair_not_after(issuer) < ends)
        ends = tls_pair_not_after(issuer);
    /* A short life keeps a proportionate start, or it would be due for renewal at birth. */
    int64_t skew = life_s / 10 < SKEW_S ? life_s / 10 : SKEW_S;
    if (!X509_set_version(x509, X509_VERSION_3) || !set_serial(x509) || !set_subject(x509, common_name) ||
        !X509_set_issuer_name(x509, X509_get_subject_name(issuer ? issuer->chain[0] : x509)) || !X509_set_pubkey(x509, pair->key) ||
        !ASN1_TIME_set(X509_getm_notBefore(x509), now - skew) || !ASN1_TIME_set(X509_getm_notAfter(x509), ends))
        return -EIO;
    return 0;
}

static bool add_ca_extensions(X509 *x509, X509 *issuer, struct str domain, unsigned path_length)
{
    char text[TLS_CHAIN_NAME_MAX + 128];
    snprintf(text, sizeof text, "critical,CA:TRUE,pathlen:%u", path_length);
    if (!add_extension(x509, issuer, NID_basic_constraints, text) || !add_extension(x509, issuer, NID_key_usage, "critical,keyCertSign,cRLSign") ||
        !add_extension(x509, issuer, NID_subject_key_identifier, "hash") || !add_extension(x509, issuer, NID_authority_key_identifier, "keyid"))
        return false;
    /* A kind of name that no constraint mentions is unconstrained: addresses are excluded by name. */
    snprintf(text, sizeof text, "critical,permitted;DNS:%.*s,excluded;IP:0.0.0.0/0.0.0.0,excluded;IP:0:0:0:0:0:0:0:0/0:0:0:0:0:0:0:0",
             STR_ARG(domain));
    return add_extension(x509, issuer, NID_name_constraints, text);
}

static int finish(struct tls_pair *pair, bool extended, EVP_PKEY *signer, int r, struct tls_pair *ret, struct error *err)
{
    if (r == 0 && (!extended || !X509_sign(pair->chain[0], signer, EVP_sha256())))
        r = -EIO;
    if (r < 0) {
        tls_error_set(err, "making a certificate");
        tls_pair_deinit(pair);
        return r;
    }
    *ret = *pair;
    return 0;
}

/* issuer NULL: a root. Names are marked, so that a device's list shows which is which after a reinstallation, and no two authorities share
 * one (a certificate whose subject is its issuer's counts as self-issued and escapes the limit on path length). */
static int make_authority(struct tls_pair *issuer, const char *kind, struct str domain, int64_t now, int64_t life_s, struct tls_pair *ret,
                          struct error *err)
{
    struct tls_pair pair = { 0 };
    char name[TLS_CHAIN_NAME_MAX + 64];
    uint8_t mark[3];
    bool extended = false;
    int r = is_plain(domain) && RAND_bytes(mark, sizeof mark) == 1 ? 0 : -EIO;

    if (r == 0) {
        snprintf(name, sizeof name, "postern %02x%02x%02x %s for %.*s", mark[0], mark[1], mark[2], kind, STR_ARG(domain));
        r = begin(&pair, issuer, name, now, life_s);
    }
    if (r == 0)
        extended = add_ca_extensions(pair.chain[0], issuer ? issuer->chain[0] : pair.chain[0], domain, issuer ? 0 : 1);
    return finish(&pair, extended, issuer ? issuer->key : pair.key, r, ret, err);
}

int tls_ca_make_root(struct str domain, int64_t now, int64_t life_s, struct tls_pair *ret, struct error *err)
{
    return make_authority(NULL, "root", domain, now, life_s, ret, err);
}

int tls_ca_make_intermediate(struct tls_pair *root, struct str domain, int64_t now, int64_t life_s, struct tls_pair *ret, struct error *err)
{
    return make_authority(root, "node", domain, now, life_s, ret, err);
}

static void write_alternatives(char *text, size_t size, struct str name)
{
    bool is_wildcard = str_starts_with(name, STR("*."));
    if (is_wildcard)
        snprintf(text, size, "DNS:%.*s,DNS:%.*s", STR_ARG(name), STR_ARG(str_skip(name, 2)));
    else
        snprintf(text, size, "DNS:%.*s", STR_ARG(name));
}

int tls_ca_make_leaf(struct tls_pair *intermediate, struct str name, int64_t now, int64_t life_s, struct tls_pair *ret, struct error *err)
{
    struct tls_pair pair = { 0 };
    char alternatives[2 * TLS_CHAIN_NAME_MAX + 16], common_name[TLS_CHAIN_NAME_MAX + 1];
    bool extended = false;
    int r = is_plain(name) ? 0 : -EIO;

    if (r == 0) {
        str_copy(common_name, sizeof common_name, name);
        write_alternatives(alternatives, sizeof alternatives, name);
        r = begin(&pair, intermediate, common_name, now, life_s);
    }
    if (r == 0) {
        X509 *x509 = pair.chain[0], *issuer = intermediate->chain[0];
        extended = add_extension(x509, issuer, NID_basic_constraints, "critical,CA:FALSE") &&
                   add_extension(x509, issuer, NID_key_usage, "critical,digitalSignature") &&
                   add_extension(x509, issuer, NID_ext_key_usage, "serverAuth") &&
                   add_extension(x509, issuer, NID_subject_key_identifier, "hash") &&
                   add_extension(x509, issuer, NID_authority_key_identifier, "keyid") &&
                   add_extension(x509, issuer, NID_subject_alt_name, alternatives);
    }
    if (r == 0 && extended) {
        X509_up_ref(intermediate->chain[0]);
        pair.chain[pair.n_chain++] = intermediate->chain[0];
    }
    return finish(&pair, extended, intermediate->key, r, ret, err);
}

bool tls_ca_covers(struct str domain, struct str name)
{
    if (str_starts_with(name, STR("*.")))
        name = str_skip(name, 2);
    return str_equal(name, domain) || (name.len > domain.len && str_ends_with(name, domain) && name.ptr[name.len - domain.len - 1] == '.');
}

int tls_ca_make_request(struct str name, struct tls_pair *ret_key, struct buf *request_pem, struct error *err)
{
    struct tls_pair pair = { 0 };
    char alternatives[2 * TLS_CHAIN_NAME_MAX + 16];
    STACK_OF(X509_EXTENSION) *extensions = sk_X509_EXTENSION_new_null();
    X509_REQ *request = X509_REQ_new();
    BIO *bio = BIO_new(BIO_s_mem());
    X509_EXTENSION *extension = NULL;
    char *text;
    int r = -EIO;

    if (extensions && request && bio && is_plain(name) && (pair.key = EVP_EC_gen("P-256"))) {
        write_alternatives(alternatives, sizeof alternatives, name);
        extension = X509V3_EXT_conf_nid(NULL, NULL, NID_subject_alt_name, alternatives);
        /* No subject: authorities take the names from subjectAltName. */
        if (extension && sk_X509_EXTENSION_push(extensions, extension)) {
            if (X509_REQ_add_extensions(request, extensions) && X509_REQ_set_pubkey(request, pair.key) &&
                X509_REQ_sign(request, pair.key, EVP_sha256()) > 0 && PEM_write_bio_X509_REQ(bio, request))
                r = 0;
            extension = NULL;
        }
    }
    if (r == 0) {
        long length = BIO_get_mem_data(bio, &text);
        buf_append(request_pem, str_make(text, (size_t)length));
        r = request_pem->error;
    }
    if (r == 0)
        *ret_key = pair;
    else {
        tls_error_set(err, "making a certificate request");
        tls_pair_deinit(&pair);
    }
    X509_EXTENSION_free(extension);
    sk_X509_EXTENSION_pop_free(extensions, X509_EXTENSION_free);
    X509_REQ_free(request);
    BIO_free(bio);
    return r;
}
