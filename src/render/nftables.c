/* A host's firewall and the mesh's filter as nftables rules: sets hold who may reach what, so that a packet costs one look-up however many
 * grants there are. */
#include "render/nftables.h"

#include <errno.h>
#include <netinet/in.h>

#include "policy/containers.h"
#include "render/host_filter.h"
#include "render/nftables_text.h"
#include "render/origin.h"

enum { INTERFACE_MAX = 15, LIST_MAX = 1 << 28 }; /* the kernel keeps 15 bytes of an interface's name */

struct builder {
    struct packet_filter *filter;
    const struct model *model;
    const struct flows *flows;
    const struct render_nftables_options *options;
    struct host_filter_reasons reasons;
    uint32_t table, host;
    uint32_t allowed[2], mesh[2], here[2], lan[2], served; /* sets; [0] IPv4, [1] IPv6 */
    uint32_t asked[2];                                     /* where containers of this host may ask; PACKET_NONE: nowhere */
    uint32_t errors_only, declared, by_lan;                /* chains */
};

/* ---- sets ---- */

static uint8_t family_of(unsigned i)
{
    return i ? PACKET_IPV6 : PACKET_IPV4;
}

/* A set of addresses, matched against the source or the destination. */
static uint32_t add_addresses(struct builder *b, const char *name, unsigned i, enum packet_field field, bool is_merged,
                              const struct buf *ranges)
{
    char full[16];
    (void)str_copy(full, sizeof full - 1, str_of(name));
    full[strlen(full) + 1] = '\0';
    full[strlen(full)] = i ? '6' : '4';
    const struct packet_set what = { .table = b->table, .name = str_of(full), .fields = { (uint8_t)field }, .n_fields = 1, .family = family_of(i),
                                     .is_interval = true, .is_merged = is_merged };
    uint32_t set = packet_filter_add_set(b->filter, &what);
    for (size_t k = 0; k < ranges->len; k += sizeof(struct relation_range))
        packet_filter_add_element(b->filter, (const struct relation_range *)(const void *)(ranges->ptr + k), PACKET_NONE);
    return set;
}

static int add_lists(struct builder *b)
{
    cleanup_buf struct buf list;
    buf_init(&list, LIST_MAX);
    for (unsigned i = 0; i < 2; i++) {
        buf_clear(&list);
        host_filter_mesh(b->model, !i, &list);
        b->mesh[i] = add_addresses(b, "mesh", i, PACKET_SOURCE, false, &list);
    }
    for (unsigned i = 0; i < 2; i++) {
        buf_clear(&list);
        host_filter_here(b->model, b->host, !i, &list);
        b->here[i] = add_addresses(b, "here", i, PACKET_DESTINATION, true, &list);
    }
    for (unsigned i = 0; i < 2 && !b->options->keep_lan; i++) {
        buf_clear(&list);
        host_filter_lan(b->model, b->host, !i, &list);
        b->lan[i] = add_addresses(b, "lan", i, PACKET_DESTINATION, true, &list);
    }
    const struct packet_set served = { .table = b->table, .name = STR("served"), .fields = { PACKET_PROTOCOL, PACKET_PORT }, .n_fields = 2 };
    b->served = packet_filter_add_set(b->filter, &served);
    buf_clear(&list);
    host_filter_served(b->model, b->host, &list);
    for (size_t k = 0; k < list.len; k += sizeof(struct host_filter_port)) {
        const struct host_filter_port *port = (const void *)(list.ptr + k);
        const struct relation_range values[] = { packet_number(port->protocol, port->protocol), packet_number(port->port, port->port) };
        packet_filter_add_element(b->filter, values, PACKET_NONE);
    }
    return list.error;
}

