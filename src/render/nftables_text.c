/* Printing tables, sets and chains, one to one. */
#include "render/nftables_text.h"

#include <netinet/in.h>

/* The kernel keeps 128 bytes of a comment. */
enum { COMMENT_MAX = 120 };

struct number_name {
    uint32_t number;
    const char *name;
};

static const struct number_name icmp_types[] = { { 3, "destination-unreachable" }, { 11, "time-exceeded" }, { 12, "parameter-problem" } };
static const struct number_name icmpv6_types[] = {
    { 1, "destination-unreachable" }, { 2, "packet-too-big" }, { 3, "time-exceeded" }, { 4, "parameter-problem" },
    { 133, "nd-router-solicit" }, { 134, "nd-router-advert" }, { 135, "nd-neighbor-solicit" }, { 136, "nd-neighbor-advert" },
};
static const struct number_name protocols[] = { { IPPROTO_TCP, "tcp" }, { IPPROTO_UDP, "udp" } };
static const struct number_name ct_states[] = { { PACKET_CT_INVALID, "invalid" }, { PACKET_CT_ESTABLISHED, "established" },
                                                { PACKET_CT_RELATED, "related" }, { PACKET_CT_NEW, "new" }, { PACKET_CT_UNTRACKED, "untracked" } };

void nftables_text_plain(struct buf *out, struct str s)
{
    for (size_t i = 0; i < s.len; i++) {
        char c = s.ptr[i];
        bool is_plain = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || memchr("._:/@,*-' ", c, 10);
        buf_append_char(out, is_plain ? c : '_');
    }
}

/* ---- values ---- */

static uint32_t number_of(const struct address *value)
{
    const uint8_t *b = value->bytes + 12;
    return (uint32_t)b[0] << 24 | (uint32_t)b[1] << 16 | (uint32_t)b[2] << 8 | b[3];
}

static void write_number(struct buf *out, uint32_t number, const struct number_name *names, size_t n_names)
{
    for (size_t i = 0; i < n_names; i++)
        if (names[i].number == number) {
            buf_append(out, str_of(names[i].name));
            return;
        }
    buf_printf(out, "%u", number);
}

static void write_numbers(struct buf *out, const struct relation_range *range, const struct number_name *names, size_t n_names)
{
    uint32_t first = number_of(&range->first), last = number_of(&range->last);
    write_number(out, first, first == last ? names : NULL, first == last ? n_names : 0);
    if (first != last)
        buf_printf(out, "-%u", last);
}

static void write_addresses(struct buf *out, const struct relation_range *range)
{
    char first[ADDRESS_TEXT_SIZE], last[ADDRESS_PREFIX_TEXT_SIZE];
    for (unsigned bits = 0; bits < 128 && !address_equal(&range->first, &range->last); bits++) {
        struct address_prefix prefix = { range->first, (uint8_t)bits };
        struct address low = address_mask(&range->first, bits);
        struct relation_range whole;
        if (!address_equal(&low, &range->first))
            continue;
        whole = relation_range_of_prefix(&prefix);
        if (!address_equal(&whole.last, &range->last))
            continue;
        buf_append(out, str_of(address_prefix_format(&prefix, last)));
        return;
    }
    buf_append(out, str_of(address_format(&range->first, first)));
    if (!address_equal(&range->first, &range->last))
        buf_printf(out, "-%s", address_format(&range->last, first));
}

static void write_name(struct buf *out, const struct relation_range *range)
{
    size_t n = strnlen((const char *)range->first.bytes, sizeof range->first.bytes);
    buf_append_char(out, '"');
    nftables_text_plain(out, str_make((const char *)range->first.bytes, n));
    if (!address_equal(&range->first, &range->last))
        buf_append_char(out, '*');
    buf_append_char(out, '"');
}

static void write_value(struct buf *out, uint8_t field, const struct relation_range *range)
{
    switch (field) {
    case PACKET_SOURCE: case PACKET_DESTINATION: write_addresses(out, range); break;
    case PACKET_INTERFACE: case PACKET_OUT_INTERFACE: write_name(out, range); break;
    case PACKET_PROTOCOL: write_numbers(out, range, protocols, ARRAY_SIZE(protocols)); break;
    case PACKET_CT_STATE: write_numbers(out, range, ct_states, ARRAY_SIZE(ct_states)); break;
    case PACKET_ICMP_TYPE: write_numbers(out, range, icmp_types, ARRAY_SIZE(icmp_types)); break;
    case PACKET_ICMPV6_TYPE: write_numbers(out, range, icmpv6_types, ARRAY_SIZE(icmpv6_types)); break;
    default: write_numbers(out, range, NULL, 0); break;
    }
}

static void write_element(struct buf *out, const struct packet_filter *filter, const struct packet_set *set, uint32_t k)
{
    const struct relation_range *values = packet_filter_values(filter, set, k);
    for (unsigned i = 0; i < set->n_fields; i++) {
        if (i)
            buf_append(out, STR(" . "));
        write_value(out, set->fields[i], &values[i]);
    }
}

/* ---- sets ---- */

