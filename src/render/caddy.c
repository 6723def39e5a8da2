/* Writing Caddyfiles: a snippet for each way to a service, then for each group of guests with the same rights the names that they may use. */
#include "render/caddy.h"

#include <errno.h>

#include "render/caddy_parts.h"
#include "render/origin.h"

struct writer {
    const struct map *map;
    const struct model *model;
    const struct model_surface *surface;
    struct buf *out;
    struct arena arena;
    struct sources sources;
    uint64_t **reach;          /* per party: surfaces per service, NULL: none on this surface */
    uint32_t *class_of;        /* per party: the first party with the same rights, or MODEL_NONE: no guest */
    uint32_t host, surface_index;
};

/* ---- who ---- */

static bool is_granted(const struct writer *w, uint32_t party, uint32_t service)
{
    return w->reach[party] && w->reach[party][service] >> w->surface_index & 1;
}

/* A guest has a grant for this surface, also one that names nothing which this gateway can serve. */
static bool is_guest(const struct writer *w, uint32_t party)
{
    bool is_host = party < w->model->n_hosts;
    struct grants_cursor cursor = is_host ? grants_of_host(&w->map->grants, party) :
                                            (struct grants_cursor){ .a = w->map->grants.by_segment[party - w->model->n_hosts] };
    for (uint32_t grant; grants_next(&cursor, &grant);)
        if (grants_is_for_surface(&w->map->grants, grant, w->surface_index))
            return true;
    return false;
}

static bool is_same_class(const struct writer *w, uint32_t a, uint32_t b)
{
    for (uint32_t s = 0; s < w->model->n_services; s++)
        if (is_granted(w, a, s) != is_granted(w, b, s))
            return false;
    return true;
}

static int classify(struct writer *w)
{
    w->reach = arena_array(&w->arena, w->map->n_parties, uint64_t *);
    w->class_of = arena_array(&w->arena, w->map->n_parties, uint32_t);
    if (!w->reach || !w->class_of)
        return -ENOMEM;
    for (uint32_t party = 0; party < w->map->n_parties; party++) {
        w->class_of[party] = MODEL_NONE;
        if (!is_guest(w, party))
            continue;
        w->reach[party] = arena_array(&w->arena, w->model->n_services, uint64_t);
        if (!w->reach[party])
            return -ENOMEM;
        map_reach(w->map, party, w->reach[party], NULL);
        for (uint32_t other = 0; other <= party && w->class_of[party] == MODEL_NONE; other++)
            if (other == party || (w->class_of[other] == other && is_same_class(w, party, other)))
                w->class_of[party] = other;
    }
    return sources_init(&w->sources, w->model, &w->arena);
}

static uint32_t party_of(const struct writer *w, const struct source_range *range)
{
    return range->host != MODEL_NONE ? range->host : w->model->n_hosts + range->segment;
}

/* The addresses of every party of the class (MODEL_NONE: of every guest). Whoever has none is no party, so that there is at least one. */
static void write_addresses(struct writer *w, uint32_t class)
{
    for (uint32_t i = 0; i < w->sources.n; i++) {
        uint32_t of = w->class_of[party_of(w, &w->sources.items[i])];
        if (of != MODEL_NONE && (class == MODEL_NONE || of == class))
            caddy_range_write(w->out, &w->sources.items[i].first, &w->sources.items[i].last);
    }
}

static bool has_addresses(const struct writer *w, uint32_t class)
{
    for (uint32_t i = 0; i < w->sources.n; i++) {
        uint32_t of = w->class_of[party_of(w, &w->sources.items[i])];
        if (of != MODEL_NONE && (class == MODEL_NONE || of == class))
            return true;
    }
    return false;
}

/* ---- what ---- */

static bool is_served(const struct writer *w, uint32_t service)
{
    return w->map->services[service].surfaces >> w->surface_index & 1 && map_is_served_by(w->model, w->host, &w->model->services[service]);
}

