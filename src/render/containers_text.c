/* The container tables as text for nft: the rules, which never differ, and elements of their sets. */
#include <netinet/in.h>
#include <stdio.h>

#include "render/containers.h"
#include "render/nftables_text.h"

enum { COMMENT_MAX = 120 };

/* What was dropped or would have been, by whom and where to; read by postern suggest. Past their size nothing is added: they are for people. */
#define COUNTS "; size 16384; flags dynamic; }\n"

static const char rules_inet[] =
    "\tset watched { type nf_proto; flags timeout; }\n"
    "\tset denied4 { type ifname . ipv4_addr . ipv4_addr . inet_proto . inet_service" COUNTS
    "\tset denied6 { type ifname . ipv6_addr . ipv6_addr . inet_proto . inet_service" COUNTS
    "\tset seen4 { type ifname . ipv4_addr . ipv4_addr . inet_proto . inet_service" COUNTS
    "\tset seen6 { type ifname . ipv6_addr . ipv6_addr . inet_proto . inet_service" COUNTS
    "\n"
    "\t# Before any DNAT: what was asked for, not what somebody makes of it. Everything from a container comes by here.\n"
    "\tchain arriving {\n"
    "\t\ttype filter hook prerouting priority dstnat - 10; policy accept;\n"
    "\t\tiifname vmap @bridges\n"
    "\t\tiifname \"br-*\" meta nfproto @watched goto unknown\n"
    "\t\tiifname \"pn-*\" meta nfproto @watched goto unknown\n"
    "\t}\n"
    "\n"
    "\t# A bridge of the names that Docker and 'postern render compose' give, so new that nobody knows yet whose it is: held for as long as\n"
    "\t# somebody is about to find out.\n"
    "\tchain unknown {\n"
    "\t\tct direction reply accept\n"
    "\t\tct state related accept\n"
    "\t\tjump neighbours\n"
    "\t\tcounter drop\n"
    "\t}\n"
    "\n"
    "\tchain from_enforced {\n"
    "\t\tiifname . ip saddr @exempt4 goto from_observed\n"
    "\t\tiifname . ip6 saddr @exempt6 goto from_observed\n"
    "\t\tjump judge\n"
    "\t\tgoto deny\n"
    "\t}\n"
    "\n"
    "\tchain from_observed {\n"
    "\t\tjump judge\n"
    "\t\tfib daddr type local meta l4proto . th dport @published goto deny\n"
    "\t\tct state new meta l4proto { tcp, udp } update @seen4 { iifname . ip saddr . ip daddr . meta l4proto . th dport counter }\n"
    "\t\tct state new meta l4proto { tcp, udp } update @seen6 { iifname . ip6 saddr . ip6 daddr . meta l4proto . th dport counter }\n"
    "\t\taccept\n"
    "\t}\n"
    "\n"
    "\t# What may pass is accepted; otherwise it returns. An answer is the other direction of a connection that somebody else began.\n"
    "\tchain judge {\n"
    "\t\tct direction reply accept\n"
    "\t\tct state related accept\n"
    "\t\tjump neighbours\n"
    "\t\tiifname . ip saddr . ip daddr . meta l4proto . th dport @granted4 accept\n"
    "\t\tiifname . ip6 saddr . ip6 daddr . meta l4proto . th dport @granted6 accept\n"
    "\t\tfib daddr type local return\n"
    "\t\tiifname . ip daddr @inside4 accept\n"
    "\t\tiifname . ip6 daddr @inside6 accept\n"
    "\t\tiifname @open fib daddr type { broadcast, multicast } accept\n"
    "\t\tiifname . ip saddr @internet4 ip daddr != @near4 accept\n"
    "\t\tiifname . ip6 saddr @internet6 ip6 daddr 2000::/3 ip6 daddr != @near6 accept\n"
    "\t}\n"
    "\n"
    "\t# IPv6's ARP.\n"
    "\tchain neighbours {\n"
    "\t\ticmpv6 type { nd-router-solicit, nd-router-advert, nd-neighbor-solicit, nd-neighbor-advert } ip6 hoplimit 255 accept\n"
    "\t}\n"
    "\n"
    "\tchain deny {\n"
    "\t\tmeta l4proto { tcp, udp } update @denied4 { iifname . ip saddr . ip daddr . meta l4proto . th dport counter }\n"
    "\t\tmeta l4proto { tcp, udp } update @denied6 { iifname . ip6 saddr . ip6 daddr . meta l4proto . th dport counter }\n"
    "\t\tcounter drop comment \"no grant\"\n"
    "\t}\n"
    "\n"
    "\t# From a container elsewhere to one that is held. What stays on its bridge was judged already.\n"
    "\tchain forward {\n"
    "\t\ttype filter hook forward priority filter - 10; policy accept;\n"
    "\t\tiifname . oifname @itself accept\n"
    "\t\tiifname @dockers oifname @held goto to_enforced\n"
    "\t}\n"
    "\n"
    "\tchain to_enforced {\n"
    "\t\tct direction reply accept\n"
    "\t\tct state related accept\n"
    "\t\toifname . ip daddr @exempt4 accept\n"
    "\t\toifname . ip6 daddr @exempt6 accept\n"
    "\t\tiifname . ip saddr . ip daddr . meta l4proto . th dport @granted4 accept\n"
    "\t\tiifname . ip6 saddr . ip6 daddr . meta l4proto . th dport @granted6 accept\n"
    "\t\tgoto deny\n"
    "\t}\n"
    "\n"
    "\t# What is meant for everyone on an open bridge isn't meant for the host.\n"
    "\tchain input {\n"
    "\t\ttype filter hook input priority filter - 10; policy accept;\n"
    "\t\tiifname @held meta pkttype { broadcast, multicast } meta l4proto { tcp, udp } iifname . ip saddr != @exempt4 drop\n"
    "\t\tiifname @held meta pkttype { broadcast, multicast } meta l4proto { tcp, udp } iifname . ip6 saddr != @exempt6 drop\n"
    "\t}\n"
    "}\n";

