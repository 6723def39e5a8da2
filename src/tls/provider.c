/* Private keys that live in another process: the OpenSSL provider. */
#include "tls/provider.h"

#include <errno.h>
#include <openssl/core_dispatch.h>
#include <openssl/core_names.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/param_build.h>
#include <openssl/provider.h>
#include <openssl/rsa.h>
#include <openssl/ssl.h>
#include <openssl/x509.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/str.h"
#include "tls/crypto_error.h"

#define PROVIDER_NAME  "postern-keeper"
#define PROVIDER_QUERY "provider=" PROVIDER_NAME
#define SIGNATURE_ECDSA PROVIDER_NAME "-ecdsa"
#define SIGNATURE_RSA PROVIDER_NAME "-rsa"

/* Parameters of our own at import: whom to ask, and for which certificate. */
#define PARAM_SIGNER      "postern-signer"
#define PARAM_CERTIFICATE "postern-certificate"

enum { PUBLIC_MAX = 512, EXPONENT_MAX = 8, GROUP_MAX = 16 };

struct tls_provider {
    OSSL_LIB_CTX *library;
    OSSL_PROVIDER *standard, *keeper;
    tls_sign_function sign;
    void *context;
};

enum key_kind { KEY_EC, KEY_RSA };

struct key {
    atomic_uint n_references;
    enum key_kind kind;
    struct tls_provider *signer; /* NULL: imported for a comparison only */
    uint64_t certificate;
    char group[GROUP_MAX];       /* EC: OpenSSL's name of the curve */
    uint8_t exponent[EXPONENT_MAX];
    size_t exponent_length;
    uint8_t public[PUBLIC_MAX];  /* EC: the uncompressed point; RSA: the modulus, big endian */
    size_t public_length;
};

/* ---- keys: KEYMGMT ---- */

static struct key *key_new(enum key_kind kind)
{
    struct key *key = calloc(1, sizeof *key);
    if (key) {
        atomic_init(&key->n_references, 1);
        key->kind = kind;
    }
    return key;
}

static void *key_new_ec(void *provider_context)
{
    (void)provider_context;
    return key_new(KEY_EC);
}

static void *key_new_rsa(void *provider_context)
{
    (void)provider_context;
    return key_new(KEY_RSA);
}

static struct key *key_ref(struct key *key)
{
    atomic_fetch_add_explicit(&key->n_references, 1, memory_order_relaxed);
    return key;
}

static void key_free(void *key_data)
{
    struct key *key = key_data;
    if (key && atomic_fetch_sub_explicit(&key->n_references, 1, memory_order_acq_rel) == 1)
        free(key);
}

/* The private half counts as present: signing works, whoever does it. */
static int key_has(const void *key_data, int selection)
{
    const struct key *key = key_data;
    (void)selection;
    return key->public_length > 0;
}

static int key_match(const void *data_a, const void *data_b, int selection)
{
    const struct key *a = data_a, *b = data_b;
    (void)selection;
    return a->kind == b->kind && strcmp(a->group, b->group) == 0 && a->public_length == b->public_length &&
           memcmp(a->public, b->public, a->public_length) == 0 && a->exponent_length == b->exponent_length &&
           memcmp(a->exponent, b->exponent, a->exponent_length) == 0;
}

static int key_bits(const struct key *key)
{
    if (key->kind == KEY_RSA)
        return (int)key->public_length * 8;
    return key->public_length == 65 ? 256 : 384;
}

static int key_security_bits(const struct key *key)
{
    if (key->kind == KEY_RSA)
        return key_bits(key) >= 3072 ? 128 : 112; /* SP 800-57 part 1, table 2 */
    return key_bits(key) / 2;
}

static int key_signature_size(const struct key *key)
{
    if (key->kind == KEY_RSA)
        return (int)key->public_length;
    return key_bits(key) == 256 ? 72 : 104; /* DER: two integers, each with a sign byte at most */
}

