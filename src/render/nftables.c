/* Writing nftables: sets hold who may reach what, so that a packet costs one look-up however many grants there are. */
#include "render/nftables.h"

#include <errno.h>

#include "base/table.h"
#include "policy/flows.h"

enum { COMMENT_MAX = 120, INTERFACE_MAX = 15 }; /* the kernel keeps 128 bytes of a comment and 15 of an interface's name */

struct writer {
    struct buf *out;
    const struct model *model;
    const struct flows *flows;
};

/* ---- small parts ---- */

/* nft has no escapes in its strings: whatever could end one, or a line, is replaced. */
static void append_plain(struct buf *out, struct str s)
{
    for (size_t i = 0; i < s.len; i++) {
        char c = s.ptr[i];
        bool is_plain = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || memchr("._:/@,*- ", c, 9);
        buf_append_char(out, is_plain ? c : '_');
    }
}

static struct str file_name(const struct model *model)
{
    struct str name = model->file;
    for (struct str rest = name; rest.len;) {
        struct str part = str_split(&rest, '/');
        if (part.len)
            name = part;
    }
    return str_first(name, COMMENT_MAX - 40);
}

static void append_comment(struct writer *w, const struct flow *flow)
{
    buf_append(w->out, STR(" comment \""));
    append_plain(w->out, file_name(w->model));
    buf_printf(w->out, ":%u%s\"", w->model->grants[flow->grant].at.line, flow->reason == FLOW_INSTANCE ? ", a gateway to its instance" : "");
}

static void append_range(struct buf *out, const struct source_range *range)
{
    char first[ADDRESS_TEXT_SIZE], last[ADDRESS_TEXT_SIZE];
    if (address_equal(&range->first, &range->last))
        buf_printf(out, "%s", address_format(&range->first, first));
    else
        buf_printf(out, "%s-%s", address_format(&range->first, first), address_format(&range->last, last));
}

static const char *transport_name(unsigned transport)
{
    return transport == MODEL_UDP ? "udp" : "tcp";
}

static void append_header(struct writer *w, const struct render_nftables_options *options, struct str host, const char *table)
{
    buf_append(w->out, STR("#!/usr/sbin/nft -f\n# From "));
    append_plain(w->out, file_name(w->model));
    if (options->revision.len) {
        buf_append(w->out, STR(", revision "));
        append_plain(w->out, str_first(options->revision, 64));
    }
    if (host.len) {
        buf_append(w->out, STR(", for host "));
        append_plain(w->out, host);
    }
    buf_append(w->out, STR(", by postern render. Written over at the next change: edit the declaration instead.\n"));
    buf_printf(w->out, "\ntable inet %s\ndelete table inet %s\ntable inet %s {\n", table, table, table);
}

/* ---- sets ---- */

/* Opens a set; the elements follow, each begun with append_separator, then close_set. */
static void open_set(struct writer *w, const char *name, const char *family, const char *type, const char *flags)
{
    buf_printf(w->out, "\tset %s%s {\n\t\ttype %s\n", name, family, type);
    if (*flags)
        buf_printf(w->out, "\t\t%s\n", flags);
}

static void append_separator(struct writer *w, uint32_t n_before)
{
    buf_printf(w->out, n_before ? ",\n\t\t\t     " : "\t\telements = { ");
}

static void close_set(struct writer *w, uint32_t n)
{
    buf_printf(w->out, "%s\t}\n\n", n ? " }\n" : "");
}

static void write_allowed(struct writer *w, bool v4)
{
    bool has_ranges = false;
    uint32_t n = 0;
    for (uint32_t i = 0; i < w->flows->n; i++) {
        const struct source_range *from = &w->flows->sources.items[w->flows->items[i].source];
        has_ranges |= address_is_v4(&from->first) == v4 && !address_equal(&from->first, &from->last);
    }
    /* Ranges need a slower kind of set: asked for only where there is one. They never overlap, which that kind would refuse. */
    open_set(w, "allowed", v4 ? "4" : "6", v4 ? "ipv4_addr . ipv4_addr . inet_proto . inet_service" : "ipv6_addr . ipv6_addr . inet_proto . inet_service",
             has_ranges ? "flags interval\n\t\tcounter" : "counter");
    for (uint32_t i = 0; i < w->flows->n; i++) {
        const struct flow *flow = &w->flows->items[i];
        char to[ADDRESS_TEXT_SIZE];
        if (address_is_v4(&flow->destination) != v4)
            continue;
        append_separator(w, n++);
        append_range(w->out, &w->flows->sources.items[flow->source]);
        buf_printf(w->out, " . %s . %s . %u", address_format(&flow->destination, to), transport_name(flow->transport), flow->port);
        append_comment(w, flow);
    }
    close_set(w, n);
}

