/* Printing tables and rules, one to one: pf wants a rule's conditions in a fixed order, so they are looked up rather than walked. */
#include "render/pf_text.h"

#include <netinet/in.h>

#include "render/nftables_text.h"

enum { LABEL_MAX = 63 };

struct number_name {
    uint32_t number;
    const char *name;
};

static const struct number_name protocols[] = { { IPPROTO_TCP, "tcp" }, { IPPROTO_UDP, "udp" } };
static const struct number_name icmp_types[] = { { 3, "unreach" }, { 11, "timex" }, { 12, "paramprob" } };
static const struct number_name icmpv6_types[] = { { 1, "unreach" },     { 2, "toobig" },    { 3, "timex" },       { 4, "paramprob" },
                                                   { 133, "routersol" }, { 134, "routeradv" }, { 135, "neighbrsol" }, { 136, "neighbradv" } };

static uint32_t number_of(const struct address *value)
{
    const uint8_t *b = value->bytes + 12;
    return (uint32_t)b[0] << 24 | (uint32_t)b[1] << 16 | (uint32_t)b[2] << 8 | b[3];
}

static const struct packet_match *find(const struct packet_filter *filter, const struct packet_rule *rule, uint8_t field)
{
    for (uint32_t k = 0; k < rule->n_matches; k++) {
        const struct packet_match *match = packet_filter_match(filter, rule->first_match + k);
        if (packet_filter_set(filter, match->set)->fields[0] == field)
            return match;
    }
    return NULL;
}

/* ---- values ---- */

static void write_prefix(struct buf *out, const struct relation_range *range)
{
    char text[ADDRESS_PREFIX_TEXT_SIZE];
    for (unsigned bits = 0; bits <= 128; bits++) {
        const struct address_prefix prefix = { address_mask(&range->first, bits), (uint8_t)bits };
        struct relation_range whole = relation_range_of_prefix(&prefix);
        if (address_equal(&whole.first, &range->first) && address_equal(&whole.last, &range->last)) {
            buf_append(out, str_of(address_prefix_format(&prefix, text)));
            return;
        }
    }
}

static void write_number(struct buf *out, const struct relation_range *range, const struct number_name *names, size_t n_names)
{
    uint32_t first = number_of(&range->first), last = number_of(&range->last);
    for (size_t i = 0; i < n_names; i++)
        if (names[i].number == first) {
            buf_append(out, str_of(names[i].name));
            return;
        }
    buf_printf(out, "%u", first);
    if (first != last)
        buf_printf(out, ":%u", last);
}

static void write_value(struct buf *out, uint8_t field, const struct relation_range *range)
{
    switch (field) {
    case PACKET_SOURCE: case PACKET_DESTINATION: write_prefix(out, range); break;
    case PACKET_PROTOCOL: write_number(out, range, protocols, ARRAY_SIZE(protocols)); break;
    case PACKET_ICMP_TYPE: write_number(out, range, icmp_types, ARRAY_SIZE(icmp_types)); break;
    case PACKET_ICMPV6_TYPE: write_number(out, range, icmpv6_types, ARRAY_SIZE(icmpv6_types)); break;
    case PACKET_INTERFACE: case PACKET_OUT_INTERFACE:
        nftables_text_plain(out, str_of((const char *)range->first.bytes));
        break;
    default: write_number(out, range, NULL, 0); break;
    }
}

/* "x", "{ x, y }" or "<table>". */
static void write_values(struct buf *out, const struct packet_filter *filter, const struct packet_match *match)
{
    const struct packet_set *set = packet_filter_set(filter, match->set);
    if (set->name.len) {
        buf_printf(out, "<%.*s>", STR_ARG(set->name));
        return;
    }
    buf_append(out, set->n_elements == 1 ? STR_NONE : STR("{ "));
    for (uint32_t k = 0; k < set->n_elements; k++) {
        buf_append(out, k ? STR(", ") : STR_NONE);
        write_value(out, set->fields[0], packet_filter_values(filter, set, k));
    }
    buf_append(out, set->n_elements == 1 ? STR_NONE : STR(" }"));
}

static void write_table(struct buf *out, const struct packet_filter *filter, const struct packet_set *set)
{
    buf_printf(out, "table <%.*s> const { ", STR_ARG(set->name));
    for (uint32_t k = 0; k < set->n_elements; k++) {
        buf_append(out, k ? STR(", \\\n    ") : STR_NONE);
        write_prefix(out, packet_filter_values(filter, set, k));
    }
    buf_append(out, STR(" }\n"));
}

/* ---- rules ---- */

