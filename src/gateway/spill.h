/* Bytes that could not go on yet, owned by one connection; idle connections have none. */
#pragma once

#include <stddef.h>

#include "base/macros.h"
#include "base/str.h"

struct spill {
    size_t start, end, cap; /* the bytes are data[start..end) */
    char data[];
};

static inline size_t spill_len(const struct spill *spill)
{
    return spill ? spill->end - spill->start : 0;
}

/* The memory it takes, bytes or not. */
static inline size_t spill_size(const struct spill *spill)
{
    return spill ? spill->cap : 0;
}

static inline struct str spill_str(const struct spill *spill)
{
    return spill ? str_make(spill->data + spill->start, spill->end - spill->start) : STR_NONE;
}

/* Appends, growing up to max bytes in all. 0; -ENOMEM; -E2BIG past max. Unchanged on failure. */
int spill_append(struct spill **spill, struct str bytes, size_t max) must_check;
/* Room for at least n more bytes at data + end, up to max held in all. As spill_append. */
int spill_reserve(struct spill **spill, size_t n, size_t max) must_check;
/* Drops the first n bytes; frees it when none are left. */
void spill_consume(struct spill **spill, size_t n);
void spill_free(struct spill **spill);
