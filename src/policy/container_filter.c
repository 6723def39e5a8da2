/* The sets of a host's container tables, kept sorted, so that two states of them can be compared and the difference said. */
#include "policy/container_filter.h"

#include <errno.h>
#include <netinet/in.h>
#include <stdlib.h>

enum { ELEMENTS_BYTES_MAX = CONTAINER_ELEMENTS_MAX * (int)sizeof(struct container_element), COMMENTS_MAX = 64 << 20 };

enum { NAME = CONTAINER_KEY_NAME, AGAIN = CONTAINER_KEY_NAME_AGAIN, FROM = CONTAINER_KEY_FROM, TO = CONTAINER_KEY_TO,
       PREFIX = CONTAINER_KEY_PREFIX, PORT = CONTAINER_KEY_PORT };

const struct container_shape container_shapes[CONTAINER_N_SETS] = {
    [CONTAINER_BRIDGES] = { "bridges", NAME, .has_class = true },
    [CONTAINER_DOCKERS] = { "dockers", NAME },
    [CONTAINER_HELD] = { "held", NAME },
    [CONTAINER_ITSELF] = { "itself", NAME | AGAIN },
    [CONTAINER_SUBNETS4] = { "subnets4", NAME | PREFIX },
    [CONTAINER_SUBNETS6] = { "subnets6", NAME | PREFIX, .is_v6 = true },
    [CONTAINER_OPEN] = { "open", NAME },
    [CONTAINER_INSIDE4] = { "inside4", NAME | PREFIX },
    [CONTAINER_INSIDE6] = { "inside6", NAME | PREFIX, .is_v6 = true },
    [CONTAINER_GRANTED4] = { "granted4", NAME | FROM | TO | PORT },
    [CONTAINER_GRANTED6] = { "granted6", NAME | FROM | TO | PORT, .is_v6 = true },
    [CONTAINER_INTERNET4] = { "internet4", NAME | FROM },
    [CONTAINER_INTERNET6] = { "internet6", NAME | FROM, .is_v6 = true },
    [CONTAINER_NEAR4] = { "near4", PREFIX },
    [CONTAINER_NEAR6] = { "near6", PREFIX, .is_v6 = true },
    [CONTAINER_EXEMPT4] = { "exempt4", NAME | FROM },
    [CONTAINER_EXEMPT6] = { "exempt6", NAME | FROM, .is_v6 = true },
    [CONTAINER_PUBLISHED] = { "published", PORT },
    [CONTAINER_PORTS] = { "ports", NAME, .is_of_bridge = true, .has_class = true },
    [CONTAINER_JUDGED4] = { "judged4", PREFIX, .is_of_bridge = true },
    [CONTAINER_JUDGED6] = { "judged6", PREFIX, .is_v6 = true, .is_of_bridge = true },
    [CONTAINER_PAIRS4] = { "pairs4", FROM | TO, .is_of_bridge = true },
    [CONTAINER_PAIRS6] = { "pairs6", FROM | TO, .is_v6 = true, .is_of_bridge = true },
    [CONTAINER_PASSES4] = { "passes4", FROM | TO | PORT, .is_of_bridge = true },
    [CONTAINER_PASSES6] = { "passes6", FROM | TO | PORT, .is_v6 = true, .is_of_bridge = true },
    [CONTAINER_OWNED] = { "owned", NAME, .is_of_bridge = true },
    [CONTAINER_OWNER4] = { "owner4", NAME | FROM, .is_of_bridge = true },
    [CONTAINER_OWNER6] = { "owner6", NAME | FROM, .is_v6 = true, .is_of_bridge = true },
};

void container_filter_init(struct container_filter *filter)
{
    *filter = (struct container_filter){ .error = 0 };
    arena_init(&filter->arena, COMMENTS_MAX);
    for (unsigned i = 0; i < CONTAINER_N_SETS; i++)
        buf_init(&filter->sets[i], ELEMENTS_BYTES_MAX);
}

void container_filter_deinit(struct container_filter *filter)
{
    for (unsigned i = 0; i < CONTAINER_N_SETS; i++)
        buf_deinit(&filter->sets[i]);
    arena_deinit(&filter->arena);
}

