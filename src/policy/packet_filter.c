/* Building a packet filter: lists that refer to each other by number; sealing puts each chain's rules together and refuses circles. */
#include "policy/packet_filter.h"

#include <errno.h>
#include <stdio.h>

struct element {
    uint32_t reason;
};

enum { NAME_MAX_BYTES = 15, REASON_TEXT_MAX = 400 };

/* ---- lists ---- */

static uint32_t count(const struct buf *list, size_t size)
{
    return (uint32_t)(list->len / size);
}

static void *item(const struct buf *list, uint32_t index, size_t size)
{
    return list->ptr + index * size;
}

/* The new item's number; the error sticks to the filter. */
static uint32_t add(struct packet_filter *filter, struct buf *list, const void *what, size_t size)
{
    uint32_t index = count(list, size);
    buf_append(list, str_make(what, size));
    if (list->error && !filter->error)
        filter->error = list->error;
    return list->error ? PACKET_NONE : index;
}

static struct str copy(struct packet_filter *filter, struct str text)
{
    struct str kept = text.len ? arena_copy(&filter->arena, text) : STR_NONE;
    if (text.len && !kept.ptr && !filter->error)
        filter->error = filter->arena.max && filter->arena.held >= filter->arena.max / 2 ? -E2BIG : -ENOMEM;
    return kept.ptr ? kept : STR_NONE;
}

int packet_filter_init(struct packet_filter *filter, struct str name)
{
    struct buf *const lists[] = { &filter->tables, &filter->chains, &filter->sets, &filter->elements, &filter->values,
                                  &filter->matches, &filter->rules, &filter->order, &filter->reasons };
    *filter = (struct packet_filter){ 0 };
    arena_init(&filter->arena, PACKET_FILTER_BYTES_MAX);
    for (size_t i = 0; i < ARRAY_SIZE(lists); i++)
        buf_init(lists[i], PACKET_FILTER_BYTES_MAX);
    filter->name = copy(filter, name);
    return filter->error;
}

void packet_filter_deinit(struct packet_filter *filter)
{
    struct buf *const lists[] = { &filter->tables, &filter->chains, &filter->sets, &filter->elements, &filter->values,
                                  &filter->matches, &filter->rules, &filter->order, &filter->reasons };
    for (size_t i = 0; i < ARRAY_SIZE(lists); i++)
        buf_deinit(lists[i]);
    arena_deinit(&filter->arena);
}

uint32_t packet_filter_n_tables(const struct packet_filter *filter) { return count(&filter->tables, sizeof(struct packet_table)); }
uint32_t packet_filter_n_chains(const struct packet_filter *filter) { return count(&filter->chains, sizeof(struct packet_chain)); }
uint32_t packet_filter_n_sets(const struct packet_filter *filter) { return count(&filter->sets, sizeof(struct packet_set)); }
uint32_t packet_filter_n_rules(const struct packet_filter *filter) { return count(&filter->rules, sizeof(struct packet_rule)); }

struct packet_table *packet_filter_table(const struct packet_filter *filter, uint32_t index)
{
    return item(&filter->tables, index, sizeof(struct packet_table));
}

struct packet_chain *packet_filter_chain(const struct packet_filter *filter, uint32_t index)
{
    return item(&filter->chains, index, sizeof(struct packet_chain));
}

struct packet_set *packet_filter_set(const struct packet_filter *filter, uint32_t index)
{
    return item(&filter->sets, index, sizeof(struct packet_set));
}

struct packet_rule *packet_filter_rule(const struct packet_filter *filter, uint32_t index)
{
    return item(&filter->rules, index, sizeof(struct packet_rule));
}

struct packet_match *packet_filter_match(const struct packet_filter *filter, uint32_t index)
{
    return item(&filter->matches, index, sizeof(struct packet_match));
}

struct packet_rule *packet_filter_rule_of(const struct packet_filter *filter, const struct packet_chain *chain, uint32_t k)
{
    return packet_filter_rule(filter, *(uint32_t *)item(&filter->order, chain->first_rule + k, sizeof(uint32_t)));
}

struct relation_range *packet_filter_values(const struct packet_filter *filter, const struct packet_set *set, uint32_t k)
{
    return (struct relation_range *)item(&filter->values, set->first_value, sizeof(struct relation_range)) + (size_t)k * set->n_fields;
}

uint32_t packet_filter_element_reason(const struct packet_filter *filter, const struct packet_set *set, uint32_t k)
{
    return ((struct element *)item(&filter->elements, set->first_element + k, sizeof(struct element)))->reason;
}

const struct relation_reason *packet_filter_reason(const struct packet_filter *filter, uint32_t index)
{
    return item(&filter->reasons, index, sizeof(struct relation_reason));
}

/* ---- building ---- */

uint32_t packet_filter_add_table(struct packet_filter *filter, uint8_t family, struct str name)
{
    const struct packet_table table = { copy(filter, name), family };
    return add(filter, &filter->tables, &table, sizeof table);
}