static bool import_group(struct key *key, const OSSL_PARAM *param)
{
    static const struct {
        const char *name, *canonical;
        size_t point;
    } groups[] = { { "prime256v1", "prime256v1", 65 }, { "P-256", "prime256v1", 65 }, { "secp384r1", "secp384r1", 97 }, { "P-384", "secp384r1", 97 } };
    const char *name;

    if (!param || !OSSL_PARAM_get_utf8_string_ptr(param, &name))
        return false;
    for (size_t i = 0; i < ARRAY_SIZE(groups); i++) {
        if (strcasecmp(name, groups[i].name) == 0 && key->public_length == groups[i].point) {
            str_copy(key->group, sizeof key->group, str_of(groups[i].canonical));
            return true;
        }
    }
    return false;
}

/* A BIGNUM parameter as big-endian bytes without leading zeros; 0 when it is absent or too large. */
static size_t import_number(const OSSL_PARAM *param, uint8_t *into, size_t size)
{
    BIGNUM *number = NULL;
    size_t length = 0;
    if (param && OSSL_PARAM_get_BN(param, &number) && (size_t)BN_num_bytes(number) <= size)
        length = (size_t)BN_bn2bin(number, into);
    BN_free(number);
    return length;
}

static int key_import(void *key_data, int selection, const OSSL_PARAM params[])
{
    struct key *key = key_data;
    const OSSL_PARAM *param;
    void *signer = NULL;
    (void)selection;

    if (key->kind == KEY_EC) {
        void *point = key->public;
        param = OSSL_PARAM_locate_const(params, OSSL_PKEY_PARAM_PUB_KEY);
        if (!param || !OSSL_PARAM_get_octet_string(param, &point, sizeof key->public, &key->public_length) || key->public[0] != 4 ||
            !import_group(key, OSSL_PARAM_locate_const(params, OSSL_PKEY_PARAM_GROUP_NAME)))
            return 0;
    } else {
        key->public_length = import_number(OSSL_PARAM_locate_const(params, OSSL_PKEY_PARAM_RSA_N), key->public, sizeof key->public);
        key->exponent_length = import_number(OSSL_PARAM_locate_const(params, OSSL_PKEY_PARAM_RSA_E), key->exponent, sizeof key->exponent);
        if (key->public_length < 256 || key->exponent_length == 0)
            return 0;
    }
    param = OSSL_PARAM_locate_const(params, PARAM_SIGNER);
    if (param) {
        size_t size = sizeof signer;
        void *into = &signer;
        if (!OSSL_PARAM_get_octet_string(param, &into, sizeof signer, &size) || size != sizeof signer)
            return 0;
        key->signer = signer;
        param = OSSL_PARAM_locate_const(params, PARAM_CERTIFICATE);
        if (!param || !OSSL_PARAM_get_uint64(param, &key->certificate))
            return 0;
    }
    return 1;
}

static const OSSL_PARAM *key_import_types(int selection)
{
    static const OSSL_PARAM types[] = {
        OSSL_PARAM_utf8_string(OSSL_PKEY_PARAM_GROUP_NAME, NULL, 0), OSSL_PARAM_octet_string(OSSL_PKEY_PARAM_PUB_KEY, NULL, 0),
        OSSL_PARAM_BN(OSSL_PKEY_PARAM_RSA_N, NULL, 0),               OSSL_PARAM_BN(OSSL_PKEY_PARAM_RSA_E, NULL, 0),
        OSSL_PARAM_octet_string(PARAM_SIGNER, NULL, 0),              OSSL_PARAM_uint64(PARAM_CERTIFICATE, NULL),
        OSSL_PARAM_END,
    };
    (void)selection;
    return types;
}

/* Nothing leaves this provider. Were a key exported to the default provider, OpenSSL would sign there, and fail for want of a private half. */
static int key_export(void *key_data, int selection, OSSL_CALLBACK *callback, void *argument)
{
    (void)key_data, (void)selection, (void)callback, (void)argument;
    return 0;
}

