/* Resolving names against the declaration; a name of two kinds is refused with both ways to say it. */
#include "cli/party.h"

#include <errno.h>
#include <string.h>

enum { ASKED_MAX = 1 << 16 };

struct resolving {
    const struct access *access;
    const struct model *model;
    struct parties *out;
    struct buf askers, asked; /* struct party_asker, struct party_asked */
    struct error *err;
};

/* ---- names ---- */

enum kind { KIND_ANY, KIND_HOST, KIND_SEGMENT, KIND_SERVICE };

static enum kind split_kind(struct str *name)
{
    static const struct {
        struct str prefix;
        enum kind kind;
    } prefixes[] = { { { "host/", 5 }, KIND_HOST }, { { "segment/", 8 }, KIND_SEGMENT }, { { "service/", 8 }, KIND_SERVICE } };
    for (size_t i = 0; i < ARRAY_SIZE(prefixes); i++)
        if (str_starts_with(*name, prefixes[i].prefix)) {
            *name = str_skip(*name, prefixes[i].prefix.len);
            return prefixes[i].kind;
        }
    return KIND_ANY;
}

/* The label of the service's only instance, "grafana-roc". Of several, one doesn't stand for the service. */
static bool is_label_of_only_instance(const struct model *m, const struct model_service *s, struct str label)
{
    if (s->hosts.n != 1 || label.len <= s->name.text.len || !str_starts_with(label, s->name.text) || label.ptr[s->name.text.len] != '-')
        return false;
    return str_equal(str_skip(label, s->name.text.len + 1), m->hosts[s->hosts.items[0]].name.text);
}

static bool is_name_of(const struct model *m, const struct model_service *s, struct str name)
{
    if (str_equal(s->name.text, name))
        return true;
    struct str rest = name, label = str_split(&rest, '.');
    if (str_equal(rest, m->domain.text) && (str_equal(label, s->name.text) || is_label_of_only_instance(m, s, label)))
        return true;
    for (uint32_t i = 0; i < s->names.n; i++)
        if (str_equal(s->names.items[i].text, name))
            return true;
    return false;
}

static uint32_t find_service(const struct model *m, struct str name)
{
    uint32_t i = 0;
    while (i < m->n_services && !is_name_of(m, &m->services[i], name))
        i++;
    return i < m->n_services ? i : MODEL_NONE;
}

static bool is_near(struct str candidate, struct str name)
{
    return name.len > 2 && !str_equal(candidate, name) && str_distance(candidate, name, 2) <= 2;
}

static void suggest(struct resolving *r, struct str name)
{
    const struct model *m = r->model;
    struct str near = STR_NONE;
    for (uint32_t i = 0; i < m->n_hosts && !near.len; i++)
        if (is_near(m->hosts[i].name.text, name))
            near = m->hosts[i].name.text;
    for (uint32_t i = 0; i < m->n_services && !near.len; i++)
        if (is_near(m->services[i].name.text, name))
            near = m->services[i].name.text;
    for (uint32_t i = 0; i < m->n_segments && !near.len; i++)
        if (is_near(m->segments[i].name.text, name))
            near = m->segments[i].name.text;
    if (near.len)
        error_set(r->err, "the declaration has no '%.*s'; did you mean '%.*s'?", STR_ARG(name), STR_ARG(near));
    else
        error_set(r->err, "the declaration has no '%.*s': name a host, a segment, a service, a tag, a user or an address", STR_ARG(name));
}

/* ---- who ---- */

static int add_asker(struct resolving *r, struct party_asker asker)
{
    buf_append(&r->askers, str_make((const char *)&asker, sizeof asker));
    return r->askers.error;
}

static int add_subject(struct resolving *r, uint32_t subject)
{
    const struct access_subject *s = &r->access->subjects[subject];
    struct address *addresses = arena_array(&r->out->arena, s->n_ranges, struct address);
    cleanup_buf struct buf text;
    buf_init(&text, 4096);
    access_write_subject(&text, r->access, subject);
    struct str copy = arena_copy(&r->out->arena, buf_str(&text));
    if (!addresses || !copy.ptr)
        return -ENOMEM;
    for (uint32_t i = 0; i < s->n_ranges; i++)
        addresses[i] = r->access->sources.items[s->ranges[i]].first;
    return add_asker(r, (struct party_asker){ copy, s->host, s->segment, MODEL_NONE, addresses, s->n_ranges });
}

