/* What a key may be used for: held to a second, dumber reading of the two RFCs. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/macros.h"
#include "tls/handshake_input.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* Compares with a template of the whole message: "?" stands for any byte. */
static bool fits(const uint8_t *input, size_t length, const char *prefix, size_t prefix_length, const uint8_t *mask, size_t wanted)
{
    if (length != wanted)
        return false;
    for (size_t i = 0; i < prefix_length; i++)
        if (mask[i] && input[i] != (uint8_t)prefix[i])
            return false;
    return true;
}

static bool expected(unsigned scheme, const uint8_t *input, size_t length)
{
    static const char verify[] = "                                                                TLS 1.3, server CertificateVerify";
    char exchange[69] = { 0 };
    uint8_t all[98], tail[69] = { 0 };
    memset(all, 1, sizeof all);
    memset(tail + 64, 1, 4);
    if (scheme >= TLS_SCHEME_COUNT)
        return false;
    if (scheme != TLS_SCHEME_RSA_PKCS1_SHA256 && (fits(input, length, verify, 98, all, 130) || fits(input, length, verify, 98, all, 146)))
        return true;
    memcpy(exchange + 64, "\x03\x00\x1d\x20", 4);
    if (fits(input, length, exchange, 68, tail, 100))
        return true;
    memcpy(exchange + 64, "\x03\x00\x17\x41\x04", 5);
    tail[68] = 1;
    return fits(input, length, exchange, 69, tail, 133);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const char *why = NULL;
    if (size < 1)
        return 0;
    bool valid = tls_handshake_input_is_valid((enum tls_scheme)data[0], data + 1, size - 1, &why);
    if (valid != expected(data[0], data + 1, size - 1) || (!valid && !why))
        abort();
    return 0;
}
