/* Cutting the address axis where some element begins or ends, and putting alike intervals together. */
#include "policy/packet_filter_classes.h"

#include <errno.h>
#include <netinet/in.h>

#include "base/table.h"

static struct str bytes_of(const void *what, size_t size)
{
    return str_make(what, size);
}

/* ---- what the arrival settles ---- */

bool packet_range_holds(const struct relation_range *range, const struct address *value)
{
    return address_compare(&range->first, value) <= 0 && address_compare(value, &range->last) <= 0;
}

static uint32_t number_of(const struct address *value)
{
    uint32_t number = 0;
    for (unsigned i = 0; i < 12; i++)
        if (value->bytes[i])
            return UINT32_MAX;
    for (unsigned i = 12; i < 16; i++)
        number = number << 8 | value->bytes[i];
    return number;
}

static bool is_within(const struct relation_range *range, uint32_t value)
{
    return number_of(&range->first) <= value && value <= number_of(&range->last);
}

/* Narrows the element by one field. False: it holds no packet of this arrival. */
static bool narrow(const struct packet_classes *pc, struct packet_live *live, uint8_t field, const struct relation_range *range)
{
    const struct relation_range name = packet_name(pc->arrival->interface, false);
    uint32_t first = number_of(&range->first), last = number_of(&range->last);
    switch (field) {
    case PACKET_SOURCE: live->source = *range; return true;
    case PACKET_DESTINATION: live->destination = *range; return true;
    case PACKET_PROTOCOL:
        live->is_tcp = live->is_tcp && is_within(range, IPPROTO_TCP);
        live->is_udp = live->is_udp && is_within(range, IPPROTO_UDP);
        return live->is_tcp || live->is_udp;
    case PACKET_PORT:
        live->first_port = first > live->first_port ? first : live->first_port;
        live->last_port = last < live->last_port ? last : live->last_port;
        return live->first_port <= live->last_port;
    case PACKET_INTERFACE: return packet_range_holds(range, &name.first);
    case PACKET_CT_STATE: return is_within(range, PACKET_CT_NEW);
    case PACKET_UID: return is_within(range, pc->arrival->uid);
    case PACKET_LOCAL: return is_within(range, pc->path == PACKET_TO_HOST);
    default: live->is_sure = false; return true;
    }
}

/* Whether some packet on this way has the field. Whether one on this hook has, the rule asks. */
bool packet_classes_has_field(const struct packet_classes *pc, uint8_t field)
{
    switch (field) {
    case PACKET_ICMP_TYPE: case PACKET_ICMPV6_TYPE: return false;
    case PACKET_INTERFACE: return pc->path != PACKET_FROM_HOST;
    case PACKET_OUT_INTERFACE: return pc->path != PACKET_TO_HOST;
    case PACKET_UID: return pc->path == PACKET_FROM_HOST;
    default: return true;
    }
}

static int find_lives(struct packet_classes *pc)
{
    uint32_t n_sets = packet_filter_n_sets(pc->filter);
    pc->shapes = arena_array(&pc->arena, n_sets ? n_sets : 1, struct packet_shape);
    if (!pc->shapes)
        return -ENOMEM;
    for (uint32_t i = 0; i < n_sets; i++) {
        const struct packet_set *set = packet_filter_set(pc->filter, i);
        struct packet_shape *shape = &pc->shapes[i];
        bool is_possible = true;
        shape->first = (uint32_t)(pc->lives_buf.len / sizeof(struct packet_live));
        for (unsigned f = 0; f < set->n_fields; f++) {
            shape->has[PACKET_SIDE_SOURCE] |= set->fields[f] == PACKET_SOURCE;
            shape->has[PACKET_SIDE_DESTINATION] |= set->fields[f] == PACKET_DESTINATION;
            is_possible = is_possible && packet_classes_has_field(pc, set->fields[f]);
        }
        for (uint32_t k = 0; is_possible && k < set->n_elements; k++) {
            const struct relation_range *values = packet_filter_values(pc->filter, set, k);
            struct packet_live live = { .set = i, .last_port = UINT16_MAX, .is_tcp = true, .is_udp = true, .is_sure = true,
                                 .reason = packet_filter_element_reason(pc->filter, set, k) };
            bool is_live = true;
            for (unsigned f = 0; is_live && f < set->n_fields; f++)
                is_live = narrow(pc, &live, set->fields[f], &values[f]);
            if (is_live)
                buf_append(&pc->lives_buf, bytes_of(&live, sizeof live));
        }
        shape->n = (uint32_t)(pc->lives_buf.len / sizeof(struct packet_live)) - shape->first;
    }
    pc->lives = (struct packet_live *)(void *)pc->lives_buf.ptr;
    return pc->lives_buf.error;
}

