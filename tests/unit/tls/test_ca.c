/* The internal authority: what it issues verifies, and what it must never be good for doesn't. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <errno.h>
#include <openssl/pem.h>
#include <openssl/x509.h>
#include <openssl/x509v3.h>
#include <string.h>
#include <time.h>

#include "material.h"
#include "tls/ca.h"

static const int64_t day = 86400;

struct authority {
    struct tls_pair root, node;
};

static void authority_init(struct authority *a, int64_t now)
{
    struct error err = { "" };
    assert_int_equal(tls_ca_make_root(STR("home.example"), now, 3650 * day, &a->root, &err), 0);
    assert_int_equal(tls_ca_make_intermediate(&a->root, STR("home.example"), now, 365 * day, &a->node, &err), 0);
}

static void authority_deinit(struct authority *a)
{
    tls_pair_deinit(&a->root);
    tls_pair_deinit(&a->node);
}

/* As a client that trusts the root alone. X509_V_OK, or what it objects to. */
static int verify(const struct authority *a, const struct tls_pair *leaf, const char *name, int64_t at)
{
    X509_STORE *store = X509_STORE_new();
    X509_STORE_CTX *context = X509_STORE_CTX_new();
    STACK_OF(X509) *rest = sk_X509_new_null();
    X509_STORE_add_cert(store, a->root.chain[0]);
    for (uint32_t i = 1; i < leaf->n_chain; i++)
        sk_X509_push(rest, leaf->chain[i]);
    X509_STORE_CTX_init(context, store, leaf->chain[0], rest);
    X509_VERIFY_PARAM *param = X509_STORE_CTX_get0_param(context);
    X509_VERIFY_PARAM_set1_host(param, name, 0);
    X509_VERIFY_PARAM_set_purpose(param, X509_PURPOSE_SSL_SERVER);
    X509_VERIFY_PARAM_set_time(param, (time_t)at);
    X509_VERIFY_PARAM_set_flags(param, X509_V_FLAG_X509_STRICT);
    X509_verify_cert(context);
    int error = X509_STORE_CTX_get_error(context);
    X509_STORE_CTX_free(context);
    X509_STORE_free(store);
    sk_X509_free(rest);
    return error;
}

static void test_a_leaf_verifies_for_its_names_and_no_others(void **state)
{
    (void)state;
    struct authority a;
    struct tls_pair leaf;
    struct error err = { "" };
    int64_t now = (int64_t)time(NULL);
    authority_init(&a, now);
    assert_int_equal(tls_ca_make_leaf(&a.node, STR("*.home.example"), now, 90 * day, &leaf, &err), 0);
    assert_int_equal(verify(&a, &leaf, "grafana.home.example", now), X509_V_OK);
    assert_int_equal(verify(&a, &leaf, "home.example", now), X509_V_OK);
    assert_int_equal(verify(&a, &leaf, "a.b.home.example", now), X509_V_ERR_HOSTNAME_MISMATCH);
    assert_int_equal(verify(&a, &leaf, "grafana.other.example", now), X509_V_ERR_HOSTNAME_MISMATCH);
    assert_int_equal(verify(&a, &leaf, "grafana.home.example", now + 91 * day), X509_V_ERR_CERT_HAS_EXPIRED);
    assert_int_equal(verify(&a, &leaf, "grafana.home.example", now - 60), X509_V_OK); /* a slow clock */
    assert_int_equal(tls_pair_check(&leaf, STR("*.home.example"), now, &err), 0);
    tls_pair_deinit(&leaf);
    authority_deinit(&a);
}

static void test_a_stolen_node_key_speaks_for_no_other_domain(void **state)
{
    (void)state;
    struct authority a;
    struct tls_pair leaf;
    struct error err = { "" };
    int64_t now = (int64_t)time(NULL);
    authority_init(&a, now);
    assert_int_equal(tls_ca_make_leaf(&a.node, STR("bank.example"), now, 90 * day, &leaf, &err), 0);
    assert_int_equal(verify(&a, &leaf, "bank.example", now), X509_V_ERR_PERMITTED_VIOLATION);
    tls_pair_deinit(&leaf);
    assert_int_equal(tls_ca_make_leaf(&a.node, STR("evilhome.example"), now, 90 * day, &leaf, &err), 0);
    assert_int_equal(verify(&a, &leaf, "evilhome.example", now), X509_V_ERR_PERMITTED_VIOLATION);
    tls_pair_deinit(&leaf);
    authority_deinit(&a);
}

