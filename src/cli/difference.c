/* The difference of two relations, put into names. */
#include "cli/difference.h"

#include <errno.h>
#include <stdlib.h>

#include "base/table.h"
#include "policy/matrix.h"

enum { DIFFERENCE_MEMORY_MAX = 1 << 28, NAMES_SHOWN = 4, CLASS_RANGES_READ = 4096, ICMP = 1, ICMPV6 = 58 };

struct comparing {
    const struct model *model;
    const struct sources *sources;
    const struct relation *has;
    const struct space *space;
    struct arena *arena;
    struct str *names[2];       /* by class; ptr NULL: not made yet */
    struct buf items;           /* struct difference_item */
    struct table seen;
    bool is_cut;
};

/* ---- names ---- */

static struct str part_of(const struct comparing *c, const struct source_range *owner)
{
    return owner->host != MODEL_NONE ? c->model->hosts[owner->host].name.text : c->model->segments[owner->segment].name.text;
}

static uint32_t owner_first(const struct comparing *c, const struct address *at)
{
    uint32_t low = 0, high = c->sources->n;
    while (low < high) {
        uint32_t middle = low + (high - low) / 2;
        if (address_compare(&c->sources->items[middle].last, at) < 0)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

static void address_write(struct buf *out, const struct relation_range *range)
{
    struct address first = range->first;
    struct address_prefix prefix;
    char text[ADDRESS_PREFIX_TEXT_SIZE], last[ADDRESS_TEXT_SIZE];
    bool is_more = address_take_prefix(&first, &range->last, &prefix);
    buf_printf(out, "%s", is_more ? address_format(&range->first, text) : address_prefix_format(&prefix, text));
    if (is_more)
        buf_printf(out, "-%s", address_format(&range->last, last));
}

/* Names that are in the range, each once in the class. */
static void names_write(const struct comparing *c, struct buf *out, struct table *said, const struct relation_range *range, uint32_t *n)
{
    for (uint32_t i = owner_first(c, &range->first); i < c->sources->n && address_compare(&c->sources->items[i].first, &range->last) <= 0; i++) {
        struct str name = part_of(c, &c->sources->items[i]);
        if (table_add(said, name, 0, NULL) != 0 || (*n)++ >= NAMES_SHOWN)
            continue;
        buf_printf(out, "%s%s%.*s", out->len ? ", " : "", c->sources->items[i].host == MODEL_NONE ? "others of " : "", STR_ARG(name));
    }
}

static bool is_all(const struct relation_range *range)
{
    return (address_equal(&range->first, &relation_all_v4.first) && address_equal(&range->last, &relation_all_v4.last)) ||
           address_equal(&range->last, &relation_all_v6.last);
}

/* What no layer tells apart and nobody is named in: everybody else. */
static struct str class_name(struct comparing *c, enum space_side side, uint32_t class_index)
{
    struct str *name = &c->names[side][class_index];
    if (name->ptr)
        return *name;
    cleanup_table struct table said = { 0 };
    struct buf out;
    struct relation_range range;
    uint32_t n = 0, n_ranges = 0;
    bool is_rest = class_index == 0;
    buf_init(&out, 1 << 16);
    for (; n_ranges < CLASS_RANGES_READ && space_class_range(c->space, side, class_index, n_ranges, &range); n_ranges++) {
        is_rest |= is_all(&range);
        names_write(c, &out, &said, &range, &n);
    }
    if (n > NAMES_SHOWN)
        buf_printf(&out, " and %u more", n - NAMES_SHOWN);
    if (n == 0 && space_class_range(c->space, side, class_index, 0, &range)) {
        address_write(&out, &range);
        if (n_ranges > 1)
            buf_printf(&out, " and %u more undeclared range%s", n_ranges - 1, n_ranges == 2 ? "" : "s");
    }
    *name = is_rest ? arena_copy(c->arena, STR("anyone else")) : arena_copy(c->arena, buf_str(&out));
    buf_deinit(&out);
    return name->ptr ? *name : STR("?");
}

/* ---- items ---- */

static int item_add(struct comparing *c, uint32_t from, const struct matrix_interval *interval, uint32_t first, uint32_t last)
{
    struct relation_range source, destination;
    struct difference_item item = {
        .from = class_name(c, SPACE_SOURCE, from), .to = class_name(c, SPACE_DESTINATION, interval->destination),
        .protocol_first = (uint8_t)(first >> 16), .protocol_last = (uint8_t)(last >> 16), .port_first = (uint16_t)first, .port_last = (uint16_t)last,
    };
    struct str key = arena_printf(c->arena, "%.*s\n%.*s\n%u %u", STR_ARG(item.from), STR_ARG(item.to), first, last);
    int added = key.ptr ? table_add(&c->seen, key, 0, NULL) : -ENOMEM;
    if (added != 0)
        return added < 0 ? added : 0;
    if (c->items.len / sizeof item >= DIFFERENCE_MAX) {
        c->is_cut = true;
        return 0;
    }
    uint32_t rule = UINT32_MAX;
    if (space_class_range(c->space, SPACE_SOURCE, from, 0, &source) &&
        space_class_range(c->space, SPACE_DESTINATION, interval->destination, 0, &destination))
        rule = relation_find_rule(c->has, &source.first, &destination.first, item.protocol_first, item.port_first);
    if (rule != UINT32_MAX)
        item.rule = relation_reason(c->has, relation_rule(c->has, rule)->reason);
    buf_append(&c->items, str_make((const char *)&item, sizeof item));
    return c->items.error;
}

/* An interval over several protocols is a part of the first, whole ones, and a part of the last. */
static int interval_add(struct comparing *c, uint32_t from, const struct matrix_interval *interval)
{
    uint32_t first = interval->first;
    int r = 0;
    while (r == 0 && first <= interval->last && !c->is_cut) {
        bool is_whole = (first & 0xffff) == 0 && (interval->last >> 16) > (first >> 16);
        uint32_t last = is_whole ? (((interval->last + 1) >> 16) << 16) - 1 : first | 0xffff;
        last = last < interval->last ? last : interval->last;
        bool is_icmp = first >> 16 == last >> 16 && (first >> 16 == ICMP || first >> 16 == ICMPV6);
        if (!is_icmp) /* no mesh can say it of ports, and no proof speaks of it */
            r = item_add(c, from, interval, first, last);
        if (last == UINT32_MAX)
            break;
        first = last + 1;
    }
    return r;
}

static int matrix_add(struct comparing *c, const struct matrix *matrix)
{
    int r = 0;
    for (uint32_t s = 0; s < space_n_classes(c->space, SPACE_SOURCE) && r == 0; s++) {
        const struct matrix_row *row = matrix_row(matrix, s);
        for (uint32_t i = 0; i < row->n && r == 0 && !c->is_cut; i++)
            r = interval_add(c, s, &row->items[i]);
    }
    return r;
}

static int item_compare(const void *x, const void *y)
{
    const struct difference_item *a = x, *b = y;
    int order = str_compare(a->from, b->from);
    order = order ? order : str_compare(a->to, b->to);
    order = order ? order : a->protocol_first - b->protocol_first;
    return order ? order : a->port_first - b->port_first;
}

static int compare(struct comparing *c, const struct relation *lacks)
{
    struct matrix has = { 0 }, without = { 0 }, left = { 0 };
    int r = matrix_of(c->space, c->has, &has);
    if (r == 0)
        r = matrix_of(c->space, lacks, &without);
    if (r == 0)
        r = matrix_subtract(&has, &without, &left);
    c->names[0] = arena_array(c->arena, (size_t)space_n_classes(c->space, SPACE_SOURCE) + 1, struct str);
    c->names[1] = arena_array(c->arena, (size_t)space_n_classes(c->space, SPACE_DESTINATION) + 1, struct str);
    if (r == 0 && (!c->names[0] || !c->names[1]))
        r = -E2BIG;
    if (r == 0)
        r = matrix_add(c, &left);
    matrix_deinit(&has);
    matrix_deinit(&without);
    matrix_deinit(&left);
    return r;
}

int difference_init(struct difference *ret, const struct model *model, const struct sources *sources, const struct relation *has,
                    const struct relation *lacks)
{
    const struct relation *both[] = { has, lacks };
    struct difference result = { 0 };
    struct space *space = NULL;
    arena_init(&result.arena, DIFFERENCE_MEMORY_MAX);
    int r = space_init(&space, both, 2);
    struct comparing c = { .model = model, .sources = sources, .has = has, .space = space, .arena = &result.arena };
    buf_init(&c.items, DIFFERENCE_MEMORY_MAX);
    if (r == 0)
        r = compare(&c, lacks);
    result.n = (uint32_t)(c.items.len / sizeof *result.items);
    result.items = r ? NULL : arena_array(&result.arena, (size_t)result.n + 1, struct difference_item);
    result.is_cut = c.is_cut;
    if (r == 0 && !result.items)
        r = -E2BIG;
    if (r == 0 && result.n) {
        memcpy(result.items, c.items.ptr, c.items.len);
        qsort(result.items, result.n, sizeof *result.items, item_compare);
    }
    buf_deinit(&c.items);
    table_deinit(&c.seen);
    space_free(space);
    if (r == 0)
        *ret = result;
    else
        arena_deinit(&result.arena);
    return r;
}

void difference_deinit(struct difference *difference)
{
    arena_deinit(&difference->arena);
}

/* ---- text ---- */

static void service_write(struct buf *out, const struct difference_item *item)
{
    uint8_t p = item->protocol_first;
    bool is_every_port = item->port_first == 0 && item->port_last == RELATION_PORT_MAX;
    if (p != item->protocol_last) {
        buf_printf(out, "protocols %u-%u", p, item->protocol_last);
        return;
    }
    if (p == RELATION_TCP || p == RELATION_UDP)
        buf_printf(out, "%s", p == RELATION_TCP ? "tcp" : "udp");
    else
        buf_printf(out, "protocol %u", p);
    if (!is_every_port && item->port_first == item->port_last)
        buf_printf(out, " %u", item->port_first);
    else if (!is_every_port)
        buf_printf(out, " %u-%u", item->port_first, item->port_last);
}

static void rule_write(struct buf *out, const struct relation_reason *rule)
{
    buf_printf(out, "%.*s", STR_ARG(rule->file));
    if (rule->line)
        buf_printf(out, ":%u", rule->line);
    if (rule->text.len)
        buf_printf(out, " %.*s", STR_ARG(rule->text));
}

static bool is_same_pair(const struct difference_item *a, const struct difference_item *b)
{
    return str_equal(a->from, b->from) && str_equal(a->to, b->to) && a->rule == b->rule;
}

void difference_write(struct buf *out, const struct difference *difference, const char *prefix, uint32_t limit)
{
    uint32_t n_written = 0, i = 0;
    while (i < difference->n && (limit == 0 || n_written++ < limit)) {
        const struct difference_item *item = &difference->items[i];
        buf_printf(out, "%s%.*s to %.*s: ", prefix, STR_ARG(item->from), STR_ARG(item->to));
        for (uint32_t first = i; i < difference->n && is_same_pair(item, &difference->items[i]); i++) {
            buf_append(out, i > first ? STR(", ") : STR(""));
            service_write(out, &difference->items[i]);
        }
        if (item->rule) {
            buf_append(out, STR("  ("));
            rule_write(out, item->rule);
            buf_append_char(out, ')');
        }
        buf_append_char(out, '\n');
    }
    if (i < difference->n || difference->is_cut)
        buf_printf(out, "%s... and more\n", prefix);
}

void difference_write_json(struct buf *out, const struct difference *difference)
{
    buf_append_char(out, '[');
    for (uint32_t i = 0; i < difference->n; i++) {
        const struct difference_item *item = &difference->items[i];
        buf_append(out, i ? STR(",\n    {\"from\": ") : STR("\n    {\"from\": "));
        buf_append_json(out, item->from);
        buf_append(out, STR(", \"to\": "));
        buf_append_json(out, item->to);
        buf_printf(out, ", \"protocols\": [%u, %u], \"ports\": [%u, %u], \"rule\": ", item->protocol_first, item->protocol_last, item->port_first,
                   item->port_last);
        struct buf rule;
        buf_init(&rule, 1 << 16);
        if (item->rule)
            rule_write(&rule, item->rule);
        buf_append_json(out, buf_str(&rule));
        buf_deinit(&rule);
        buf_append_char(out, '}');
    }
    buf_append_char(out, ']');
}