static void write_snippets(struct writer *w)
{
    buf_append(w->out, STR("# Not granted and not existing are the same answer.\n(_nothing) {\n\trespond \"404 Not Found\" 404\n}\n"));
    for (uint32_t s = 0; s < w->model->n_services; s++) {
        const struct model_service *service = &w->model->services[s];
        if (!is_served(w, s))
            continue;
        caddy_snippet_write(w->model, w->host, service, MODEL_NONE, w->out);
        for (uint32_t k = 0; k < service->hosts.n && service->hosts.n > 1; k++)
            if (map_gateway_reaches(w->model, w->host, service, service->hosts.items[k]))
                caddy_snippet_write(w->model, w->host, service, service->hosts.items[k], w->out);
    }
}

/* The service's names but those of single instances, where there are several. */
static void write_route(struct writer *w, const struct model_service *service)
{
    struct str name = service->name.text, domain = w->model->domain.text;
    buf_printf(w->out, "\t\t@%.*s host %.*s.%.*s", STR_ARG(name), STR_ARG(name), STR_ARG(domain));
    for (uint32_t i = 0; i < service->names.n; i++)
        buf_printf(w->out, " %.*s", STR_ARG(service->names.items[i].text));
    if (service->hosts.n == 1)
        buf_printf(w->out, " %.*s-%.*s.%.*s", STR_ARG(name), STR_ARG(w->model->hosts[service->hosts.items[0]].name.text), STR_ARG(domain));
    buf_printf(w->out, "\n\t\thandle @%.*s {\n\t\t\timport %.*s\n\t\t}\n", STR_ARG(name), STR_ARG(name));
    for (uint32_t k = 0; k < service->hosts.n && service->hosts.n > 1; k++) {
        struct str host = w->model->hosts[service->hosts.items[k]].name.text;
        if (!map_gateway_reaches(w->model, w->host, service, service->hosts.items[k]))
            continue;
        buf_printf(w->out, "\t\t@%.*s-%.*s host %.*s-%.*s.%.*s\n", STR_ARG(name), STR_ARG(host), STR_ARG(name), STR_ARG(host), STR_ARG(domain));
        buf_printf(w->out, "\t\thandle @%.*s-%.*s {\n\t\t\timport %.*s-%.*s\n\t\t}\n", STR_ARG(name), STR_ARG(host), STR_ARG(name), STR_ARG(host));
    }
}

static void write_class(struct writer *w, uint32_t class)
{
    bool is_first = true;
    buf_append(w->out, STR("\n\t# "));
    for (uint32_t party = 0; party < w->map->n_parties; party++)
        if (w->class_of[party] == class) {
            buf_printf(w->out, "%s%.*s", is_first ? "" : ", ", STR_ARG(map_party_name(w->map, party, &w->arena)));
            is_first = false;
        }
    buf_printf(w->out, "\n\t@_guests%u remote_ip", class);
    write_addresses(w, class);
    buf_printf(w->out, "\n\thandle @_guests%u {\n", class);
    for (uint32_t s = 0; s < w->model->n_services; s++)
        if (is_granted(w, class, s) && is_served(w, s))
            write_route(w, &w->model->services[s]);
    buf_append(w->out, STR("\t\thandle {\n\t\t\timport _nothing\n\t\t}\n\t}\n"));
}

/* ---- the file ---- */

static void write_bind(struct writer *w)
{
    const struct model_prefixes *addresses = w->surface->addresses.n ? &w->surface->addresses : &w->model->hosts[w->host].addresses;
    char text[ADDRESS_TEXT_SIZE];
    buf_append(w->out, STR("\tbind"));
    for (uint32_t i = 0; i < addresses->n; i++)
        buf_printf(w->out, " %s", address_format(&addresses->items[i].address, text));
    buf_append_char(w->out, '\n');
}