static void test_a_stolen_node_key_makes_no_further_authority(void **state)
{
    (void)state;
    struct authority a;
    struct tls_pair below, leaf;
    struct error err = { "" };
    int64_t now = (int64_t)time(NULL);
    authority_init(&a, now);
    assert_int_equal(tls_ca_make_intermediate(&a.node, STR("home.example"), now, 90 * day, &below, &err), 0);
    assert_int_equal(tls_ca_make_leaf(&below, STR("x.home.example"), now, day, &leaf, &err), 0);
    X509_up_ref(a.node.chain[0]);
    leaf.chain[leaf.n_chain++] = a.node.chain[0];
    assert_int_equal(verify(&a, &leaf, "x.home.example", now), X509_V_ERR_PATH_LENGTH_EXCEEDED);
    tls_pair_deinit(&leaf);
    tls_pair_deinit(&below);
    authority_deinit(&a);
}

static void test_nothing_outlives_its_issuer(void **state)
{
    (void)state;
    struct authority a;
    struct tls_pair leaf;
    struct error err = { "" };
    int64_t now = (int64_t)time(NULL);
    authority_init(&a, now);
    assert_int_equal(tls_ca_make_leaf(&a.node, STR("*.home.example"), now, 4000 * day, &leaf, &err), 0);
    assert_int_equal(tls_time(X509_get0_notAfter(leaf.chain[0])), tls_pair_not_after(&a.node));
    tls_pair_deinit(&leaf);
    authority_deinit(&a);
}

static void test_a_name_is_never_read_as_syntax(void **state)
{
    (void)state;
    struct authority a;
    struct tls_pair leaf;
    struct error err = { "" };
    static const char *const names[] = { "a.home.example,DNS:bank.example", "a.home.example,IP:10.0.0.1", "", "*.", "a home.example", "x\ny" };
    authority_init(&a, (int64_t)time(NULL));
    for (size_t i = 0; i < ARRAY_SIZE(names); i++)
        assert_int_equal(tls_ca_make_leaf(&a.node, str_of(names[i]), (int64_t)time(NULL), day, &leaf, &err), -EIO);
    assert_int_equal(tls_ca_make_root(STR("home.example,permitted;DNS:com"), 0, day, &leaf, &err), -EIO);
    authority_deinit(&a);
}

static void test_what_the_domain_covers(void **state)
{
    (void)state;
    assert_true(tls_ca_covers(STR("home.example"), STR("*.home.example")));
    assert_true(tls_ca_covers(STR("home.example"), STR("a.b.home.example")));
    assert_true(tls_ca_covers(STR("home.example"), STR("home.example")));
    assert_false(tls_ca_covers(STR("home.example"), STR("evilhome.example")));
    assert_false(tls_ca_covers(STR("home.example"), STR("example")));
    assert_false(tls_ca_covers(STR("home.example"), STR("shop.example")));
}

static void test_a_pair_survives_being_written_and_read(void **state)
{
    (void)state;
    struct authority a;
    struct tls_pair leaf, again;
    struct error err = { "" };
    struct buf text;
    buf_init(&text, TLS_PAIR_PEM_MAX);
    authority_init(&a, (int64_t)time(NULL));
    assert_int_equal(tls_ca_make_leaf(&a.node, STR("*.home.example"), (int64_t)time(NULL), day, &leaf, &err), 0);
    tls_pair_append_pem(&text, &leaf, true);
    assert_int_equal(text.error, 0);
    assert_int_equal(tls_pair_parse(buf_str(&text), buf_str(&text), &again, &err), 0);
    assert_int_equal(again.n_chain, 2);
    assert_true(tls_pair_identity(&again, STR("main")) == tls_pair_identity(&leaf, STR("main")));
    assert_true(tls_pair_identity(&again, STR("main")) != tls_pair_identity(&again, STR("agents")));
    tls_pair_deinit(&again);
    buf_clear(&text);
    tls_pair_append_pem(&text, &leaf, false);
    assert_null(memmem(text.ptr, text.len, "PRIVATE KEY", 11));
    tls_pair_deinit(&leaf);
    buf_deinit(&text);
    authority_deinit(&a);
}

