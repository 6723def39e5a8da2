/* Spilled bytes: one heap block, compacted before it grows. */
#include "gateway/spill.h"

#include <errno.h>

enum {
    SPILL_MIN = 1024 - sizeof(struct spill), /* as large as malloc keeps ready */
    SPILL_DOUBLES = 64 * 1024,               /* beyond, it grows by as much: few appends reach that far */
};

int spill_reserve(struct spill **spill, size_t n, size_t max)
{
    struct spill *s = *spill;
    size_t held = spill_len(s);
    if (n > max || held > max - n)
        return -E2BIG;
    if (s && s->cap - s->end >= n)
        return 0;
    if (s && s->start && s->cap - held >= n) {
        memmove(s->data, s->data + s->start, held);
        s->start = 0;
        s->end = held;
        return 0;
    }
    size_t cap = SPILL_MIN;
    while (cap < held + n && cap < SPILL_DOUBLES)
        cap *= 2;
    if (cap < held + n)
        cap = (held + n + SPILL_DOUBLES - 1) / SPILL_DOUBLES * SPILL_DOUBLES;
    struct spill *grown = malloc(sizeof *grown + cap);
    if (!grown)
        return -ENOMEM;
    grown->start = 0;
    grown->end = held;
    grown->cap = cap;
    if (held)
        memcpy(grown->data, s->data + s->start, held);
    free(s);
    *spill = grown;
    return 0;
}

int spill_append(struct spill **spill, struct str bytes, size_t max)
{
    if (bytes.len == 0)
        return 0;
    int r = spill_reserve(spill, bytes.len, max);
    if (r < 0)
        return r;
    memcpy((*spill)->data + (*spill)->end, bytes.ptr, bytes.len);
    (*spill)->end += bytes.len;
    return 0;
}

void spill_consume(struct spill **spill, size_t n)
{
    if (n >= spill_len(*spill)) {
        spill_free(spill);
        return;
    }
    (*spill)->start += n;
}

void spill_free(struct spill **spill)
{
    free(*spill);
    *spill = NULL;
}
