/* The rows: every host against every port and every name, and the neighbour on the LAN against what is there. */
#include "lab/rows.h"

#include <errno.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "lab/space.h"
#include "policy/naive.h"

enum { ROWS_MAX = 200000, TEXTS_MAX = 64 << 20 };

/* A name that no declaration would have: what it gets is what everything that isn't granted must get. */
#define NO_SUCH_NAME "no-such-service"

struct str rows_from(const struct rows *rows, uint32_t from)
{
    return from < rows->world->model->n_hosts ? rows->world->model->hosts[from].name.text : rows->world->guest;
}

/* The address of that family which the host's packets come from: its first. */
static const struct address *host_address(const struct model_host *host, bool v4)
{
    for (uint32_t i = 0; i < host->addresses.n; i++)
        if (address_is_v4(&host->addresses.items[i].address) == v4)
            return &host->addresses.items[i].address;
    return NULL;
}

static bool has_lan_address(const struct model_host *host, bool v4)
{
    for (uint32_t i = 0; i < host->lan.n; i++)
        if (world_is_lan_address(&host->lan.items[i]) && address_is_v4(&host->lan.items[i].address) == v4)
            return true;
    return false;
}

static void add_row(struct rows *rows, struct row row, struct probe probe)
{
    if (rows->n == rows->n_max || !row.asks.ptr) {
        rows->n_left_out++;
        return;
    }
    rows->probes[rows->n] = probe;
    row.probe = &rows->probes[rows->n];
    rows->items[rows->n++] = row;
}

/* ---- names over a surface ---- */

static struct str url(struct rows *rows, const char *scheme, struct str name, uint16_t port, uint16_t usual, bool v4)
{
    const char *family = v4 ? "" : " (IPv6)";
    return port == usual ? arena_printf(&rows->texts, "%s://%.*s%s", scheme, STR_ARG(name), family)
                         : arena_printf(&rows->texts, "%s://%.*s:%u%s", scheme, STR_ARG(name), port, family);
}

static void add_name(struct rows *rows, struct row row, struct str name, const struct address *address, uint16_t port)
{
    struct probe probe = { .kind = PROBE_HTTPS, .address = *address, .port = port };
    str_copy(probe.name, sizeof(probe.name), name);
    row.asks = url(rows, "https", name, port, 443, address_is_v4(address));
    add_row(rows, row, probe);
}

static bool listens_on_mesh(const struct model_surface *surface, uint32_t gateway)
{
    bool is_there = false;
    for (uint32_t i = 0; i < surface->hosts.n; i++)
        is_there |= surface->hosts.items[i] == gateway;
    return is_there && surface->addresses.n == 0;
}

static void add_redirect(struct rows *rows, struct row row, struct str name, const struct address *address, uint16_t port)
{
    struct probe probe = { .kind = PROBE_HTTP, .address = *address, .port = port };
    str_copy(probe.name, sizeof(probe.name), name);
    row.expect = ROW_REDIRECTED;
    row.asks = url(rows, "http", name, port, 80, address_is_v4(address));
    add_row(rows, row, probe);
}

