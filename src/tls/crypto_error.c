/* OpenSSL's error queue as a message of ours. */
#include "tls/crypto_error.h"

#include <openssl/err.h>

void tls_error_set(struct error *err, const char *doing)
{
    unsigned long code = ERR_peek_error();
    const char *reason = code ? ERR_reason_error_string(code) : NULL;
    error_set(err, "%s: %s", doing, reason ? reason : "refused by OpenSSL");
    ERR_clear_error();
}