static int add_host_asker(struct resolving *r, uint32_t host)
{
    for (uint32_t i = 0; i < r->access->n_subjects; i++)
        if (r->access->subjects[i].host == host)
            return add_subject(r, i);
    return add_asker(r, (struct party_asker){ r->model->hosts[host].name.text, host, r->model->hosts[host].segment, MODEL_NONE, NULL, 0 });
}

static int add_segment_askers(struct resolving *r, uint32_t segment)
{
    int e = 0;
    r->out->is_group = true;
    r->out->segment = segment;
    for (uint32_t i = 0; e == 0 && i < r->access->n_subjects; i++)
        if (r->access->subjects[i].container == MODEL_NONE && r->access->subjects[i].segment == segment)
            e = add_subject(r, i);
    return e;
}

static int add_address_asker(struct resolving *r, struct str text, const struct address *address)
{
    const struct source_range *range = sources_find(&r->access->sources, address);
    struct address *copy = arena_new(&r->out->arena, struct address);
    if (!copy)
        return -ENOMEM;
    *copy = *address;
    return add_asker(r, (struct party_asker){ text, range ? range->host : MODEL_NONE, range ? range->segment : MODEL_NONE, MODEL_NONE, copy, 1 });
}

/* Everything that a tag or a user of the mesh is bound to. */
static bool is_bound(const struct model_binding *binding, struct str name)
{
    return (binding->tag.text.len && str_equal(binding->tag.text, name)) || (binding->user.text.len && str_equal(binding->user.text, name));
}

static bool is_binding_name(struct str name)
{
    return str_starts_with(name, STR("tag:")) || str_find_char(name, '@') < name.len;
}

static bool host_is_bound(const struct model *m, uint32_t host, struct str name)
{
    const struct model_host *h = &m->hosts[host];
    return is_bound(&h->binding, name) || (h->segment != MODEL_NONE && !h->binding.tag.text.len && !h->binding.user.text.len &&
                                           is_bound(&m->segments[h->segment].binding, name));
}

static int no_binding(struct resolving *r, struct str name)
{
    error_set(r->err, "nothing in the declaration is bound to '%.*s'; bind a segment or a host with tag: or user:", STR_ARG(name));
    return -EINVAL;
}

static int add_bound_askers(struct resolving *r, struct str name)
{
    size_t before = r->askers.len;
    int e = 0;
    r->out->is_group = true;
    for (uint32_t i = 0; e == 0 && i < r->access->n_subjects; i++) {
        const struct access_subject *s = &r->access->subjects[i];
        if (s->container == MODEL_NONE && (s->host != MODEL_NONE ? host_is_bound(r->model, s->host, name) :
                                                                   is_bound(&r->model->segments[s->segment].binding, name)))
            e = add_subject(r, i);
    }
    return e == 0 && r->askers.len == before ? no_binding(r, name) : e;
}

static int add_anyone(struct resolving *r)
{
    struct address *addresses = arena_array(&r->out->arena, 2, struct address);
    if (!addresses)
        return -ENOMEM;
    /* Of the blocks for documentation: nobody's anywhere. */
    uint32_t n = address_parse(STR("192.0.2.1"), &addresses[0]);
    n += address_parse(STR("2001:db8::1"), &addresses[n]);
    return add_asker(r, (struct party_asker){ STR("anyone else"), MODEL_NONE, MODEL_NONE, MODEL_NONE, addresses, n });
}

static int add_container_asker(struct resolving *r, uint32_t container)
{
    struct address *point = arena_new(&r->out->arena, struct address);
    cleanup_buf struct buf text;
    buf_init(&text, 4096);
    access_write_container(&text, &r->access->containers, container);
    struct str copy = arena_copy(&r->out->arena, buf_str(&text));
    if (!point || !copy.ptr)
        return -ENOMEM;
    *point = relation_container_point(container);
    return add_asker(r, (struct party_asker){ copy, MODEL_NONE, MODEL_NONE, container, point, 1 });
}