uint32_t packet_filter_add_chain(struct packet_filter *filter, uint32_t table, struct str name)
{
    const struct packet_chain chain = { .table = table, .name = copy(filter, name), .policy = PACKET_ACCEPT, .policy_reason = PACKET_NONE };
    return add(filter, &filter->chains, &chain, sizeof chain);
}

void packet_filter_set_hook(struct packet_filter *filter, uint32_t chain, enum packet_hook hook, int32_t priority, enum packet_verdict policy)
{
    if (chain >= packet_filter_n_chains(filter))
        return;
    struct packet_chain *base = packet_filter_chain(filter, chain);
    base->is_base = true;
    base->hook = (uint8_t)hook;
    base->priority = priority;
    base->policy = (uint8_t)policy;
}

uint32_t packet_filter_add_set(struct packet_filter *filter, const struct packet_set *what)
{
    struct packet_set set = *what;
    set.name = copy(filter, what->name);
    set.first_element = count(&filter->elements, sizeof(struct element));
    set.first_value = count(&filter->values, sizeof(struct relation_range));
    set.n_elements = 0;
    return add(filter, &filter->sets, &set, sizeof set);
}

void packet_filter_add_element(struct packet_filter *filter, const struct relation_range *values, uint32_t reason)
{
    const struct element element = { reason };
    if (filter->error)
        return;
    struct packet_set *set = packet_filter_set(filter, packet_filter_n_sets(filter) - 1);
    for (unsigned i = 0; i < set->n_fields; i++)
        (void)add(filter, &filter->values, &values[i], sizeof values[i]);
    if (add(filter, &filter->elements, &element, sizeof element) != PACKET_NONE)
        set->n_elements++;
}

uint32_t packet_filter_add_reason(struct packet_filter *filter, struct relation_reason reason)
{
    reason.file = copy(filter, reason.file);
    reason.text = copy(filter, reason.text);
    return add(filter, &filter->reasons, &reason, sizeof reason);
}

uint32_t packet_filter_add_place(struct packet_filter *filter, struct str text)
{
    uint64_t line;
    struct str rest = text, file = str_split(&rest, ':'), number = str_split(&rest, ',');
    if (!str_ends_with(file, STR(".yml")) || !str_to_u64(number, UINT32_MAX, &line) || line == 0)
        return PACKET_NONE;
    return packet_filter_add_reason(filter, (struct relation_reason){ file, (uint32_t)line, str_trim(rest) });
}

uint32_t packet_filter_add_rule(struct packet_filter *filter, uint32_t chain, enum packet_verdict verdict, uint32_t target)
{
    const struct packet_rule rule = { .chain = chain, .first_match = count(&filter->matches, sizeof(struct packet_match)),
                                      .verdict = (uint8_t)verdict, .target = target, .reason = PACKET_NONE };
    return add(filter, &filter->rules, &rule, sizeof rule);
}

void packet_filter_add_match(struct packet_filter *filter, uint32_t set, uint8_t family, bool negated)
{
    const struct packet_match match = { set, family, negated };
    if (!filter->error && add(filter, &filter->matches, &match, sizeof match) != PACKET_NONE)
        packet_filter_rule(filter, packet_filter_n_rules(filter) - 1)->n_matches++;
}

void packet_filter_add_simple(struct packet_filter *filter, enum packet_field field, struct relation_range range, uint8_t family, bool negated)
{
    const struct packet_set set = { .fields = { (uint8_t)field }, .n_fields = 1, .family = family };
    uint32_t index = packet_filter_add_set(filter, &set);
    packet_filter_add_element(filter, &range, PACKET_NONE);
    packet_filter_add_match(filter, index, family, negated);
}

void packet_filter_set_comment(struct packet_filter *filter, struct str comment)
{
    if (!filter->error)
        packet_filter_rule(filter, packet_filter_n_rules(filter) - 1)->comment = copy(filter, comment);
}

struct relation_range packet_number(uint32_t first, uint32_t last)
{
    struct relation_range range = { 0 };
    for (unsigned i = 0; i < 4; i++) {
        range.first.bytes[12 + i] = (uint8_t)(first >> (24 - 8 * i));
        range.last.bytes[12 + i] = (uint8_t)(last >> (24 - 8 * i));
    }
    return range;
}

struct relation_range packet_name(struct str name, bool is_prefix)
{
    struct relation_range range = { 0 };
    size_t n = name.len < NAME_MAX_BYTES ? name.len : NAME_MAX_BYTES;
    if (n)
        memcpy(range.first.bytes, name.ptr, n);
    range.last = range.first;
    if (is_prefix)
        memset(range.last.bytes + n, 0xff, sizeof range.last.bytes - n);
    return range;
}

/* ---- sealing ---- */