/* What a guest of the surface gets by each name at that gateway. */
static void add_guest_rows(struct rows *rows, uint32_t from, uint32_t surface, uint32_t gateway, bool v4)
{
    const struct world *world = rows->world;
    const struct model *model = world->model;
    const struct model_surface *s = &model->surfaces[surface];
    const struct address *source = host_address(&model->hosts[from], v4), *address = host_address(&model->hosts[gateway], v4);
    struct row row = { .from = from, .surface = surface, .service = MODEL_NONE, .host = MODEL_NONE, .expect = ROW_NOT_FOUND };

    for (uint32_t i = 0; i < world->n_names; i++) {
        const struct world_name *name = &world->names[i];
        uint32_t grant = naive_verdict(model, source, name->service, surface);
        /* Where a gateway has no instance of it, what it says is its own affair until gateways pass requests on. */
        if (grant != MODEL_NONE && !world_gateway_serves(world, gateway, name->service, name->host))
            continue;
        row.expect = grant == MODEL_NONE ? ROW_NOT_FOUND : ROW_SERVED;
        row.service = name->service;
        row.host = name->host;
        row.line = grant == MODEL_NONE ? 0 : model->grants[grant].at.line;
        add_name(rows, row, name->name, address, s->port);
        if (s->redirect_port && i == 0)
            add_redirect(rows, row, name->name, address, s->redirect_port);
    }
    row = (struct row){ .from = from, .surface = surface, .service = MODEL_NONE, .host = MODEL_NONE, .expect = ROW_NOT_FOUND };
    for (uint32_t i = 0; i < model->n_services; i++)
        if (model->services[i].kind != MODEL_KIND_WEB) {
            row.service = i;
            add_name(rows, row, arena_printf(&rows->texts, "%.*s.%.*s", STR_ARG(model->services[i].name.text), STR_ARG(model->domain.text)), address,
                     s->port);
        }
    row.service = MODEL_NONE;
    add_name(rows, row, arena_printf(&rows->texts, NO_SUCH_NAME ".%.*s", STR_ARG(model->domain.text)), address, s->port);
}

/* ---- ports of hosts ---- */

static void add_port(struct rows *rows, struct row row, const struct address *address, enum model_transport transport, uint16_t port, bool is_http,
                     const char *way)
{
    struct probe probe = { .kind = transport == MODEL_UDP ? PROBE_PORT_UDP : is_http ? PROBE_HTTP : PROBE_PORT_TCP, .address = *address, .port = port };
    char text[ADDRESS_TEXT_SIZE];
    struct str target = rows->world->model->hosts[row.host].name.text;
    str_copy(probe.name, sizeof(probe.name), target);
    if (row.by_lan)
        target = str_of(address_format(address, text));
    bool bracketed = row.by_lan && !address_is_v4(address);
    row.asks = arena_printf(&rows->texts, "%s%.*s%s:%u%s%s%s", bracketed ? "[" : "", STR_ARG(target), bracketed ? "]" : "", port,
                            transport == MODEL_UDP ? "/udp" : "", !row.by_lan && !address_is_v4(address) ? " (IPv6)" : "", way);
    add_row(rows, row, probe);
}

/* instance: what listens there; NULL for a surface, whose port, where it is open to who asks, is tried by names. */
static void add_mesh_port(struct rows *rows, uint32_t from, uint32_t to, const struct world_instance *instance, enum model_transport transport,
                          uint16_t port, bool v4)
{
    const struct model *model = rows->world->model;
    const struct address *source = host_address(&model->hosts[from], v4), *address = host_address(&model->hosts[to], v4);
    uint32_t grant = naive_flow(model, source, address, transport, port);
    struct row row = { .from = from, .host = to, .service = MODEL_NONE, .expect = grant == MODEL_NONE ? ROW_REFUSED : ROW_ANSWERED };
    bool is_http = instance && !instance->echo && instance->protocol == MODEL_PROTOCOL_HTTP;
    row.line = grant == MODEL_NONE ? 0 : model->grants[grant].at.line;
    row.service = instance ? instance->service : MODEL_NONE;
    row.is_quiet = instance && !instance->echo && !is_http;
    if (instance || grant == MODEL_NONE)
        add_port(rows, row, address, transport, port, is_http && grant != MODEL_NONE, "");
}

static void add_ports_of(struct rows *rows, uint32_t from, uint32_t to, bool v4)
{
    const struct world *world = rows->world;
    const struct model *model = world->model;
    for (uint32_t i = 0; i < world->n_instances; i++) {
        const struct world_instance *instance = &world->instances[i];
        if (instance->host == to && world_has_port(instance))
            add_mesh_port(rows, from, to, instance, instance->transport, instance->port, v4);
    }
    for (uint32_t i = 0; i < model->n_surfaces && model->hosts[to].gateway; i++)
        if (listens_on_mesh(&model->surfaces[i], to)) {
            add_mesh_port(rows, from, to, NULL, MODEL_TCP, model->surfaces[i].port, v4);
            if (model->surfaces[i].redirect_port)
                add_mesh_port(rows, from, to, NULL, MODEL_TCP, model->surfaces[i].redirect_port, v4);
        }
}