static int key_get_params(void *key_data, OSSL_PARAM params[])
{
    const struct key *key = key_data;
    OSSL_PARAM *param;

    if ((param = OSSL_PARAM_locate(params, OSSL_PKEY_PARAM_BITS)) && !OSSL_PARAM_set_int(param, key_bits(key)))
        return 0;
    if ((param = OSSL_PARAM_locate(params, OSSL_PKEY_PARAM_SECURITY_BITS)) && !OSSL_PARAM_set_int(param, key_security_bits(key)))
        return 0;
    if ((param = OSSL_PARAM_locate(params, OSSL_PKEY_PARAM_MAX_SIZE)) && !OSSL_PARAM_set_int(param, key_signature_size(key)))
        return 0;
    if ((param = OSSL_PARAM_locate(params, OSSL_PKEY_PARAM_GROUP_NAME)) &&
        (key->kind != KEY_EC || !OSSL_PARAM_set_utf8_string(param, key->group)))
        return 0;
    if ((param = OSSL_PARAM_locate(params, OSSL_PKEY_PARAM_DEFAULT_DIGEST)) && !OSSL_PARAM_set_utf8_string(param, "SHA256"))
        return 0;
    return 1;
}

static const OSSL_PARAM *key_gettable_params(void *provider_context)
{
    static const OSSL_PARAM types[] = {
        OSSL_PARAM_int(OSSL_PKEY_PARAM_BITS, NULL),
        OSSL_PARAM_int(OSSL_PKEY_PARAM_SECURITY_BITS, NULL),
        OSSL_PARAM_int(OSSL_PKEY_PARAM_MAX_SIZE, NULL),
        OSSL_PARAM_utf8_string(OSSL_PKEY_PARAM_GROUP_NAME, NULL, 0),
        OSSL_PARAM_utf8_string(OSSL_PKEY_PARAM_DEFAULT_DIGEST, NULL, 0),
        OSSL_PARAM_END,
    };
    (void)provider_context;
    return types;
}

/* Names that no other provider has: under a common one OpenSSL first tries the default provider's for each signature, and fails to export the
 * key to it. */
static const char *key_operation_ec(int operation)
{
    return operation == OSSL_OP_SIGNATURE ? SIGNATURE_ECDSA : NULL;
}

static const char *key_operation_rsa(int operation)
{
    return operation == OSSL_OP_SIGNATURE ? SIGNATURE_RSA : NULL;
}

/* ---- signatures: SIGNATURE ---- */

struct signing {
    struct key *key;
    int digest_bits;
    bool pss;
};

static void *signing_new(void *provider_context, const char *properties)
{
    (void)provider_context, (void)properties;
    return calloc(1, sizeof(struct signing));
}

static void signing_free(void *context)
{
    struct signing *signing = context;
    if (signing) {
        key_free(signing->key);
        free(signing);
    }
}

static int signing_set_params(void *context, const OSSL_PARAM params[])
{
    struct signing *signing = context;
    const OSSL_PARAM *param;
    int number;

    if (!params)
        return 1;
    if ((param = OSSL_PARAM_locate_const(params, OSSL_SIGNATURE_PARAM_PAD_MODE))) {
        if (param->data_type == OSSL_PARAM_UTF8_STRING) {
            if (strcmp(param->data, OSSL_PKEY_RSA_PAD_MODE_PSS) != 0 && strcmp(param->data, OSSL_PKEY_RSA_PAD_MODE_PKCSV15) != 0)
                return 0;
            signing->pss = strcmp(param->data, OSSL_PKEY_RSA_PAD_MODE_PSS) == 0;
        } else {
            if (!OSSL_PARAM_get_int(param, &number) || (number != RSA_PKCS1_PSS_PADDING && number != RSA_PKCS1_PADDING))
                return 0;
            signing->pss = number == RSA_PKCS1_PSS_PADDING;
        }
    }
    if ((param = OSSL_PARAM_locate_const(params, OSSL_SIGNATURE_PARAM_PSS_SALTLEN))) {
        /* RFC 8446 section 4.2.3: the salt is as long as the digest. The signer uses that length and no other. */
        if (param->data_type == OSSL_PARAM_UTF8_STRING) {
            if (strcmp(param->data, OSSL_PKEY_RSA_PSS_SALT_LEN_DIGEST) != 0)
                return 0;
        } else if (!OSSL_PARAM_get_int(param, &number) || (number != RSA_PSS_SALTLEN_DIGEST && number * 8 != signing->digest_bits)) {
            return 0;
        }
    }
    return 1;
}