static const char *type_of(uint8_t field, uint8_t family)
{
    switch (field) {
    case PACKET_SOURCE: case PACKET_DESTINATION: return family == PACKET_IPV4 ? "ipv4_addr" : "ipv6_addr";
    case PACKET_PROTOCOL: return "inet_proto";
    case PACKET_PORT: return "inet_service";
    case PACKET_INTERFACE: case PACKET_OUT_INTERFACE: return "ifname";
    case PACKET_UID: return "uid";
    default: return "mark";
    }
}

/* What people call a reason, as an element's comment. */
static void write_reason(struct buf *out, const struct relation_reason *reason)
{
    cleanup_buf struct buf text;
    buf_init(&text, 1024);
    nftables_text_plain(&text, str_first(reason->file, 80));
    if (reason->line)
        buf_printf(&text, ":%u", reason->line);
    if (reason->text.len) {
        buf_append(&text, STR(", "));
        nftables_text_plain(&text, str_first(reason->text, 80));
    }
    buf_append(out, STR(" comment \""));
    buf_append(out, str_first(buf_str(&text), COMMENT_MAX));
    buf_append_char(out, '"');
}

static void write_set(struct buf *out, const struct packet_filter *filter, const struct packet_set *set)
{
    buf_printf(out, "\tset %.*s {\n\t\ttype ", STR_ARG(set->name));
    for (unsigned i = 0; i < set->n_fields; i++)
        buf_printf(out, "%s%s", i ? " . " : "", type_of(set->fields[i], set->family));
    buf_printf(out, "\n%s%s%s", set->is_interval ? "\t\tflags interval\n" : "", set->is_merged ? "\t\tauto-merge\n" : "",
               set->is_counted ? "\t\tcounter\n" : "");
    for (uint32_t k = 0; k < set->n_elements; k++) {
        uint32_t reason = packet_filter_element_reason(filter, set, k);
        buf_append(out, k ? STR(",\n\t\t\t     ") : STR("\t\telements = { "));
        write_element(out, filter, set, k);
        if (reason != PACKET_NONE)
            write_reason(out, packet_filter_reason(filter, reason));
    }
    buf_printf(out, "%s\t}\n\n", set->n_elements ? " }\n" : "");
}

/* ---- rules ---- */

static void write_field(struct buf *out, uint8_t field, uint8_t family, bool is_loopback)
{
    static const char *const names[PACKET_N_FIELDS] = {
        [PACKET_PROTOCOL] = "meta l4proto", [PACKET_PORT] = "th dport", [PACKET_INTERFACE] = "iifname", [PACKET_OUT_INTERFACE] = "oifname",
        [PACKET_CT_STATE] = "ct state", [PACKET_UID] = "meta skuid", [PACKET_ICMP_TYPE] = "icmp type", [PACKET_ICMPV6_TYPE] = "icmpv6 type",
        [PACKET_HOP_LIMIT] = "ip6 hoplimit", [PACKET_OTHER] = "meta mark",
    };
    if (field == PACKET_SOURCE || field == PACKET_DESTINATION)
        buf_printf(out, "%s %s", family == PACKET_IPV4 ? "ip" : "ip6", field == PACKET_SOURCE ? "saddr" : "daddr");
    else
        buf_append(out, str_of(is_loopback ? "iif" : names[field]));
}

static bool is_loopback(const struct packet_filter *filter, const struct packet_set *set)
{
    const struct relation_range name = packet_name(STR("lo"), false);
    return set->fields[0] == PACKET_INTERFACE && set->n_fields == 1 && set->n_elements == 1 &&
           memcmp(packet_filter_values(filter, set, 0), &name, sizeof name) == 0;
}

static void write_match(struct buf *out, const struct packet_filter *filter, const struct packet_match *match)
{
    const struct packet_set *set = packet_filter_set(filter, match->set);
    uint8_t family = match->family ? match->family : set->family;
    const char *separator = set->fields[0] == PACKET_CT_STATE ? "," : ", ";
    bool has_braces = set->n_elements != 1 && set->fields[0] != PACKET_CT_STATE;
    for (unsigned i = 0; i < set->n_fields; i++) {
        if (i)
            buf_append(out, STR(" . "));
        write_field(out, set->fields[i], family, is_loopback(filter, set));
    }
    buf_append(out, match->negated ? STR(" != ") : STR(" "));
    if (set->name.len) {
        buf_printf(out, "@%.*s ", STR_ARG(set->name));
        return;
    }
    buf_append(out, has_braces ? STR("{ ") : STR_NONE);
    for (uint32_t k = 0; k < set->n_elements; k++) {
        buf_append(out, k ? str_of(separator) : STR_NONE);
        write_element(out, filter, set, k);
    }
    buf_append(out, has_braces ? STR(" } ") : STR(" "));
}

