/* The broker's two generations of dial blocks, and the one check every dial passes. */
#include "roles/broker_table.h"

#include <errno.h>

#include "roles/role.h"

static void generation_clear(struct broker_generation *held)
{
    role_detach_image(held->image);
    *held = (struct broker_generation){ 0 };
}

int broker_table_take(struct broker_table *table, struct image image, uint64_t generation, struct error *err)
{
    if (generation == 0 || image.header->generation != generation) {
        error_set(err, "the dial block is of generation %llu, announced as %llu", (unsigned long long)image.header->generation,
                  (unsigned long long)generation);
        return -EINVAL;
    }

    struct broker_generation *slot = &table->held[0];
    for (size_t i = 0; i < ARRAY_SIZE(table->held); i++) {
        if (table->held[i].generation == generation) {
            slot = &table->held[i];
            break;
        }
        if (table->held[i].generation < slot->generation)
            slot = &table->held[i];
    }
    generation_clear(slot);
    *slot = (struct broker_generation){ .generation = generation, .image = image };
    return 0;
}

void broker_table_deinit(struct broker_table *table)
{
    for (size_t i = 0; i < ARRAY_SIZE(table->held); i++)
        generation_clear(&table->held[i]);
}

int broker_table_find(const struct broker_table *table, uint64_t generation, uint32_t target, uint32_t surface,
                      const struct image_target **ret, struct image *ret_image)
{
    if (generation == 0)
        return -EPERM;
    for (size_t i = 0; i < ARRAY_SIZE(table->held); i++) {
        const struct broker_generation *held = &table->held[i];
        if (held->generation != generation)
            continue;
        if (target >= image_count(held->image, IMAGE_TARGETS) || surface >= IMAGE_VIEWS_MAX)
            return -EPERM;
        const struct image_target *found = image_target(held->image, target);
        if (surface == IMAGE_SURFACE_DIRECT ? !found->direct : !(found->surfaces >> surface & 1))
            return -EPERM;
        *ret = found;
        *ret_image = held->image;
        return 0;
    }
    return -ESTALE;
}
