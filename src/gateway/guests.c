/* A hash table by address, open addressing; removing moves what follows back, so that nothing is left of a guest that went. */
#include "gateway/guests.h"

#include <errno.h>
#include <stdlib.h>

enum { SLOTS_FIRST = 16 };

void guests_deinit(struct guests *guests)
{
    free(guests->slots);
    *guests = (struct guests){ 0 };
}

static uint32_t slot_of(const struct guests *guests, const struct address *address)
{
    uint32_t at = (uint32_t)address_hash(address) & (guests->n_slots - 1);
    while (guests->slots[at].container && !address_equal(&guests->slots[at].address, address))
        at = (at + 1) & (guests->n_slots - 1);
    return at;
}

static int grow(struct guests *guests)
{
    struct guests larger = { .n_slots = guests->n_slots ? 2 * guests->n_slots : SLOTS_FIRST, .n = guests->n };
    larger.slots = calloc(larger.n_slots, sizeof *larger.slots);
    if (!larger.slots)
        return -ENOMEM;
    for (uint32_t i = 0; i < guests->n_slots; i++)
        if (guests->slots[i].container)
            larger.slots[slot_of(&larger, &guests->slots[i].address)] = guests->slots[i];
    free(guests->slots);
    *guests = larger;
    return 0;
}

uint64_t guests_find(const struct guests *guests, const struct address *address)
{
    return guests->n ? guests->slots[slot_of(guests, address)].container : 0;
}

int guests_put(struct guests *guests, const struct address *address, uint64_t container)
{
    if (2 * (guests->n + 1) > guests->n_slots) {
        int r = grow(guests);
        if (r)
            return r;
    }
    struct guest *slot = &guests->slots[slot_of(guests, address)];
    if (!slot->container && guests->n == GUESTS_MAX)
        return -ENOSPC;
    guests->n += !slot->container;
    *slot = (struct guest){ *address, container };
    return 0;
}

bool guests_remove(struct guests *guests, const struct address *address, uint64_t container)
{
    if (!container || guests_find(guests, address) != container)
        return false;
    uint32_t mask = guests->n_slots - 1, hole = slot_of(guests, address);
    for (uint32_t at = (hole + 1) & mask; guests->slots[at].container; at = (at + 1) & mask) {
        uint32_t home = (uint32_t)address_hash(&guests->slots[at].address) & mask;
        if (((at - home) & mask) >= ((at - hole) & mask)) { /* its way leads over the hole */
            guests->slots[hole] = guests->slots[at];
            hole = at;
        }
    }
    guests->slots[hole] = (struct guest){ 0 };
    guests->n--;
    return true;
}
