/* Reading this host's rules for what they keep off containers. */
#include "observe/guard.h"

#include <errno.h>
#include <jansson.h>

#include "observe/nftables.h"

enum { GUARD_MEMORY_MAX = 64 << 20 };
#define HELD_TABLE "postern_containers" /* render/containers.h */
#define HELD_SET   "held"

static bool is_text(const json_t *object, const char *key, const char *value)
{
    const char *text = json_string_value(json_object_get(object, key));
    return text && strcmp(text, value) == 0;
}

static bool is_same(const json_t *a, const json_t *b, const char *key)
{
    const char *x = json_string_value(json_object_get(a, key)), *y = json_string_value(json_object_get(b, key));
    return x && y && strcmp(x, y) == 0;
}

/* The addresses of published ports are translated by whoever asks here; rules that do it would only make their answer unknown. */
static bool is_of_translation(const json_t *list, const json_t *item)
{
    const json_t *chain = json_object_get(item, "chain"), *rule = json_object_get(item, "rule"), *other;
    size_t i;
    if (chain)
        return is_text(chain, "type", "nat");
    json_array_foreach(list, i, other) {
        const json_t *base = rule ? json_object_get(other, "chain") : NULL;
        if (base && is_text(base, "type", "nat") && is_same(base, rule, "family") && is_same(base, rule, "table") &&
            json_object_get(rule, "chain") && is_text(base, "name", json_string_value(json_object_get(rule, "chain"))))
            return true;
    }
    return false;
}

static char *without_translation(const json_t *root)
{
    const json_t *list = json_object_get(root, "nftables"), *item;
    json_t *kept = json_array(), *copy = json_object();
    size_t i;
    bool good = kept && copy;
    json_array_foreach(list, i, item) {
        if (good && !is_of_translation(list, item))
            good = json_array_append(kept, (json_t *)(uintptr_t)item) == 0;
    }
    good = good && json_object_set(copy, "nftables", kept) == 0;
    char *text = good ? json_dumps(copy, JSON_COMPACT) : NULL;
    json_decref(kept);
    json_decref(copy);
    return text;
}

static int held_read(const json_t *set, struct observe_guard *guard)
{
    const json_t *elements = json_object_get(set, "elem"), *one;
    struct str *items = arena_array(&guard->arena, json_array_size(elements) + 1, struct str);
    size_t i;
    if (!items)
        return -ENOMEM;
    json_array_foreach(elements, i, one) {
        const json_t *wrapped = json_object_get(one, "elem");
        const char *name = json_string_value(wrapped ? json_object_get(wrapped, "val") : one);
        if (!name)
            continue;
        items[guard->n_held] = arena_copy(&guard->arena, str_of(name));
        if (!items[guard->n_held++].ptr)
            return -ENOMEM;
    }
    guard->held = items;
    return 0;
}

static int list_read(const json_t *list, struct observe_guard *guard)
{
    const json_t *item;
    size_t i;
    json_array_foreach(list, i, item) {
        const json_t *chain = json_object_get(item, "chain"), *set = json_object_get(item, "set");
        if (chain && is_text(chain, "family", "ip") && is_text(chain, "table", "filter") && is_text(chain, "name", "FORWARD"))
            guard->forwards_all = is_text(chain, "policy", "accept");
        if (set && is_text(set, "family", "inet") && is_text(set, "table", HELD_TABLE) && is_text(set, "name", HELD_SET)) {
            int r = held_read(set, guard);
            if (r < 0)
                return r;
        }
    }
    return 0;
}

int observe_guard_read(struct str text, struct observe_guard *ret, struct error *err)
{
    struct observe_guard guard = { .is_known = true };
    json_error_t why;
    arena_init(&guard.arena, GUARD_MEMORY_MAX);
    json_t *root = json_loadb(text.ptr ? text.ptr : "", text.len, 0, &why);
    cleanup_free char *kept = root ? without_translation(root) : NULL;
    int r = !root ? -EINVAL : !kept ? -ENOMEM : 0;
    if (!root)
        error_set(err, "not the JSON of nft: line %d: %s", why.line, why.text);
    if (r == 0)
        r = list_read(json_object_get(root, "nftables"), &guard);
    if (r == 0)
        r = observe_nftables_read(str_of(kept), STR("nftables"), &guard.filter, err);
    json_decref(root);
    if (r < 0)
        arena_deinit(&guard.arena);
    else
        *ret = guard;
    return r;
}

void observe_guard_deinit(struct observe_guard *guard)
{
    if (guard->is_known) {
        packet_filter_deinit(&guard->filter);
        arena_deinit(&guard->arena);
    }
    *guard = (struct observe_guard){ 0 };
}

/* ---- asking ---- */

bool observe_guard_holds(const struct observe_guard *guard, struct str bridge)
{
    for (uint32_t i = 0; i < guard->n_held; i++)
        if (str_equal(guard->held[i], bridge))
            return true;
    return false;
}

/* Who may be behind the interface. */
static struct relation_range sources_of(const struct observe_interface *by)
{
    struct address_prefix subnet = { address_mask(&by->address, by->bits), by->bits };
    if (by->side == OBSERVE_LAN)
        return relation_range_of_prefix(&subnet);
    return address_is_v4(&by->address) ? relation_all_v4 : relation_all_v6;
}

static bool lets_any(const struct relation *relation, const struct relation_range *from, const struct address *to, uint8_t protocol, uint16_t port)
{
    for (uint32_t i = 0; i < relation_n_rules(relation); i++) {
        const struct relation_rule *rule = relation_rule(relation, i);
        struct relation_selector sources = relation_selector(relation, rule->source);
        if (protocol < rule->protocol_first || protocol > rule->protocol_last || port < rule->port_first || port > rule->port_last ||
            !relation_selector_contains(relation_selector(relation, rule->destination), to))
            continue;
        for (uint32_t k = 0; k < sources.n; k++)
            if (address_compare(&sources.items[k].first, &from->last) <= 0 && address_compare(&sources.items[k].last, &from->first) >= 0)
                return true;
    }
    return false;
}

bool observe_guard_stops(const struct observe_guard *guard, const struct observe_interface *by, const struct address *to, uint8_t protocol, uint16_t port)
{
    struct packet_arrival arrival = { .interface = by->name };
    struct relation_range destination = { *to, *to }, sources = sources_of(by);
    struct relation possible;
    if (!guard->is_known || (protocol != RELATION_TCP && protocol != RELATION_UDP) || address_is_v4(to) != address_is_v4(&by->address))
        return false;
    relation_init(&possible);
    int r = packet_filter_relation(&guard->filter, PACKET_THROUGH_HOST, &arrival, &destination, 1, &possible, &possible);
    bool stops = r == 0 && !lets_any(&possible, &sources, to, protocol, port);
    relation_deinit(&possible);
    return stops;
}

bool observe_guard_stops_to_host(const struct observe_guard *guard, struct str bridge, const struct address *from, const struct address *to, uint8_t protocol,
                                 uint16_t port)
{
    struct packet_arrival arrival = { .interface = bridge };
    return guard->is_known && packet_filter_decide(&guard->filter, PACKET_TO_HOST, &arrival, from, to, protocol, port, NULL) == PACKET_DENIED;
}