static uint8_t family_of(const struct packet_filter *filter, const struct packet_rule *rule)
{
    for (uint32_t k = 0; k < rule->n_matches; k++)
        if (packet_filter_match(filter, rule->first_match + k)->family)
            return packet_filter_match(filter, rule->first_match + k)->family;
    return PACKET_ANY_FAMILY;
}

static void write_condition(struct buf *out, const struct packet_filter *filter, const struct packet_match *match, const char *before)
{
    if (!match)
        return;
    buf_append(out, str_of(before));
    if (match->negated)
        buf_append(out, STR("! "));
    write_values(out, filter, match);
}

static void write_ends(struct buf *out, const struct packet_filter *filter, const struct packet_rule *rule)
{
    const struct packet_match *source = find(filter, rule, PACKET_SOURCE), *destination = find(filter, rule, PACKET_DESTINATION),
                              *port = find(filter, rule, PACKET_PORT);
    if (!source && !destination && !port) {
        buf_append(out, STR(" all"));
        return;
    }
    buf_append(out, STR(" from"));
    write_condition(out, filter, source, " ");
    buf_append(out, source ? STR(" to") : STR(" any to"));
    write_condition(out, filter, destination, " ");
    buf_append(out, destination ? STR_NONE : STR(" any"));
    write_condition(out, filter, port, " port ");
}

/* The place of the grant, else the rule's comment. */
static void write_label(struct buf *out, const struct packet_filter *filter, const struct packet_rule *rule)
{
    const struct packet_match *source = find(filter, rule, PACKET_SOURCE);
    const struct packet_set *set = source ? packet_filter_set(filter, source->set) : NULL;
    uint32_t place = set && set->n_elements ? packet_filter_element_reason(filter, set, 0) : PACKET_NONE;
    cleanup_buf struct buf text;
    buf_init(&text, 4096);
    if (place != PACKET_NONE) {
        const struct relation_reason *reason = packet_filter_reason(filter, place);
        nftables_text_plain(&text, str_first(reason->file, 24));
        buf_printf(&text, ":%u%s%.*s", reason->line, reason->text.len ? ", " : "", STR_ARG(str_first(reason->text, 28)));
    } else {
        nftables_text_plain(&text, rule->comment);
    }
    if (text.len)
        buf_printf(out, " label \"%.*s\"", STR_ARG(str_first(buf_str(&text), LABEL_MAX)));
}

static void write_rule(struct buf *out, const struct packet_filter *filter, const struct packet_chain *chain, const struct packet_rule *rule)
{
    const struct packet_match *icmp = find(filter, rule, PACKET_ICMP_TYPE), *icmpv6 = find(filter, rule, PACKET_ICMPV6_TYPE);
    uint8_t family = icmp ? PACKET_IPV4 : icmpv6 ? PACKET_IPV6 : family_of(filter, rule);
    buf_append(out, rule->verdict == PACKET_ACCEPT ? STR("pass") : STR("block drop"));
    buf_append(out, chain->hook == PACKET_HOOK_OUTPUT ? STR(" out") : STR(" in"));
    /* What goes out is not "quick": other anchors may still have a say. */
    buf_append(out, chain->hook == PACKET_HOOK_OUTPUT ? STR_NONE : STR(" quick"));
    write_condition(out, filter, find(filter, rule, PACKET_INTERFACE), " on ");
    buf_append(out, family == PACKET_IPV4 ? STR(" inet") : family == PACKET_IPV6 ? STR(" inet6") : STR_NONE);
    write_condition(out, filter, find(filter, rule, PACKET_PROTOCOL), " proto ");
    buf_append(out, icmp ? STR(" proto icmp") : icmpv6 ? STR(" proto icmp6") : STR_NONE);
    write_ends(out, filter, rule);
    write_condition(out, filter, icmp, " icmp-type ");
    write_condition(out, filter, icmpv6, " icmp6-type ");
    buf_append(out, rule->verdict == PACKET_ACCEPT ? STR(" keep state") : STR_NONE);
    write_label(out, filter, rule);
    buf_append_char(out, '\n');
}

void pf_text_write(const struct packet_filter *filter, struct buf *out)
{
    for (uint32_t i = 0; i < packet_filter_n_sets(filter); i++)
        if (packet_filter_set(filter, i)->name.len)
            write_table(out, filter, packet_filter_set(filter, i));
    for (uint32_t i = 0; i < packet_filter_n_chains(filter); i++) {
        const struct packet_chain *chain = packet_filter_chain(filter, i);
        buf_printf(out, "\n# %.*s\n", STR_ARG(chain->remark));
        for (uint32_t k = 0; k < chain->n_rules; k++)
            write_rule(out, filter, chain, packet_filter_rule_of(filter, chain, k));
    }
}
