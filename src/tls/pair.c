/* A private key with the certificates that go with it. */
#include "tls/pair.h"

#include <errno.h>
#include <openssl/asn1.h>
#include <openssl/bio.h>
#include <openssl/crypto.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/rsa.h>
#include <openssl/x509.h>
#include <openssl/x509v3.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "tls/chains.h"
#include "tls/crypto_error.h"

void tls_pair_deinit(struct tls_pair *pair)
{
    for (size_t i = 0; i < TLS_SCHEME_COUNT; i++)
        EVP_PKEY_CTX_free(pair->signers[i]);
    for (uint32_t i = 0; i < pair->n_chain; i++)
        X509_free(pair->chain[i]);
    EVP_PKEY_free(pair->key);
    *pair = (struct tls_pair){ 0 };
}

/* No prompt for a password, ever: there is nobody to answer it. */
static int no_password(char *buffer, int size, int writing, void *argument)
{
    (void)buffer, (void)size, (void)writing, (void)argument;
    return -1;
}

static bool is_served_kind(const EVP_PKEY *key)
{
    char group[32];
    if (EVP_PKEY_is_a(key, "RSA"))
        return EVP_PKEY_get_bits(key) >= 2048 && EVP_PKEY_get_bits(key) <= 4096 && EVP_PKEY_get_bits(key) % 8 == 0;
    return EVP_PKEY_is_a(key, "EC") && EVP_PKEY_get_group_name(key, group, sizeof group, NULL) == 1 &&
           (strcmp(group, "prime256v1") == 0 || strcmp(group, "secp384r1") == 0);
}

static int parse_key(struct str pem, struct tls_pair *pair, struct error *err)
{
    BIO *bio = BIO_new_mem_buf(pem.ptr, (int)pem.len);
    if (!bio)
        return -ENOMEM;
    pair->key = PEM_read_bio_PrivateKey(bio, NULL, no_password, NULL);
    BIO_free(bio);
    if (!pair->key) {
        bool is_encrypted = memmem(pem.ptr, pem.len, "ENCRYPTED", 9) != NULL;
        ERR_clear_error();
        error_set(err, is_encrypted ? "the private key is encrypted; write it without a password (openssl pkey -in KEY -out KEY.plain)"
                                    : "expected a private key in PEM form (-----BEGIN PRIVATE KEY-----)");
        return -EINVAL;
    }
    if (!is_served_kind(pair->key)) {
        error_set(err, "the private key is of a kind that can't be served; expected P-256, P-384, or RSA of 2048 to 4096 bits");
        return -EINVAL;
    }
    return 0;
}

/* How many certificates the text says it has: OpenSSL passes over one that is cut short as if it were a comment. */
static uint32_t count_begun(struct str pem)
{
    static const char begin[] = "-----BEGIN CERTIFICATE-----";
    uint32_t n = 0;
    for (const char *at; (at = memmem(pem.ptr, pem.len, begin, sizeof begin - 1)); n++)
        pem = str_skip(pem, (size_t)(at - pem.ptr) + sizeof begin - 1);
    return n;
}

static int parse_chain(struct str pem, struct tls_pair *pair, struct error *err)
{
    BIO *bio = BIO_new_mem_buf(pem.ptr, (int)pem.len);
    X509 *x509;
    int r = 0;
    if (!bio)
        return -ENOMEM;
    while (r == 0 && (x509 = PEM_read_bio_X509(bio, NULL, no_password, NULL))) {
        if (pair->n_chain == TLS_PAIR_CHAIN_MAX) {
            X509_free(x509);
            error_set(err, "the chain has more than %d certificates", TLS_PAIR_CHAIN_MAX);
            r = -EINVAL;
        } else {
            pair->chain[pair->n_chain++] = x509;
        }
    }
    bool at_end = ERR_GET_REASON(ERR_peek_last_error()) == PEM_R_NO_START_LINE;
    ERR_clear_error();
    BIO_free(bio);
    uint32_t n_begun = count_begun(pem);
    if (r == 0 && (pair->n_chain == 0 || pair->n_chain < n_begun || !at_end)) {
        if (n_begun == 0)
            error_set(err, "expected certificates in PEM form (-----BEGIN CERTIFICATE-----), the server's own first");
        else
            error_set(err, "certificate %u of the chain is malformed or cut short", pair->n_chain + 1);
        r = -EINVAL;
    }
    return r;
}

