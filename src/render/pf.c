/* A macOS host's firewall as pf rules: the same lists as for nftables, with a rule for each destination and port. */
#include "render/pf.h"

#include <errno.h>
#include <netinet/in.h>

#include "render/host_filter.h"
#include "render/nftables_text.h"
#include "render/origin.h"
#include "render/pf_text.h"

/* How many sources one rule names before the next one goes on. */
enum { INTERFACE_MAX = 15, LIST_MAX = 1 << 28, SOURCES_MAX = 64 };

struct builder {
    struct packet_filter *filter;
    const struct model *model;
    const struct flows *flows;
    const struct render_nftables_options *options;
    struct host_filter_reasons reasons;
    uint32_t host, in;
    uint32_t mesh[2], here[2], lan[2];  /* sets; PACKET_NONE: nothing in it */
};

static uint8_t family_of(unsigned i)
{
    return i ? PACKET_IPV6 : PACKET_IPV4;
}

/* ---- ranges as prefixes ---- */

static bool is_within(const struct relation_range *whole, const struct relation_range *part)
{
    return address_compare(&whole->first, &part->first) <= 0 && address_compare(&part->last, &whole->last) <= 0;
}

/* The longest run of addresses from the range's first on that is a prefix. */
static struct relation_range first_prefix(const struct relation_range *range)
{
    for (unsigned bits = address_is_v4(&range->first) ? 96 : 0; bits < 128; bits++) {
        struct address_prefix prefix = { address_mask(&range->first, bits), (uint8_t)bits };
        struct relation_range one = relation_range_of_prefix(&prefix);
        if (address_equal(&one.first, &range->first) && is_within(range, &one))
            return one;
    }
    return (struct relation_range){ range->first, range->first };
}

/* One element per prefix of the range. */
static void add_prefixes(struct packet_filter *filter, struct relation_range range, uint32_t reason)
{
    for (;;) {
        struct relation_range one = first_prefix(&range);
        packet_filter_add_element(filter, &one, reason);
        if (filter->error || address_equal(&one.last, &range.last))
            return;
        range.first = one.last;
        address_advance(&range.first);
    }
}

/* ---- tables ---- */

static uint32_t add_table(struct builder *b, struct str name, unsigned i, enum packet_field field, const struct buf *ranges)
{
    const struct packet_set what = { .table = 0, .name = name, .fields = { (uint8_t)field }, .n_fields = 1, .family = family_of(i) };
    if (ranges->len == 0)
        return PACKET_NONE;
    uint32_t set = packet_filter_add_set(b->filter, &what);
    for (size_t k = 0; k < ranges->len; k += sizeof(struct relation_range))
        add_prefixes(b->filter, *(const struct relation_range *)(const void *)(ranges->ptr + k), PACKET_NONE);
    return set;
}

static int add_tables(struct builder *b)
{
    cleanup_buf struct buf list;
    buf_init(&list, LIST_MAX);
    for (unsigned i = 0; i < 2; i++) {
        b->mesh[i] = b->here[i] = b->lan[i] = PACKET_NONE;
        buf_clear(&list);
        host_filter_mesh(b->model, !i, &list);
        if (b->options->mesh_interface.len)
            b->mesh[i] = add_table(b, i ? STR("postern_mesh6") : STR("postern_mesh4"), i, PACKET_SOURCE, &list);
        buf_clear(&list);
        host_filter_here(b->model, b->host, !i, &list);
        b->here[i] = add_table(b, i ? STR("postern_here6") : STR("postern_here4"), i, PACKET_DESTINATION, &list);
        buf_clear(&list);
        host_filter_lan(b->model, b->host, !i, &list);
        if (!b->options->keep_lan)
            b->lan[i] = add_table(b, i ? STR("postern_lan6") : STR("postern_lan4"), i, PACKET_DESTINATION, &list);
    }
    return list.error;
}

/* ---- rules ---- */

static void add_rule(struct builder *b, enum packet_verdict verdict, struct str comment)
{
    packet_filter_add_rule(b->filter, b->in, verdict, PACKET_NONE);
    packet_filter_set_comment(b->filter, comment);
}

static void add_numbers(struct builder *b, enum packet_field field, const uint32_t *numbers, uint32_t n)
{
    const struct packet_set what = { .fields = { (uint8_t)field }, .n_fields = 1 };
    uint32_t set = packet_filter_add_set(b->filter, &what);
    for (uint32_t i = 0; i < n; i++) {
        const struct relation_range value = packet_number(numbers[i], numbers[i]);
        packet_filter_add_element(b->filter, &value, PACKET_NONE);
    }
    packet_filter_add_match(b->filter, set, PACKET_ANY_FAMILY, false);
}

