/* A key that session tickets are sealed with, as keeper and workers share it. */
#pragma once

#include <stdint.h>

enum { TLS_TICKET_KEYS_MAX = 3, TLS_TICKET_LIFETIME_S = 12 * 3600 };

struct tls_ticket_key {
    uint8_t name[16], aes[32], hmac[32];
};