/* From the LAN: what is served, and ssh which every machine has. to: its LAN address, or its mesh address by way of the LAN. */
static void add_lan_ports(struct rows *rows, uint32_t from, uint32_t to, const struct address *address, const char *way)
{
    const struct model *model = rows->world->model;
    struct row row = { .from = from, .host = to, .service = MODEL_NONE, .expect = ROW_REFUSED, .by_lan = true };
    row.may_be_closed = model->hosts[to].os != MODEL_OS_LINUX;
    for (uint32_t i = 0; i < rows->world->n_instances; i++) {
        const struct world_instance *instance = &rows->world->instances[i];
        if (instance->host == to && world_has_port(instance))
            add_port(rows, row, address, instance->transport, instance->port, false, way);
    }
    for (uint32_t i = 0; i < model->n_surfaces && model->hosts[to].gateway; i++)
        if (listens_on_mesh(&model->surfaces[i], to))
            add_port(rows, row, address, MODEL_TCP, model->surfaces[i].port, false, way);
}

static void add_lan_rows(struct rows *rows, uint32_t from)
{
    const struct model *model = rows->world->model;
    for (uint32_t to = 0; to < model->n_hosts; to++) {
        const struct model_host *host = &model->hosts[to];
        for (uint32_t i = 0; to != from && i < host->lan.n; i++)
            if (world_is_lan_address(&host->lan.items[i]))
                add_lan_ports(rows, from, to, &host->lan.items[i].address, " by the LAN");
        /* The neighbour's routes lead to mesh addresses by way of their host's LAN address: a host takes those in, unless rules say no.
         * Without rules of ours (macOS) nothing vouches for that. */
        for (unsigned v4 = 2; v4-- > 0 && from == model->n_hosts && host->os == MODEL_OS_LINUX;)
            if (host_address(host, v4) && has_lan_address(host, v4))
                add_lan_ports(rows, from, to, host_address(host, v4), " round by the LAN");
    }
}

/* ---- which are worth a look ---- */

static bool is_instance_name(const struct row *row)
{
    return row->host != MODEL_NONE;
}

static bool is_shown_elsewhere(const struct rows *rows, const struct row *wanted)
{
    for (uint32_t i = 0; i < rows->n; i++) {
        const struct row *row = &rows->items[i];
        if (row->shown && row->probe->kind == PROBE_HTTPS && row->expect == ROW_SERVED && row->service == wanted->service && row->host == wanted->host)
            return true;
    }
    return false;
}

/* Shows the first row of those from host over surface that is like wanted; a service that is not in the table yet, where one is served. */
static void show_name(struct rows *rows, uint32_t from, uint32_t surface, enum row_expect expect, bool (*is_wanted)(const struct rows *, const struct row *))
{
    for (uint32_t i = 0; i < rows->n; i++) {
        struct row *row = &rows->items[i];
        const struct probe *probe = &rows->probes[i];
        bool is_name = probe->kind == PROBE_HTTPS || row->expect == ROW_REDIRECTED;
        if (is_name && row->from == from && row->surface == surface && row->expect == expect && !row->shown && address_is_v4(&probe->address) &&
            is_wanted(rows, row) && !(expect == ROW_SERVED && is_shown_elsewhere(rows, row))) {
            row->shown = true;
            return;
        }
    }
}

static const struct model_service *service_of(const struct rows *rows, const struct row *row)
{
    return row->service == MODEL_NONE ? NULL : &rows->world->model->services[row->service];
}

