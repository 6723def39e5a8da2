/* Handshakes with keys held elsewhere: kinds of key, versions, names, ALPN, tickets. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "material.h"
#include "tls/client.h"
#include "tls/context.h"

struct bed {
    struct material_signer signer;
    struct tls_provider *provider;
    struct tls_ticket_keys *tickets;
    EVP_PKEY *root_key;
    X509 *root;
    struct buf root_pem;
    struct buf chains;
    uint32_t n_chains;
};

static void bed_add(struct bed *bed, const char *kind, const char *sni, const char *name)
{
    EVP_PKEY *key = material_key(kind);
    X509 *leaf = material_certificate(key, name, bed->root, bed->root_key);
    struct buf pem;
    buf_init(&pem, 65536);
    material_append_pem(&pem, leaf);
    bed->signer.keys[bed->n_chains] = key;
    tls_chains_append(&bed->chains, &(struct tls_chain){ .certificate = bed->n_chains, .name = str_of(sni), .pem = buf_str(&pem) });
    bed->n_chains++;
    X509_free(leaf);
    buf_deinit(&pem);
}

static void bed_init(struct bed *bed)
{
    struct error err = { 0 };
    memset(bed, 0, sizeof *bed);
    buf_init(&bed->chains, 1 << 20);
    buf_init(&bed->root_pem, 65536);
    bed->root_key = material_key("P-256");
    bed->root = material_certificate(bed->root_key, "root.test", NULL, NULL);
    material_append_pem(&bed->root_pem, bed->root);
    assert_int_equal(tls_provider_new(material_sign, &bed->signer, &bed->provider, &err), 0);
    assert_int_equal(tls_ticket_keys_new(tls_provider_library(bed->provider), &bed->tickets), 0);
}

static void bed_deinit(struct bed *bed)
{
    for (size_t i = 0; i < bed->n_chains; i++)
        EVP_PKEY_free(bed->signer.keys[i]);
    EVP_PKEY_free(bed->root_key);
    X509_free(bed->root);
    buf_deinit(&bed->chains);
    buf_deinit(&bed->root_pem);
    tls_ticket_keys_free(bed->tickets);
    tls_provider_free(bed->provider);
}

static int bed_context_as(struct bed *bed, struct str surface, struct tls_context **ret, struct error *err)
{
    struct tls_chain chains[8];
    assert_int_equal(tls_chains_decode(bed->chains.ptr, bed->chains.len, bed->n_chains, chains), 0);
    return tls_context_new(bed->provider, bed->tickets, surface, chains, bed->n_chains, ret, err);
}

static struct tls_context *bed_context(struct bed *bed)
{
    struct tls_context *context = NULL;
    struct error err = { 0 };
    if (bed_context_as(bed, STR("main"), &context, &err) < 0)
        fail_msg("%s", err.text);
    return context;
}

/* One handshake with our own client, which verifies chain and name. The session it got, or NULL when it failed. */
struct outcome {
    bool done, resumed;
    enum tls_alpn alpn;
    SSL_SESSION *session;
    char subject[128];
};

static struct outcome visit(struct bed *bed, struct tls_context *context, const char *name, int version, SSL_SESSION *session, const char *alpn)
{
    struct outcome outcome = { 0 };
    struct tls_client *client = NULL;
    struct error err = { 0 };
    assert_int_equal(tls_client_new(NULL, buf_str(&bed->root_pem), STR_NONE, false, &client, &err), 0);
    SSL *near = tls_client_ssl(client, str_of(name)), *far = tls_context_ssl(context);
    assert_non_null(near);
    assert_non_null(far);
    SSL_set_min_proto_version(near, version);
    SSL_set_max_proto_version(near, version);
    if (alpn)
        SSL_set_alpn_protos(near, (const unsigned char *)alpn, (unsigned)strlen(alpn));
    if (session)
        SSL_set_session(near, session);
    outcome.done = material_handshake(far, near);
    if (outcome.done) {
        outcome.resumed = SSL_session_reused(near);
        outcome.alpn = tls_peer_alpn(far);
        outcome.session = SSL_get1_session(near);
        X509_NAME_get_text_by_NID(X509_get_subject_name(SSL_get0_peer_certificate(near)), NID_commonName, outcome.subject, sizeof outcome.subject);
    }
    SSL_shutdown(near);
    SSL_free(near);
    SSL_free(far);
    tls_client_free(client);
    return outcome;
}

