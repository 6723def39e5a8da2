/* Reads everything that an attached block lets its readers read, and looks up what is in it and what is not: for tests of image_attach. */
#pragma once

#include "policy/image.h"

enum { EXERCISE_MAX = 64 }; /* of each thing, so that a large block doesn't take long */

static inline uint32_t exercise_first(struct image image, enum image_section_id id)
{
    uint32_t n = image_count(image, id);
    return n < EXERCISE_MAX ? n : EXERCISE_MAX;
}

static inline uint64_t exercise_text(struct image image, struct image_text text)
{
    return str_hash(image_str(image, text));
}

static inline uint64_t exercise_surfaces(struct image image)
{
    uint64_t sum = 0;
    for (uint32_t i = 0; i < exercise_first(image, IMAGE_SURFACES); i++)
        sum += exercise_text(image, image_surface(image, i)->name) + exercise_text(image, image_surface(image, i)->domain);
    return sum;
}

static inline uint64_t exercise_found_name(struct image view, const struct image_name_slot *slot)
{
    if (!slot)
        return 0;
    const struct image_service *s = image_service(view, slot->service);
    uint64_t sum = exercise_text(view, s->name) + exercise_text(view, s->tls_name) + exercise_text(view, s->tls_pin);
    const char *ca = (const char *)image_section(view, IMAGE_BLOBS) + s->tls_ca_offset;
    sum += str_hash(str_make(ca, s->tls_ca_length));
    for (uint32_t i = 0; i < s->n_instances && i < EXERCISE_MAX; i++)
        sum += exercise_text(view, image_instance(view, s->first_instance + i)->name);
    return slot->instance == IMAGE_NONE ? sum : sum + image_instance(view, slot->instance)->identity;
}

static inline uint64_t exercise_view(struct image view)
{
    static const struct address strangers[] = { { { 0 } }, { { [10] = 0xff, [11] = 0xff, [12] = 192, [13] = 168 } }, { { 0x20, 0x01 } } };
    const struct image_address_slot *addresses = image_section(view, IMAGE_ADDRESSES);
    const struct image_prefix *prefixes = image_section(view, IMAGE_PREFIXES);
    const struct image_name_slot *names = image_section(view, IMAGE_NAMES);
    uint64_t sum = exercise_surfaces(view);
    uint32_t asking[2 * EXERCISE_MAX + 3], n_asking = 0;
    for (size_t i = 0; i < sizeof strangers / sizeof *strangers; i++)
        asking[n_asking++] = image_find_principal(view, &strangers[i]);
    for (uint32_t i = 0; i < exercise_first(view, IMAGE_ADDRESSES); i++)
        asking[n_asking++] = image_find_principal(view, &addresses[i].address);
    for (uint32_t i = 0; i < exercise_first(view, IMAGE_PREFIXES); i++)
        asking[n_asking++] = image_find_principal(view, &prefixes[i].prefix.address);
    sum += exercise_found_name(view, image_find_name(view, STR("no.such.name"))) + exercise_found_name(view, image_find_name(view, STR("")));
    for (uint32_t i = 0; i < exercise_first(view, IMAGE_NAMES); i++)
        sum += exercise_found_name(view, image_find_name(view, image_str(view, names[i].name)));
    for (uint32_t i = 0; i < n_asking; i++) {
        if (asking[i] != IMAGE_NONE)
            sum += exercise_text(view, image_principal(view, asking[i])->host) + exercise_text(view, image_principal(view, asking[i])->segment);
        for (uint32_t k = 0; k <= exercise_first(view, IMAGE_SERVICES); k++) {
            uint32_t rule = image_verdict(view, asking[i], k);
            sum += rule == IMAGE_NONE ? 1 : exercise_text(view, image_rule(view, rule)->place);
        }
    }
    return sum;
}

static inline uint64_t exercise_others(struct image image)
{
    uint64_t sum = exercise_surfaces(image);
    for (uint32_t i = 0; i < exercise_first(image, IMAGE_TARGETS); i++) {
        const struct image_target *t = image_target(image, i);
        sum += exercise_text(image, t->path) + exercise_text(image, t->name);
        for (uint32_t k = 0; k < t->n_addresses; k++)
            sum += address_hash(&t->addresses[k]);
    }
    for (uint32_t i = 0; i < exercise_first(image, IMAGE_LISTENERS); i++)
        sum += exercise_text(image, image_surface(image, image_listener(image, i)->surface)->name);
    for (uint32_t i = 0; i < exercise_first(image, IMAGE_SETTINGS); i++)
        sum += exercise_text(image, image_settings(image, i)->host) + exercise_text(image, image_settings(image, i)->log_file);
    for (uint32_t i = 0; i < exercise_first(image, IMAGE_CERTIFICATES); i++) {
        const struct image_certificate *c = image_certificate(image, i);
        sum += exercise_text(image, c->name) + exercise_text(image, c->certificate_file) + exercise_text(image, c->acme_ca_file) +
               image_surface(image, c->surface)->n_certificates;
    }
    for (uint32_t i = 0; i < exercise_first(image, IMAGE_CONTAINERS); i++)
        sum += exercise_text(image, image_container(image, i)->reference) + image_find_container(image, image_container(image, i)->number);
    for (uint32_t i = 0; i < exercise_first(image, IMAGE_ENGINE); i++)
        sum += exercise_text(image, image_engine(image, i)->socket);
    return sum;
}

/* Attaches a copy of exactly size bytes and, where that succeeds, reads all of it. Returns whether it attached. */
static inline bool exercise_block(const void *data, size_t size, enum image_kind kind)
{
    static volatile uint64_t kept;
    struct image image;
    void *copy = malloc(size ? size : 1); /* the allocator aligns to IMAGE_ALIGN; a sanitizer sees one byte too far */
    if (!copy)
        return false;
    if (size)
        memcpy(copy, data, size);
    bool attached = image_attach(copy, size, kind, &image, NULL) == 0;
    if (attached)
        kept = kept + (kind == IMAGE_VIEW ? exercise_view(image) : exercise_others(image)); /* so that no read is optimised away */
    free(copy);
    return attached;
}