static uint32_t append_addresses(struct writer *w, const struct model_prefixes *addresses, bool v4, uint32_t n)
{
    for (uint32_t i = 0; i < addresses->n; i++) {
        char text[ADDRESS_PREFIX_TEXT_SIZE];
        if (address_is_v4(&addresses->items[i].address) != v4)
            continue;
        append_separator(w, n++);
        buf_printf(w->out, "%s", address_prefix_format(&addresses->items[i], text));
    }
    return n;
}

/* What counts as an address of the mesh: Tailscale's and Headscale's prefixes, and the hosts that are declared outside of them. */
static void write_mesh(struct writer *w, bool v4)
{
    static const char *const prefixes[2] = { "fd7a:115c:a1e0::/48", "100.64.0.0/10" };
    struct address_prefix usual;
    uint32_t n = 0;
    open_set(w, "mesh", v4 ? "4" : "6", v4 ? "ipv4_addr" : "ipv6_addr", "flags interval");
    append_separator(w, n++);
    buf_append(w->out, str_of(prefixes[v4]));
    bool parsed = address_prefix_parse(str_of(prefixes[v4]), &usual);
    for (uint32_t i = 0; i < w->model->n_hosts; i++)
        for (uint32_t k = 0; k < w->model->hosts[i].addresses.n; k++) {
            const struct model_prefixes one = { &w->model->hosts[i].addresses.items[k], 1 };
            if (!parsed || !address_prefix_contains(&usual, &one.items->address))
                n = append_addresses(w, &one, v4, n);
        }
    close_set(w, n);
}

static bool serves_on(const struct model_surface *surface, uint32_t host)
{
    for (uint32_t i = 0; i < surface->hosts.n; i++)
        if (surface->hosts.items[i] == host)
            return true;
    return false;
}

/* Addresses of this host where what isn't declared is dropped: on the mesh, and others that its surfaces are declared to listen on. */
static void write_judged(struct writer *w, uint32_t host, bool v4)
{
    const struct model_host *h = &w->model->hosts[host];
    uint32_t n = 0;
    open_set(w, "here", v4 ? "4" : "6", v4 ? "ipv4_addr" : "ipv6_addr", "flags interval\n\t\tauto-merge");
    n = append_addresses(w, &h->addresses, v4, n);
    for (uint32_t i = 0; i < w->model->n_surfaces; i++)
        if (serves_on(&w->model->surfaces[i], host))
            n = append_addresses(w, &w->model->surfaces[i].addresses, v4, n);
    close_set(w, n);
}

static void write_lan(struct writer *w, uint32_t host, bool v4)
{
    open_set(w, "lan", v4 ? "4" : "6", v4 ? "ipv4_addr" : "ipv6_addr", "flags interval\n\t\tauto-merge");
    close_set(w, append_addresses(w, &w->model->hosts[host].lan, v4, 0));
}

struct served {
    struct writer *w;
    struct table seen;
    struct arena arena;
    uint32_t n;
    int error;
};

static void add_served(struct served *s, unsigned transport, uint16_t port)
{
    struct str text = arena_printf(&s->arena, "%s . %u", transport_name(transport), port);
    int r = text.ptr ? table_add(&s->seen, text, 0, NULL) : -ENOMEM;
    if (r < 0)
        s->error = r;
    if (r || port == 0)
        return;
    append_separator(s->w, s->n++);
    buf_append(s->w->out, text);
}

/* Every port on which something that the declaration knows is served here, granted to somebody or not. */
static int write_served(struct writer *w, uint32_t host)
{
    struct served s = { .w = w };
    arena_init(&s.arena, 0);
    open_set(w, "served", "", "inet_proto . inet_service", "");
    for (uint32_t i = 0; i < w->model->n_surfaces; i++)
        if (serves_on(&w->model->surfaces[i], host)) {
            add_served(&s, MODEL_TCP, w->model->surfaces[i].port);
            add_served(&s, MODEL_TCP, w->model->surfaces[i].redirect_port);
        }
    for (uint32_t i = 0; i < w->model->n_services; i++) {
        const struct model_service *service = &w->model->services[i];
        for (uint32_t k = 0; k < service->hosts.n; k++)
            if (service->hosts.items[k] == host && (service->where == MODEL_WHERE_HOST || service->kind == MODEL_KIND_DIRECT))
                add_served(&s, service->kind == MODEL_KIND_DIRECT ? service->transport : MODEL_TCP, service->port);
    }
    close_set(w, s.n);
    table_deinit(&s.seen);
    arena_deinit(&s.arena);
    return s.error;
}