static bool is_in_container(const struct rows *rows, const struct row *row)
{
    return service_of(rows, row) && service_of(rows, row)->where == MODEL_WHERE_CONTAINER && service_of(rows, row)->hosts.n == 1 && !is_instance_name(row);
}

static bool is_on_other_host(const struct rows *rows, const struct row *row)
{
    return service_of(rows, row) && service_of(rows, row)->where == MODEL_WHERE_HOST && !is_instance_name(row);
}

static bool is_any_of_several(const struct rows *rows, const struct row *row)
{
    return service_of(rows, row) && service_of(rows, row)->hosts.n > 1 && !is_instance_name(row);
}

static bool is_one_of_several(const struct rows *rows, const struct row *row)
{
    return service_of(rows, row) && service_of(rows, row)->hosts.n > 1 && is_instance_name(row);
}

static bool is_web(const struct rows *rows, const struct row *row)
{
    return service_of(rows, row) && service_of(rows, row)->kind == MODEL_KIND_WEB;
}

static bool is_internal(const struct rows *rows, const struct row *row)
{
    return service_of(rows, row) && service_of(rows, row)->kind == MODEL_KIND_INTERNAL;
}

static bool is_nothing(const struct rows *rows, const struct row *row)
{
    return !service_of(rows, row);
}

static bool is_anything(const struct rows *rows, const struct row *row)
{
    (void)rows;
    (void)row;
    return true;
}

enum { GUESTS_SHOWN = 3 };

/* The last few guests of a segment, where people's own devices tend to be. Returns how many. */
static uint32_t guests_of(const struct model *model, uint32_t segment, uint32_t surface, uint32_t guests[static GUESTS_SHOWN])
{
    uint32_t n = 0;
    for (uint32_t h = model->n_hosts; h-- > 0 && n < GUESTS_SHOWN;) {
        const struct address *address = host_address(&model->hosts[h], true);
        if (address && model->hosts[h].segment == segment && naive_is_guest(model, address, surface))
            guests[n++] = h;
    }
    return n;
}

/* What the guests of each surface see: the first gets most of it, the others what else there is. */
static void choose_names(struct rows *rows)
{
    const struct model *model = rows->world->model;
    for (uint32_t surface = 0; surface < model->n_surfaces; surface++)
        for (uint32_t segment = 0; segment < model->n_segments; segment++) {
            uint32_t guests[GUESTS_SHOWN], n = guests_of(model, segment, surface, guests);
            if (!n)
                continue;
            uint32_t one = guests[0], two = guests[n / 2], three = guests[n - 1];
            show_name(rows, one, surface, ROW_SERVED, is_in_container);
            show_name(rows, two, surface, ROW_SERVED, is_in_container);
            show_name(rows, two, surface, ROW_SERVED, is_on_other_host);
            show_name(rows, three, surface, ROW_SERVED, is_on_other_host);
            show_name(rows, one, surface, ROW_SERVED, is_any_of_several);
            show_name(rows, one, surface, ROW_SERVED, is_one_of_several);
            show_name(rows, one, surface, ROW_SERVED, is_one_of_several);
            show_name(rows, one, surface, ROW_NOT_FOUND, is_web);
            show_name(rows, two, surface, ROW_NOT_FOUND, is_internal);
            show_name(rows, one, surface, ROW_NOT_FOUND, is_nothing);
            show_name(rows, three, surface, ROW_REDIRECTED, is_anything);
        }
}

struct port_wish {
    uint32_t to;
    enum model_transport transport;
    uint16_t port;
    enum row_expect expect;
    bool from_gateway, by_lan;
    uint32_t segment;     /* of who asks; MODEL_NONE: any */
};