/* A service in a container is that, wherever it runs; another one comes from its host's address. */
static int add_service_askers(struct resolving *r, uint32_t service)
{
    const struct model_indexes *hosts = &r->model->services[service].hosts;
    int e = 0;
    for (uint32_t i = 0; e == 0 && i < hosts->n; i++) {
        uint32_t container = containers_find(&r->access->containers, service, hosts->items[i]);
        e = container != MODEL_NONE ? add_container_asker(r, container) : add_host_asker(r, hosts->items[i]);
    }
    return e;
}

static int read_from(struct resolving *r, struct str text)
{
    struct address address;
    struct str name = text;
    enum kind kind = split_kind(&name);
    if (address_parse(text, &address))
        return add_address_asker(r, text, &address);
    if (kind == KIND_ANY && is_binding_name(text))
        return add_bound_askers(r, text);
    uint32_t host = kind == KIND_ANY || kind == KIND_HOST ? model_find_host(r->model, name) : MODEL_NONE;
    uint32_t segment = kind == KIND_ANY || kind == KIND_SEGMENT ? model_find_segment(r->model, name) : MODEL_NONE;
    uint32_t service = kind == KIND_ANY || kind == KIND_SERVICE ? find_service(r->model, name) : MODEL_NONE;
    if (host != MODEL_NONE && segment != MODEL_NONE) {
        error_set(r->err, "'%.*s' is a host and a segment; write host/%.*s or segment/%.*s", STR_ARG(name), STR_ARG(name), STR_ARG(name));
        return -EINVAL;
    }
    if (host != MODEL_NONE)
        return add_host_asker(r, host);
    if (segment != MODEL_NONE)
        return add_segment_askers(r, segment);
    if (service != MODEL_NONE)
        return add_service_askers(r, service);
    if (str_equal(text, STR("anyone")))
        return add_anyone(r);
    suggest(r, name);
    return -EINVAL;
}

/* ---- what ---- */

static int add_asked(struct resolving *r, struct party_asked asked)
{
    buf_append(&r->asked, str_make((const char *)&asked, sizeof asked));
    return r->asked.error;
}

static int add_port(struct resolving *r, struct str text, uint32_t service, uint32_t host, const struct model_prefixes *addresses, uint8_t protocol,
                    uint16_t port)
{
    struct address *to = arena_array(&r->out->arena, addresses->n, struct address);
    struct str copy = arena_copy(&r->out->arena, text);
    if (!to || !copy.ptr)
        return -ENOMEM;
    for (uint32_t i = 0; i < addresses->n; i++)
        to[i] = addresses->items[i].address;
    return add_asked(r, (struct party_asked){ .text = copy, .service = service, .host = host, .container = MODEL_NONE, .to = to, .n_to = addresses->n,
                                              .protocol = protocol, .port = port });
}

static int add_host_port(struct resolving *r, uint32_t host, uint8_t protocol, uint16_t port)
{
    const struct model_host *h = &r->model->hosts[host];
    struct str text = arena_printf(&r->out->arena, "%.*s:%s%u", STR_ARG(h->name.text), protocol == RELATION_UDP ? "udp/" : "", port);
    return text.ptr ? add_port(r, text, MODEL_NONE, host, &h->addresses, protocol, port) : -ENOMEM;
}

static bool has_container_asker(const struct resolving *r)
{
    const struct party_asker *askers = (const struct party_asker *)(const void *)r->askers.ptr;
    return r->askers.len && askers[0].container != MODEL_NONE;
}