static const char rules_bridge[] =
    "\tset denied4 { type ipv4_addr . ipv4_addr . inet_proto . inet_service" COUNTS
    "\tset denied6 { type ipv6_addr . ipv6_addr . inet_proto . inet_service" COUNTS
    "\tset seen4 { type ipv4_addr . ipv4_addr . inet_proto . inet_service" COUNTS
    "\tset seen6 { type ipv6_addr . ipv6_addr . inet_proto . inet_service" COUNTS
    "\n"
    "\t# An address with grants is its container's, behind one port: nobody else's on that bridge.\n"
    "\tchain arriving {\n"
    "\t\ttype filter hook prerouting priority filter; policy accept;\n"
    "\t\tiifname @owned jump owner\n"
    "\t}\n"
    "\n"
    "\tchain owner {\n"
    "\t\tiifname . ip saddr @owner4 return\n"
    "\t\tiifname . ip6 saddr @owner6 return\n"
    "\t\tiifname . arp saddr ip @owner4 return\n"
    "\t\tether type arp arp saddr ip 0.0.0.0 return\n"
    "\t\tip6 saddr { ::, fe80::/10 } return\n"
    "\t\tcounter drop comment \"an address that isn't its own\"\n"
    "\t}\n"
    "\n"
    "\tchain forward {\n"
    "\t\ttype filter hook forward priority filter; policy accept;\n"
    "\t\tiifname vmap @ports\n"
    "\t\tiifname \"veth*\" ip daddr @judged4 goto enforced\n"
    "\t\tiifname \"veth*\" ip6 daddr @judged6 goto enforced\n"
    "\t}\n"
    "\n"
    "\tchain enforced {\n"
    "\t\tjump judge\n"
    "\t\tmeta l4proto { tcp, udp } update @denied4 { ip saddr . ip daddr . meta l4proto . th dport counter }\n"
    "\t\tmeta l4proto { tcp, udp } update @denied6 { ip6 saddr . ip6 daddr . meta l4proto . th dport counter }\n"
    "\t\tcounter drop comment \"no grant\"\n"
    "\t}\n"
    "\n"
    "\tchain observed {\n"
    "\t\tjump judge\n"
    "\t\ttcp flags & (fin | syn | rst | ack) == syn update @seen4 { ip saddr . ip daddr . meta l4proto . th dport counter }\n"
    "\t\ttcp flags & (fin | syn | rst | ack) == syn update @seen6 { ip6 saddr . ip6 daddr . meta l4proto . th dport counter }\n"
    "\t\tmeta l4proto udp ip daddr . ip saddr . meta l4proto . th sport @seen4 accept\n"
    "\t\tmeta l4proto udp ip6 daddr . ip6 saddr . meta l4proto . th sport @seen6 accept\n"
    "\t\tmeta l4proto udp update @seen4 { ip saddr . ip daddr . meta l4proto . th dport counter }\n"
    "\t\tmeta l4proto udp update @seen6 { ip6 saddr . ip6 daddr . meta l4proto . th dport counter }\n"
    "\t\taccept\n"
    "\t}\n"
    "\n"
    "\t# An answer comes from the port that was granted, and opens no connection.\n"
    "\tchain judge {\n"
    "\t\tether type arp accept\n"
    "\t\ticmpv6 type { nd-router-solicit, nd-router-advert, nd-neighbor-solicit, nd-neighbor-advert } ip6 hoplimit 255 accept\n"
    "\t\ticmp type { destination-unreachable, time-exceeded, parameter-problem } accept\n"
    "\t\ticmpv6 type { destination-unreachable, packet-too-big, time-exceeded, parameter-problem } accept\n"
    "\t\tip saddr . ip daddr @pairs4 accept\n"
    "\t\tip6 saddr . ip6 daddr @pairs6 accept\n"
    "\t\tip saddr . ip daddr . meta l4proto . th dport @passes4 accept\n"
    "\t\tip6 saddr . ip6 daddr . meta l4proto . th dport @passes6 accept\n"
    "\t\ttcp flags & (fin | syn | rst | ack) == syn return\n"
    "\t\tip daddr . ip saddr . meta l4proto . th sport @passes4 accept\n"
    "\t\tip6 daddr . ip6 saddr . meta l4proto . th sport @passes6 accept\n"
    "\t}\n"
    "}\n";

