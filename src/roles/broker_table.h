/* Which targets the broker may dial, and for whom: the dial blocks of the two newest generations. */
#pragma once

#include <stdint.h>

#include "base/error.h"
#include "base/macros.h"
#include "policy/image.h"

struct broker_generation {
    uint64_t generation;   /* 0: empty slot */
    struct image image;    /* mapped, owned */
};

struct broker_table {
    struct broker_generation held[2];
};

/* Takes an attached dial block (ownership on success only) in the place of the same generation, of an empty slot, or of the oldest.
 * 0, or -EINVAL with err: it is not of the generation that was announced; nothing is changed then. */
int broker_table_take(struct broker_table *table, struct image image, uint64_t generation, struct error *err) must_check;
void broker_table_deinit(struct broker_table *table);

/* The target that a channel of this surface asks for. The surface is the channel's own, known from the parent, never the asker's word.
 * 0; -ESTALE: the generation is not held; -EPERM: no such target, or not this surface's. *ret and *ret_image are set on success only,
 * and are good until the next broker_table_take. */
int broker_table_find(const struct broker_table *table, uint64_t generation, uint32_t target, uint32_t surface,
                      const struct image_target **ret, struct image *ret_image) must_check;
