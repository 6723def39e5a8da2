/* A hash table from strings to numbers, for building and checking; keys are borrowed and must outlive it. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/macros.h"
#include "base/str.h"

struct table_slot {
    struct str key;
    uint32_t value;
    bool used;
};

struct table {
    struct table_slot *slots;
    uint32_t n_used, n_slots; /* n_slots: a power of two, or 0 */
};

void table_deinit(struct table *table);
#define cleanup_table cleanup(table_deinit)

/* 0: added. TABLE_E_EXISTS: the key is there, *ret_value (may be NULL) is what it holds, nothing changed. -ENOMEM. */
enum { TABLE_E_EXISTS = 1 };
int table_add(struct table *table, struct str key, uint32_t value, uint32_t *ret_value) must_check;
bool table_get(const struct table *table, struct str key, uint32_t *ret_value) must_check;