static bool is_wished_port(const struct rows *rows, uint32_t index, const struct port_wish *wish)
{
    const struct model *model = rows->world->model;
    const struct row *row = &rows->items[index];
    const struct probe *probe = &rows->probes[index];
    const struct model_host *from = row->from < model->n_hosts ? &model->hosts[row->from] : NULL;
    if (probe->kind == PROBE_HTTPS || row->expect == ROW_REDIRECTED || row->shown || !address_is_v4(&probe->address))
        return false;
    if (row->host != wish->to || probe->port != wish->port || row->expect != wish->expect || row->by_lan != wish->by_lan)
        return false;
    if ((probe->kind == PROBE_PORT_UDP) != (wish->transport == MODEL_UDP) || (from && from->gateway) != wish->from_gateway)
        return false;
    return wish->by_lan ? !from : from && (wish->segment == MODEL_NONE || from->segment == wish->segment);
}

/* Shows the first row like that, and returns it; NULL: there is none. */
static const struct row *show_port(struct rows *rows, struct port_wish wish)
{
    for (uint32_t i = 0; i < rows->n; i++)
        if (is_wished_port(rows, i, &wish)) {
            rows->items[i].shown = true;
            return &rows->items[i];
        }
    return NULL;
}

/* Somebody who may, and somebody who may not: of the same segment, where the difference is one between two of its machines. */
static void show_port_both_ways(struct rows *rows, struct port_wish wish)
{
    const struct model *model = rows->world->model;
    wish.expect = ROW_ANSWERED;
    const struct row *answered = show_port(rows, wish);
    wish.expect = ROW_REFUSED;
    wish.from_gateway = false;
    if (answered && answered->from < model->n_hosts)
        wish.segment = model->hosts[answered->from].segment;
    if (!show_port(rows, wish)) {
        wish.segment = MODEL_NONE;
        show_port(rows, wish);
    }
}

static void choose_ports(struct rows *rows)
{
    const struct model *model = rows->world->model;
    bool has_host_port = false;
    for (uint32_t i = 0; i < model->n_services; i++) {
        const struct model_service *service = &model->services[i];
        struct port_wish wish = { .to = service->hosts.items[0], .transport = service->transport, .port = service->port, .segment = MODEL_NONE };
        wish.from_gateway = service->kind == MODEL_KIND_WEB;
        if (service->kind == MODEL_KIND_DIRECT || (service->kind == MODEL_KIND_WEB && service->where == MODEL_WHERE_HOST))
            show_port_both_ways(rows, wish);
    }
    for (uint32_t g = 0; g < model->n_grants; g++)
        for (uint32_t t = 0; t < model->grants[g].n_to && !has_host_port; t++) {
            const struct model_target *target = &model->grants[g].to[t];
            has_host_port = target->kind == MODEL_TARGET_HOST_PORT;
            struct port_wish wish = { .to = target->host, .transport = target->transport, .port = target->port, .segment = MODEL_NONE };
            if (has_host_port)
                show_port_both_ways(rows, wish);
        }
    for (uint32_t s = 0; s < model->n_surfaces; s++)
        for (uint32_t h = 0; h < model->n_hosts; h++)
            if (listens_on_mesh(&model->surfaces[s], h)) {
                struct port_wish wish = { .to = h, .port = model->surfaces[s].port, .expect = ROW_REFUSED, .segment = MODEL_NONE };
                show_port(rows, wish);
                wish.by_lan = true;
                for (unsigned way = 0; s == 0 && way < 2; way++)
                    show_port(rows, wish);
                break;
            }
}

/* ---- all of it ---- */

