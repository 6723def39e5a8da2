/* Session tickets: the keys, and sealing and opening with them (RFC 5077 section 4: AES-CBC, then HMAC). */
#include "tls/ticket.h"

#include <errno.h>
#include <openssl/core_names.h>
#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/params.h>
#include <openssl/rand.h>
#include <stdlib.h>
#include <string.h>

struct tls_ticket_keys {
    EVP_CIPHER *cipher;
    OSSL_LIB_CTX *library;
    uint32_t n;
    struct tls_ticket_key keys[TLS_TICKET_KEYS_MAX];
};

int tls_ticket_keys_new(OSSL_LIB_CTX *library, struct tls_ticket_keys **ret)
{
    struct tls_ticket_keys *keys = calloc(1, sizeof *keys);
    if (!keys)
        return -ENOMEM;
    keys->library = library;
    keys->cipher = EVP_CIPHER_fetch(library, "AES-256-CBC", NULL);
    if (!keys->cipher || RAND_bytes_ex(library, (uint8_t *)&keys->keys[0], sizeof keys->keys[0], 0) != 1) {
        tls_ticket_keys_free(keys);
        return -EIO;
    }
    keys->n = 1;
    *ret = keys;
    return 0;
}

struct tls_ticket_keys *tls_ticket_keys_free(struct tls_ticket_keys *keys)
{
    if (keys) {
        EVP_CIPHER_free(keys->cipher);
        OPENSSL_cleanse(keys, sizeof *keys);
        free(keys);
    }
    return NULL;
}

void tls_ticket_keys_set(struct tls_ticket_keys *keys, const struct tls_ticket_key new_keys[], uint32_t n)
{
    if (n == 0 || n > TLS_TICKET_KEYS_MAX)
        return;
    OPENSSL_cleanse(keys->keys, sizeof keys->keys);
    memcpy(keys->keys, new_keys, n * sizeof new_keys[0]);
    keys->n = n;
}

static int set_mac(EVP_MAC_CTX *mac, struct tls_ticket_key *key)
{
    OSSL_PARAM params[] = {
        OSSL_PARAM_construct_octet_string(OSSL_MAC_PARAM_KEY, key->hmac, sizeof key->hmac),
        OSSL_PARAM_construct_utf8_string(OSSL_MAC_PARAM_DIGEST, (char[]){ "SHA256" }, 0),
        OSSL_PARAM_construct_end(),
    };
    return EVP_MAC_CTX_set_params(mac, params);
}

int tls_ticket_callback(struct tls_ticket_keys *keys, SSL *ssl, uint8_t name[16], uint8_t *iv, EVP_CIPHER_CTX *cipher, EVP_MAC_CTX *mac, int seal)
{
    if (seal) {
        struct tls_ticket_key *key = &keys->keys[0];
        if (RAND_bytes_ex(keys->library, iv, 16, 0) != 1 || !EVP_EncryptInit_ex2(cipher, keys->cipher, key->aes, iv, NULL) || !set_mac(mac, key))
            return -1;
        memcpy(name, key->name, sizeof key->name);
        return 1;
    }
    for (uint32_t i = 0; i < keys->n; i++) {
        struct tls_ticket_key *key = &keys->keys[i];
        if (memcmp(name, key->name, sizeof key->name) != 0)
            continue;
        if (!EVP_DecryptInit_ex2(cipher, keys->cipher, key->aes, iv, NULL) || !set_mac(mac, key))
            return -1;
        /* 2: open it and send a new one: in TLS 1.3 always (RFC 8446 appendix C.4, one use each), in 1.2 when the key is going out of use. */
        return i > 0 || SSL_version(ssl) == TLS1_3_VERSION ? 2 : 1;
    }
    return 0;
}