static void test_files_that_are_wrong_are_refused_with_what_to_do(void **state)
{
    (void)state;
    EVP_PKEY *key = material_key("P-256"), *other = material_key("P-256"), *odd = EVP_EC_gen("secp521r1");
    X509 *leaf = material_certificate(key, "a.test", NULL, NULL);
    struct buf chain, key_text, other_text, odd_text;
    struct { struct buf *buf; EVP_PKEY *key; } writes[] = { { &key_text, key }, { &other_text, other }, { &odd_text, odd } };
    buf_init(&chain, 65536);
    material_append_pem(&chain, leaf);
    for (size_t i = 0; i < ARRAY_SIZE(writes); i++) {
        struct tls_pair bare = { .key = writes[i].key };
        buf_init(writes[i].buf, 65536);
        tls_pair_append_pem(writes[i].buf, &bare, true);
    }
    struct str encrypted = STR("-----BEGIN ENCRYPTED PRIVATE KEY-----\nMAA=\n-----END ENCRYPTED PRIVATE KEY-----\n");
    const struct {
        struct str chain, key;
        const char *says;
    } cases[] = {
        { buf_str(&chain), buf_str(&other_text), "doesn't belong" },
        { buf_str(&chain), buf_str(&odd_text), "can't be served" },
        { buf_str(&chain), encrypted, "without a password" },
        { buf_str(&chain), STR("nothing"), "expected a private key" },
        { STR("nothing"), buf_str(&key_text), "expected certificates" },
        { buf_str(&key_text), buf_str(&chain), "expected certificates" }, /* exchanged */
    };
    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        struct tls_pair pair;
        struct error err = { "" };
        assert_int_equal(tls_pair_parse(cases[i].chain, cases[i].key, &pair, &err), -EINVAL);
        if (!strstr(err.text, cases[i].says))
            fail_msg("case %zu: %s", i, err.text);
    }
    struct tls_pair pair;
    struct error err = { "" };
    assert_int_equal(tls_pair_parse(buf_str(&chain), buf_str(&key_text), &pair, &err), 0);
    assert_int_equal(tls_pair_check(&pair, STR("b.test"), (int64_t)time(NULL), &err), -EINVAL);
    assert_non_null(strstr(err.text, "does not cover b.test"));
    assert_int_equal(tls_pair_check(&pair, STR("a.test"), (int64_t)time(NULL) + 7200, &err), -EINVAL);
    assert_non_null(strstr(err.text, "expired on"));
    assert_int_equal(tls_pair_check(&pair, STR("a.test"), (int64_t)time(NULL) - 7200, &err), -EINVAL);
    assert_non_null(strstr(err.text, "not valid before"));
    tls_pair_deinit(&pair);
    buf_deinit(&chain);
    for (size_t i = 0; i < ARRAY_SIZE(writes); i++) {
        buf_deinit(writes[i].buf);
        EVP_PKEY_free(writes[i].key);
    }
    X509_free(leaf);
}

static void test_a_request_asks_for_wildcard_and_domain_and_carries_no_key(void **state)
{
    (void)state;
    struct tls_pair key, joined, leaf;
    struct authority a;
    struct buf text, chain;
    struct error err = { "" };
    buf_init(&text, 4096);
    assert_int_equal(tls_ca_make_request(STR("*.home.example"), &key, &text, &err), 0);
    assert_null(memmem(text.ptr, text.len, "PRIVATE", 7));
    BIO *bio = BIO_new_mem_buf(text.ptr, (int)text.len);
    X509_REQ *request = PEM_read_bio_X509_REQ(bio, NULL, NULL, NULL);
    assert_non_null(request);
    assert_int_equal(X509_REQ_verify(request, X509_REQ_get0_pubkey(request)), 1);
    STACK_OF(X509_EXTENSION) *extensions = X509_REQ_get_extensions(request);
    GENERAL_NAMES *names = X509V3_get_d2i(extensions, NID_subject_alt_name, NULL, NULL);
    assert_int_equal(sk_GENERAL_NAME_num(names), 2);
    GENERAL_NAMES_free(names);
    sk_X509_EXTENSION_pop_free(extensions, X509_EXTENSION_free);
    X509_REQ_free(request);
    BIO_free(bio);
    /* A certificate for another key is no answer to it. */
    authority_init(&a, (int64_t)time(NULL));
    assert_int_equal(tls_ca_make_leaf(&a.node, STR("*.home.example"), (int64_t)time(NULL), day, &leaf, &err), 0);
    buf_init(&chain, 65536);
    tls_pair_append_pem(&chain, &leaf, false);
    assert_int_equal(tls_pair_join(&key, buf_str(&chain), &joined, &err), -EINVAL);
    assert_non_null(key.key);
    buf_deinit(&chain);
    buf_deinit(&text);
    tls_pair_deinit(&leaf);
    tls_pair_deinit(&key);
    authority_deinit(&a);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_leaf_verifies_for_its_names_and_no_others),
        cmocka_unit_test(test_a_stolen_node_key_speaks_for_no_other_domain),
        cmocka_unit_test(test_a_stolen_node_key_makes_no_further_authority),
        cmocka_unit_test(test_nothing_outlives_its_issuer),
        cmocka_unit_test(test_a_name_is_never_read_as_syntax),
        cmocka_unit_test(test_what_the_domain_covers),
        cmocka_unit_test(test_a_pair_survives_being_written_and_read),
        cmocka_unit_test(test_files_that_are_wrong_are_refused_with_what_to_do),
        cmocka_unit_test(test_a_request_asks_for_wildcard_and_domain_and_carries_no_key),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
