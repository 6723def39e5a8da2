/* Hand-made models: arrays of a fixed size, texts copied into the model's arena. */
#include "world.h"

#include <stdio.h>

/* A fixture that cannot be built is a mistake in the test: end it, whatever runs it. */
static void demand(bool ok, const char *what, const char *detail)
{
    if (ok)
        return;
    fprintf(stderr, "world: %s: %s\n", what, detail);
    abort();
}

#define NEW_ARRAY(w, type) demand_array(arena_array(&(w)->model.arena, WORLD_MAX, type))
static void *demand_array(void *p)
{
    demand(p != NULL, "array", "out of memory");
    return p;
}

struct str world_text(struct world *w, const char *text)
{
    struct str copy = arena_copy(&w->model.arena, str_of(text));
    demand(copy.ptr != NULL, "text", text);
    return copy;
}

void world_init(struct world *w)
{
    *w = (struct world){ 0 };
    arena_init(&w->model.arena, 0);
    w->model.file = world_text(w, "postern.yml");
    w->model.domain.text = world_text(w, "home.example");
    w->model.segments = NEW_ARRAY(w, struct model_segment);
    w->model.hosts = NEW_ARRAY(w, struct model_host);
    w->model.surfaces = NEW_ARRAY(w, struct model_surface);
    w->model.services = NEW_ARRAY(w, struct model_service);
    w->model.projects = NEW_ARRAY(w, struct model_project);
    w->model.grants = NEW_ARRAY(w, struct model_grant);
}

void world_deinit(struct world *w)
{
    arena_deinit(&w->model.arena);
}

static uint32_t split(struct world *w, const char *list, struct str items[static WORLD_LIST_MAX])
{
    uint32_t n = 0;
    for (struct str rest = world_text(w, list ? list : ""); rest.len; n++) {
        demand(n < WORLD_LIST_MAX, "list too long", list);
        items[n] = str_split(&rest, ',');
    }
    return n;
}

struct model_texts world_texts(struct world *w, const char *list)
{
    struct str items[WORLD_LIST_MAX];
    struct model_texts ret = { .n = split(w, list, items) };
    ret.items = demand_array(arena_array(&w->model.arena, ret.n, struct model_text));
    for (uint32_t i = 0; i < ret.n; i++)
        ret.items[i].text = items[i];
    return ret;
}

struct model_prefixes world_prefixes(struct world *w, const char *list)
{
    struct str items[WORLD_LIST_MAX];
    struct model_prefixes ret = { .n = split(w, list, items) };
    ret.items = demand_array(arena_array(&w->model.arena, ret.n, struct address_prefix));
    for (uint32_t i = 0; i < ret.n; i++)
        demand(address_prefix_parse(items[i], &ret.items[i]), "no address", list);
    return ret;
}