/* ---- elements ---- */

static void write_class(struct buf *out, const struct container_shape *shape, const struct container_element *element)
{
    static const char *const inet[] = { "accept", "goto from_observed", "goto from_enforced" };
    static const char *const bridge[] = { "accept", "goto observed", "goto enforced" };
    buf_printf(out, " : %s", (shape->is_of_bridge ? bridge : inet)[element->class]);
}

static void write_part(struct buf *out, size_t start, const char *text)
{
    buf_printf(out, "%s%s", out->len > start ? " . " : "", text);
}

static void write_key(struct buf *out, const struct container_shape *shape, const struct container_element *element)
{
    char text[ADDRESS_PREFIX_TEXT_SIZE], name[CONTAINER_NAME_SIZE + 2];
    const struct address_prefix prefix = { element->to, element->to_bits };
    size_t start = out->len;
    snprintf(name, sizeof name, "\"%.15s\"", element->name);
    if (shape->key & CONTAINER_KEY_NAME)
        write_part(out, start, name);
    if (shape->key & CONTAINER_KEY_NAME_AGAIN)
        write_part(out, start, name);
    if (shape->key & CONTAINER_KEY_FROM)
        write_part(out, start, address_format(&element->from, text));
    if (shape->key & CONTAINER_KEY_TO)
        write_part(out, start, address_format(&element->to, text));
    if (shape->key & CONTAINER_KEY_PREFIX)
        write_part(out, start, address_prefix_format(&prefix, text));
    if (shape->key & CONTAINER_KEY_PORT) {
        write_part(out, start, element->protocol == IPPROTO_UDP ? "udp" : "tcp");
        buf_printf(out, " . %u", element->port);
    }
}

/* nft's order: comment before the colon of a map. */
static void write_element(struct buf *out, const struct container_shape *shape, const struct container_element *element)
{
    write_key(out, shape, element);
    if (element->comment.len) {
        buf_append(out, STR(" comment \""));
        nftables_text_plain(out, str_first(element->comment, COMMENT_MAX));
        buf_append_char(out, '"');
    }
    if (shape->has_class)
        write_class(out, shape, element);
}

/* ---- everything ---- */

static void write_type(struct buf *out, const struct container_shape *shape)
{
    const char *address = shape->is_v6 ? "ipv6_addr" : "ipv4_addr";
    size_t start = out->len;
    if (shape->key & CONTAINER_KEY_NAME)
        write_part(out, start, "ifname");
    if (shape->key & CONTAINER_KEY_NAME_AGAIN)
        write_part(out, start, "ifname");
    if (shape->key & CONTAINER_KEY_FROM)
        write_part(out, start, address);
    if (shape->key & (CONTAINER_KEY_TO | CONTAINER_KEY_PREFIX))
        write_part(out, start, address);
    if (shape->key & CONTAINER_KEY_PORT)
        write_part(out, start, "inet_proto . inet_service");
    if (shape->has_class)
        buf_append(out, STR(" : verdict"));
}

static void write_set(struct buf *out, const struct container_filter *filter, enum container_set set)
{
    const struct container_shape *shape = &container_shapes[set];
    uint32_t n = container_filter_count(filter, set);
    buf_printf(out, "\t%s %s {\n\t\ttype ", shape->has_class ? "map" : "set", shape->name);
    write_type(out, shape);
    buf_append(out, shape->key & CONTAINER_KEY_PREFIX ? STR("\n\t\tflags interval\n") : STR("\n"));
    for (uint32_t k = 0; k < n; k++) {
        buf_append(out, k ? STR(",\n\t\t\t     ") : STR("\t\telements = { "));
        write_element(out, shape, container_filter_at(filter, set, k));
    }
    buf_append(out, n ? STR(" }\n\t}\n\n") : STR("\t}\n\n"));
}

