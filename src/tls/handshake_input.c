/* What a holder of TLS keys may be asked to sign. */
#include "tls/handshake_input.h"

#include <string.h>

enum {
    PADDING_SIZE = 64,
    RANDOMS_SIZE = 2 * 32,
    CURVE_TYPE_NAMED = 3,      /* RFC 8422 section 5.4, ECCurveType */
    CURVE_SECP256R1 = 23,
    CURVE_X25519 = 29,
    PARAMETERS_SIZE = 4,       /* type, curve, length of the point */
};

/* With its terminating zero, which is the separator. */
static const char context[] = "TLS 1.3, server CertificateVerify";

static bool begins_as_certificate_verify(const uint8_t *input, size_t length)
{
    for (size_t i = 0; i < PADDING_SIZE; i++)
        if (i >= length || input[i] != 0x20)
            return false;
    /* "TLS 1.3, " alone tells it from a ServerKeyExchange, whose 65th byte is a curve type. */
    return length > PADDING_SIZE && input[PADDING_SIZE] != CURVE_TYPE_NAMED;
}

static bool is_certificate_verify(enum tls_scheme scheme, const uint8_t *input, size_t length, const char **ret_why)
{
    size_t head = PADDING_SIZE + sizeof context;
    if (length < head || memcmp(input + PADDING_SIZE, context, sizeof context) != 0)
        *ret_why = "not the context of a server's CertificateVerify";
    else if (length - head != 32 && length - head != 48)
        *ret_why = "a transcript hash of the wrong length";
    else if (scheme == TLS_SCHEME_RSA_PKCS1_SHA256)
        *ret_why = "PKCS #1 v1.5 in TLS 1.3";
    else
        return true;
    return false;
}

static bool is_server_key_exchange(const uint8_t *input, size_t length, const char **ret_why)
{
    const uint8_t *parameters = input + RANDOMS_SIZE;
    if (length < RANDOMS_SIZE + PARAMETERS_SIZE || parameters[0] != CURVE_TYPE_NAMED) {
        *ret_why = "neither a CertificateVerify nor a ServerKeyExchange";
        return false;
    }
    unsigned curve = (unsigned)parameters[1] << 8 | parameters[2];
    size_t point = curve == CURVE_X25519 ? 32 : curve == CURVE_SECP256R1 ? 65 : 0;
    if (point == 0)
        *ret_why = "a curve that is not ours";
    else if (parameters[3] != point || length != RANDOMS_SIZE + PARAMETERS_SIZE + point)
        *ret_why = "a point of the wrong length";
    else if (curve == CURVE_SECP256R1 && parameters[PARAMETERS_SIZE] != 4)
        *ret_why = "a point that is not in uncompressed form";
    else
        return true;
    return false;
}

bool tls_handshake_input_is_valid(enum tls_scheme scheme, const uint8_t *input, size_t length, const char **ret_why)
{
    if ((unsigned)scheme >= TLS_SCHEME_COUNT) {
        *ret_why = "an unknown signature scheme";
        return false;
    }
    return begins_as_certificate_verify(input, length) ? is_certificate_verify(scheme, input, length, ret_why)
                                                       : is_server_key_exchange(input, length, ret_why);
}