static void handshake_of(const char *kind, int version, enum tls_scheme scheme)
{
    struct bed bed;
    bed_init(&bed);
    bed_add(&bed, kind, "", "*.home.test");
    struct tls_context *context = bed_context(&bed);
    struct outcome outcome = visit(&bed, context, "grafana.home.test", version, NULL, NULL);
    assert_true(outcome.done);
    assert_false(outcome.resumed);
    assert_int_equal(bed.signer.n_calls, 1);
    assert_int_equal(bed.signer.last_scheme, scheme);
    SSL_SESSION_free(outcome.session);
    tls_context_unref(context);
    bed_deinit(&bed);
}

static void test_p256_tls13(void **state) { (void)state; handshake_of("P-256", TLS1_3_VERSION, TLS_SCHEME_ECDSA_SHA256); }
static void test_p256_tls12(void **state) { (void)state; handshake_of("P-256", TLS1_2_VERSION, TLS_SCHEME_ECDSA_SHA256); }
static void test_p384_tls13(void **state) { (void)state; handshake_of("P-384", TLS1_3_VERSION, TLS_SCHEME_ECDSA_SHA384); }
static void test_p384_tls12(void **state) { (void)state; handshake_of("P-384", TLS1_2_VERSION, TLS_SCHEME_ECDSA_SHA256); }
static void test_rsa_tls13(void **state) { (void)state; handshake_of("RSA", TLS1_3_VERSION, TLS_SCHEME_RSA_PSS_SHA256); }
static void test_rsa_tls12(void **state) { (void)state; handshake_of("RSA", TLS1_2_VERSION, TLS_SCHEME_RSA_PSS_SHA256); }

static void test_what_is_signed_is_the_whole_handshake_message(void **state)
{
    (void)state;
    struct bed bed;
    bed_init(&bed);
    bed_add(&bed, "P-256", "", "*.home.test");
    struct tls_context *context = bed_context(&bed);
    SSL_SESSION_free(visit(&bed, context, "a.home.test", TLS1_3_VERSION, NULL, NULL).session);
    assert_int_equal(bed.signer.last_length, 64 + 33 + 1 + 32);
    assert_memory_equal(bed.signer.last_input + 64, "TLS 1.3, server CertificateVerify", 34);
    SSL_SESSION_free(visit(&bed, context, "a.home.test", TLS1_2_VERSION, NULL, NULL).session);
    assert_int_equal(bed.signer.last_length, 64 + 4 + 32);
    assert_memory_equal(bed.signer.last_input + 64, "\x03\x00\x1d\x20", 4); /* named_curve x25519 */
    tls_context_unref(context);
    bed_deinit(&bed);
}

static void test_a_refused_signature_fails_the_handshake(void **state)
{
    (void)state;
    struct bed bed;
    bed_init(&bed);
    bed_add(&bed, "P-256", "", "*.home.test");
    struct tls_context *context = bed_context(&bed);
    bed.signer.fail_with = -EPERM;
    assert_false(visit(&bed, context, "a.home.test", TLS1_3_VERSION, NULL, NULL).done);
    assert_false(visit(&bed, context, "a.home.test", TLS1_2_VERSION, NULL, NULL).done);
    tls_context_unref(context);
    bed_deinit(&bed);
}