#define FIND(w, kind, name_)                                                                                           \
    do {                                                                                                               \
        for (uint32_t i_ = 0; i_ < (w)->model.n_##kind; i_++)                                                          \
            if (str_equal((w)->model.kind[i_].name.text, name_))                                                       \
                return i_;                                                                                             \
        return MODEL_NONE;                                                                                             \
    } while (0)

static uint32_t find_segment(const struct world *w, struct str name)
{
    FIND(w, segments, name);
}

static uint32_t find_host(const struct world *w, struct str name)
{
    FIND(w, hosts, name);
}

static uint32_t find_surface(const struct world *w, struct str name)
{
    FIND(w, surfaces, name);
}

static uint32_t find_service(const struct world *w, struct str name)
{
    FIND(w, services, name);
}

uint32_t world_find_host(const struct world *w, const char *name)
{
    return find_host(w, str_of(name));
}

uint32_t world_find_service(const struct world *w, const char *name)
{
    return find_service(w, str_of(name));
}

static struct model_indexes find_all(struct world *w, const char *list, uint32_t (*find)(const struct world *, struct str))
{
    struct str items[WORLD_LIST_MAX];
    struct model_indexes ret = { .n = split(w, list, items) };
    ret.items = demand_array(arena_array(&w->model.arena, ret.n, uint32_t));
    for (uint32_t i = 0; i < ret.n; i++) {
        ret.items[i] = find(w, items[i]);
        demand(ret.items[i] != MODEL_NONE, "unknown name in", list);
    }
    return ret;
}

struct model_indexes world_surfaces(struct world *w, const char *list)
{
    return find_all(w, list, find_surface);
}

uint32_t world_segment(struct world *w, const char *name, const char *prefixes)
{
    demand(w->model.n_segments < WORLD_MAX, "too many segments", name);
    struct model_segment *s = &w->model.segments[w->model.n_segments];
    s->name.text = world_text(w, name);
    s->addresses = world_prefixes(w, prefixes);
    return w->model.n_segments++;
}

uint32_t world_host(struct world *w, const char *name, const char *segment, const char *addresses)
{
    demand(w->model.n_hosts < WORLD_MAX, "too many hosts", name);
    struct model_host *h = &w->model.hosts[w->model.n_hosts];
    h->name.text = world_text(w, name);
    h->segment = find_segment(w, str_of(segment));
    demand(h->segment != MODEL_NONE, "unknown segment", segment);
    h->addresses = world_prefixes(w, addresses);
    h->docker.text = STR("/run/docker.sock");
    return w->model.n_hosts++;
}

uint32_t world_gateway(struct world *w, const char *name, const char *segment, const char *addresses)
{
    uint32_t index = world_host(w, name, segment, addresses);
    w->model.hosts[index].gateway = true;
    return index;
}

uint32_t world_surface(struct world *w, const char *name, uint16_t port)
{
    demand(w->model.n_surfaces < WORLD_MAX, "too many surfaces", name);
    struct model_surface *s = &w->model.surfaces[w->model.n_surfaces];
    s->name.text = world_text(w, name);
    s->port = port;
    s->hosts.items = demand_array(arena_array(&w->model.arena, w->model.n_hosts, uint32_t));
    for (uint32_t i = 0; i < w->model.n_hosts; i++)
        if (w->model.hosts[i].gateway)
            s->hosts.items[s->hosts.n++] = i;
    return w->model.n_surfaces++;
}

struct model_service *world_service(struct world *w, const char *name, const char *hosts, uint16_t port)
{
    demand(w->model.n_services < WORLD_MAX, "too many services", name);
    struct model_service *s = &w->model.services[w->model.n_services++];
    s->name.text = world_text(w, name);
    s->name.at = (struct model_place){ 100 + w->model.n_services, 3 };
    s->hosts = find_all(w, hosts, find_host);
    s->port = port;
    s->project = MODEL_NONE;
    return s;
}

struct model_service *world_container(struct world *w, const char *name, const char *hosts, const char *reference, uint16_t port)
{
    struct model_service *s = world_service(w, name, hosts, port);
    s->where = MODEL_WHERE_CONTAINER;
    s->place.text = world_text(w, reference);
    for (uint32_t i = 0; i < w->model.n_projects; i++)
        if (str_equal(w->model.projects[i].name.text, model_service_project(s)))
            s->project = i;
    return s;
}

uint32_t world_project(struct world *w, const char *name, const char *hosts, enum model_mode mode, enum model_inside inside)
{
    demand(w->model.n_projects < WORLD_MAX, "too many projects", name);
    struct model_project *p = &w->model.projects[w->model.n_projects];
    p->name = (struct model_text){ world_text(w, name), { 300 + w->model.n_projects, 3 } };
    p->hosts = find_all(w, hosts, find_host);
    p->mode = mode;
    p->inside = inside;
    return w->model.n_projects++;
}

static struct model_principal resolve_principal(const struct world *w, struct str name)
{
    struct model_principal p = { .text = { .text = name }, .host = find_host(w, name), .segment = MODEL_NONE, .service = MODEL_NONE };
    if (p.host == MODEL_NONE)
        p.segment = find_segment(w, name);
    if (p.host == MODEL_NONE && p.segment == MODEL_NONE)
        p.service = find_service(w, name);
    demand(p.host != MODEL_NONE || p.segment != MODEL_NONE || p.service != MODEL_NONE, "unknown principal in", name.ptr);
    return p;
}

static struct model_target resolve_target(const struct world *w, struct str text)
{
    struct model_target t = { .text = { .text = text }, .service = MODEL_NONE, .host = MODEL_NONE };
    struct str port = text, host = str_split(&port, ':');
    uint64_t number = 0;
    if (memchr(text.ptr, '*', text.len)) {
        t.kind = MODEL_TARGET_PATTERN;
        t.pattern = text;
    } else if (port.len) {
        t.host = find_host(w, host);
        t.service = t.host == MODEL_NONE ? find_service(w, host) : MODEL_NONE;
        t.kind = t.host == MODEL_NONE ? MODEL_TARGET_SERVICE_PORT : MODEL_TARGET_HOST_PORT;
        t.transport = str_starts_with(port, STR("udp/")) ? MODEL_UDP : MODEL_TCP;
        port = str_skip(port, t.transport == MODEL_UDP ? 4 : 0);
        demand((t.host != MODEL_NONE || t.service != MODEL_NONE) && str_to_u64(port, UINT16_MAX, &number), "no port in", text.ptr);
        t.port = (uint16_t)number;
    } else if (str_equal(text, STR("internet"))) {
        t.kind = MODEL_TARGET_INTERNET;
    } else {
        t.kind = MODEL_TARGET_SERVICE;
        t.service = find_service(w, text);
        demand(t.service != MODEL_NONE, "unknown service in", text.ptr);
    }
    return t;
}

void world_grant(struct world *w, uint32_t line, const char *from, const char *to, const char *over)
{
    struct str items[WORLD_LIST_MAX];
    demand(w->model.n_grants < WORLD_MAX, "too many grants", to);
    struct model_grant *g = &w->model.grants[w->model.n_grants++];
    g->at = (struct model_place){ line, 5 };
    g->n_from = split(w, from, items);
    g->from = demand_array(arena_array(&w->model.arena, g->n_from, struct model_principal));
    for (uint32_t i = 0; i < g->n_from; i++)
        g->from[i] = resolve_principal(w, items[i]);
    g->n_to = split(w, to, items);
    g->to = demand_array(arena_array(&w->model.arena, g->n_to, struct model_target));
    for (uint32_t i = 0; i < g->n_to; i++)
        g->to[i] = resolve_target(w, items[i]);
    g->over = world_surfaces(w, over);
}

void world_homelab(struct world *w)
{
    world_init(w);
    world_segment(w, "clients", "");
    world_segment(w, "prod", "");
    world_segment(w, "ai", "");
    world_gateway(w, "roc", "prod", "100.64.0.1,fd7a:115c:a1e0::1");
    world_gateway(w, "bluejay", "prod", "100.64.0.2,fd7a:115c:a1e0::2");
    world_host(w, "robin", "ai", "100.64.0.3,fd7a:115c:a1e0::3");
    w->model.hosts[2].os = MODEL_OS_MACOS;
    world_host(w, "iphone", "clients", "100.64.0.11,fd7a:115c:a1e0::11");
    world_host(w, "kobo", "clients", "100.64.0.12");
    world_host(w, "macbook", "clients", "100.64.0.13,fd7a:115c:a1e0::13");
    world_surface(w, "main", 443);
    world_surface(w, "agents", 8443);
    struct model_service *s;
    static const struct {
        const char *name;
        uint16_t port;
    } containers[] = { { "grafana", 3000 }, { "registry", 5000 }, { "mcp-files", 8000 }, { "mcp-git", 8001 } };
    for (size_t i = 0; i < ARRAY_SIZE(containers); i++) {
        s = world_service(w, containers[i].name, "roc", containers[i].port);
        s->where = MODEL_WHERE_CONTAINER;
        s->place.text = s->name.text;
    }
    s = world_service(w, "backrest", "bluejay,roc", 9898);
    s->where = MODEL_WHERE_CONTAINER;
    s->place.text = s->name.text;
    world_service(w, "whisper", "robin", 9000);
    world_service(w, "opencode", "robin", 4096);
    s = world_service(w, "luanti", "bluejay", 30000);
    s->kind = MODEL_KIND_DIRECT;
    s->transport = MODEL_UDP;
    s = world_service(w, "notes-db", "roc", 5432);
    s->kind = MODEL_KIND_INTERNAL;
    world_grant(w, 40, "clients", "*", "main");
    world_grant(w, 41, "ai", "registry,mcp-*", "agents");
    world_grant(w, 42, "iphone,macbook", "luanti", "");
    world_grant(w, 43, "macbook", "roc:22,bluejay:22,robin:22", "");
}

void world_compile(const struct world *w, const char *gateway, struct compile_output *ret)
{
    struct error err = { "" };
    struct compile_input input = {
        .model = &w->model, .gateway = world_find_host(w, gateway), .generation = 7, .revision = STR("0123abcd"),
    };
    demand(compile_model(&input, ret, &err) == 0, "does not compile", err.text);
}

struct image world_attach(struct compile_block block, enum image_kind kind)
{
    struct error err = { "" };
    struct image image = { NULL };
    demand(image_attach(block.data, block.size, kind, &image, &err) == 0, "does not attach", err.text);
    return image;
}

bool world_listens(const struct model *model, uint32_t surface, const struct address *from)
{
    const struct model_surface *s = &model->surfaces[surface];
    for (uint32_t i = 0; i < s->hosts.n; i++) {
        const struct model_prefixes *at = s->addresses.n ? &s->addresses : &model->hosts[s->hosts.items[i]].addresses;
        for (uint32_t k = 0; k < at->n; k++)
            if (address_is_v4(&at->items[k].address) == address_is_v4(from))
                return true;
    }
    return false;
}