int rows_init(struct rows *ret, const struct world *world)
{
    const struct model *model = world->model;
    uint64_t hosts = model->n_hosts + 1, names = world->n_names + model->n_services + 8;
    uint64_t n_max = hosts * hosts * (world->n_instances + 4 * model->n_surfaces + 8) * 3 + hosts * hosts * model->n_surfaces * names * 2;
    struct rows rows = { .world = world, .n_max = n_max < ROWS_MAX ? (uint32_t)n_max : ROWS_MAX };
    arena_init(&rows.texts, TEXTS_MAX);
    rows.items = calloc(rows.n_max, sizeof(*rows.items));
    rows.probes_size = rows.n_max * sizeof(*rows.probes);
    rows.probes = mmap(NULL, rows.probes_size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (!rows.items || rows.probes == MAP_FAILED) {
        free(rows.items);
        return -ENOMEM;
    }
    for (uint32_t from = 0; from < model->n_hosts; from++) {
        for (unsigned v4 = 2; v4-- > 0;)
            for (uint32_t to = 0; to < model->n_hosts; to++) {
                const struct address *source = host_address(&model->hosts[from], v4);
                if (from == to || !source || !host_address(&model->hosts[to], v4))
                    continue;
                for (uint32_t s = 0; s < model->n_surfaces; s++)
                    if (model->hosts[to].gateway && listens_on_mesh(&model->surfaces[s], to) && naive_is_guest(model, source, s))
                        add_guest_rows(&rows, from, s, to, v4);
                add_ports_of(&rows, from, to, v4);
            }
        if (world_has_lan(&model->hosts[from]))
            add_lan_rows(&rows, from);
    }
    if (world->guest.len)
        add_lan_rows(&rows, model->n_hosts);
    choose_names(&rows);
    choose_ports(&rows);
    *ret = rows;
    return 0;
}

void rows_deinit(struct rows *rows)
{
    munmap(rows->probes, rows->probes_size);
    arena_deinit(&rows->texts);
    free(rows->items);
}

/* ---- trying ---- */

/* In a process of its own: into the lab, into the host, and all of its rows, which lie together. */
static void try_from(const struct rows *rows, uint32_t from, int supervisor)
{
    struct error err = { "" };
    char name[PATH_MAX];
    uint32_t first = 0, n = 0;
    while (first < rows->n && rows->items[first].from != from)
        first++;
    while (first + n < rows->n && rows->items[first + n].from == from)
        n++;
    sigaction(SIGPIPE, &(struct sigaction){ .sa_handler = SIG_IGN }, NULL);
    str_copy(name, sizeof(name), rows_from(rows, from));
    if (n && (space_enter(supervisor, &err) < 0 || space_enter_host(name, NULL, &err) < 0)) {
        fprintf(stderr, "postern lab: %s\n", err.text);
        _exit(1);
    }
    probe_run(rows->items[first].probe, n, "/run/ca.pem");
    _exit(0);
}

static bool was_served_by(const struct rows *rows, const struct row *row)
{
    const struct model *model = rows->world->model;
    struct str host = str_of(row->probe->who), name = str_split(&host, '@');
    if (row->service != MODEL_NONE && !str_equal(name, model->services[row->service].name.text))
        return false;
    if (row->host != MODEL_NONE)
        return str_equal(host, model->hosts[row->host].name.text);
    const struct model_indexes *hosts = &model->services[row->service].hosts;
    for (uint32_t i = 0; i < hosts->n; i++)
        if (str_equal(host, model->hosts[hosts->items[i]].name.text))
            return true;
    return false;
}

/* not_found: the digest of the first 404 on that surface; every other must have the same. */
static bool judge(const struct rows *rows, const struct row *row, uint64_t not_found)
{
    const struct probe *probe = row->probe;
    switch (row->expect) {
    case ROW_SERVED: return probe->outcome == PROBE_ANSWERED && probe->status == 200 && was_served_by(rows, row);
    case ROW_NOT_FOUND: return probe->outcome == PROBE_ANSWERED && probe->status == 404 && !probe->who[0] && probe->digest == not_found;
    case ROW_REDIRECTED: return probe->outcome == PROBE_ANSWERED && probe->status == 308 && str_starts_with(str_of(probe->detail), STR("https://"));
    case ROW_ANSWERED:
        return (probe->outcome == PROBE_ANSWERED && was_served_by(rows, row)) || (row->is_quiet && probe->outcome == PROBE_CONNECTED);
    case ROW_REFUSED:
        return probe->outcome == PROBE_REFUSED || probe->outcome == PROBE_SILENT || (row->may_be_closed && probe->outcome == PROBE_NOT_OPEN);
    }
    return false;
}

static uint64_t digest_of_not_found(const struct rows *rows)
{
    for (uint32_t i = 0; i < rows->n; i++) {
        const struct row *row = &rows->items[i];
        if (row->expect == ROW_NOT_FOUND && row->service == MODEL_NONE && row->probe->outcome == PROBE_ANSWERED)
            return row->probe->digest;
    }
    return 0;
}

int rows_try(struct rows *rows, int supervisor, struct error *err)
{
    uint32_t n_from = rows->world->model->n_hosts + (rows->world->guest.len > 0);
    int r = 0;
    for (uint32_t from = 0; from < n_from && r == 0; from++) {
        pid_t pid = fork();
        if (pid == 0)
            try_from(rows, from, supervisor);
        if (pid < 0)
            r = -errno;
    }
    for (int status; waitpid(-1, &status, 0) > 0;)
        if (!WIFEXITED(status) || WEXITSTATUS(status) != 0)
            r = r < 0 ? r : -EIO;
    if (r < 0)
        error_set(err, "can't try the paths: %s", strerror(-r));
    uint64_t not_found = digest_of_not_found(rows);
    for (uint32_t i = 0; i < rows->n; i++)
        rows->items[i].holds = judge(rows, &rows->items[i], not_found);
    return r;
}

/* ---- words ---- */

void rows_describe_expected(const struct rows *rows, const struct row *row, struct buf *out)
{
    const struct model *model = rows->world->model;
    struct str name = row->service == MODEL_NONE ? STR("it") : model->services[row->service].name.text;
    struct str host = row->host == MODEL_NONE ? STR_NONE : model->hosts[row->host].name.text;
    switch (row->expect) {
    case ROW_SERVED:
        buf_printf(out, "200 from %.*s", STR_ARG(name));
        if (host.len)
            buf_printf(out, "@%.*s", STR_ARG(host));
        break;
    case ROW_NOT_FOUND: buf_append(out, STR("404")); break;
    case ROW_REDIRECTED: buf_append(out, STR("308 to https")); break;
    case ROW_ANSWERED: buf_printf(out, row->is_quiet ? "connection to %.*s" : "reply from %.*s", STR_ARG(row->service == MODEL_NONE ? host : name)); break;
    case ROW_REFUSED: buf_append(out, STR("refused")); break;
    }
}

void rows_describe_measured(const struct row *row, struct buf *out)
{
    const struct probe *probe = row->probe;
    switch (probe->outcome) {
    case PROBE_UNTRIED: buf_append(out, STR("not tried")); break;
    case PROBE_ANSWERED:
        if (probe->status && probe->who[0] && row->expect != ROW_ANSWERED)
            buf_printf(out, "%u from %s", probe->status, probe->who);
        else if (probe->status == 404)
            buf_append(out, row->expect == ROW_NOT_FOUND && !row->holds ? STR("404, but not like the others") : STR("404"));
        else if (probe->status && !probe->who[0])
            buf_printf(out, probe->detail[0] ? "%u to %s" : "%u%s", probe->status, probe->detail);
        else
            buf_printf(out, "reply from %s", probe->who);
        break;
    case PROBE_CONNECTED: buf_append(out, STR("connected")); break;
    case PROBE_REFUSED: buf_append(out, STR("refused by the network")); break;
    case PROBE_SILENT: buf_append(out, row->by_lan ? STR("dropped by the host's firewall") : STR("dropped")); break;
    case PROBE_NOT_OPEN: buf_append(out, STR("nothing listens there")); break;
    case PROBE_CLOSED: buf_append(out, STR("closed without an answer")); break;
    case PROBE_UNTRUSTED: buf_printf(out, "bad certificate: %s", probe->detail); break;
    case PROBE_FAILED: buf_printf(out, "failed: %s", probe->detail); break;
    }
}
