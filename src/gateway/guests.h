/* Containers that ask: which container has which address now, by the engine's word as the parent passes it on. Bounded; a look-up costs a hash. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/address.h"
#include "base/macros.h"

enum { GUESTS_MAX = 4096 };

struct guest {
    struct address address;
    uint64_t container;          /* 0: empty slot */
};

struct guests {
    struct guest *slots;         /* n_slots: a power of two, or 0 */
    uint32_t n_slots, n;
};

void guests_deinit(struct guests *guests);
/* Whoever had the address before has it no longer. 0; -ENOMEM; -ENOSPC past GUESTS_MAX: then the address is nobody's. */
int guests_put(struct guests *guests, const struct address *address, uint64_t container) must_check;
/* Only if that container has it. Returns whether it had. */
bool guests_remove(struct guests *guests, const struct address *address, uint64_t container);
/* 0: the address is no container's. */
uint64_t guests_find(const struct guests *guests, const struct address *address);