/* A port of the service's container on every host; of one who asks from a container, only beside it. */
static int add_container_ports(struct resolving *r, uint32_t service, uint8_t protocol, uint16_t port)
{
    const struct model_service *s = &r->model->services[service];
    const struct party_asker *askers = (const struct party_asker *)(const void *)r->askers.ptr;
    int e = 0;
    for (uint32_t i = 0; e == 0 && i < s->hosts.n; i++) {
        uint32_t host = s->hosts.items[i], container = containers_find(&r->access->containers, service, host);
        struct address *point = arena_new(&r->out->arena, struct address);
        bool is_beside = !has_container_asker(r);
        for (size_t k = 0; !is_beside && k < r->askers.len / sizeof *askers; k++)
            is_beside = askers[k].container != MODEL_NONE && r->access->containers.items[askers[k].container].host == host;
        struct str text = arena_printf(&r->out->arena, s->hosts.n > 1 ? "%.*s:%s%u on %.*s" : "%.*s:%s%u", STR_ARG(s->name.text),
                                       protocol == RELATION_UDP ? "udp/" : "", port, STR_ARG(r->model->hosts[host].name.text));
        if (!point || !text.ptr)
            return -ENOMEM;
        *point = relation_container_point(container);
        if (container != MODEL_NONE && is_beside)
            e = add_asked(r, (struct party_asked){ .text = text, .service = service, .host = host, .container = container, .to = point, .n_to = 1,
                                                   .protocol = protocol, .port = port });
    }
    return e;
}

static int add_internet(struct resolving *r)
{
    struct address *point = arena_new(&r->out->arena, struct address);
    if (!point)
        return -ENOMEM;
    *point = relation_internet_point();
    return add_asked(r, (struct party_asked){ .text = STR("the internet"), .service = MODEL_NONE, .host = MODEL_NONE, .container = MODEL_NONE,
                                              .is_internet = true, .to = point, .n_to = 1 });
}

/* Of a port in a container only containers of its host can ask. */
static int add_port_of_service(struct resolving *r, struct str name, uint32_t service, uint8_t protocol, uint16_t port)
{
    const struct model_service *s = &r->model->services[service];
    if (s->where != MODEL_WHERE_CONTAINER) {
        error_set(r->err, "'%.*s' is a service: name it without the port, or a host with it", STR_ARG(name));
        return -EINVAL;
    }
    if (r->askers.len && !has_container_asker(r)) {
        error_set(r->err, "'%.*s:%u' is a port inside a container, which only containers of that host can ask for: name it without the port",
                  STR_ARG(name), port);
        return -EINVAL;
    }
    size_t before = r->asked.len;
    int e = add_container_ports(r, service, protocol, port);
    if (e == 0 && r->asked.len == before)
        error_set(r->err, "'%.*s' runs on no host of who asks, and containers reach each other on one host only", STR_ARG(name));
    return e == 0 && r->asked.len == before ? -EINVAL : e;
}

static int add_service(struct resolving *r, uint32_t service)
{
    const struct model_service *s = &r->model->services[service];
    int e = 0;
    if (s->kind == MODEL_KIND_WEB)
        return add_asked(r, (struct party_asked){ .text = s->name.text, .is_web = true, .service = service, .host = MODEL_NONE, .container = MODEL_NONE });
    if (s->where == MODEL_WHERE_CONTAINER && has_container_asker(r))
        return add_container_ports(r, service, s->kind == MODEL_KIND_DIRECT && s->transport == MODEL_UDP ? RELATION_UDP : RELATION_TCP, s->port);
    for (uint32_t i = 0; e == 0 && i < s->hosts.n; i++) {
        const struct model_host *h = &r->model->hosts[s->hosts.items[i]];
        struct str text = s->hosts.n > 1 ? arena_printf(&r->out->arena, "%.*s on %.*s", STR_ARG(s->name.text), STR_ARG(h->name.text)) : s->name.text;
        uint8_t protocol = s->kind == MODEL_KIND_DIRECT && s->transport == MODEL_UDP ? RELATION_UDP : RELATION_TCP;
        e = text.ptr ? add_port(r, text, service, s->hosts.items[i], s->addresses.n ? &s->addresses : &h->addresses, protocol, s->port) : -ENOMEM;
    }
    return e;
}

static bool runs_on(const struct model_service *s, uint32_t host)
{
    for (uint32_t i = 0; i < s->hosts.n; i++)
        if (s->hosts.items[i] == host)
            return true;
    return false;
}