static const OSSL_PARAM *signing_settable_params(void *context, void *provider_context)
{
    static const OSSL_PARAM types[] = {
        OSSL_PARAM_utf8_string(OSSL_SIGNATURE_PARAM_PAD_MODE, NULL, 0),
        OSSL_PARAM_utf8_string(OSSL_SIGNATURE_PARAM_PSS_SALTLEN, NULL, 0),
        OSSL_PARAM_END,
    };
    (void)context, (void)provider_context;
    return types;
}

static int signing_init(void *context, const char *digest, void *key_data, const OSSL_PARAM params[])
{
    struct signing *signing = context;

    if (key_data) {
        key_free(signing->key);
        signing->key = key_ref(key_data);
    }
    if (!signing->key)
        return 0;
    if (!digest || strcasecmp(digest, "SHA256") == 0 || strcasecmp(digest, "SHA2-256") == 0)
        signing->digest_bits = 256;
    else if (strcasecmp(digest, "SHA384") == 0 || strcasecmp(digest, "SHA2-384") == 0)
        signing->digest_bits = 384;
    else
        return 0;
    signing->pss = false;
    return signing_set_params(signing, params);
}

static int signing_scheme(const struct signing *signing, enum tls_scheme *ret)
{
    bool sha256 = signing->digest_bits == 256;
    if (signing->key->kind == KEY_EC)
        *ret = sha256 ? TLS_SCHEME_ECDSA_SHA256 : TLS_SCHEME_ECDSA_SHA384;
    else if (signing->pss)
        *ret = sha256 ? TLS_SCHEME_RSA_PSS_SHA256 : TLS_SCHEME_RSA_PSS_SHA384;
    else if (sha256)
        *ret = TLS_SCHEME_RSA_PKCS1_SHA256;
    else
        return 0;
    return 1;
}

static int signing_sign(void *context, unsigned char *signature, size_t *ret_length, size_t size, const unsigned char *input, size_t length)
{
    struct signing *signing = context;
    const struct key *key = signing->key;
    enum tls_scheme scheme;

    if (!key || !key->signer)
        return 0;
    if (!signature) {
        *ret_length = (size_t)key_signature_size(key);
        return 1;
    }
    return signing_scheme(signing, &scheme) &&
           key->signer->sign(key->signer->context, key->certificate, scheme, input, length, signature, size, ret_length) == 0;
}

/* ---- the provider itself ---- */

