/* Towards instances over TLS: who is taken for genuine, and who is not. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <errno.h>
#include <openssl/evp.h>
#include <openssl/x509.h>
#include <string.h>

#include "material.h"
#include "tls/client.h"

struct instance {
    EVP_PKEY *root_key, *key;
    X509 *root, *leaf;
    SSL_CTX *server;
    struct buf ca;
    char pin[64];
};

static void instance_init(struct instance *in, const char *name)
{
    unsigned char *spki = NULL, digest[32];
    *in = (struct instance){ .root_key = material_key("P-256"), .key = material_key("P-256") };
    in->root = material_certificate(in->root_key, "root.test", NULL, NULL);
    in->leaf = material_certificate(in->key, name, in->root, in->root_key);
    in->server = SSL_CTX_new(TLS_server_method());
    SSL_CTX_use_certificate(in->server, in->leaf);
    SSL_CTX_use_PrivateKey(in->server, in->key);
    buf_init(&in->ca, 65536);
    material_append_pem(&in->ca, in->root);
    int size = i2d_X509_PUBKEY(X509_get_X509_PUBKEY(in->leaf), &spki);
    EVP_Digest(spki, (size_t)size, digest, NULL, EVP_sha256(), NULL);
    OPENSSL_free(spki);
    EVP_EncodeBlock((unsigned char *)in->pin, digest, sizeof digest);
}

static void instance_deinit(struct instance *in)
{
    SSL_CTX_free(in->server);
    X509_free(in->leaf);
    X509_free(in->root);
    EVP_PKEY_free(in->key);
    EVP_PKEY_free(in->root_key);
    buf_deinit(&in->ca);
}

/* Whether a client set up like that shakes hands with the instance as name. */
static bool reaches(const struct instance *in, struct str ca, const char *pin, bool insecure, const char *name)
{
    struct tls_client *client = NULL;
    struct error err = { "" };
    if (tls_client_new(NULL, ca, str_of(pin), insecure, &client, &err) < 0)
        fail_msg("%s", err.text);
    SSL *near = tls_client_ssl(client, str_of(name)), *far = SSL_new(in->server);
    client = tls_client_free(client); /* what goes on from it needs it no more */
    SSL_set_accept_state(far);
    assert_non_null(near);
    bool done = material_handshake(far, near);
    SSL_free(near);
    SSL_free(far);
    return done;
}

static void test_an_authority_and_a_name(void **state)
{
    (void)state;
    struct instance in, other;
    instance_init(&in, "grafana.test");
    instance_init(&other, "grafana.test");
    assert_true(reaches(&in, buf_str(&in.ca), "", false, "grafana.test"));
    assert_false(reaches(&in, buf_str(&in.ca), "", false, "other.test"));
    assert_false(reaches(&in, buf_str(&in.ca), "", false, "127.0.0.1"));
    assert_false(reaches(&in, buf_str(&other.ca), "", false, "grafana.test")); /* the same names from another authority */
    instance_deinit(&in);
    instance_deinit(&other);
}

static void test_a_pin_alone_asks_for_no_name_and_no_authority(void **state)
{
    (void)state;
    struct instance in, other;
    instance_init(&in, "grafana.test");
    instance_init(&other, "grafana.test");
    assert_true(reaches(&in, STR_NONE, in.pin, false, "whatever.test"));
    assert_false(reaches(&in, STR_NONE, other.pin, false, "grafana.test"));
    instance_deinit(&in);
    instance_deinit(&other);
}

static void test_pin_and_authority_must_both_hold(void **state)
{
    (void)state;
    struct instance in, other;
    instance_init(&in, "grafana.test");
    instance_init(&other, "grafana.test");
    assert_true(reaches(&in, buf_str(&in.ca), in.pin, false, "grafana.test"));
    assert_false(reaches(&in, buf_str(&in.ca), in.pin, false, "other.test"));
    assert_false(reaches(&in, buf_str(&other.ca), in.pin, false, "grafana.test"));
    assert_false(reaches(&in, buf_str(&in.ca), other.pin, false, "grafana.test"));
    instance_deinit(&in);
    instance_deinit(&other);
}

static void test_insecure_takes_anybody_and_only_when_said(void **state)
{
    (void)state;
    struct instance in;
    struct tls_client *client = NULL;
    struct error err = { "" };
    instance_init(&in, "grafana.test");
    assert_true(reaches(&in, STR_NONE, "", true, "whatever.test"));
    assert_int_equal(tls_client_new(NULL, STR_NONE, STR_NONE, false, &client, &err), -EINVAL);
    assert_non_null(strstr(err.text, "nothing to verify"));
    instance_deinit(&in);
}

static void test_malformed_pins_and_authorities_are_refused(void **state)
{
    (void)state;
    struct instance in;
    instance_init(&in, "grafana.test");
    static const char *const pins[] = { "short", "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA", "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA==",
                                        "!AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=" };
    for (size_t i = 0; i < ARRAY_SIZE(pins); i++) {
        struct tls_client *client = NULL;
        struct error err = { "" };
        assert_int_equal(tls_client_new(NULL, STR_NONE, str_of(pins[i]), false, &client, &err), -EINVAL);
    }
    struct str halves[] = { STR("no certificate"), str_first(buf_str(&in.ca), in.ca.len / 2) };
    for (size_t i = 0; i < ARRAY_SIZE(halves); i++) {
        struct tls_client *client = NULL;
        struct error err = { "" };
        assert_int_equal(tls_client_new(NULL, halves[i], STR_NONE, false, &client, &err), -EINVAL);
    }
    instance_deinit(&in);
}

static void test_old_versions_are_refused(void **state)
{
    (void)state;
    struct instance in;
    instance_init(&in, "grafana.test");
    SSL_CTX_set_min_proto_version(in.server, TLS1_VERSION);
    SSL_CTX_set_max_proto_version(in.server, TLS1_1_VERSION);
    SSL_CTX_set_cipher_list(in.server, "ALL:@SECLEVEL=0");
    assert_false(reaches(&in, buf_str(&in.ca), "", false, "grafana.test"));
    instance_deinit(&in);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_an_authority_and_a_name),
        cmocka_unit_test(test_a_pin_alone_asks_for_no_name_and_no_authority),
        cmocka_unit_test(test_pin_and_authority_must_both_hold),
        cmocka_unit_test(test_insecure_takes_anybody_and_only_when_said),
        cmocka_unit_test(test_malformed_pins_and_authorities_are_refused),
        cmocka_unit_test(test_old_versions_are_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