/* Everything that is known of a host: the services on it, and its ports that a grant or a surface names. */
static int add_host(struct resolving *r, uint32_t host)
{
    const struct access *a = r->access;
    int e = 0;
    for (uint32_t i = 0; e == 0 && i < r->model->n_services; i++)
        if (r->model->services[i].kind == MODEL_KIND_WEB && runs_on(&r->model->services[i], host))
            e = add_service(r, i);
    for (uint32_t i = 0; e == 0 && i < a->n_objects; i++) {
        const struct access_object *o = &a->objects[i];
        cleanup_buf struct buf text;
        buf_init(&text, 4096);
        if (o->kind == ACCESS_WEB || o->kind == ACCESS_CONTAINER || o->kind == ACCESS_CONTAINER_PORT || o->host != host)
            continue;
        access_write_object(&text, a, i);
        struct str copy = arena_copy(&r->out->arena, buf_str(&text));
        e = copy.ptr ? add_asked(r, (struct party_asked){ .text = copy, .service = o->service, .host = host, .container = MODEL_NONE, .to = o->to,
                                                          .n_to = o->n_to, .protocol = o->protocol, .port = o->port }) : -ENOMEM;
    }
    return e;
}

/* Hosts that a name stands for, each with everything on it or with one port. */
static int add_hosts(struct resolving *r, struct str name, enum kind kind, uint8_t protocol, uint16_t port, uint32_t *ret_n)
{
    uint32_t host = kind != KIND_SEGMENT ? model_find_host(r->model, name) : MODEL_NONE;
    uint32_t segment = kind != KIND_HOST ? model_find_segment(r->model, name) : MODEL_NONE;
    int e = 0;
    *ret_n = 0;
    if (host != MODEL_NONE && segment != MODEL_NONE) {
        error_set(r->err, "'%.*s' is a host and a segment; write host/%.*s or segment/%.*s", STR_ARG(name), STR_ARG(name), STR_ARG(name));
        return -EINVAL;
    }
    for (uint32_t i = 0; e == 0 && i < r->model->n_hosts; i++) {
        bool is_meant = i == host || (segment != MODEL_NONE && r->model->hosts[i].segment == segment) ||
                        (is_binding_name(name) && host_is_bound(r->model, i, name));
        if (!is_meant)
            continue;
        e = port ? add_host_port(r, i, protocol, port) : add_host(r, i);
        (*ret_n)++;
    }
    return e;
}

/* "22", "udp/53". */
static bool read_port(struct str text, uint8_t *ret_protocol, uint16_t *ret_port)
{
    bool is_udp = str_starts_with(text, STR("udp/"));
    uint64_t port;
    if (is_udp || str_starts_with(text, STR("tcp/")))
        text = str_skip(text, 4);
    if (!str_to_u64(text, UINT16_MAX, &port) || port == 0)
        return false;
    *ret_protocol = is_udp ? RELATION_UDP : RELATION_TCP;
    *ret_port = (uint16_t)port;
    return true;
}

/* NAME, and what stands after its last colon; brackets around an IPv6 address are taken off. */
static void split_port(struct str text, struct str *ret_name, struct str *ret_port)
{
    struct address address;
    size_t at = text.len;
    *ret_name = text;
    *ret_port = STR_NONE;
    if (address_parse(text, &address))
        return;
    while (at > 0 && text.ptr[at - 1] != ':')
        at--;
    if (at == 0 || (str_starts_with(text, STR("tag:")) && at == 4))
        return;
    *ret_name = str_first(text, at - 1);
    *ret_port = str_skip(text, at);
    if (ret_name->len > 2 && ret_name->ptr[0] == '[' && str_ends_with(*ret_name, STR("]")))
        *ret_name = str_make(ret_name->ptr + 1, ret_name->len - 2);
}

static int add_address(struct resolving *r, struct str text, const struct address *address, uint8_t protocol, uint16_t port)
{
    const struct source_range *range = sources_find(&r->access->sources, address);
    const struct address_prefix prefix = { *address, 128 };
    const struct model_prefixes one = { (struct address_prefix *)(uintptr_t)&prefix, 1 };
    if (!port && range && range->host != MODEL_NONE)
        return add_host(r, range->host);
    if (!port) {
        error_set(r->err, "which port of %.*s? write %.*s:PORT or %.*s:udp/PORT", STR_ARG(text), STR_ARG(text), STR_ARG(text));
        return -EINVAL;
    }
    return add_port(r, text, MODEL_NONE, range ? range->host : MODEL_NONE, &one, protocol, port);
}