/* ---- chains ---- */

static void write_guard(struct writer *w, struct str interface)
{
    static const char *const comment = "a mesh address that doesn't come from the mesh";
    if (!interface.len)
        return;
    buf_printf(w->out, "\t\tiifname != \"%.*s\" ip saddr @mesh4 counter drop comment \"%s\"\n", STR_ARG(interface), comment);
    buf_printf(w->out, "\t\tiifname != \"%.*s\" ip6 saddr @mesh6 counter drop comment \"%s\"\n", STR_ARG(interface), comment);
}

/* Before any DNAT (conntrack -200, dstnat -100), so that a port published by a container runtime is no way round. */
static void write_arriving(struct writer *w, const struct render_nftables_options *options)
{
    buf_append(w->out, STR("\t# What is addressed to this host, before anybody's DNAT sends it elsewhere.\n"
                           "\tchain arriving {\n"
                           "\t\ttype filter hook prerouting priority dstnat - 10; policy accept;\n"
                           "\t\tiif \"lo\" accept\n"));
    write_guard(w, options->mesh_interface);
    buf_append(w->out, STR("\t\tct state established,related accept\n"
                           "\t\tip daddr @here4 goto declared\n"
                           "\t\tip6 daddr @here6 goto declared\n"));
    if (!options->keep_lan)
        buf_append(w->out, STR("\t\tip daddr @lan4 goto by_lan\n"
                               "\t\tip6 daddr @lan6 goto by_lan\n"));
    buf_append(w->out, STR("\t}\n\n"
                           "\tchain declared {\n"
                           "\t\tip saddr . ip daddr . meta l4proto . th dport @allowed4 accept\n"
                           "\t\tip6 saddr . ip6 daddr . meta l4proto . th dport @allowed6 accept\n"
                           "\t\tgoto errors_only\n"
                           "\t}\n\n"));
    if (options->keep_lan)
        return;
    buf_append(w->out, STR("\t# Nothing is served on the LAN; the mesh itself may talk there.\n\tchain by_lan {\n"));
    if (options->mesh_transport_port)
        buf_printf(w->out, "\t\tudp dport %u accept\n", options->mesh_transport_port);
    buf_append(w->out, STR("\t\tmeta l4proto { tcp, udp } counter drop comment \"by the LAN address\"\n\t}\n\n"));
}

static void write_errors_only(struct writer *w)
{
    buf_append(w->out, STR("\t# Errors that path MTU and connect depend on, and neighbour discovery, which is IPv6's ARP.\n"
                           "\tchain errors_only {\n"
                           "\t\ticmp type { destination-unreachable, time-exceeded, parameter-problem } accept\n"
                           "\t\ticmpv6 type { destination-unreachable, packet-too-big, time-exceeded, parameter-problem } accept\n"
                           "\t\ticmpv6 type { nd-neighbor-solicit, nd-neighbor-advert, nd-router-solicit, nd-router-advert } ip6 hoplimit 255 accept\n"
                           "\t\tcounter drop comment \"no grant\"\n"
                           "\t}\n\n"));
}

static void write_input(struct writer *w, struct str interface)
{
    buf_append(w->out, STR("\t# Other addresses of this host: nothing from the mesh, and no port that is served on the mesh.\n"
                           "\tchain input {\n"
                           "\t\ttype filter hook input priority filter - 10; policy accept;\n"
                           "\t\tiif \"lo\" accept\n"
                           "\t\tct state established,related accept\n"
                           "\t\tip daddr @here4 accept\n"
                           "\t\tip6 daddr @here6 accept\n"));
    if (interface.len)
        buf_printf(w->out, "\t\tiifname \"%.*s\" goto errors_only\n", STR_ARG(interface));
    else
        buf_append(w->out, STR("\t\tip saddr @mesh4 goto errors_only\n\t\tip6 saddr @mesh6 goto errors_only\n"));
    buf_append(w->out, STR("\t\tmeta l4proto . th dport @served counter drop comment \"served on the mesh only\"\n\t}\n"));
}