int tls_pair_parse(struct str chain_pem, struct str key_pem, struct tls_pair *ret, struct error *err)
{
    struct tls_pair pair = { 0 };
    int r;

    if (chain_pem.len > TLS_PAIR_PEM_MAX || key_pem.len > TLS_PAIR_PEM_MAX) {
        error_set(err, "more than %d KB is no certificate or key", TLS_PAIR_PEM_MAX / 1024);
        return -EINVAL;
    }
    r = parse_chain(chain_pem, &pair, err);
    if (r == 0)
        r = parse_key(key_pem, &pair, err);
    if (r == 0 && X509_check_private_key(pair.chain[0], pair.key) != 1) {
        ERR_clear_error();
        error_set(err, "the private key doesn't belong to the first certificate");
        r = -EINVAL;
    }
    if (r < 0) {
        tls_pair_deinit(&pair);
        return r;
    }
    *ret = pair;
    return 0;
}

int tls_pair_join(struct tls_pair *from, struct str chain_pem, struct tls_pair *ret, struct error *err)
{
    struct tls_pair pair = { 0 };
    int r = parse_chain(chain_pem, &pair, err);
    if (r == 0 && X509_check_private_key(pair.chain[0], from->key) != 1) {
        ERR_clear_error();
        error_set(err, "the certificate is for another key");
        r = -EINVAL;
    }
    if (r < 0) {
        tls_pair_deinit(&pair);
        return r;
    }
    pair.key = TAKE(from->key);
    tls_pair_deinit(from);
    *ret = pair;
    return 0;
}

void tls_pair_append_pem(struct buf *buf, const struct tls_pair *pair, bool with_key)
{
    BIO *bio = BIO_new(BIO_s_secmem());
    char *text;
    bool done = bio && (!with_key || PEM_write_bio_PKCS8PrivateKey(bio, pair->key, NULL, NULL, 0, NULL, NULL));
    for (uint32_t i = 0; done && i < pair->n_chain; i++)
        done = PEM_write_bio_X509(bio, pair->chain[i]);
    if (done) {
        long length = BIO_get_mem_data(bio, &text);
        buf_append(buf, str_make(text, (size_t)length));
    } else if (!buf->error) {
        buf->error = -ENOMEM;
    }
    BIO_free(bio);
}

int64_t tls_time(const ASN1_TIME *time)
{
    struct tm parts;
    return time && ASN1_TIME_to_tm(time, &parts) ? timegm(&parts) : 0;
}

int64_t tls_pair_not_before(const struct tls_pair *pair)
{
    return pair->n_chain ? tls_time(X509_get0_notBefore(pair->chain[0])) : 0;
}

int64_t tls_pair_not_after(const struct tls_pair *pair)
{
    int64_t end = 0;
    for (uint32_t i = 0; i < pair->n_chain; i++) {
        int64_t one = tls_time(X509_get0_notAfter(pair->chain[i]));
        end = i == 0 || one < end ? one : end;
    }
    return end;
}

static bool covers(X509 *leaf, struct str name)
{
    char text[TLS_CHAIN_NAME_MAX + 3];
    if (name.len == 0 || name.len > TLS_CHAIN_NAME_MAX)
        return false;
    /* A wildcard covers "*.x" when it would cover one name below x; no label of ours is called that. */
    bool is_wildcard = str_starts_with(name, STR("*."));
    snprintf(text, sizeof text, "%s%.*s", is_wildcard ? "x" : "", STR_ARG(is_wildcard ? str_skip(name, 1) : name));
    return X509_check_host(leaf, text, 0, X509_CHECK_FLAG_NO_PARTIAL_WILDCARDS | X509_CHECK_FLAG_NEVER_CHECK_SUBJECT, NULL) == 1;
}

int tls_pair_check(const struct tls_pair *pair, struct str name, int64_t now, struct error *err)
{
    char when[32];
    int64_t starts = tls_pair_not_before(pair), ends = tls_pair_not_after(pair);
    int64_t wrong = ends <= now ? ends : starts;
    struct tm parts;

    if (ends <= now || starts > now) {
        gmtime_r(&(time_t){ wrong }, &parts);
        strftime(when, sizeof when, "%Y-%m-%d %H:%M:%S UTC", &parts);
        error_set(err, ends <= now ? "expired on %s; renew it" : "not valid before %s; check this machine's clock", when);
        return -EINVAL;
    }
    if (!covers(pair->chain[0], name)) {
        error_set(err, "does not cover %.*s; get one that does (subjectAltName)", STR_ARG(name));
        return -EINVAL;
    }
    return 0;
}