static void add_allowed(struct builder *b, unsigned i)
{
    struct packet_set what = { .table = b->table, .name = i ? STR("allowed6") : STR("allowed4"), .n_fields = 4, .family = family_of(i),
                               .fields = { PACKET_SOURCE, PACKET_DESTINATION, PACKET_PROTOCOL, PACKET_PORT }, .is_counted = true };
    /* Ranges need a slower kind of set: asked for only where there is one. They never overlap, which that kind would refuse. */
    for (uint32_t k = 0; k < b->flows->n; k++) {
        const struct source_range *from = &b->flows->sources.items[b->flows->items[k].source];
        what.is_interval |= address_is_v4(&from->first) == !i && !address_equal(&from->first, &from->last);
    }
    b->allowed[i] = packet_filter_add_set(b->filter, &what);
    for (uint32_t k = 0; k < b->flows->n; k++) {
        const struct flow *flow = &b->flows->items[k];
        const struct source_range *from = &b->flows->sources.items[flow->source];
        uint32_t protocol = flow->transport == MODEL_UDP ? IPPROTO_UDP : IPPROTO_TCP;
        if (address_is_v4(&flow->destination) == !!i)
            continue;
        const struct relation_range values[] = { { from->first, from->last }, { flow->destination, flow->destination },
                                                 packet_number(protocol, protocol), packet_number(flow->port, flow->port) };
        packet_filter_add_element(b->filter, values, host_filter_reason(&b->reasons, flow));
    }
}

/* Ports of surfaces, for containers that are granted something there by this host's gateway. */
static void add_asked_pass(struct builder *b, unsigned i, const struct container_pass *pass)
{
    const struct model_surface *surface = &b->model->surfaces[pass->to];
    const struct model_prefixes *addresses = surface->addresses.n ? &surface->addresses : &b->model->hosts[b->host].addresses;
    const struct flow as_flow = { .grant = pass->grant, .reason = FLOW_SURFACE };
    for (uint32_t k = 0; k < addresses->n; k++) {
        const struct relation_range values[] = { relation_range_of_prefix(&addresses->items[k]), packet_number(IPPROTO_TCP, IPPROTO_TCP),
                                                 packet_number(pass->port, pass->port) };
        if (address_is_v4(&addresses->items[k].address) == !i)
            packet_filter_add_element(b->filter, values, host_filter_reason(&b->reasons, &as_flow));
    }
}

/* Of several containers that ask at one port, the first stands for all: an element may be there once. */
static bool is_first_at_port(const struct containers *containers, uint32_t first, uint32_t p)
{
    for (uint32_t i = first; i < p; i++)
        if (containers->passes[i].way == CONTAINER_WAY_SURFACE && containers->passes[i].port == containers->passes[p].port &&
            containers->passes[i].to == containers->passes[p].to)
            return false;
    return containers->passes[p].way == CONTAINER_WAY_SURFACE;
}

static int add_asked(struct builder *b)
{
    cleanup_containers struct containers containers;
    int r = containers_init(&containers, b->model);
    if (r < 0) {
        containers = (struct containers){ .n = 0 };
        return r;
    }
    uint32_t first = containers.first_of_pass[containers.first_of_host[b->host]], end = containers.first_of_pass[containers.first_of_host[b->host + 1]];
    for (unsigned i = 0; i < 2; i++) {
        bool is_any = false;
        for (uint32_t p = first; p < end && !is_any; p++)
            is_any = containers.passes[p].way == CONTAINER_WAY_SURFACE;
        b->asked[i] = PACKET_NONE;
        if (!is_any)
            continue;
        const struct packet_set what = { .table = b->table, .name = i ? STR("asked6") : STR("asked4"), .n_fields = 3, .family = family_of(i),
                                         .fields = { PACKET_DESTINATION, PACKET_PROTOCOL, PACKET_PORT }, .is_counted = true };
        b->asked[i] = packet_filter_add_set(b->filter, &what);
        for (uint32_t p = first; p < end; p++)
            if (is_first_at_port(&containers, first, p))
                add_asked_pass(b, i, &containers.passes[p]);
    }
    return 0;
}

/* ---- rules ---- */