/* ---- classes of addresses ---- */

static int compare_addresses(const void *a, const void *b)
{
    return address_compare(a, b);
}

static void add_bounds(struct buf *starts, const struct relation_range *range)
{
    struct address after = range->last;
    buf_append(starts, bytes_of(&range->first, sizeof range->first));
    if (address_advance(&after))
        buf_append(starts, bytes_of(&after, sizeof after));
}

/* The first interval that begins at or past the address. */
static uint32_t interval_from(const struct packet_axis *axis, const struct address *address)
{
    uint32_t low = 0, high = axis->n;
    while (low < high) {
        uint32_t middle = low + (high - low) / 2;
        if (address_compare(&axis->starts[middle], address) < 0)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

static void interval_bounds(const struct packet_axis *axis, const struct relation_range *range, uint32_t *ret_first, uint32_t *ret_end)
{
    struct address after = range->last;
    *ret_first = interval_from(axis, &range->first);
    *ret_end = address_advance(&after) ? interval_from(axis, &after) : axis->n;
}

static int cut(struct packet_classes *pc, enum packet_side side, const struct relation_range *asked, uint32_t n_asked)
{
    struct packet_axis *axis = &pc->axes[side];
    cleanup_buf struct buf starts;
    buf_init(&starts, PACKET_CLASSES_MEMORY_MAX);
    for (uint32_t i = 0; i < n_asked; i++)
        add_bounds(&starts, &asked[i]);
    for (uint32_t s = 0; s < packet_filter_n_sets(pc->filter); s++)
        for (uint32_t k = 0; pc->shapes[s].has[side] && pc->shapes[s].is_used && k < pc->shapes[s].n; k++)
            add_bounds(&starts, packet_live_range(&pc->lives[pc->shapes[s].first + k], side));
    if (starts.error)
        return starts.error;
    struct address *all = (struct address *)(void *)starts.ptr;
    size_t n = starts.len / sizeof *all, n_kept = 0;
    qsort(all, n, sizeof *all, compare_addresses);
    axis->starts = arena_array(&pc->arena, n + 1, struct address);
    axis->is_asked = arena_array(&pc->arena, n + 1, bool);
    if (!axis->starts || !axis->is_asked)
        return -ENOMEM;
    for (size_t i = 0; i < n; i++)
        if (n_kept == 0 || !address_equal(&axis->starts[n_kept - 1], &all[i]))
            axis->starts[n_kept++] = all[i];
    axis->n = (uint32_t)n_kept;
    for (uint32_t i = 0; i < n_asked; i++) {
        uint32_t first, last;
        interval_bounds(axis, &asked[i], &first, &last);
        for (uint32_t k = first; k < last; k++)
            axis->is_asked[k] = true;
    }
    return 0;
}

/* Counts (members NULL) or puts down which elements hold each interval; at: n + 1 of them, where each interval's go. */
static int put_members(struct packet_classes *pc, enum packet_side side, uint32_t *at, uint32_t *members)
{
    struct packet_axis *axis = &pc->axes[side];
    uint64_t total = 0;
    for (uint32_t s = 0; s < packet_filter_n_sets(pc->filter); s++)
        for (uint32_t k = 0; pc->shapes[s].has[side] && pc->shapes[s].is_used && k < pc->shapes[s].n; k++) {
            uint32_t live = pc->shapes[s].first + k, first, end;
            interval_bounds(axis, packet_live_range(&pc->lives[live], side), &first, &end);
            if (first < end && (total += end - first) > PACKET_MEMBERS_MAX)
                return -E2BIG;
            for (uint32_t i = first; i < end; i++) {
                if (members)
                    members[at[i]] = live;
                at[i]++;
            }
        }
    return 0;
}

static int find_members(struct packet_classes *pc, enum packet_side side)
{
    struct packet_axis *axis = &pc->axes[side];
    uint32_t *at = arena_array(&pc->arena, axis->n + 1, uint32_t), total = 0;
    axis->first_member = arena_array(&pc->arena, axis->n + 1, uint32_t);
    int r = at && axis->first_member ? put_members(pc, side, at, NULL) : -ENOMEM;
    if (r < 0)
        return r;
    for (uint32_t i = 0; i < axis->n; i++) {
        axis->first_member[i] = total;
        total += at[i];
        at[i] = axis->first_member[i];
    }
    axis->first_member[axis->n] = total;
    axis->members = arena_array(&pc->arena, total + 1, uint32_t);
    return axis->members ? put_members(pc, side, at, axis->members) : -ENOMEM;
}

/* What is left of an element once this side is settled: elements that leave the same are told apart by nothing. */
struct tail {
    struct relation_range other;
    uint32_t set, first_port, last_port, reason;
    bool is_sure, is_tcp, is_udp, pad;
};

static int find_tails(struct packet_classes *pc, enum packet_side side, uint32_t *tails)
{
    cleanup_table struct table seen = { 0 };
    uint32_t n = 0;
    for (uint32_t s = 0; s < packet_filter_n_sets(pc->filter); s++)
        for (uint32_t k = 0; pc->shapes[s].has[side] && pc->shapes[s].is_used && k < pc->shapes[s].n; k++) {
            uint32_t live = pc->shapes[s].first + k;
            const struct packet_live *l = &pc->lives[live];
            struct tail tail = { .set = s, .first_port = l->first_port, .last_port = l->last_port, .reason = l->reason, .is_sure = l->is_sure,
                                 .is_tcp = l->is_tcp, .is_udp = l->is_udp };
            if (pc->shapes[s].has[!side])
                tail.other = *packet_live_range(l, !side);
            struct str key = arena_copy(&pc->arena, bytes_of(&tail, sizeof tail));
            int r = key.ptr ? table_add(&seen, key, n, &tails[live]) : -ENOMEM;
            if (r < 0)
                return r;
            if (r == 0)
                tails[live] = n++;
        }
    return 0;
}

static int compare_numbers(const void *a, const void *b)
{
    uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;
    return (x > y) - (x < y);
}

/* The class of one interval: by the tails of its members, and its family. */
static int classify(struct packet_classes *pc, struct packet_axis *axis, const uint32_t *tails, struct table *classes, uint32_t *last_of, uint32_t i)
{
    uint32_t n = axis->first_member[i + 1] - axis->first_member[i], found;
    uint32_t *signature = arena_array(&pc->arena, n + 1, uint32_t);
    if (!signature)
        return -ENOMEM;
    for (uint32_t k = 0; k < n; k++)
        signature[k] = tails[axis->members[axis->first_member[i] + k]];
    qsort(signature, n, sizeof *signature, compare_numbers);
    signature[n] = address_is_v4(&axis->starts[i]);
    int r = table_add(classes, bytes_of(signature, (n + 1) * sizeof *signature), axis->n_classes, &found);
    if (r < 0)
        return r;
    axis->class_of[i] = r == 0 ? axis->n_classes : found;
    axis->next[i] = PACKET_NONE;
    if (r == 0)
        axis->representatives[axis->n_classes++] = i;
    else
        axis->next[last_of[found]] = i;
    last_of[axis->class_of[i]] = i;
    return 0;
}

static int find_classes(struct packet_classes *pc, enum packet_side side)
{
    struct packet_axis *axis = &pc->axes[side];
    cleanup_table struct table classes = { 0 };
    size_t n_lives = pc->lives_buf.len / sizeof(struct packet_live);
    uint32_t *tails = arena_array(&pc->arena, n_lives + 1, uint32_t), *last_of = arena_array(&pc->arena, axis->n + 1, uint32_t);
    uint32_t **arrays[] = { &axis->class_of, &axis->next, &axis->representatives };
    for (size_t i = 0; i < ARRAY_SIZE(arrays); i++) {
        *arrays[i] = arena_array(&pc->arena, axis->n + 1, uint32_t);
        if (!*arrays[i])
            return -ENOMEM;
    }
    int r = tails && last_of ? find_tails(pc, side, tails) : -ENOMEM;
    for (uint32_t i = 0; r == 0 && i < axis->n; i++)
        if (axis->is_asked[i])
            r = classify(pc, axis, tails, &classes, last_of, i);
    return r;
}

/* ---- the way through the chains ---- */

static bool is_on_path(enum packet_path path, uint8_t hook)
{
    switch (path) {
    case PACKET_TO_HOST: return hook <= PACKET_HOOK_INPUT;
    case PACKET_THROUGH_HOST: return hook <= PACKET_HOOK_PREROUTING || hook == PACKET_HOOK_FORWARD || hook == PACKET_HOOK_POSTROUTING;
    default: return hook == PACKET_HOOK_OUTPUT || hook == PACKET_HOOK_POSTROUTING;
    }
}

/* In the order in which a packet meets them. */
static int find_base_chains(struct packet_classes *pc)
{
    uint32_t n_chains = packet_filter_n_chains(pc->filter);
    pc->base_chains = arena_array(&pc->arena, n_chains + 1, uint32_t);
    if (!pc->base_chains)
        return -ENOMEM;
    for (uint32_t i = 0; i < n_chains; i++) {
        const struct packet_chain *chain = packet_filter_chain(pc->filter, i);
        if (!chain->is_base || !is_on_path(pc->path, chain->hook))
            continue;
        uint32_t at = pc->n_base_chains++;
        for (; at > 0; at--) {
            const struct packet_chain *before = packet_filter_chain(pc->filter, pc->base_chains[at - 1]);
            if (before->hook < chain->hook || (before->hook == chain->hook && before->priority <= chain->priority))
                break;
            pc->base_chains[at] = pc->base_chains[at - 1];
        }
        pc->base_chains[at] = i;
    }
    return 0;
}

/* Sets that a chain on this way asks. */
static void find_used(struct packet_classes *pc, uint32_t index, bool *seen)
{
    const struct packet_chain *chain = packet_filter_chain(pc->filter, index);
    if (seen[index])
        return;
    seen[index] = true;
    for (uint32_t k = 0; k < chain->n_rules; k++) {
        const struct packet_rule *rule = packet_filter_rule_of(pc->filter, chain, k);
        for (uint32_t m = 0; m < rule->n_matches; m++)
            pc->shapes[packet_filter_match(pc->filter, rule->first_match + m)->set].is_used = true;
        if (rule->verdict == PACKET_JUMP || rule->verdict == PACKET_GOTO)
            find_used(pc, rule->target, seen);
    }
}

int packet_classes_init(struct packet_classes *ret, const struct packet_filter *filter, enum packet_path path, const struct packet_arrival *arrival,
                        const struct relation_range *to, uint32_t n_to)
{
    const struct relation_range all[] = { relation_all_v4, relation_all_v6 };
    *ret = (struct packet_classes){ .filter = filter, .path = path, .arrival = arrival };
    arena_init(&ret->arena, PACKET_CLASSES_MEMORY_MAX);
    buf_init(&ret->lives_buf, PACKET_CLASSES_MEMORY_MAX);
    int r = find_lives(ret);
    if (r == 0)
        r = find_base_chains(ret);
    bool *seen = r == 0 ? arena_array(&ret->arena, packet_filter_n_chains(filter) + 1, bool) : NULL;
    if (r < 0 || !seen)
        return r < 0 ? r : -ENOMEM;
    for (uint32_t i = 0; i < ret->n_base_chains; i++)
        find_used(ret, ret->base_chains[i], seen);
    for (unsigned side = 0; r == 0 && side < 2; side++) {
        bool is_any = side == PACKET_SIDE_SOURCE || n_to == 0;
        r = cut(ret, side, is_any ? all : to, is_any ? (uint32_t)ARRAY_SIZE(all) : n_to);
        if (r == 0)
            r = find_members(ret, side);
        if (r == 0)
            r = find_classes(ret, side);
    }
    return r == -ENOMEM && ret->arena.held > PACKET_CLASSES_MEMORY_MAX / 2 ? -E2BIG : r;
}

void packet_classes_deinit(struct packet_classes *classes)
{
    buf_deinit(&classes->lives_buf);
    arena_deinit(&classes->arena);
}
