/* What a key is never used for: each input is named after what signing it would let a hijacked worker do. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdlib.h>
#include <string.h>

#include "base/macros.h"
#include "tls/handshake_input.h"

enum { SIZE = 512 };

struct input {
    uint8_t bytes[SIZE];
    size_t length;
};

static struct input certificate_verify(const char *context, size_t hash)
{
    struct input in = { .length = 64 + strlen(context) + 1 + hash };
    memset(in.bytes, 0x20, 64);
    memcpy(in.bytes + 64, context, strlen(context) + 1);
    memset(in.bytes + 64 + strlen(context) + 1, 0xab, hash);
    return in;
}

static struct input key_exchange(uint8_t type, unsigned curve, uint8_t told, size_t point, uint8_t first)
{
    struct input in = { .length = 64 + 4 + point };
    memset(in.bytes, 0x77, 64);
    in.bytes[64] = type;
    in.bytes[65] = (uint8_t)(curve >> 8);
    in.bytes[66] = (uint8_t)curve;
    in.bytes[67] = told;
    memset(in.bytes + 68, 0xcd, point);
    in.bytes[68] = first;
    return in;
}

#define SERVER "TLS 1.3, server CertificateVerify"

/* The exact length on the heap, so that a sanitizer sees a byte read past the end. */
static bool accepts(enum tls_scheme scheme, const struct input *in)
{
    const char *why = NULL;
    uint8_t *exact = malloc(in->length ? in->length : 1);
    memcpy(exact, in->bytes, in->length);
    bool valid = tls_handshake_input_is_valid(scheme, exact, in->length, &why);
    free(exact);
    assert_true(valid || why);
    return valid;
}

#define ACCEPTED(scheme, ...) do { struct input in = __VA_ARGS__; assert_true(accepts(scheme, &in)); } while (0)
#define REFUSED(scheme, ...) do { struct input in = __VA_ARGS__; assert_false(accepts(scheme, &in)); } while (0)

static void test_handshakes_are_signed(void **state)
{
    (void)state;
    ACCEPTED(TLS_SCHEME_ECDSA_SHA256, certificate_verify(SERVER, 32));
    ACCEPTED(TLS_SCHEME_ECDSA_SHA384, certificate_verify(SERVER, 48));
    ACCEPTED(TLS_SCHEME_RSA_PSS_SHA256, certificate_verify(SERVER, 32));
    ACCEPTED(TLS_SCHEME_ECDSA_SHA256, key_exchange(3, 29, 32, 32, 0xcd));
    ACCEPTED(TLS_SCHEME_RSA_PKCS1_SHA256, key_exchange(3, 23, 65, 65, 4));
}

static void test_impersonating_a_client(void **state)
{
    (void)state;
    REFUSED(TLS_SCHEME_ECDSA_SHA256, certificate_verify("TLS 1.3, client CertificateVerify", 32));
}

static void test_signing_an_exported_authenticator_or_delegated_credential(void **state)
{
    (void)state;
    REFUSED(TLS_SCHEME_ECDSA_SHA256, certificate_verify("Exported Authenticator", 32));
    REFUSED(TLS_SCHEME_ECDSA_SHA256, certificate_verify("TLS, server delegated credentials", 200));
}

static void test_signing_an_arbitrary_digest(void **state)
{
    (void)state;
    for (size_t length = 0; length <= 64; length++) {
        struct input in = { .length = length };
        memset(in.bytes, 0x5a, length);
        assert_false(accepts(TLS_SCHEME_ECDSA_SHA256, &in));
        memset(in.bytes, 0x20, length);
        assert_false(accepts(TLS_SCHEME_ECDSA_SHA256, &in));
    }
}

static void test_signing_what_continues_a_handshake(void **state)
{
    (void)state;
    for (size_t hash = 0; hash < 100; hash++) {
        struct input in = certificate_verify(SERVER, hash);
        assert_int_equal(accepts(TLS_SCHEME_ECDSA_SHA256, &in), hash == 32 || hash == 48);
    }
}

static void test_truncated_at_every_byte(void **state)
{
    (void)state;
    struct input whole[] = { certificate_verify(SERVER, 32), key_exchange(3, 29, 32, 32, 1), key_exchange(3, 23, 65, 65, 4) };
    for (size_t i = 0; i < ARRAY_SIZE(whole); i++)
        for (size_t n = whole[i].length; n-- > 0;) {
            whole[i].length = n;
            assert_false(accepts(TLS_SCHEME_ECDSA_SHA256, &whole[i]));
        }
}