static int read_to(struct resolving *r, struct str text)
{
    struct str name, port_text;
    struct address address;
    uint8_t protocol = RELATION_TCP;
    uint16_t port = 0;
    uint32_t n;
    if (str_starts_with(text, STR("https://")) || str_starts_with(text, STR("http://"))) {
        error_set(r->err, "'%.*s' is a URL: ask for the service's name, or the host name in it", STR_ARG(text));
        return -EINVAL;
    }
    if (str_equal(text, STR("internet")) && (!r->askers.len || has_container_asker(r)))
        return add_internet(r);
    split_port(text, &name, &port_text);
    if (port_text.len && !read_port(port_text, &protocol, &port)) {
        error_set(r->err, "'%.*s' is no port; write %.*s:443 or %.*s:udp/53", STR_ARG(port_text), STR_ARG(name), STR_ARG(name));
        return -EINVAL;
    }
    if (address_parse(name, &address))
        return add_address(r, text, &address, protocol, port);
    enum kind kind = is_binding_name(name) ? KIND_ANY : split_kind(&name);
    uint32_t service = kind == KIND_ANY || kind == KIND_SERVICE ? find_service(r->model, name) : MODEL_NONE;
    bool is_other = model_find_host(r->model, name) != MODEL_NONE || model_find_segment(r->model, name) != MODEL_NONE;
    if (service != MODEL_NONE && !port) {
        if (is_other && kind == KIND_ANY) {
            const char *other = model_find_host(r->model, name) != MODEL_NONE ? "host" : "segment";
            error_set(r->err, "'%.*s' is a %s and a service; write %s/%.*s or service/%.*s", STR_ARG(name), other, other, STR_ARG(name), STR_ARG(name));
            return -EINVAL;
        }
        return add_service(r, service);
    }
    if (service != MODEL_NONE && (!is_other || kind == KIND_SERVICE))
        return add_port_of_service(r, name, service, protocol, port);
    int e = kind == KIND_SERVICE ? 0 : add_hosts(r, name, kind, protocol, port, &n);
    if (e == 0 && kind != KIND_SERVICE && n)
        return 0;
    if (e == 0 && is_binding_name(name))
        return no_binding(r, name);
    if (e == 0 && is_other)
        error_set(r->err, "there is no host in '%.*s' to ask about", STR_ARG(name));
    else if (e == 0)
        suggest(r, name);
    return e < 0 ? e : -EINVAL;
}

/* ---- the whole ---- */

static int take(struct arena *arena, const struct buf *from, size_t size, void **ret, uint32_t *ret_n)
{
    *ret_n = (uint32_t)(from->len / size);
    *ret = arena_alloc(arena, *ret_n, size);
    if (*ret && from->len)
        memcpy(*ret, from->ptr, from->len);
    return *ret ? 0 : -ENOMEM;
}

int parties_read(const struct access *access, const char *from, const char *to, struct parties *ret, struct error *err)
{
    struct parties parties = { .segment = MODEL_NONE };
    struct resolving r = { .access = access, .model = access->model, .out = &parties, .err = err };
    void *items;
    arena_init(&parties.arena, 0);
    buf_init(&r.askers, RELATION_MEMORY_MAX);
    buf_init(&r.asked, ASKED_MAX * sizeof(struct party_asked));
    int e = from ? read_from(&r, str_of(from)) : 0;
    if (e == 0 && to)
        e = read_to(&r, str_of(to));
    if (e == 0 && (e = take(&parties.arena, &r.askers, sizeof *parties.askers, &items, &parties.n_askers)) == 0)
        parties.askers = items;
    if (e == 0 && (e = take(&parties.arena, &r.asked, sizeof *parties.asked, &items, &parties.n_asked)) == 0)
        parties.asked = items;
    buf_deinit(&r.askers);
    buf_deinit(&r.asked);
    if (e < 0)
        parties_deinit(&parties);
    else
        *ret = parties;
    return e;
}

void parties_deinit(struct parties *parties)
{
    arena_deinit(&parties->arena);
}