bool container_is_interface(struct str name)
{
    for (size_t i = 0; i < name.len; i++) {
        char c = name.ptr[i];
        if (!((c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '.' || c == '-' || c == '_'))
            return false;
    }
    return name.len > 0 && name.len < CONTAINER_NAME_SIZE;
}

/* ---- filling ---- */

/* The set's other form where the element is of the other family. */
static enum container_set set_of_family(enum container_set set, const struct container_element *element)
{
    uint8_t key = container_shapes[set].key;
    if (key & FROM)
        return address_is_v4(&element->from) ? set : set + 1;
    if (key & (TO | PREFIX))
        return address_is_v4(&element->to) ? set : set + 1;
    return set;
}

void container_filter_add(struct container_filter *filter, enum container_set set, const struct container_element *element)
{
    enum container_set at = set_of_family(set, element);
    struct container_element copy = *element;
    if (filter->error)
        return;
    if (container_shapes[at].key & NAME && !container_is_interface(str_make(element->name, strnlen(element->name, CONTAINER_NAME_SIZE))))
        filter->error = -EINVAL;
    if (element->comment.len) {
        copy.comment = arena_copy(&filter->arena, element->comment);
        if (!copy.comment.ptr)
            filter->error = -ENOMEM;
    }
    buf_append(&filter->sets[at], str_make((const char *)&copy, sizeof copy));
    if (!filter->error)
        filter->error = filter->sets[at].error;
}

int container_element_compare(const struct container_element *x, const struct container_element *y)
{
    int r = memcmp(x->name, y->name, sizeof x->name);
    if (!r)
        r = address_compare(&x->from, &y->from);
    if (!r)
        r = address_compare(&x->to, &y->to);
    if (!r)
        r = (int)x->to_bits - (int)y->to_bits;
    if (!r)
        r = (int)x->protocol - (int)y->protocol;
    return r ? r : (int)x->port - (int)y->port;
}

static int element_compare(const void *a, const void *b)
{
    return container_element_compare(a, b);
}

/* Each key once (the first that was added, as sorting is stable only by chance: equal keys of one set are equal, but for their comments and
 * class, of which the higher one counts), and no prefix inside another: intervals of a set may not overlap. */
static void set_seal(struct buf *set, uint8_t key)
{
    struct container_element *items = (struct container_element *)(void *)set->ptr;
    size_t n = set->len / sizeof *items, kept = 0;
    if (n)
        qsort(items, n, sizeof *items, element_compare);
    for (size_t i = 0; i < n; i++) {
        struct container_element *last = kept ? &items[kept - 1] : NULL;
        const struct address_prefix around = last ? (struct address_prefix){ last->to, last->to_bits } : (struct address_prefix){ 0 };
        bool is_inside = last && key & PREFIX && memcmp(last->name, items[i].name, sizeof last->name) == 0 &&
                         items[i].to_bits >= around.bits && address_prefix_contains(&around, &items[i].to);
        if (last && element_compare(last, &items[i]) == 0) {
            last->class = last->class > items[i].class ? last->class : items[i].class;
            last->comment = last->comment.len && str_compare(last->comment, items[i].comment) <= 0 ? last->comment : items[i].comment;
        } else if (!is_inside) {
            items[kept++] = items[i];
        }
    }
    set->len = kept * sizeof *items;
}

int container_filter_seal(struct container_filter *filter)
{
    for (unsigned i = 0; i < CONTAINER_N_SETS && !filter->error; i++)
        set_seal(&filter->sets[i], container_shapes[i].key);
    return filter->error;
}

/* ---- asking ---- */

static bool has(const struct container_filter *filter, enum container_set set, const struct container_element *element)
{
    const struct buf *items = &filter->sets[set_of_family(set, element)];
    return items->len && bsearch(element, items->ptr, items->len / sizeof *element, sizeof *element, element_compare);
}

static bool is_within(const struct container_filter *filter, enum container_set set, const char *name, const struct address *address)
{
    enum container_set at = address_is_v4(address) ? set : set + 1;
    for (uint32_t i = 0; i < container_filter_count(filter, at); i++) {
        const struct container_element *element = container_filter_at(filter, at, i);
        const struct address_prefix prefix = { element->to, element->to_bits };
        if (strncmp(element->name, name, CONTAINER_NAME_SIZE) == 0 && address_prefix_contains(&prefix, address))
            return true;
    }
    return false;
}

/* 2000::/3 is all of IPv6 that is routed on the internet. */
static bool may_be_internet(const struct address *address)
{
    return address_is_v4(address) || address->bytes[0] >> 5 == 1;
}

bool container_filter_is_internet(const struct container_filter *filter, const struct address *address)
{
    return may_be_internet(address) && !is_within(filter, CONTAINER_NEAR4, "", address);
}

bool container_filter_passes(const struct container_filter *filter, const char *bridge, const struct address *from, const struct address *to,
                             uint8_t protocol, uint16_t port, bool is_local)
{
    struct container_element source = { .from = *from }, flow = { .from = *from, .to = *to, .protocol = protocol, .port = port };
    str_copy(source.name, sizeof source.name, str_of(bridge));
    str_copy(flow.name, sizeof flow.name, str_of(bridge));
    if (has(filter, CONTAINER_EXEMPT4, &source) || has(filter, CONTAINER_GRANTED4, &flow))
        return true;
    if (is_local)
        return false;
    return is_within(filter, CONTAINER_INSIDE4, bridge, to) ||
           (has(filter, CONTAINER_INTERNET4, &source) && container_filter_is_internet(filter, to));
}

const char *container_filter_bridge_of(const struct container_filter *filter, const struct address *address)
{
    enum container_set set = address_is_v4(address) ? CONTAINER_SUBNETS4 : CONTAINER_SUBNETS6;
    for (uint32_t i = 0; i < container_filter_count(filter, set); i++) {
        const struct container_element *element = container_filter_at(filter, set, i);
        const struct address_prefix prefix = { element->to, element->to_bits };
        if (address_prefix_contains(&prefix, address))
            return element->name;
    }
    return NULL;
}