static void test_every_wrong_byte_of_the_context(void **state)
{
    (void)state;
    for (size_t at = 0; at < 64 + sizeof SERVER; at++) {
        struct input in = certificate_verify(SERVER, 32);
        in.bytes[at] ^= 1;
        assert_false(accepts(TLS_SCHEME_ECDSA_SHA256, &in));
    }
}

static void test_signing_a_certificate(void **state)
{
    (void)state;
    /* A to-be-signed certificate begins SEQUENCE, length, [0] version; here as long as each handshake that would pass. */
    static const size_t lengths[] = { 130, 146, 100, 133, 400 };
    for (size_t i = 0; i < ARRAY_SIZE(lengths); i++) {
        struct input in = { .length = lengths[i] };
        memset(in.bytes, 0x41, lengths[i]);
        memcpy(in.bytes, "\x30\x82\x01\x00\xa0\x03\x02\x01\x02", 9);
        assert_false(accepts(TLS_SCHEME_ECDSA_SHA256, &in));
    }
}

static void test_signing_an_ssh_session_or_a_token(void **state)
{
    (void)state;
    struct input ssh = { .length = 100 }, jws = { .length = 133 };
    memcpy(ssh.bytes, "\x00\x00\x00\x20", 4);
    memcpy(ssh.bytes + 36, "\x32\x00\x00\x00\x04root\x00\x00\x00\x0essh-connection", 27);
    memcpy(jws.bytes, "eyJhbGciOiJFUzI1NiIsInR5cCI6IkpXVCJ9.", 37);
    assert_false(accepts(TLS_SCHEME_ECDSA_SHA256, &ssh));
    assert_false(accepts(TLS_SCHEME_ECDSA_SHA256, &jws));
}

static void test_curves_and_groups_that_are_not_ours(void **state)
{
    (void)state;
    REFUSED(TLS_SCHEME_ECDSA_SHA256, key_exchange(1, 23, 65, 65, 4));  /* explicit_prime: parameters of the attacker's choice */
    REFUSED(TLS_SCHEME_ECDSA_SHA256, key_exchange(2, 23, 65, 65, 4));
    REFUSED(TLS_SCHEME_ECDSA_SHA256, key_exchange(3, 24, 97, 97, 4));
    REFUSED(TLS_SCHEME_ECDSA_SHA256, key_exchange(3, 30, 56, 56, 1));
    REFUSED(TLS_SCHEME_ECDSA_SHA256, key_exchange(3, 0x1d1d, 32, 32, 1));
    /* a finite-field ServerDHParams: length 256 where a curve type would be */
    REFUSED(TLS_SCHEME_RSA_PKCS1_SHA256, key_exchange(1, 0x00ff, 0xff, 255, 1));
}

static void test_points_of_another_length_or_form(void **state)
{
    (void)state;
    REFUSED(TLS_SCHEME_ECDSA_SHA256, key_exchange(3, 29, 32, 33, 1));
    REFUSED(TLS_SCHEME_ECDSA_SHA256, key_exchange(3, 29, 31, 31, 1));
    REFUSED(TLS_SCHEME_ECDSA_SHA256, key_exchange(3, 23, 33, 33, 2));  /* compressed */
    REFUSED(TLS_SCHEME_ECDSA_SHA256, key_exchange(3, 23, 65, 65, 6));  /* hybrid */
    REFUSED(TLS_SCHEME_ECDSA_SHA256, key_exchange(3, 23, 65, 66, 4));  /* one byte more */
}

static void test_schemes_that_do_not_belong(void **state)
{
    (void)state;
    REFUSED(TLS_SCHEME_RSA_PKCS1_SHA256, certificate_verify(SERVER, 32));
    REFUSED((enum tls_scheme)TLS_SCHEME_COUNT, certificate_verify(SERVER, 32));
    REFUSED((enum tls_scheme)-1, certificate_verify(SERVER, 32));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_handshakes_are_signed),
        cmocka_unit_test(test_impersonating_a_client),
        cmocka_unit_test(test_signing_an_exported_authenticator_or_delegated_credential),
        cmocka_unit_test(test_signing_an_arbitrary_digest),
        cmocka_unit_test(test_signing_what_continues_a_handshake),
        cmocka_unit_test(test_truncated_at_every_byte),
        cmocka_unit_test(test_every_wrong_byte_of_the_context),
        cmocka_unit_test(test_signing_a_certificate),
        cmocka_unit_test(test_signing_an_ssh_session_or_a_token),
        cmocka_unit_test(test_curves_and_groups_that_are_not_ours),
        cmocka_unit_test(test_points_of_another_length_or_form),
        cmocka_unit_test(test_schemes_that_do_not_belong),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