static void add_counted(struct builder *b, uint32_t chain, enum packet_verdict verdict, struct str comment)
{
    packet_filter_add_rule(b->filter, chain, verdict, PACKET_NONE);
    packet_filter_set_comment(b->filter, comment);
    if (!b->filter->error)
        packet_filter_rule(b->filter, packet_filter_n_rules(b->filter) - 1)->is_counted = true;
}

static void add_numbers(struct builder *b, enum packet_field field, const uint32_t *numbers, uint32_t n, uint8_t family)
{
    const struct packet_set what = { .fields = { (uint8_t)field }, .n_fields = 1 };
    uint32_t set = packet_filter_add_set(b->filter, &what);
    for (uint32_t i = 0; i < n; i++) {
        const struct relation_range value = packet_number(numbers[i], numbers[i]);
        packet_filter_add_element(b->filter, &value, PACKET_NONE);
    }
    packet_filter_add_match(b->filter, set, family, false);
}

static void add_loopback(struct builder *b, uint32_t chain)
{
    packet_filter_add_rule(b->filter, chain, PACKET_ACCEPT, PACKET_NONE);
    packet_filter_add_simple(b->filter, PACKET_INTERFACE, packet_name(STR("lo"), false), PACKET_ANY_FAMILY, false);
}

static void add_established(struct builder *b, uint32_t chain)
{
    static const uint32_t states[] = { PACKET_CT_ESTABLISHED, PACKET_CT_RELATED };
    packet_filter_add_rule(b->filter, chain, PACKET_ACCEPT, PACKET_NONE);
    add_numbers(b, PACKET_CT_STATE, states, ARRAY_SIZE(states), PACKET_ANY_FAMILY);
}

/* One rule per family with one condition: on a set of it. */
static void add_per_family(struct builder *b, uint32_t chain, const uint32_t sets[static 2], enum packet_verdict verdict, uint32_t target)
{
    for (unsigned i = 0; i < 2; i++) {
        packet_filter_add_rule(b->filter, chain, verdict, target);
        packet_filter_add_match(b->filter, sets[i], family_of(i), false);
    }
}

static void add_neighbours(struct builder *b, uint32_t chain)
{
    static const uint32_t types[] = { 135, 136, 133, 134 };
    packet_filter_add_rule(b->filter, chain, PACKET_ACCEPT, PACKET_NONE);
    add_numbers(b, PACKET_ICMPV6_TYPE, types, ARRAY_SIZE(types), PACKET_ANY_FAMILY);
    packet_filter_add_simple(b->filter, PACKET_HOP_LIMIT, packet_number(255, 255), PACKET_IPV6, false);
}

static void fill_errors_only(struct builder *b)
{
    static const uint32_t types4[] = { 3, 11, 12 }, types6[] = { 1, 2, 3, 4 };
    packet_filter_add_rule(b->filter, b->errors_only, PACKET_ACCEPT, PACKET_NONE);
    add_numbers(b, PACKET_ICMP_TYPE, types4, ARRAY_SIZE(types4), PACKET_ANY_FAMILY);
    packet_filter_add_rule(b->filter, b->errors_only, PACKET_ACCEPT, PACKET_NONE);
    add_numbers(b, PACKET_ICMPV6_TYPE, types6, ARRAY_SIZE(types6), PACKET_ANY_FAMILY);
    add_neighbours(b, b->errors_only);
    add_counted(b, b->errors_only, PACKET_DROP, STR("no grant"));
}

/* Before any DNAT (conntrack -200, dstnat -100), so that a port published by a container runtime is no way round. */
static void fill_arriving(struct builder *b, uint32_t arriving)
{
    packet_filter_set_hook(b->filter, arriving, PACKET_HOOK_PREROUTING, -110, PACKET_ACCEPT);
    add_loopback(b, arriving);
    for (unsigned i = 0; i < 2 && b->options->mesh_interface.len; i++) {
        add_counted(b, arriving, PACKET_DROP, STR("a mesh address that doesn't come from the mesh"));
        packet_filter_add_simple(b->filter, PACKET_INTERFACE, packet_name(b->options->mesh_interface, false), PACKET_ANY_FAMILY, true);
        packet_filter_add_match(b->filter, b->mesh[i], family_of(i), false);
    }
    add_established(b, arriving);
    add_per_family(b, arriving, b->here, PACKET_GOTO, b->declared);
    if (!b->options->keep_lan)
        add_per_family(b, arriving, b->lan, PACKET_GOTO, b->by_lan);
}

