/* Open addressing with linear probing, at most half full. */
#include "base/table.h"

#include <errno.h>

void table_deinit(struct table *table)
{
    free(table->slots);
    *table = (struct table){ 0 };
}

static struct table_slot *slot_for(const struct table *table, struct str key)
{
    uint32_t at = (uint32_t)str_hash(key) & (table->n_slots - 1);
    while (table->slots[at].used && !str_equal(table->slots[at].key, key))
        at = (at + 1) & (table->n_slots - 1);
    return &table->slots[at];
}

static int table_grow(struct table *table)
{
    struct table grown = { .n_used = table->n_used, .n_slots = table->n_slots ? table->n_slots * 2 : 16 };
    grown.slots = calloc(grown.n_slots, sizeof *grown.slots);
    if (!grown.slots)
        return -ENOMEM;
    for (uint32_t i = 0; i < table->n_slots; i++)
        if (table->slots[i].used)
            *slot_for(&grown, table->slots[i].key) = table->slots[i];
    free(table->slots);
    *table = grown;
    return 0;
}

int table_add(struct table *table, struct str key, uint32_t value, uint32_t *ret_value)
{
    if ((table->n_used + 1) * 2 > table->n_slots) {
        int r = table_grow(table);
        if (r < 0)
            return r;
    }
    struct table_slot *slot = slot_for(table, key);
    if (slot->used) {
        if (ret_value)
            *ret_value = slot->value;
        return TABLE_E_EXISTS;
    }
    *slot = (struct table_slot){ .key = key, .value = value, .used = true };
    table->n_used++;
    return 0;
}

bool table_get(const struct table *table, struct str key, uint32_t *ret_value)
{
    if (table->n_slots == 0)
        return false;
    const struct table_slot *slot = slot_for(table, key);
    if (slot->used && ret_value)
        *ret_value = slot->value;
    return slot->used;
}
