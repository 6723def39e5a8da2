/* A set of lists of numbers: open addressing over their hashes, decided by comparing them. */
#include <errno.h>

#include "policy/space.h"

enum { LISTS_SLOTS_MIN = 256, LISTS_MIN = 128, LISTS_ITEMS_MAX = 1 << 27 };

static uint32_t hash_list(const uint32_t *list, uint32_t n)
{
    uint64_t hash = n;
    for (uint32_t i = 0; i < n; i++) {
        hash = (hash ^ list[i]) * UINT64_C(0x9e3779b97f4a7c15);
        hash ^= hash >> 29;
    }
    return (uint32_t)(hash >> 3);
}

static int grow_slots(struct space_lists *lists)
{
    uint32_t n = lists->n_slots ? lists->n_slots * 2 : LISTS_SLOTS_MIN;
    uint32_t *slots = calloc(n, sizeof *slots);
    if (!slots)
        return -ENOMEM;
    for (uint32_t i = 0; i < lists->n; i++) {
        uint32_t at = hash_list(lists->items + lists->first[i], lists->first[i + 1] - lists->first[i]) & (n - 1);
        while (slots[at])
            at = (at + 1) & (n - 1);
        slots[at] = i + 1;
    }
    free(lists->slots);
    lists->slots = slots;
    lists->n_slots = n;
    return 0;
}

static int grow_array(uint32_t **array, uint32_t *max, uint64_t need)
{
    uint64_t n = *max ? *max : LISTS_MIN;
    while (n < need)
        n *= 2;
    if (n <= *max)
        return 0;
    if (need > LISTS_ITEMS_MAX)
        return -E2BIG;
    uint32_t *grown = realloc(*array, n * sizeof *grown);
    if (!grown)
        return -ENOMEM;
    *array = grown;
    *max = (uint32_t)n;
    return 0;
}

static int make_room(struct space_lists *lists, uint32_t n)
{
    int r = grow_array(&lists->items, &lists->max_items, (uint64_t)lists->n_items + n);
    if (r == 0)
        r = grow_array(&lists->first, &lists->max_lists, (uint64_t)lists->n + 2);
    if (r == 0 && 2 * (lists->n + 1) > lists->n_slots)
        r = grow_slots(lists);
    if (r == 0 && lists->n == 0)
        lists->first[0] = 0;
    return r;
}

int space_lists_add(struct space_lists *lists, const uint32_t *list, uint32_t n, uint32_t *ret)
{
    int r = make_room(lists, n);
    if (r < 0)
        return r;
    uint32_t at = hash_list(list, n) & (lists->n_slots - 1);
    for (; lists->slots[at]; at = (at + 1) & (lists->n_slots - 1)) {
        uint32_t i = lists->slots[at] - 1, first = lists->first[i];
        if (lists->first[i + 1] - first == n && (n == 0 || memcmp(lists->items + first, list, n * sizeof *list) == 0)) {
            *ret = i;
            return 0;
        }
    }
    if (n)
        memcpy(lists->items + lists->n_items, list, n * sizeof *list);
    lists->n_items += n;
    lists->slots[at] = lists->n + 1;
    *ret = lists->n++;
    lists->first[lists->n] = lists->n_items;
    return 0;
}

void space_lists_deinit(struct space_lists *lists)
{
    free(lists->items);
    free(lists->first);
    free(lists->slots);
    *lists = (struct space_lists){ 0 };
}