/* What comes from a bridge of containers: its interface is one of these. */
static void add_container_interfaces(struct builder *b)
{
    const struct packet_set what = { .fields = { PACKET_INTERFACE }, .n_fields = 1 };
    struct str rest = b->options->container_interfaces.len ? b->options->container_interfaces : STR(RENDER_CONTAINER_INTERFACES);
    uint32_t set = packet_filter_add_set(b->filter, &what);
    while (rest.len) {
        struct str name = str_split(&rest, ',');
        bool is_prefix = str_ends_with(name, STR("*"));
        const struct relation_range range = packet_name(is_prefix ? str_first(name, name.len - 1) : name, is_prefix);
        packet_filter_add_element(b->filter, &range, PACKET_NONE);
    }
    packet_filter_add_match(b->filter, set, PACKET_ANY_FAMILY, false);
}

static void fill_declared(struct builder *b)
{
    for (unsigned i = 0; i < 2; i++)
        if (b->asked[i] != PACKET_NONE) {
            packet_filter_add_rule(b->filter, b->declared, PACKET_ACCEPT, PACKET_NONE);
            add_container_interfaces(b);
            packet_filter_add_match(b->filter, b->asked[i], family_of(i), false);
            packet_filter_set_comment(b->filter, STR("containers, to their gateway"));
        }
    add_per_family(b, b->declared, b->allowed, PACKET_ACCEPT, PACKET_NONE);
    packet_filter_add_rule(b->filter, b->declared, PACKET_GOTO, b->errors_only);
}

static void fill_by_lan(struct builder *b)
{
    static const uint32_t transports[] = { IPPROTO_TCP, IPPROTO_UDP };
    uint16_t port = b->options->mesh_transport_port;
    if (port) {
        packet_filter_add_rule(b->filter, b->by_lan, PACKET_ACCEPT, PACKET_NONE);
        packet_filter_add_simple(b->filter, PACKET_PROTOCOL, packet_number(IPPROTO_UDP, IPPROTO_UDP), PACKET_ANY_FAMILY, false);
        packet_filter_add_simple(b->filter, PACKET_PORT, packet_number(port, port), PACKET_ANY_FAMILY, false);
    }
    add_counted(b, b->by_lan, PACKET_DROP, STR("by the LAN address"));
    add_numbers(b, PACKET_PROTOCOL, transports, ARRAY_SIZE(transports), PACKET_ANY_FAMILY);
}

static void fill_input(struct builder *b, uint32_t input)
{
    packet_filter_set_hook(b->filter, input, PACKET_HOOK_INPUT, -10, PACKET_ACCEPT);
    add_loopback(b, input);
    add_established(b, input);
    add_per_family(b, input, b->here, PACKET_ACCEPT, PACKET_NONE);
    if (b->options->mesh_interface.len) {
        packet_filter_add_rule(b->filter, input, PACKET_GOTO, b->errors_only);
        packet_filter_add_simple(b->filter, PACKET_INTERFACE, packet_name(b->options->mesh_interface, false), PACKET_ANY_FAMILY, false);
    }
    add_counted(b, input, PACKET_DROP, STR("served on the mesh only"));
    packet_filter_add_match(b->filter, b->served, PACKET_ANY_FAMILY, false);
}

static void fill_output(struct builder *b, uint32_t output)
{
    static const uint32_t states[] = { PACKET_CT_NEW };
    packet_filter_set_hook(b->filter, output, PACKET_HOOK_OUTPUT, -10, PACKET_ACCEPT);
    add_counted(b, output, PACKET_DROP, STR("a worker may start no connection"));
    packet_filter_add_simple(b->filter, PACKET_UID, packet_number(b->options->worker_uid_first, b->options->worker_uid_last), PACKET_ANY_FAMILY, false);
    add_numbers(b, PACKET_CT_STATE, states, ARRAY_SIZE(states), PACKET_ANY_FAMILY);
}

