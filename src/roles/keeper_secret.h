/* Texts that hold a private key: one allocation, so that nothing is left behind by growing, and wiped at the end of their scope. */
#pragma once

#include <openssl/crypto.h>

#include "base/buf.h"
#include "tls/pair.h"

enum { KEEPER_SECRET_MAX = TLS_PAIR_PEM_MAX + 8192 };

static inline void keeper_secret_init(struct buf *buf)
{
    buf_init(buf, KEEPER_SECRET_MAX);
    if (!buf_reserve(buf, KEEPER_SECRET_MAX)) /* the error sticks */
        return;
}

static inline void keeper_secret_deinit(struct buf *buf)
{
    if (buf->ptr)
        OPENSSL_cleanse(buf->ptr, buf->cap);
    buf_deinit(buf);
}
#define cleanup_secret cleanup(keeper_secret_deinit)