static void add_interface(struct builder *b, struct str name, bool negated)
{
    packet_filter_add_simple(b->filter, PACKET_INTERFACE, packet_name(name, false), PACKET_ANY_FAMILY, negated);
}

static void add_guard(struct builder *b)
{
    for (unsigned i = 0; i < 2; i++)
        if (b->mesh[i] != PACKET_NONE) {
            add_rule(b, PACKET_DROP, STR("a mesh address that doesn't come from the mesh"));
            add_interface(b, b->options->mesh_interface, true);
            packet_filter_add_match(b->filter, b->mesh[i], family_of(i), false);
        }
}

static bool is_alike(const struct flow *a, const struct flow *b)
{
    return address_equal(&a->destination, &b->destination) && a->transport == b->transport && a->port == b->port && a->grant == b->grant &&
           a->reason == b->reason;
}

/* Flows come sorted by destination, protocol and port: those of one grant that follow each other share a rule. */
static void add_flows(struct builder *b)
{
    for (uint32_t k = 0, next; k < b->flows->n && !b->filter->error; k = next) {
        const struct flow *flow = &b->flows->items[k];
        uint8_t family = address_is_v4(&flow->destination) ? PACKET_IPV4 : PACKET_IPV6;
        const uint32_t protocol = flow->transport == MODEL_UDP ? IPPROTO_UDP : IPPROTO_TCP, port = flow->port;
        const struct relation_range to = { flow->destination, flow->destination };
        const struct packet_set what = { .fields = { PACKET_SOURCE }, .n_fields = 1, .family = family };
        add_rule(b, PACKET_ACCEPT, STR_NONE);
        uint32_t sources = packet_filter_add_set(b->filter, &what);
        for (next = k; next < b->flows->n && next - k < SOURCES_MAX && is_alike(flow, &b->flows->items[next]); next++) {
            const struct source_range *from = &b->flows->sources.items[b->flows->items[next].source];
            add_prefixes(b->filter, (struct relation_range){ from->first, from->last }, host_filter_reason(&b->reasons, &b->flows->items[next]));
        }
        add_numbers(b, PACKET_PROTOCOL, &protocol, 1);
        packet_filter_add_match(b->filter, sources, family, false);
        packet_filter_add_simple(b->filter, PACKET_DESTINATION, to, family, false);
        add_numbers(b, PACKET_PORT, &port, 1);
    }
}

/* Errors that path MTU and connect depend on, and neighbour discovery, which is IPv6's ARP. */
static void add_errors(struct builder *b)
{
    static const uint32_t types4[] = { 3, 11, 12 }, types6[] = { 1, 2, 3, 4, 133, 134, 135, 136 };
    add_rule(b, PACKET_ACCEPT, STR_NONE);
    add_numbers(b, PACKET_ICMP_TYPE, types4, ARRAY_SIZE(types4));
    add_rule(b, PACKET_ACCEPT, STR_NONE);
    add_numbers(b, PACKET_ICMPV6_TYPE, types6, ARRAY_SIZE(types6));
}

static void add_lan(struct builder *b)
{
    static const uint32_t udp[] = { IPPROTO_UDP }, both[] = { IPPROTO_TCP, IPPROTO_UDP };
    const uint32_t port = b->options->mesh_transport_port;
    for (unsigned i = 0; i < 2; i++) {
        if (b->lan[i] == PACKET_NONE)
            continue;
        if (port) {
            add_rule(b, PACKET_ACCEPT, STR("the mesh itself"));
            add_numbers(b, PACKET_PROTOCOL, udp, 1);
            packet_filter_add_match(b->filter, b->lan[i], family_of(i), false);
            add_numbers(b, PACKET_PORT, &port, 1);
        }
        add_rule(b, PACKET_DROP, STR("by the LAN address"));
        add_numbers(b, PACKET_PROTOCOL, both, 2);
        packet_filter_add_match(b->filter, b->lan[i], family_of(i), false);
    }
}

static int add_served(struct builder *b)
{
    cleanup_buf struct buf list;
    buf_init(&list, LIST_MAX);
    host_filter_served(b->model, b->host, &list);
    for (size_t k = 0; k < list.len; k += sizeof(struct host_filter_port)) {
        const struct host_filter_port *served = (const void *)(list.ptr + k);
        const uint32_t protocol = served->protocol, port = served->port;
        add_rule(b, PACKET_DROP, STR("served on the mesh only"));
        add_numbers(b, PACKET_PROTOCOL, &protocol, 1);
        add_numbers(b, PACKET_PORT, &port, 1);
    }
    return list.error;
}

