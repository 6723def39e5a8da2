/* Instance groups: a small table by identity, with passive health. */
#include "gateway/back_pool.h"

#include <errno.h>

enum { DOWN_FIRST_MS = 500, DOWN_MAX_MS = 10000 };

struct back_groups {
    struct back_group **slots; /* open addressing by identity; NULL: empty */
    uint32_t n_slots, n_used;
};

int back_groups_init(struct gateway *gw)
{
    struct back_groups *groups = calloc(1, sizeof *groups);
    if (!groups)
        return -ENOMEM;
    groups->n_slots = 64;
    groups->slots = calloc(groups->n_slots, sizeof(struct back_group *));
    if (!groups->slots) {
        free(groups);
        return -ENOMEM;
    }
    gw->groups = groups;
    return 0;
}

static void close_idle(struct gateway *gw, struct back_group *group)
{
    back_h1_close_idle(gw, group);
    back_h2_close_idle(gw, group);
}

void back_groups_deinit(struct gateway *gw)
{
    struct back_groups *groups = TAKE(gw->groups);
    if (!groups)
        return;
    for (uint32_t i = 0; i < groups->n_slots; i++) {
        if (groups->slots[i])
            close_idle(gw, groups->slots[i]);
        free(groups->slots[i]);
    }
    free(groups->slots);
    free(groups);
}

static struct back_group **slot_for(struct back_groups *groups, uint64_t identity)
{
    uint32_t at = (uint32_t)(identity ^ (identity >> 32)) & (groups->n_slots - 1);
    while (groups->slots[at] && groups->slots[at]->identity != identity)
        at = (at + 1) & (groups->n_slots - 1);
    return &groups->slots[at];
}

static int groups_resize(struct back_groups *groups, uint32_t n_slots)
{
    struct back_groups resized = { .n_slots = n_slots, .slots = calloc(n_slots, sizeof(struct back_group *)) };
    if (!resized.slots)
        return -ENOMEM;
    for (uint32_t i = 0; i < groups->n_slots; i++) {
        if (groups->slots[i]) {
            *slot_for(&resized, groups->slots[i]->identity) = groups->slots[i];
            resized.n_used++;
        }
    }
    free(groups->slots);
    *groups = resized;
    return 0;
}

struct back_group *back_group_get(struct gateway *gw, uint64_t identity)
{
    struct back_groups *groups = gw->groups;
    struct back_group **slot = slot_for(groups, identity);
    if (*slot)
        return *slot;
    if ((groups->n_used + 1) * 2 > groups->n_slots) {
        if (groups_resize(groups, groups->n_slots * 2) < 0)
            return NULL;
        slot = slot_for(groups, identity);
    }
    *slot = calloc(1, sizeof **slot);
    if (!*slot)
        return NULL;
    (*slot)->identity = identity;
    groups->n_used++;
    return *slot;
}

void back_group_note_failure(struct gateway *gw, struct back_group *group)
{
    uint64_t pause = DOWN_FIRST_MS;
    for (uint32_t i = 0; i < group->n_failures && pause < DOWN_MAX_MS; i++)
        pause *= 2;
    group->n_failures++;
    group->down_until_ms = gw->loop.now_ms + (pause < DOWN_MAX_MS ? pause : DOWN_MAX_MS);
}

void back_group_note_success(struct back_group *group)
{
    group->n_failures = 0;
    group->down_until_ms = 0;
}

bool back_group_is_down(const struct gateway *gw, const struct back_group *group)
{
    return group->down_until_ms > gw->loop.now_ms;
}

/* Marks what the view still has, and closes and drops the rest. */
void back_groups_prune(struct gateway *gw)
{
    struct back_groups *groups = gw->groups;
    struct back_groups kept = { .n_slots = groups->n_slots, .slots = calloc(groups->n_slots, sizeof(struct back_group *)) };
    if (!kept.slots)
        return; /* idle timers close the connections; the groups wait for the next change */
    uint64_t generation = gw->view.header->generation;
    for (uint32_t i = 0; i < image_count(gw->view, IMAGE_INSTANCES); i++) {
        struct back_group *group = *slot_for(groups, image_instance(gw->view, i)->identity);
        if (group)
            group->generation = generation;
    }
    for (uint32_t i = 0; i < groups->n_slots; i++) {
        struct back_group *group = groups->slots[i];
        if (!group)
            continue;
        if (group->generation != generation)
            close_idle(gw, group);
        if (group->generation != generation && group->n_live == 0) {
            free(group);
            continue;
        }
        *slot_for(&kept, group->identity) = group;
        kept.n_used++;
    }
    free(groups->slots);
    *groups = kept;
}

int back_pack_request(struct exchange *x, const struct http_head *head, const struct image_principal *principal, bool has_body)
{
    return x->protocol == IMAGE_PROTOCOL_H2C ? back_h2_pack(x, head, principal, has_body) : back_h1_pack(x, head, principal, has_body);
}

void back_acquire(struct exchange *x)
{
    if (x->protocol == IMAGE_PROTOCOL_H2C)
        back_h2_acquire(x);
    else
        back_h1_acquire(x);
}
