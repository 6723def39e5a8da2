/* Cutting nested prefixes: one sweep along the axis with a stack of the open ones. */
#include "policy/nesting.h"

#include <stdlib.h>

enum { DEPTH_MAX = 129 + 1 }; /* each prefix on the stack is longer than the one below it; a whole address may be there twice */

struct nesting_range nesting_range_of(const struct address_prefix *prefix, uint32_t owner, uint32_t rank)
{
    struct nesting_range range = { prefix->address, prefix->address, owner, rank };
    for (unsigned bit = prefix->bits; bit < 8 * sizeof range.last.bytes; bit++)
        range.last.bytes[bit / 8] |= (uint8_t)(0x80 >> bit % 8);
    return range;
}

/* Outer ranges before those inside them. */
static int compare_ranges(const void *a, const void *b)
{
    const struct nesting_range *x = a, *y = b;
    int order = address_compare(&x->first, &y->first);
    if (!order)
        order = address_compare(&y->last, &x->last);
    return order ? order : (x->rank > y->rank) - (x->rank < y->rank);
}

struct sweep {
    const struct nesting_range *stack[DEPTH_MAX]; /* the open ones, the innermost last */
    unsigned depth;
    struct address at;                            /* the first address that is not given to anybody yet */
    bool at_end;                                  /* nothing is left of the axis */
    struct nesting_range *out;
    uint32_t n;
};

/* To the innermost open one, but for IPv4 if that is of both families. */
static void put(struct sweep *s, struct address first, struct address last)
{
    const struct nesting_range *owner = s->stack[s->depth - 1];
    if (!address_is_v4(&first) || address_is_v4(&owner->first))
        s->out[s->n++] = (struct nesting_range){ first, last, owner->owner, owner->rank };
}

/* From where the sweep is up to last, in parts at the borders of the families. */
static void put_until(struct sweep *s, const struct address *last)
{
    static const struct address borders[2] = { { { [10] = 0xff, [11] = 0xff } }, { { [9] = 1 } } };
    if (s->at_end || address_compare(&s->at, last) > 0)
        return;
    struct address first = s->at;
    for (unsigned i = 0; i < ARRAY_SIZE(borders); i++)
        if (address_compare(&first, &borders[i]) < 0 && address_compare(last, &borders[i]) >= 0) {
            struct address before = borders[i];
            address_retreat(&before);
            put(s, first, before);
            first = borders[i];
        }
    put(s, first, *last);
    s->at = *last;
    s->at_end = !address_advance(&s->at);
}

/* NULL: all. */
static void close_before(struct sweep *s, const struct address *first)
{
    while (s->depth && (!first || address_compare(&s->stack[s->depth - 1]->last, first) < 0)) {
        put_until(s, &s->stack[s->depth - 1]->last);
        s->depth--;
    }
}

uint32_t nesting_cut(struct nesting_range *ranges, uint32_t n, struct nesting_range *ret)
{
    struct sweep s = { .out = ret };
    qsort(ranges, n, sizeof *ranges, compare_ranges);
    for (uint32_t i = 0; i < n; i++) {
        struct address before = ranges[i].first;
        close_before(&s, &ranges[i].first);
        if (s.depth && address_retreat(&before))
            put_until(&s, &before);
        s.at = ranges[i].first;
        s.at_end = false;
        if (s.depth < DEPTH_MAX)
            s.stack[s.depth++] = &ranges[i];
    }
    close_before(&s, NULL);
    return s.n;
}
