/* Cutting the address axis: prefixes nest or are disjoint, so one sweep with a stack of the open ones leaves each address to the innermost. */
#include "policy/sources.h"

#include <errno.h>

enum { DEPTH_MAX = 129 + 1 }; /* each prefix on the stack is longer than the one below it; a host may double a whole-address prefix */

static struct address last_of(const struct address_prefix *prefix)
{
    struct address last = prefix->address;
    for (unsigned i = 0; i < 16; i++) {
        unsigned fixed = prefix->bits > i * 8 ? prefix->bits - i * 8 : 0;
        if (fixed < 8)
            last.bytes[i] |= (uint8_t)(0xffu >> fixed);
    }
    return last;
}

/* Outer prefixes before what they hold; a host after a segment of the same extent, so that it is the inner one. */
static int compare_ranges(const void *a, const void *b)
{
    const struct source_range *x = a, *y = b;
    int order = address_compare(&x->first, &y->first);
    if (order)
        return order;
    order = address_compare(&y->last, &x->last);
    if (order)
        return order;
    return (y->host == MODEL_NONE) - (x->host == MODEL_NONE);
}

struct sweep {
    struct sources *out;
    struct source_range stack[DEPTH_MAX];
    unsigned depth;
    struct address at; /* the first address not yet given to anybody */
    bool at_end;       /* nothing is left of the axis */
};

static void emit(struct sweep *s, const struct source_range *owner, const struct address *last)
{
    if (s->at_end || address_compare(&s->at, last) > 0)
        return;
    s->out->items[s->out->n++] = (struct source_range){ s->at, *last, owner->host, owner->segment };
    s->at = *last;
    s->at_end = !address_advance(&s->at);
}

static void close_before(struct sweep *s, const struct address *first)
{
    while (s->depth && (!first || address_compare(&s->stack[s->depth - 1].last, first) < 0)) {
        emit(s, &s->stack[s->depth - 1], &s->stack[s->depth - 1].last);
        s->depth--;
    }
}

static void open_range(struct sweep *s, const struct source_range *range)
{
    close_before(s, &range->first);
    struct address before = range->first;
    if (s->depth && address_retreat(&before))
        emit(s, &s->stack[s->depth - 1], &before);
    s->at = range->first;
    s->at_end = false;
    if (s->depth < DEPTH_MAX)
        s->stack[s->depth++] = *range;
}

static uint32_t collect(const struct model *model, struct source_range *ranges)
{
    uint32_t n = 0;
    for (uint32_t i = 0; i < model->n_hosts; i++)
        for (uint32_t k = 0; k < model->hosts[i].addresses.n; k++) {
            const struct address *a = &model->hosts[i].addresses.items[k].address;
            ranges[n++] = (struct source_range){ *a, *a, i, model->hosts[i].segment };
        }
    for (uint32_t i = 0; i < model->n_segments; i++)
        for (uint32_t k = 0; k < model->segments[i].addresses.n; k++) {
            const struct address_prefix *p = &model->segments[i].addresses.items[k];
            ranges[n++] = (struct source_range){ p->address, last_of(p), MODEL_NONE, i };
        }
    return n;
}

/* A prefix of IPv6 that covers the IPv4-mapped addresses is cut at their borders: no rule speaks of both families. */
static void split_families(struct sources *sources)
{
    static const struct address borders[2] = {
        { { [10] = 0xff, [11] = 0xff } },
        { { [9] = 1 } },
    };
    for (unsigned b = 0; b < 2; b++)
        for (uint32_t i = 0; i < sources->n; i++) {
            struct source_range *r = &sources->items[i];
            if (address_compare(&r->first, &borders[b]) >= 0 || address_compare(&r->last, &borders[b]) < 0)
                continue;
            memmove(r + 2, r + 1, (sources->n - i - 1) * sizeof *r);
            r[1] = r[0];
            r[1].first = r[0].last = borders[b];
            address_retreat(&r[0].last);
            sources->n++;
            break;
        }
}

int sources_init(struct sources *ret, const struct model *model, struct arena *arena)
{
    size_t n_max = 0;
    for (uint32_t i = 0; i < model->n_hosts; i++)
        n_max += model->hosts[i].addresses.n;
    for (uint32_t i = 0; i < model->n_segments; i++)
        n_max += model->segments[i].addresses.n;
    struct source_range *ranges = arena_array(arena, n_max, struct source_range);
    struct sources sources = { .items = arena_array(arena, 2 * n_max + 3, struct source_range) };
    struct sweep sweep = { .out = &sources };
    if (!ranges || !sources.items)
        return -ENOMEM;
    uint32_t n = collect(model, ranges);
    qsort(ranges, n, sizeof *ranges, compare_ranges);
    for (uint32_t i = 0; i < n; i++)
        open_range(&sweep, &ranges[i]);
    close_before(&sweep, NULL);
    split_families(&sources);
    *ret = sources;
    return 0;
}

const struct source_range *sources_find(const struct sources *sources, const struct address *address)
{
    uint32_t first = 0, end = sources->n;
    while (first < end) {
        uint32_t middle = first + (end - first) / 2;
        if (address_compare(&sources->items[middle].last, address) < 0)
            first = middle + 1;
        else
            end = middle;
    }
    const struct source_range *found = &sources->items[first];
    return first < sources->n && address_compare(&found->first, address) <= 0 ? found : NULL;
}
