/* Slow and plain, so that it shares nothing with what it is to measure. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <netinet/in.h>

#include "base/buf.h"
#include "same.h"

enum { TCP = IPPROTO_TCP, UDP = IPPROTO_UDP };

/* Where something may begin in one of the relations: between two such places nothing changes. */
struct grid {
    struct buf places[2]; /* struct address: sources, destinations */
    struct buf ports;     /* uint32_t */
};

static void grid_add(struct grid *grid, const struct relation *relation)
{
    for (uint32_t i = 0; i < relation_n_rules(relation); i++) {
        const struct relation_rule *rule = relation_rule(relation, i);
        for (unsigned side = 0; side < 2; side++) {
            struct relation_selector selector = relation_selector(relation, side ? rule->destination : rule->source);
            for (uint32_t k = 0; k < selector.n; k++) {
                struct address after = selector.items[k].last;
                for (unsigned b = 16; b-- > 0 && ++after.bytes[b] == 0;)
                    ;
                buf_append(&grid->places[side], str_make((const char *)&selector.items[k].first, sizeof after));
                buf_append(&grid->places[side], str_make((const char *)&after, sizeof after));
            }
        }
        uint32_t ports[] = { rule->port_first, rule->port_last + 1u };
        buf_append(&grid->ports, str_make((const char *)ports, sizeof ports));
    }
}

static int compare_bytes(const void *a, const void *b)
{
    return memcmp(a, b, sizeof(struct address));
}

static int compare_ports(const void *a, const void *b)
{
    return memcmp(a, b, sizeof(uint32_t));
}

static size_t unique(struct buf *list, size_t size, int (*compare)(const void *, const void *))
{
    size_t n = list->len / size, kept = 0;
    if (n)
        qsort(list->ptr, n, size, compare);
    for (size_t i = 0; i < n; i++)
        if (kept == 0 || memcmp(list->ptr + (kept - 1) * size, list->ptr + i * size, size) != 0)
            memmove(list->ptr + kept++ * size, list->ptr + i * size, size);
    return kept;
}

void same_assert(const struct relation *a, const struct relation *b, uint64_t seed)
{
    struct grid grid;
    for (unsigned side = 0; side < 2; side++)
        buf_init(&grid.places[side], 1 << 26);
    buf_init(&grid.ports, 1 << 26);
    grid_add(&grid, a);
    grid_add(&grid, b);
    size_t n_from = unique(&grid.places[0], sizeof(struct address), compare_bytes), n_to = unique(&grid.places[1], sizeof(struct address), compare_bytes),
           n_ports = unique(&grid.ports, sizeof(uint32_t), compare_ports);
    const struct address *from = (const void *)grid.places[0].ptr, *to = (const void *)grid.places[1].ptr;
    const uint32_t *ports = (const void *)grid.ports.ptr;
    for (size_t i = 0; i < n_from; i++)
        for (size_t k = 0; k < n_to; k++)
            for (size_t p = 0; p < n_ports && address_is_v4(&from[i]) == address_is_v4(&to[k]); p++)
                for (uint8_t protocol = TCP; ports[p] <= UINT16_MAX && protocol <= UDP; protocol = (uint8_t)(protocol + UDP - TCP)) {
                    bool x = relation_find_rule(a, &from[i], &to[k], protocol, (uint16_t)ports[p]) != UINT32_MAX;
                    bool y = relation_find_rule(b, &from[i], &to[k], protocol, (uint16_t)ports[p]) != UINT32_MAX;
                    if (x != y)
                        fail_msg("seed %llu: the second lets in %s than the first", (unsigned long long)seed, x ? "less" : "more");
                }
    for (unsigned side = 0; side < 2; side++)
        buf_deinit(&grid.places[side]);
    buf_deinit(&grid.ports);
}