/* OpenSSL's tables hold every function as void (*)(void). */
#define ENTRY(id, function) { (id), (void (*)(void))(function) }
#define KEY_FUNCTIONS(kind)                                                                                            \
    {                                                                                                                  \
        ENTRY(OSSL_FUNC_KEYMGMT_NEW, key_new_##kind), ENTRY(OSSL_FUNC_KEYMGMT_FREE, key_free),                         \
        ENTRY(OSSL_FUNC_KEYMGMT_HAS, key_has), ENTRY(OSSL_FUNC_KEYMGMT_MATCH, key_match),                              \
        ENTRY(OSSL_FUNC_KEYMGMT_IMPORT, key_import), ENTRY(OSSL_FUNC_KEYMGMT_IMPORT_TYPES, key_import_types),          \
        ENTRY(OSSL_FUNC_KEYMGMT_EXPORT, key_export), ENTRY(OSSL_FUNC_KEYMGMT_EXPORT_TYPES, key_import_types),          \
        ENTRY(OSSL_FUNC_KEYMGMT_GET_PARAMS, key_get_params), ENTRY(OSSL_FUNC_KEYMGMT_GETTABLE_PARAMS, key_gettable_params), \
        ENTRY(OSSL_FUNC_KEYMGMT_QUERY_OPERATION_NAME, key_operation_##kind), { 0, NULL },                              \
    }

static const OSSL_DISPATCH key_ec_functions[] = KEY_FUNCTIONS(ec);
static const OSSL_DISPATCH key_rsa_functions[] = KEY_FUNCTIONS(rsa);

static const OSSL_DISPATCH signing_functions[] = {
    ENTRY(OSSL_FUNC_SIGNATURE_NEWCTX, signing_new),
    ENTRY(OSSL_FUNC_SIGNATURE_FREECTX, signing_free),
    ENTRY(OSSL_FUNC_SIGNATURE_DIGEST_SIGN_INIT, signing_init),
    ENTRY(OSSL_FUNC_SIGNATURE_DIGEST_SIGN, signing_sign),
    ENTRY(OSSL_FUNC_SIGNATURE_SET_CTX_PARAMS, signing_set_params),
    ENTRY(OSSL_FUNC_SIGNATURE_SETTABLE_CTX_PARAMS, signing_settable_params),
    { 0, NULL },
};

static const OSSL_ALGORITHM *provider_query(void *provider_context, int operation, int *ret_no_cache)
{
    static const OSSL_ALGORITHM keys[] = {
        { "EC:id-ecPublicKey:1.2.840.10045.2.1", PROVIDER_QUERY, key_ec_functions, "P-256 and P-384, held by the keeper" },
        { "RSA:rsaEncryption:1.2.840.113549.1.1.1", PROVIDER_QUERY, key_rsa_functions, "RSA, held by the keeper" },
        { NULL, NULL, NULL, NULL },
    };
    static const OSSL_ALGORITHM signatures[] = {
        { SIGNATURE_ECDSA, PROVIDER_QUERY, signing_functions, "ECDSA, by the keeper" },
        { SIGNATURE_RSA, PROVIDER_QUERY, signing_functions, "RSA, by the keeper" },
        { NULL, NULL, NULL, NULL },
    };
    (void)provider_context;
    *ret_no_cache = 0;
    return operation == OSSL_OP_KEYMGMT ? keys : operation == OSSL_OP_SIGNATURE ? signatures : NULL;
}

static int provider_init(const OSSL_CORE_HANDLE *handle, const OSSL_DISPATCH *in, const OSSL_DISPATCH **ret_functions, void **ret_context)
{
    static const OSSL_DISPATCH functions[] = { ENTRY(OSSL_FUNC_PROVIDER_QUERY_OPERATION, provider_query), { 0, NULL } };
    (void)in;
    *ret_functions = functions;
    *ret_context = (void *)(uintptr_t)handle;
    return 1;
}

int tls_provider_new(tls_sign_function sign, void *context, struct tls_provider **ret, struct error *err)
{
    struct tls_provider *provider = calloc(1, sizeof *provider);
    if (!provider)
        return -ENOMEM;
    provider->sign = sign;
    provider->context = context;
    /* Before anything else would read openssl.cnf: a worker may open no file by then. */
    OPENSSL_init_ssl(OPENSSL_INIT_NO_LOAD_CONFIG | OPENSSL_INIT_LOAD_SSL_STRINGS | OPENSSL_INIT_LOAD_CRYPTO_STRINGS, NULL);
    provider->library = OSSL_LIB_CTX_new();
    /* "?": the default provider where it can, ours for keys that only ours has. */
    if (!provider->library || !OSSL_PROVIDER_add_builtin(provider->library, PROVIDER_NAME, provider_init) ||
        !(provider->standard = OSSL_PROVIDER_load(provider->library, "default")) ||
        !(provider->keeper = OSSL_PROVIDER_load(provider->library, PROVIDER_NAME)) ||
        !EVP_set_default_properties(provider->library, "?provider=default")) {
        tls_error_set(err, "setting up OpenSSL");
        tls_provider_free(provider);
        return -EIO;
    }
    *ret = provider;
    return 0;
}

struct tls_provider *tls_provider_free(struct tls_provider *provider)
{
    if (provider) {
        if (provider->keeper)
            OSSL_PROVIDER_unload(provider->keeper);
        if (provider->standard)
            OSSL_PROVIDER_unload(provider->standard);
        OSSL_LIB_CTX_free(provider->library);
        free(provider);
    }
    return NULL;
}

OSSL_LIB_CTX *tls_provider_library(const struct tls_provider *provider)
{
    return provider->library;
}

/* What our import wants to know of a public key. The builder copies numbers only at the end: *ret_n and *ret_e must outlive it. */
static bool describe(EVP_PKEY *public_key, OSSL_PARAM_BLD *builder, uint8_t point[static PUBLIC_MAX], BIGNUM **ret_n, BIGNUM **ret_e)
{
    if (EVP_PKEY_is_a(public_key, "EC")) {
        static const char *const names[] = { "prime256v1", "secp384r1" };
        char group[64];
        size_t length, i;
        if (!EVP_PKEY_get_group_name(public_key, group, sizeof group, NULL))
            return false;
        for (i = 0; i < ARRAY_SIZE(names) && strcmp(group, names[i]) != 0; i++)
            ;
        /* Only uncompressed points are TLS's (RFC 8422 section 5.4.1); an encoded point starts with 4 then. */
        return i < ARRAY_SIZE(names) && EVP_PKEY_get_octet_string_param(public_key, OSSL_PKEY_PARAM_PUB_KEY, point, PUBLIC_MAX, &length) &&
               point[0] == 4 && OSSL_PARAM_BLD_push_utf8_string(builder, OSSL_PKEY_PARAM_GROUP_NAME, names[i], 0) &&
               OSSL_PARAM_BLD_push_octet_string(builder, OSSL_PKEY_PARAM_PUB_KEY, point, length);
    }
    if (EVP_PKEY_is_a(public_key, "RSA")) {
        int bits = EVP_PKEY_get_bits(public_key);
        return bits >= 2048 && bits <= 4096 && bits % 8 == 0 && EVP_PKEY_get_bn_param(public_key, OSSL_PKEY_PARAM_RSA_N, ret_n) &&
               EVP_PKEY_get_bn_param(public_key, OSSL_PKEY_PARAM_RSA_E, ret_e) && OSSL_PARAM_BLD_push_BN(builder, OSSL_PKEY_PARAM_RSA_N, *ret_n) &&
               OSSL_PARAM_BLD_push_BN(builder, OSSL_PKEY_PARAM_RSA_E, *ret_e);
    }
    return false;
}

int tls_provider_key(struct tls_provider *provider, X509 *x509, uint64_t certificate, EVP_PKEY **ret, struct error *err)
{
    EVP_PKEY *public_key = X509_get0_pubkey(x509), *key = NULL;
    OSSL_PARAM_BLD *builder = OSSL_PARAM_BLD_new();
    OSSL_PARAM *params = NULL;
    EVP_PKEY_CTX *context = NULL;
    BIGNUM *n = NULL, *e = NULL;
    uint8_t point[PUBLIC_MAX];
    int r = -ENOTSUP;

    if (!builder) {
        r = -ENOMEM;
    } else if (!public_key || !describe(public_key, builder, point, &n, &e)) {
        ERR_clear_error();
        error_set(err, "the certificate's key is of a kind that can't be served; expected P-256, P-384, or RSA of 2048 to 4096 bits");
    } else {
        r = -EIO;
        if (OSSL_PARAM_BLD_push_octet_string(builder, PARAM_SIGNER, &provider, sizeof provider) &&
            OSSL_PARAM_BLD_push_uint64(builder, PARAM_CERTIFICATE, certificate) && (params = OSSL_PARAM_BLD_to_param(builder)) &&
            (context = EVP_PKEY_CTX_new_from_name(provider->library, n ? "RSA" : "EC", PROVIDER_QUERY)) &&
            EVP_PKEY_fromdata_init(context) == 1 && EVP_PKEY_fromdata(context, &key, EVP_PKEY_KEYPAIR, params) == 1) {
            *ret = key;
            r = 0;
        } else {
            tls_error_set(err, "taking the certificate's key");
        }
    }
    EVP_PKEY_CTX_free(context);
    OSSL_PARAM_free(params);
    OSSL_PARAM_BLD_free(builder);
    BN_free(n);
    BN_free(e);
    return r;
}
