/* The declaration's addresses, each with the one principal it is identified as. */
#include "policy/sources.h"

#include <errno.h>

#include "policy/nesting.h"

enum { RANK_SEGMENT, RANK_HOST };

static uint32_t collect(const struct model *model, struct nesting_range *ranges)
{
    uint32_t n = 0;
    for (uint32_t i = 0; i < model->n_hosts; i++)
        for (uint32_t k = 0; k < model->hosts[i].addresses.n; k++) {
            const struct address *a = &model->hosts[i].addresses.items[k].address;
            ranges[n++] = (struct nesting_range){ *a, *a, i, RANK_HOST };
        }
    for (uint32_t i = 0; i < model->n_segments; i++)
        for (uint32_t k = 0; k < model->segments[i].addresses.n; k++)
            ranges[n++] = nesting_range_of(&model->segments[i].addresses.items[k], i, RANK_SEGMENT);
    return n;
}

int sources_init(struct sources *ret, const struct model *model, struct arena *arena)
{
    size_t n_max = 0;
    for (uint32_t i = 0; i < model->n_hosts; i++)
        n_max += model->hosts[i].addresses.n;
    for (uint32_t i = 0; i < model->n_segments; i++)
        n_max += model->segments[i].addresses.n;
    struct nesting_range *ranges = arena_array(arena, n_max, struct nesting_range);
    struct nesting_range *cut = arena_array(arena, 2 * n_max + 2, struct nesting_range);
    struct sources sources = { .items = arena_array(arena, 2 * n_max + 2, struct source_range) };
    if (!ranges || !cut || !sources.items)
        return -ENOMEM;
    sources.n = nesting_cut(ranges, collect(model, ranges), cut);
    for (uint32_t i = 0; i < sources.n; i++) {
        bool is_host = cut[i].rank == RANK_HOST;
        sources.items[i] = (struct source_range){
            cut[i].first, cut[i].last, is_host ? cut[i].owner : MODEL_NONE, is_host ? model->hosts[cut[i].owner].segment : cut[i].owner,
        };
    }
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
