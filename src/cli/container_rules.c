/* The chains of both tables, walked in their order. */
#include "cli/container_rules.h"

#include <stdlib.h>

/* ---- sets ---- */

static enum container_set of_family(enum container_set set, const struct address *address)
{
    return address_is_v4(address) ? set : set + 1;
}

static struct container_element key_of(const char *name)
{
    struct container_element key = { .to_bits = 0 };
    str_copy(key.name, sizeof key.name, str_of(name));
    return key;
}

/* The first element that isn't before the key. */
static uint32_t first_at_least(const struct container_filter *filter, enum container_set set, const struct container_element *key)
{
    uint32_t first = 0, end = container_filter_count(filter, set);
    while (first < end) {
        uint32_t middle = first + (end - first) / 2;
        if (container_element_compare(container_filter_at(filter, set, middle), key) < 0)
            first = middle + 1;
        else
            end = middle;
    }
    return first;
}

static const struct container_element *find(const struct container_filter *filter, enum container_set set, const struct container_element *key)
{
    uint32_t i = first_at_least(filter, set, key);
    const struct container_element *found = i < container_filter_count(filter, set) ? container_filter_at(filter, set, i) : NULL;
    return found && container_element_compare(found, key) == 0 ? found : NULL;
}

/* Prefixes of a set don't overlap: only the last one that doesn't begin past the address can hold it. */
static bool is_within(const struct container_filter *filter, enum container_set set, const char *name, const struct address *address)
{
    struct container_element key = key_of(name);
    key.to = *address;
    key.to_bits = UINT8_MAX;
    uint32_t i = first_at_least(filter, of_family(set, address), &key);
    if (i == 0)
        return false;
    const struct container_element *element = container_filter_at(filter, of_family(set, address), i - 1);
    const struct address_prefix prefix = { element->to, element->to_bits };
    return strncmp(element->name, key.name, CONTAINER_NAME_SIZE) == 0 && address_prefix_contains(&prefix, address);
}

static bool has_name(const struct container_filter *filter, enum container_set set, const char *name)
{
    const struct container_element key = key_of(name);
    return find(filter, set, &key) != NULL;
}

static const struct container_element *find_flow(const struct container_filter *filter, enum container_set set, const char *bridge,
                                                 const struct container_packet *p)
{
    struct container_element key = key_of(bridge);
    key.from = *p->from;
    key.to = *p->to;
    key.protocol = p->protocol;
    key.port = p->number;
    return find(filter, of_family(set, p->from), &key);
}

static const struct container_element *find_source(const struct container_filter *filter, enum container_set set, const char *bridge,
                                                   const struct address *from)
{
    struct container_element key = key_of(bridge);
    key.from = *from;
    return find(filter, of_family(set, from), &key);
}

/* ---- table inet ---- */

static bool is_global_v6(const struct address *address)
{
    return address->bytes[0] >> 5 == 1;
}

/* Chain judge. */
static bool is_judged_well(const struct container_filter *f, const struct container_packet *p, const struct container_element **entry)
{
    *entry = find_flow(f, CONTAINER_GRANTED4, p->bridge, p);
    if (*entry)
        return true;
    if (p->is_local)
        return false;
    if (is_within(f, CONTAINER_INSIDE4, p->bridge, p->to))
        return true;
    *entry = find_source(f, CONTAINER_INTERNET4, p->bridge, p->from);
    return *entry && (address_is_v4(p->to) || is_global_v6(p->to)) && !is_within(f, CONTAINER_NEAR4, "", p->to);
}

/* Chains that begin with map bridges: what is held passes when it is exempt or judged well. */
static bool passes_arriving(const struct container_filter *f, const struct container_packet *p, const struct container_element **entry)
{
    const struct container_element key = key_of(p->bridge), *bridge = find(f, CONTAINER_BRIDGES, &key);
    if (!bridge || bridge->class != CONTAINER_ENFORCED || find_source(f, CONTAINER_EXEMPT4, p->bridge, p->from))
        return true;
    return is_judged_well(f, p, entry);
}

/* Chain forward, to a bridge that is held. */
static bool passes_forward(const struct container_filter *f, const struct container_packet *p, const struct container_element **entry)
{
    if (!p->to_bridge || strcmp(p->bridge, p->to_bridge) == 0 || !has_name(f, CONTAINER_DOCKERS, p->bridge) || !has_name(f, CONTAINER_HELD, p->to_bridge))
        return true;
    if (find_source(f, CONTAINER_EXEMPT4, p->to_bridge, p->to))
        return true;
    *entry = find_flow(f, CONTAINER_GRANTED4, p->bridge, p);
    return *entry != NULL;
}

/* ---- table bridge ---- */

static bool passes_bridge(const struct container_filter *f, const struct container_packet *p, const struct container_element **entry)
{
    const struct container_element key = key_of(p->port), *port = find(f, CONTAINER_PORTS, &key);
    struct container_element pair = { .from = *p->from, .to = *p->to };
    bool is_held = port ? port->class == CONTAINER_ENFORCED : is_within(f, CONTAINER_JUDGED4, "", p->to);
    if (!is_held || find(f, of_family(CONTAINER_PAIRS4, p->from), &pair))
        return true;
    *entry = find_flow(f, CONTAINER_PASSES4, "", p);
    return *entry != NULL;
}

bool container_rules_pass(const struct container_filter *filter, const struct container_packet *packet, bool has_br_netfilter,
                          const struct container_element **ret_entry)
{
    const struct container_element *entry = NULL;
    bool stays = packet->to_bridge && strcmp(packet->bridge, packet->to_bridge) == 0;
    bool passes = stays ? passes_bridge(filter, packet, &entry) && (!has_br_netfilter || passes_arriving(filter, packet, &entry)) :
                          passes_arriving(filter, packet, &entry) && passes_forward(filter, packet, &entry);
    if (ret_entry)
        *ret_entry = entry;
    return passes;
}

const struct container_element *container_rules_grants(const struct container_filter *filter, enum container_set set, const char *bridge,
                                                       const struct address *from, const struct address *to, uint32_t *ret_n)
{
    struct container_element key = key_of(bridge);
    key.from = *from;
    key.to = *to;
    enum container_set at = of_family(set, from);
    uint32_t first = first_at_least(filter, at, &key), end = first;
    for (; end < container_filter_count(filter, at); end++) {
        const struct container_element *element = container_filter_at(filter, at, end);
        if (strncmp(element->name, key.name, CONTAINER_NAME_SIZE) != 0 || !address_equal(&element->from, from) || !address_equal(&element->to, to))
            break;
    }
    *ret_n = end - first;
    return *ret_n ? container_filter_at(filter, at, first) : NULL;
}