static int order_rules(struct packet_filter *filter)
{
    uint32_t n = packet_filter_n_rules(filter), n_chains = packet_filter_n_chains(filter), at = 0;
    for (uint32_t i = 0; i < n; i++) {
        uint32_t chain = packet_filter_rule(filter, i)->chain;
        if (chain >= n_chains)
            return -EINVAL;
        packet_filter_chain(filter, chain)->n_rules++;
    }
    for (uint32_t i = 0; i < n_chains; i++) {
        struct packet_chain *chain = packet_filter_chain(filter, i);
        chain->first_rule = at;
        at += chain->n_rules;
        chain->n_rules = 0;
    }
    if (n && !buf_reserve(&filter->order, n * sizeof(uint32_t)))
        return filter->order.error;
    filter->order.len = n * sizeof(uint32_t);
    for (uint32_t i = 0; i < n; i++) {
        struct packet_chain *chain = packet_filter_chain(filter, packet_filter_rule(filter, i)->chain);
        *(uint32_t *)item(&filter->order, chain->first_rule + chain->n_rules++, sizeof i) = i;
    }
    return 0;
}

/* Depth of the deepest way on from each chain: 0 not known yet, 1 a chain without jumps, … ON_THE_WAY while it is being walked. */
enum { ON_THE_WAY = 255 };

static int check_chain(const struct packet_filter *filter, uint32_t index, uint8_t *depths, unsigned depth, struct error *err)
{
    const struct packet_chain *chain = packet_filter_chain(filter, index);
    unsigned deepest = 0;
    if (depths[index] == ON_THE_WAY || depth > PACKET_FILTER_DEPTH_MAX) {
        error_set(err, "chain %.*s %s; no kernel takes such rules", STR_ARG(str_first(chain->name, 60)),
                  depths[index] == ON_THE_WAY ? "leads back to itself" : "is more than 16 jumps deep");
        return -EINVAL;
    }
    if (depths[index])
        return 0;
    depths[index] = ON_THE_WAY;
    for (uint32_t k = 0; k < chain->n_rules; k++) {
        const struct packet_rule *rule = packet_filter_rule_of(filter, chain, k);
        if (rule->verdict != PACKET_JUMP && rule->verdict != PACKET_GOTO)
            continue;
        if (rule->target >= packet_filter_n_chains(filter)) {
            error_set(err, "chain %.*s, rule %u: a jump to a chain that isn't there", STR_ARG(str_first(chain->name, 60)), k + 1);
            return -EINVAL;
        }
        int r = check_chain(filter, rule->target, depths, depth + 1, err);
        if (r < 0)
            return r;
        deepest = depths[rule->target] > deepest ? depths[rule->target] : deepest;
    }
    if (deepest >= PACKET_FILTER_DEPTH_MAX) {
        error_set(err, "chain %.*s is more than 16 jumps deep; no kernel takes such rules", STR_ARG(str_first(chain->name, 60)));
        return -EINVAL;
    }
    depths[index] = (uint8_t)(deepest + 1);
    return 0;
}

static int check_jumps(struct packet_filter *filter, struct error *err)
{
    uint32_t n = packet_filter_n_chains(filter);
    uint8_t *depths = arena_alloc(&filter->arena, n ? n : 1, 1);
    int r = depths ? 0 : -ENOMEM;
    for (uint32_t i = 0; r == 0 && i < n; i++)
        r = check_chain(filter, i, depths, 1, err);
    return r;
}

static uint32_t reason_of(struct packet_filter *filter, const struct packet_chain *chain, uint32_t line, const char *what, struct str comment)
{
    const struct packet_table *table = packet_filter_table(filter, chain->table);
    char text[REASON_TEXT_MAX];
    int n = snprintf(text, sizeof text, "%.*s%schain %.*s, %s%s%.*s", STR_ARG(str_first(table->name, 64)), table->name.len ? ", " : "",
                     STR_ARG(str_first(chain->name, 64)), what, comment.len ? ": " : "", STR_ARG(str_first(comment, 160)));
    struct relation_reason reason = { filter->name, line, str_make(text, n < 0 ? 0 : (size_t)n < sizeof text ? (size_t)n : sizeof text - 1) };
    return packet_filter_add_reason(filter, reason);
}

static void name_rules(struct packet_filter *filter)
{
    char what[40];
    for (uint32_t i = 0; i < packet_filter_n_chains(filter); i++) {
        struct packet_chain *chain = packet_filter_chain(filter, i);
        if (chain->is_base)
            chain->policy_reason = reason_of(filter, chain, 0, chain->policy == PACKET_ACCEPT ? "its policy: accept" : "its policy: drop", STR_NONE);
        for (uint32_t k = 0; k < chain->n_rules && !filter->error; k++) {
            struct packet_rule *rule = packet_filter_rule_of(filter, chain, k);
            (void)snprintf(what, sizeof what, "rule %u", k + 1);
            rule->reason = reason_of(filter, chain, rule->line, what, rule->comment);
        }
    }
}

int packet_filter_seal(struct packet_filter *filter, struct error *err)
{
    int r = filter->error;
    if (r == 0)
        r = order_rules(filter);
    if (r == 0)
        r = check_jumps(filter, err);
    if (r == 0) {
        name_rules(filter);
        r = filter->error;
    }
    if (r == -E2BIG)
        error_set(err, "more rules or set elements than can be judged");
    filter->is_sealed = r == 0;
    return r;
}