static void test_names_choose_the_certificate(void **state)
{
    (void)state;
    struct bed bed;
    bed_init(&bed);
    bed_add(&bed, "P-256", "", "*.home.test");
    bed_add(&bed, "RSA", "shop.example", "shop.example");
    struct tls_context *context = bed_context(&bed);
    struct outcome own = visit(&bed, context, "SHOP.example", TLS1_3_VERSION, NULL, NULL);
    assert_true(own.done);
    assert_string_equal(own.subject, "shop.example");
    SSL_SESSION_free(own.session);
    struct outcome any = visit(&bed, context, "nosuch.home.test", TLS1_3_VERSION, NULL, NULL);
    assert_true(any.done);
    assert_string_equal(any.subject, "*.home.test");
    SSL_SESSION_free(any.session);
    /* not ours at all: the default is sent, and it is the client who refuses */
    assert_false(visit(&bed, context, "elsewhere.example", TLS1_3_VERSION, NULL, NULL).done);
    assert_int_equal(bed.signer.n_calls, 3);
    tls_context_unref(context);
    bed_deinit(&bed);
}

static void test_alpn_prefers_h2_and_refuses_what_is_not_http(void **state)
{
    (void)state;
    struct bed bed;
    bed_init(&bed);
    bed_add(&bed, "P-256", "", "*.home.test");
    struct tls_context *context = bed_context(&bed);
    struct outcome both = visit(&bed, context, "a.home.test", TLS1_3_VERSION, NULL, "\x08http/1.1\x02h2");
    assert_true(both.done);
    assert_int_equal(both.alpn, TLS_ALPN_HTTP2);
    SSL_SESSION_free(both.session);
    struct outcome old = visit(&bed, context, "a.home.test", TLS1_2_VERSION, NULL, "\x08http/1.1");
    assert_int_equal(old.alpn, TLS_ALPN_HTTP1);
    SSL_SESSION_free(old.session);
    assert_false(visit(&bed, context, "a.home.test", TLS1_3_VERSION, NULL, "\x03" "ftp").done);
    tls_context_unref(context);
    bed_deinit(&bed);
}

static void resume_with(int version)
{
    struct bed bed;
    bed_init(&bed);
    bed_add(&bed, "P-256", "", "*.home.test");
    bed_add(&bed, "P-256", "shop.example", "shop.example");
    struct tls_context *context = bed_context(&bed), *renewed = bed_context(&bed), *other = NULL;
    struct error err = { 0 };
    assert_int_equal(bed_context_as(&bed, STR("agents"), &other, &err), 0);

    struct outcome first = visit(&bed, context, "a.home.test", version, NULL, NULL);
    assert_true(first.done);
    struct outcome again = visit(&bed, renewed, "a.home.test", version, first.session, NULL);
    assert_true(again.done && again.resumed);
    assert_int_equal(bed.signer.n_calls, 1);
    struct outcome across = visit(&bed, other, "a.home.test", version, again.session, NULL);
    assert_true(!across.resumed); /* another surface: with the very same keys it is no session of its */
    struct outcome own = visit(&bed, context, "shop.example", version, NULL, NULL);
    struct outcome own_again = visit(&bed, context, "shop.example", version, own.session, NULL);
    assert_true(own_again.done && own_again.resumed);

    SSL_SESSION_free(first.session);
    SSL_SESSION_free(across.session);
    SSL_SESSION_free(own.session);
    SSL_SESSION_free(own_again.session);
    /* keys: the second still opens, one that is gone doesn't */
    struct tls_ticket_key keys[3];
    memset(keys, 1, sizeof keys);
    tls_ticket_keys_set(bed.tickets, keys, 1);
    struct outcome sealed = visit(&bed, context, "a.home.test", version, again.session, NULL);
    assert_true(sealed.done && !sealed.resumed);
    memset(&keys[0], 2, sizeof keys[0]);
    tls_ticket_keys_set(bed.tickets, keys, 2);
    struct outcome older = visit(&bed, context, "a.home.test", version, sealed.session, NULL);
    assert_true(older.done && older.resumed);
    SSL_SESSION_free(again.session);
    SSL_SESSION_free(sealed.session);
    SSL_SESSION_free(older.session);
    tls_context_unref(context);
    tls_context_unref(renewed);
    tls_context_unref(other);
    bed_deinit(&bed);
}