static int build(struct builder *b)
{
    uint32_t table = packet_filter_add_table(b->filter, PACKET_ANY_FAMILY, STR("postern"));
    int r = add_tables(b);
    if (r < 0)
        return r;
    uint32_t out = packet_filter_add_chain(b->filter, table, STR("out"));
    packet_filter_set_hook(b->filter, out, PACKET_HOOK_OUTPUT, 0, PACKET_ACCEPT);
    packet_filter_add_rule(b->filter, out, PACKET_ACCEPT, PACKET_NONE);
    b->in = packet_filter_add_chain(b->filter, table, STR("in"));
    packet_filter_set_hook(b->filter, b->in, PACKET_HOOK_INPUT, 0, PACKET_ACCEPT);
    if (b->filter->error)
        return b->filter->error;
    packet_filter_chain(b->filter, out)->remark = STR("What this host starts is answered.");
    packet_filter_chain(b->filter, b->in)->remark = STR("The first rule that holds decides.");
    add_rule(b, PACKET_ACCEPT, STR_NONE);
    add_interface(b, STR("lo0"), false);
    add_guard(b);
    add_flows(b);
    add_errors(b);
    for (unsigned i = 0; i < 2; i++)
        if (b->here[i] != PACKET_NONE) {
            add_rule(b, PACKET_DROP, STR("no grant"));
            packet_filter_add_match(b->filter, b->here[i], family_of(i), false);
        }
    if (b->options->mesh_interface.len) {
        add_rule(b, PACKET_DROP, STR("no grant"));
        add_interface(b, b->options->mesh_interface, false);
    }
    add_lan(b);
    r = add_served(b);
    return r < 0 ? r : b->filter->error;
}

static bool is_interface_name(struct str name)
{
    if (name.len > INTERFACE_MAX)
        return false;
    for (size_t i = 0; i < name.len; i++) {
        char c = name.ptr[i];
        if (!((c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9')))
            return false;
    }
    return true;
}

static int check_options(const struct model *model, uint32_t host, const struct render_nftables_options *options, struct error *err)
{
    if (host >= model->n_hosts)
        error_set(err, "no such host");
    else if (model->hosts[host].os != MODEL_OS_MACOS)
        error_set(err, "%.*s runs Linux: 'postern render nftables' writes its firewall", STR_ARG(model->hosts[host].name.text));
    else if (!is_interface_name(options->mesh_interface))
        error_set(err, "'%.*s' is no name of an interface on macOS", STR_ARG(options->mesh_interface));
    else
        return 0;
    return -EINVAL;
}

static int find_flows(const struct model *model, uint32_t host, struct flows *ret)
{
    cleanup_grants struct grants grants = { 0 };
    int r = grants_init(&grants, model);
    return r < 0 ? r : flows_init(ret, &grants, host);
}

int render_pf_filter(const struct model *model, uint32_t host, const struct render_nftables_options *options, struct packet_filter *ret, struct error *err)
{
    cleanup_flows struct flows flows = { 0 };
    cleanup_packet_filter struct packet_filter filter = { 0 };
    char name[96] = "pf on ";
    int r = check_options(model, host, options, err);
    if (r == 0)
        r = find_flows(model, host, &flows);
    if (r < 0)
        return r;
    str_copy(name + strlen(name), sizeof name - strlen(name), model->hosts[host].name.text);
    struct builder b = { .filter = &filter, .model = model, .flows = &flows, .options = options, .host = host };
    r = packet_filter_init(&filter, str_of(name));
    if (r == 0)
        r = host_filter_reasons_init(&b.reasons, &filter, model);
    if (r == 0)
        r = build(&b);
    if (r == 0)
        r = packet_filter_seal(&filter, err);
    if (r == 0) {
        *ret = filter;
        filter = (struct packet_filter){ 0 };
    }
    return r;
}

int render_pf_host(const struct model *model, uint32_t host, const struct render_nftables_options *options, struct buf *out, struct error *err)
{
    cleanup_packet_filter struct packet_filter filter = { 0 };
    int r = render_pf_filter(model, host, options, &filter, err);
    if (r < 0)
        return r;
    buf_append(out, STR("# "));
    render_origin_write(out, model, options->revision);
    buf_append(out, STR(" For host "));
    nftables_text_plain(out, model->hosts[host].name.text);
    buf_append(out, STR(". Written over at the next change: edit the declaration instead.\n"
                        "# Loaded with \"pfctl -a postern -f FILE\"; /etc/pf.conf needs two lines at its end, and \"pfctl -e\" once:\n"
                        "#   anchor \"postern\"\n"
                        "#   load anchor \"postern\" from \"/etc/pf.anchors/postern\"\n"));
    if (!options->mesh_interface.len)
        buf_append(out, STR("# No guard against mesh addresses from elsewhere: --interface says which one is the mesh's"
                            " (\"ifconfig\": utun with a 100.64/10 address).\n"));
    buf_append_char(out, '\n');
    pf_text_write(&filter, out);
    return out->error;
}