uint64_t tls_pair_identity(const struct tls_pair *pair, struct str surface)
{
    uint8_t digest[EVP_MAX_MD_SIZE];
    unsigned char *key = NULL;
    uint64_t identity = 0;
    int size = i2d_PUBKEY(pair->key, &key);
    EVP_MD_CTX *md = EVP_MD_CTX_new();

    if (size > 0 && md && EVP_DigestInit_ex(md, EVP_sha256(), NULL) && EVP_DigestUpdate(md, surface.ptr, surface.len) &&
        EVP_DigestUpdate(md, "", 1) && EVP_DigestUpdate(md, key, (size_t)size) && EVP_DigestFinal_ex(md, digest, NULL))
        memcpy(&identity, digest, sizeof identity);
    EVP_MD_CTX_free(md);
    OPENSSL_free(key);
    return identity;
}

/* Fetched once: EVP_sha256() and its like are looked up anew at each use. */
static const EVP_MD *digest_of(enum tls_scheme scheme)
{
    static EVP_MD *sha256, *sha384;
    bool is_384 = scheme == TLS_SCHEME_ECDSA_SHA384 || scheme == TLS_SCHEME_RSA_PSS_SHA384;
    EVP_MD **digest = is_384 ? &sha384 : &sha256;
    if (!*digest)
        *digest = EVP_MD_fetch(NULL, is_384 ? "SHA384" : "SHA256", NULL);
    return *digest;
}

/* A context that is ready to sign digests, kept: setting one up costs a tenth of a P-256 signature. */
static EVP_PKEY_CTX *signer_for(struct tls_pair *pair, enum tls_scheme scheme)
{
    bool pss = scheme == TLS_SCHEME_RSA_PSS_SHA256 || scheme == TLS_SCHEME_RSA_PSS_SHA384;
    bool is_rsa = pss || scheme == TLS_SCHEME_RSA_PKCS1_SHA256;
    EVP_PKEY_CTX *signer = pair->signers[scheme];

    if (signer)
        return signer;
    if (!EVP_PKEY_is_a(pair->key, is_rsa ? "RSA" : "EC"))
        return NULL;
    signer = EVP_PKEY_CTX_new_from_pkey(NULL, pair->key, NULL);
    if (!signer || EVP_PKEY_sign_init(signer) != 1 || EVP_PKEY_CTX_set_signature_md(signer, digest_of(scheme)) != 1 ||
        (is_rsa && EVP_PKEY_CTX_set_rsa_padding(signer, pss ? RSA_PKCS1_PSS_PADDING : RSA_PKCS1_PADDING) != 1) ||
        /* RFC 8446 section 4.2.3: the salt is as long as the digest. */
        (pss && EVP_PKEY_CTX_set_rsa_pss_saltlen(signer, RSA_PSS_SALTLEN_DIGEST) != 1)) {
        EVP_PKEY_CTX_free(signer);
        return NULL;
    }
    return pair->signers[scheme] = signer;
}

int tls_pair_sign(struct tls_pair *pair, enum tls_scheme scheme, const uint8_t *input, size_t length, uint8_t *signature, size_t size,
                  size_t *ret_length)
{
    uint8_t digest[EVP_MAX_MD_SIZE];
    unsigned digest_length;
    EVP_PKEY_CTX *signer = signer_for(pair, scheme);
    size_t signature_length = size;

    if (!signer) {
        ERR_clear_error();
        return -EINVAL;
    }
    if (!EVP_Digest(input, length, digest, &digest_length, digest_of(scheme), NULL) ||
        EVP_PKEY_sign(signer, signature, &signature_length, digest, digest_length) != 1) {
        ERR_clear_error();
        return -EIO;
    }
    *ret_length = signature_length;
    return 0;
}

void tls_fingerprint(X509 *x509, char text[static TLS_FINGERPRINT_SIZE])
{
    uint8_t digest[EVP_MAX_MD_SIZE];
    unsigned length = 0;
    size_t at = 0;
    text[0] = '\0';
    if (!X509_digest(x509, EVP_sha256(), digest, &length))
        return;
    for (unsigned i = 0; i < length; i++)
        at += (size_t)snprintf(text + at, TLS_FINGERPRINT_SIZE - at, "%s%02X", i ? ":" : "", digest[i]);
}