static void write_table(struct buf *out, const struct container_filter *filter, bool is_bridge)
{
    const char *family = is_bridge ? "bridge" : "inet";
    buf_printf(out, "table %s " CONTAINER_TABLE "\ndelete table %s " CONTAINER_TABLE "\ntable %s " CONTAINER_TABLE " {\n", family, family, family);
    for (unsigned set = 0; set < CONTAINER_N_SETS; set++)
        if (container_shapes[set].is_of_bridge == is_bridge)
            write_set(out, filter, set);
    buf_append(out, is_bridge ? str_make(rules_bridge, sizeof rules_bridge - 1) : str_make(rules_inet, sizeof rules_inet - 1));
}

void container_filter_write(const struct container_filter *filter, struct str origin, struct buf *out)
{
    buf_append(out, STR("# "));
    nftables_text_plain(out, origin);
    buf_append_char(out, '\n');
    write_table(out, filter, false);
    buf_append_char(out, '\n');
    write_table(out, filter, true);
}

/* ---- changes ---- */

static bool is_same(const struct container_element *a, const struct container_element *b)
{
    return a->class == b->class && str_equal(a->comment, b->comment);
}

static void write_change(struct buf *out, const struct container_shape *shape, const struct container_element *element, bool is_new)
{
    buf_printf(out, "%s element %s " CONTAINER_TABLE " %s { ", is_new ? "add" : "delete", shape->is_of_bridge ? "bridge" : "inet", shape->name);
    if (is_new)
        write_element(out, shape, element);
    else
        write_key(out, shape, element);
    buf_append(out, STR(" }\n"));
}

static void describe_change(struct buf *out, const struct container_shape *shape, const struct container_element *element, bool is_new)
{
    static const char *const classes[] = { "left alone", "observed", "enforced" };
    buf_printf(out, "%c %-10s ", is_new ? '+' : '-', shape->name);
    write_key(out, shape, element);
    if (shape->has_class)
        buf_printf(out, ": %s", classes[element->class]);
    if (element->comment.len) {
        buf_append(out, STR("  "));
        nftables_text_plain(out, element->comment);
    }
    buf_append_char(out, '\n');
}

typedef void (*change_writer)(struct buf *out, const struct container_shape *shape, const struct container_element *element, bool is_new);

/* Two sorted lists, merged: what is only in the first goes, what is only in the second comes. */
static uint32_t write_set_change(const struct container_filter *before, const struct container_filter *after, enum container_set set, bool is_new,
                                 struct buf *out, change_writer write)
{
    uint32_t n_before = container_filter_count(before, set), n_after = container_filter_count(after, set), i = 0, k = 0, n = 0;
    while (i < n_before || k < n_after) {
        const struct container_element *old = i < n_before ? container_filter_at(before, set, i) : NULL;
        const struct container_element *new = k < n_after ? container_filter_at(after, set, k) : NULL;
        int order = !old ? 1 : !new ? -1 : container_element_compare(old, new);
        bool differs = order != 0 || !is_same(old, new);
        if (differs && order <= 0 && !is_new)
            write(out, &container_shapes[set], old, false), n++;
        if (differs && order >= 0 && is_new)
            write(out, &container_shapes[set], new, true), n++;
        i += order <= 0;
        k += order >= 0;
    }
    return n;
}

/* What goes comes first: a key whose class changes may be there once only. */
static uint32_t write_all_changes(const struct container_filter *before, const struct container_filter *after, struct buf *out, change_writer write)
{
    uint32_t n = 0;
    for (unsigned is_new = 0; is_new < 2; is_new++)
        for (unsigned set = 0; set < CONTAINER_N_SETS; set++)
            n += write_set_change(before, after, set, is_new, out, write);
    return n;
}

uint32_t container_filter_write_change(const struct container_filter *before, const struct container_filter *after, struct buf *out)
{
    return write_all_changes(before, after, out, write_change);
}

uint32_t container_filter_describe_change(const struct container_filter *before, const struct container_filter *after, struct buf *out)
{
    return write_all_changes(before, after, out, describe_change);
}

void container_filter_write_removal(struct buf *out)
{
    for (unsigned i = 0; i < 4; i++)
        buf_printf(out, "%stable %s " CONTAINER_TABLE "\n", i % 2 ? "delete " : "", i < 2 ? "inet" : "bridge");
}

static void write_watched(struct buf *out, const char *verb, const char *until)
{
    buf_printf(out, "%s element inet " CONTAINER_TABLE " watched { ipv4%s, ipv6%s }\n", verb, until, until);
}

void container_filter_write_watch(unsigned seconds, struct buf *out)
{
    char until[32];
    /* What is there can't be given another time: it goes and comes, and what isn't there can't go. */
    write_watched(out, "add", "");
    write_watched(out, "delete", "");
    if (!seconds)
        return;
    snprintf(until, sizeof until, " timeout %us", seconds);
    write_watched(out, "add", until);
}