static void write_output(struct writer *w, const struct render_nftables_options *options)
{
    if (!options->worker_uid_last)
        return;
    buf_printf(w->out,
               "\n\t# The gateway's workers answer connections; they start none.\n"
               "\tchain output {\n"
               "\t\ttype filter hook output priority filter - 10; policy accept;\n"
               "\t\tmeta skuid %u-%u ct state new counter drop comment \"a worker may start no connection\"\n"
               "\t}\n",
               options->worker_uid_first, options->worker_uid_last);
}

/* ---- files ---- */

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

static int check_options(const struct model *model, uint32_t host, const struct render_nftables_options *options, struct error *err)
{
    const struct model_host *h = host < model->n_hosts ? &model->hosts[host] : NULL;
    if (!h)
        error_set(err, "no such host");
    else if (h->os != MODEL_OS_LINUX)
        error_set(err, "%.*s runs no Linux, so it has no nftables; only the mesh's own filter protects it", STR_ARG(h->name.text));
    else if (!is_interface_name(options->mesh_interface))
        error_set(err, "'%.*s' is no name of an interface", STR_ARG(options->mesh_interface));
    else if (options->worker_uid_first > options->worker_uid_last || (options->worker_uid_last && !options->worker_uid_first))
        error_set(err, "%u-%u is no range of user ids", options->worker_uid_first, options->worker_uid_last);
    else
        return 0;
    return -EINVAL;
}

static int write_host(struct writer *w, uint32_t host, const struct render_nftables_options *options)
{
    append_header(w, options, w->model->hosts[host].name.text, "postern");
    write_mesh(w, true);
    write_mesh(w, false);
    write_judged(w, host, true);
    write_judged(w, host, false);
    if (!options->keep_lan) {
        write_lan(w, host, true);
        write_lan(w, host, false);
    }
    int r = write_served(w, host);
    if (r < 0)
        return r;
    write_allowed(w, true);
    write_allowed(w, false);
    write_errors_only(w);
    write_arriving(w, options);
    write_input(w, options->mesh_interface);
    write_output(w, options);
    buf_append(w->out, STR("}\n"));
    return w->out->error;
}

static int write_mesh_filter(struct writer *w, const struct render_nftables_options *options)
{
    append_header(w, options, STR_NONE, "postern_mesh");
    write_allowed(w, true);
    write_allowed(w, false);
    buf_append(w->out, STR("\tchain forward {\n"
                           "\t\ttype filter hook forward priority filter; policy drop;\n"
                           "\t\tct state established,related accept\n"
                           "\t\tip saddr . ip daddr . meta l4proto . th dport @allowed4 accept\n"
                           "\t\tip6 saddr . ip6 daddr . meta l4proto . th dport @allowed6 accept\n"
                           "\t\ticmpv6 type { nd-neighbor-solicit, nd-neighbor-advert, nd-router-solicit, nd-router-advert } ip6 hoplimit 255 accept\n"
                           "\t\tip6 daddr ff00::/8 drop\n"
                           "\t\tcounter reject with icmpx admin-prohibited\n"
                           "\t}\n"
                           "}\n"));
    return w->out->error;
}

static int render(const struct model *model, uint32_t host, const struct render_nftables_options *options, struct buf *out)
{
    cleanup_grants struct grants grants = { 0 };
    cleanup_flows struct flows flows = { 0 };
    int r = grants_init(&grants, model);
    if (r == 0)
        r = flows_init(&flows, &grants, host);
    if (r < 0)
        return r;
    struct writer w = { .out = out, .model = model, .flows = &flows };
    return host == MODEL_NONE ? write_mesh_filter(&w, options) : write_host(&w, host, options);
}

int render_nftables_host(const struct model *model, uint32_t host, const struct render_nftables_options *options, struct buf *out, struct error *err)
{
    int r = check_options(model, host, options, err);
    return r < 0 ? r : render(model, host, options, out);
}

int render_nftables_mesh(const struct model *model, const struct render_nftables_options *options, struct buf *out, struct error *err)
{
    int r = render(model, MODEL_NONE, options, out);
    if (r == -E2BIG)
        error_set(err, "more flows than a filter can hold");
    return r;
}