static void set_remark(struct builder *b, uint32_t chain, struct str remark)
{
    if (!b->filter->error)
        packet_filter_chain(b->filter, chain)->remark = remark;
}

/* ---- the two filters ---- */

static int build_host(struct builder *b)
{
    b->table = packet_filter_add_table(b->filter, PACKET_ANY_FAMILY, STR("postern"));
    int r = add_lists(b);
    if (r < 0)
        return r;
    add_allowed(b, 0);
    add_allowed(b, 1);
    r = add_asked(b);
    if (r < 0)
        return r;
    b->errors_only = packet_filter_add_chain(b->filter, b->table, STR("errors_only"));
    set_remark(b, b->errors_only, STR("Errors that path MTU and connect depend on, and neighbour discovery, which is IPv6's ARP."));
    uint32_t arriving = packet_filter_add_chain(b->filter, b->table, STR("arriving"));
    set_remark(b, arriving, STR("What is addressed to this host, before anybody's DNAT sends it elsewhere."));
    b->declared = packet_filter_add_chain(b->filter, b->table, STR("declared"));
    if (!b->options->keep_lan) {
        b->by_lan = packet_filter_add_chain(b->filter, b->table, STR("by_lan"));
        set_remark(b, b->by_lan, STR("Nothing is served on the LAN; the mesh itself may talk there."));
    }
    uint32_t input = packet_filter_add_chain(b->filter, b->table, STR("input"));
    set_remark(b, input, STR("Other addresses of this host: nothing from the mesh, and no port that is served on the mesh."));
    fill_errors_only(b);
    fill_arriving(b, arriving);
    fill_declared(b);
    if (!b->options->keep_lan)
        fill_by_lan(b);
    fill_input(b, input);
    if (b->options->worker_uid_last) {
        uint32_t output = packet_filter_add_chain(b->filter, b->table, STR("output"));
        set_remark(b, output, STR("The gateway's workers answer connections; they start none."));
        fill_output(b, output);
    }
    return b->filter->error;
}

static int build_mesh(struct builder *b)
{
    struct address_prefix multicast;
    b->table = packet_filter_add_table(b->filter, PACKET_ANY_FAMILY, STR("postern_mesh"));
    add_allowed(b, 0);
    add_allowed(b, 1);
    uint32_t forward = packet_filter_add_chain(b->filter, b->table, STR("forward"));
    packet_filter_set_hook(b->filter, forward, PACKET_HOOK_FORWARD, 0, PACKET_DROP);
    add_established(b, forward);
    add_per_family(b, forward, b->allowed, PACKET_ACCEPT, PACKET_NONE);
    add_neighbours(b, forward);
    if (address_prefix_parse(STR("ff00::/8"), &multicast)) {
        packet_filter_add_rule(b->filter, forward, PACKET_DROP, PACKET_NONE);
        packet_filter_add_simple(b->filter, PACKET_DESTINATION, relation_range_of_prefix(&multicast), PACKET_IPV6, false);
    }
    add_counted(b, forward, PACKET_REJECT, STR_NONE);
    return b->filter->error;
}

static int build(struct builder *b, struct error *err)
{
    int r = host_filter_reasons_init(&b->reasons, b->filter, b->model);
    if (r == 0)
        r = b->host == MODEL_NONE ? build_mesh(b) : build_host(b);
    return r < 0 ? r : packet_filter_seal(b->filter, err);
}