/* Names with a certificate, and a site for all others, that Caddy has its own answer for otherwise. */
static void write_site_names(struct writer *w, const char *scheme, uint16_t port)
{
    struct str domain = w->model->domain.text;
    buf_printf(w->out, "\n%s://*.%.*s:%u, %s://%.*s:%u", scheme, STR_ARG(domain), port, scheme, STR_ARG(domain), port);
    for (uint32_t s = 0; s < w->model->n_services; s++)
        for (uint32_t i = 0; is_served(w, s) && i < w->model->services[s].names.n; i++) {
            struct str name = w->model->services[s].names.items[i].text;
            size_t dot = str_find_char(name, '.');
            if (dot == name.len || !str_equal(str_skip(name, dot + 1), domain))
                buf_printf(w->out, ", %s://%.*s:%u", scheme, STR_ARG(name), port);
        }
    buf_printf(w->out, ", %s://:%u {\n", scheme, port);
    write_bind(w);
}

static void write_redirect(struct writer *w)
{
    if (!w->surface->redirect_port)
        return;
    write_site_names(w, "http", w->surface->redirect_port);
    buf_append(w->out, STR("\t@_guests remote_ip"));
    write_addresses(w, MODEL_NONE);
    buf_append(w->out, STR("\n\thandle @_guests {\n\t\tredir https://{host}"));
    if (w->surface->port != 443)
        buf_printf(w->out, ":%u", w->surface->port);
    buf_append(w->out, STR("{uri} 308\n\t}\n\thandle {\n\t\tabort\n\t}\n}\n"));
}

static void write_file(struct writer *w, struct str revision)
{
    buf_append(w->out, STR("# "));
    render_origin_write(w->out, w->model, revision);
    buf_printf(w->out, " Surface %.*s of %.*s.\n# Written over at the next change: edit the declaration instead.\n",
               STR_ARG(w->surface->name.text), STR_ARG(w->model->hosts[w->host].name.text));
    buf_append(w->out, STR("{\n"
                           "\t# Whoever reaches the admin port changes these rules: there is none. Restart Caddy to have it read a new file.\n"
                           "\tadmin off\n"
                           "\tauto_https disable_redirects\n"
                           "\tskip_install_trust\n"
                           "\tservers {\n"
                           "\t\tprotocols h1 h2\n"
                           "\t}\n"
                           "}\n\n"));
    write_snippets(w);
    write_site_names(w, "https", w->surface->port);
    caddy_tls_write(&w->model->tls, w->out);
    for (uint32_t party = 0; party < w->map->n_parties; party++)
        if (w->class_of[party] == party && has_addresses(w, party))
            write_class(w, party);
    buf_append(w->out, STR("\n\t# Everybody else. Caddy hangs up after TLS, where postern does before it.\n\thandle {\n\t\tabort\n\t}\n}\n"));
    if (has_addresses(w, MODEL_NONE))
        write_redirect(w);
}

static bool has_surface(const struct model_surface *surface, uint32_t host)
{
    for (uint32_t i = 0; i < surface->hosts.n; i++)
        if (surface->hosts.items[i] == host)
            return true;
    return false;
}

int render_caddy(const struct map *map, uint32_t host, uint32_t surface, struct str revision, struct buf *out, struct error *err)
{
    const struct model *m = map->model;
    struct writer w = { .map = map, .model = m, .surface = &m->surfaces[surface], .out = out, .host = host, .surface_index = surface };
    if (!has_surface(w.surface, host)) {
        error_set(err, "%.*s has no surface %.*s%s", STR_ARG(m->hosts[host].name.text), STR_ARG(w.surface->name.text),
                  m->hosts[host].gateway ? "" : ": it is no gateway");
        return -EINVAL;
    }
    arena_init(&w.arena, (size_t)1 << 28);
    int r = classify(&w);
    if (r == 0)
        write_file(&w, revision);
    arena_deinit(&w.arena);
    return r < 0 ? r : out->error;
}