static void test_resumption_tls13(void **state) { (void)state; resume_with(TLS1_3_VERSION); }
static void test_resumption_tls12(void **state) { (void)state; resume_with(TLS1_2_VERSION); }

static void test_connections_keep_the_context_they_began_with(void **state)
{
    (void)state;
    struct bed bed;
    bed_init(&bed);
    bed_add(&bed, "P-256", "", "*.home.test");
    struct tls_context *context = bed_context(&bed);
    SSL *far = tls_context_ssl(context);
    tls_context_unref(context); /* renewed meanwhile */
    struct tls_client *client = NULL;
    struct error err = { 0 };
    assert_int_equal(tls_client_new(NULL, buf_str(&bed.root_pem), STR_NONE, false, &client, &err), 0);
    SSL *near = tls_client_ssl(client, STR("a.home.test"));
    assert_true(material_handshake(far, near));
    SSL_free(near);
    SSL_free(far);
    tls_client_free(client);
    bed_deinit(&bed);
}

static void test_old_versions_and_weak_ciphers_are_refused(void **state)
{
    (void)state;
    struct bed bed;
    bed_init(&bed);
    bed_add(&bed, "RSA", "", "*.home.test");
    struct tls_context *context = bed_context(&bed);
    static const struct {
        int version;
        const char *ciphers;
    } weak[] = { { TLS1_1_VERSION, "ALL:@SECLEVEL=0" }, { TLS1_2_VERSION, "AES128-GCM-SHA256" }, { TLS1_2_VERSION, "ECDHE-RSA-AES128-SHA256" },
                 { TLS1_2_VERSION, "DHE-RSA-AES128-GCM-SHA256" } };
    for (size_t i = 0; i < ARRAY_SIZE(weak); i++) {
        SSL_CTX *ctx = SSL_CTX_new(TLS_client_method());
        SSL_CTX_set_min_proto_version(ctx, weak[i].version);
        SSL_CTX_set_max_proto_version(ctx, weak[i].version);
        assert_int_equal(SSL_CTX_set_cipher_list(ctx, weak[i].ciphers), 1);
        SSL *near = SSL_new(ctx), *far = tls_context_ssl(context);
        SSL_set_connect_state(near);
        assert_false(material_handshake(far, near));
        SSL_free(near);
        SSL_free(far);
        SSL_CTX_free(ctx);
    }
    tls_context_unref(context);
    bed_deinit(&bed);
}

static void test_what_is_no_certificate_is_refused(void **state)
{
    (void)state;
    struct bed bed;
    bed_init(&bed);
    static const char *const texts[] = { "no certificate", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n" };
    for (size_t i = 0; i < ARRAY_SIZE(texts); i++) {
        struct tls_chain chain = { .pem = str_of(texts[i]) };
        struct tls_context *context = NULL;
        struct error err = { 0 };
        assert_int_equal(tls_context_new(bed.provider, bed.tickets, STR("main"), &chain, 1, &context, &err), -EBADMSG);
        assert_non_null(strstr(err.text, "default"));
    }
    bed_deinit(&bed);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_p256_tls13),
        cmocka_unit_test(test_p256_tls12),
        cmocka_unit_test(test_p384_tls13),
        cmocka_unit_test(test_p384_tls12),
        cmocka_unit_test(test_rsa_tls13),
        cmocka_unit_test(test_rsa_tls12),
        cmocka_unit_test(test_what_is_signed_is_the_whole_handshake_message),
        cmocka_unit_test(test_a_refused_signature_fails_the_handshake),
        cmocka_unit_test(test_names_choose_the_certificate),
        cmocka_unit_test(test_alpn_prefers_h2_and_refuses_what_is_not_http),
        cmocka_unit_test(test_resumption_tls13),
        cmocka_unit_test(test_resumption_tls12),
        cmocka_unit_test(test_connections_keep_the_context_they_began_with),
        cmocka_unit_test(test_old_versions_and_weak_ciphers_are_refused),
        cmocka_unit_test(test_what_is_no_certificate_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