static bool is_interface_name(struct str name)
{
    if (name.len > INTERFACE_MAX)
        return false;
    for (size_t i = 0; i < name.len; i++) {
        char c = name.ptr[i];
        if (!((c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '.' || c == '-' || c == '_'))
            return false;
    }
    return true;
}

static bool are_interface_names(struct str names)
{
    while (names.len) {
        struct str name = str_split(&names, ',');
        bool is_prefix = str_ends_with(name, STR("*"));
        if (!name.len || !is_interface_name(is_prefix ? str_first(name, name.len - 1) : name))
            return false;
    }
    return true;
}

static int check_options(const struct model *model, uint32_t host, const struct render_nftables_options *options, struct error *err)
{
    const struct model_host *h = host < model->n_hosts ? &model->hosts[host] : NULL;
    if (!h)
        error_set(err, "no such host");
    else if (h->os != MODEL_OS_LINUX)
        error_set(err, "%.*s runs no Linux, so it has no nftables; 'postern render pf %.*s' writes its firewall", STR_ARG(h->name.text),
                  STR_ARG(h->name.text));
    else if (!is_interface_name(options->mesh_interface))
        error_set(err, "'%.*s' is no name of an interface", STR_ARG(options->mesh_interface));
    else if (!are_interface_names(options->container_interfaces))
        error_set(err, "'%.*s' is no list of interfaces; write docker0,br-*", STR_ARG(options->container_interfaces));
    else if (options->worker_uid_first > options->worker_uid_last || (options->worker_uid_last && !options->worker_uid_first))
        error_set(err, "%u-%u is no range of user ids", options->worker_uid_first, options->worker_uid_last);
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

int render_nftables_filter(const struct model *model, uint32_t host, const struct render_nftables_options *options, struct packet_filter *ret,
                           struct error *err)
{
    cleanup_flows struct flows flows = { 0 };
    cleanup_packet_filter struct packet_filter filter = { 0 };
    char name[96] = "nftables of the mesh";
    int r = host == MODEL_NONE ? 0 : check_options(model, host, options, err);
    if (r == 0)
        r = find_flows(model, host, &flows);
    if (r < 0)
        return r;
    if (host != MODEL_NONE) {
        size_t n = str_copy(name, sizeof name, STR("nftables on "));
        str_copy(name + n, sizeof name - n, model->hosts[host].name.text);
    }
    struct builder b = { .filter = &filter, .model = model, .flows = &flows, .options = options, .host = host };
    r = packet_filter_init(&filter, str_of(name));
    if (r == 0)
        r = build(&b, err);
    if (r == 0) {
        *ret = filter;
        filter = (struct packet_filter){ 0 };
    }
    return r;
}

static int render(const struct model *model, uint32_t host, const struct render_nftables_options *options, struct buf *out, struct error *err)
{
    cleanup_packet_filter struct packet_filter filter = { 0 };
    int r = render_nftables_filter(model, host, options, &filter, err);
    if (r < 0)
        return r;
    buf_append(out, STR("#!/usr/sbin/nft -f\n# From "));
    nftables_text_plain(out, render_file_name(model));
    if (options->revision.len) {
        buf_append(out, STR(", revision "));
        nftables_text_plain(out, str_first(options->revision, 64));
    }
    if (host != MODEL_NONE) {
        buf_append(out, STR(", for host "));
        nftables_text_plain(out, model->hosts[host].name.text);
    }
    buf_append(out, STR(", by postern render. Written over at the next change: edit the declaration instead.\n\n"));
    nftables_text_write(&filter, out);
    return out->error;
}

int render_nftables_host(const struct model *model, uint32_t host, const struct render_nftables_options *options, struct buf *out, struct error *err)
{
    return host == MODEL_NONE ? check_options(model, host, options, err) : render(model, host, options, out, err);
}

int render_nftables_mesh(const struct model *model, const struct render_nftables_options *options, struct buf *out, struct error *err)
{
    int r = render(model, MODEL_NONE, options, out, err);
    if (r == -E2BIG)
        error_set(err, "more flows than a filter can hold");
    return r;
}

void render_nftables_own(const struct model *model, uint32_t host, struct buf *out)
{
    for (unsigned i = 0; i < 2; i++) {
        host_filter_here(model, host, !i, out);
        host_filter_lan(model, host, !i, out);
    }
}