/* "udp dport 53" for one protocol and then a port. */
static bool write_transport(struct buf *out, const struct packet_filter *filter, const struct packet_rule *rule, uint32_t k)
{
    if (k + 1 >= rule->n_matches)
        return false;
    const struct packet_match *match = packet_filter_match(filter, rule->first_match + k), *next = match + 1;
    const struct packet_set *set = packet_filter_set(filter, match->set), *ports = packet_filter_set(filter, next->set);
    if (match->negated || next->negated || set->name.len || set->n_fields != 1 || set->n_elements != 1 || set->fields[0] != PACKET_PROTOCOL ||
        ports->name.len || ports->n_fields != 1 || ports->n_elements != 1 || ports->fields[0] != PACKET_PORT)
        return false;
    const struct relation_range *value = packet_filter_values(filter, set, 0);
    if (!address_equal(&value->first, &value->last) || (number_of(&value->first) != IPPROTO_TCP && number_of(&value->first) != IPPROTO_UDP))
        return false;
    write_value(out, PACKET_PROTOCOL, value);
    buf_append(out, STR(" dport "));
    write_value(out, PACKET_PORT, packet_filter_values(filter, ports, 0));
    buf_append_char(out, ' ');
    return true;
}

static void write_verdict(struct buf *out, const struct packet_filter *filter, const struct packet_rule *rule)
{
    static const char *const names[] = { [PACKET_CONTINUE] = "continue", [PACKET_ACCEPT] = "accept", [PACKET_DROP] = "drop",
                                         [PACKET_REJECT] = "reject with icmpx admin-prohibited", [PACKET_JUMP] = "jump", [PACKET_GOTO] = "goto",
                                         [PACKET_RETURN] = "return", [PACKET_ELSEWHERE] = "queue" };
    buf_append(out, str_of(names[rule->verdict]));
    if (rule->verdict == PACKET_JUMP || rule->verdict == PACKET_GOTO)
        buf_printf(out, " %.*s", STR_ARG(packet_filter_chain(filter, rule->target)->name));
}

static void write_rule(struct buf *out, const struct packet_filter *filter, const struct packet_rule *rule)
{
    buf_append(out, STR("\t\t"));
    for (uint32_t k = 0; k < rule->n_matches; k++) {
        if (write_transport(out, filter, rule, k))
            k++;
        else
            write_match(out, filter, packet_filter_match(filter, rule->first_match + k));
    }
    if (rule->is_counted)
        buf_append(out, STR("counter "));
    write_verdict(out, filter, rule);
    if (rule->comment.len) {
        buf_append(out, STR(" comment \""));
        nftables_text_plain(out, str_first(rule->comment, COMMENT_MAX));
        buf_append_char(out, '"');
    }
    buf_append_char(out, '\n');
}

/* ---- chains and tables ---- */

static void write_base(struct buf *out, const struct packet_chain *chain)
{
    static const char *const hooks[] = { "ingress", "prerouting", "input", "forward", "output", "postrouting" };
    int32_t offset = chain->hook == PACKET_HOOK_PREROUTING ? chain->priority + 100 : chain->priority;
    buf_printf(out, "\t\ttype filter hook %s priority %s", hooks[chain->hook], chain->hook == PACKET_HOOK_PREROUTING ? "dstnat" : "filter");
    if (offset)
        buf_printf(out, " %c %u", offset < 0 ? '-' : '+', offset < 0 ? (uint32_t)-offset : (uint32_t)offset);
    buf_printf(out, "; policy %s;\n", chain->policy == PACKET_ACCEPT ? "accept" : "drop");
}

static void write_chain(struct buf *out, const struct packet_filter *filter, const struct packet_chain *chain, bool is_first)
{
    buf_append(out, is_first ? STR_NONE : STR("\n"));
    if (chain->remark.len) {
        buf_append(out, STR("\t# "));
        buf_append(out, chain->remark);
        buf_append_char(out, '\n');
    }
    buf_printf(out, "\tchain %.*s {\n", STR_ARG(chain->name));
    if (chain->is_base)
        write_base(out, chain);
    for (uint32_t k = 0; k < chain->n_rules; k++)
        write_rule(out, filter, packet_filter_rule_of(filter, chain, k));
    buf_append(out, STR("\t}\n"));
}

static void write_table(struct buf *out, const struct packet_filter *filter, uint32_t index)
{
    const struct packet_table *table = packet_filter_table(filter, index);
    const char *family = table->family == PACKET_IPV4 ? "ip" : table->family == PACKET_IPV6 ? "ip6" : "inet";
    bool is_first = true;
    for (unsigned i = 0; i < 3; i++)
        buf_printf(out, "%stable %s %.*s%s\n", i == 1 ? "delete " : "", family, STR_ARG(table->name), i == 2 ? " {" : "");
    for (uint32_t i = 0; i < packet_filter_n_sets(filter); i++)
        if (packet_filter_set(filter, i)->table == index && packet_filter_set(filter, i)->name.len)
            write_set(out, filter, packet_filter_set(filter, i));
    for (uint32_t i = 0; i < packet_filter_n_chains(filter); i++)
        if (packet_filter_chain(filter, i)->table == index) {
            write_chain(out, filter, packet_filter_chain(filter, i), is_first);
            is_first = false;
        }
    buf_append(out, STR("}\n"));
}

void nftables_text_write(const struct packet_filter *filter, struct buf *out)
{
    for (uint32_t i = 0; i < packet_filter_n_tables(filter); i++)
        write_table(out, filter, i);
}
