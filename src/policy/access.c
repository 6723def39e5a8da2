/* Subjects are taken from the sources, objects from services, grants and surfaces; what is one set of addresses and one port is one object. */
#include "policy/access.h"

#include <errno.h>

/* ---- who ---- */

static int index_subject(struct access *a, uint32_t host, uint32_t segment, const uint32_t *ranges, uint32_t n)
{
    uint32_t *copy = arena_array(&a->arena, n, uint32_t);
    if (!copy)
        return -ENOMEM;
    memcpy(copy, ranges, n * sizeof *copy);
    a->subjects[a->n_subjects++] = (struct access_subject){ host, segment, .container = MODEL_NONE, .ranges = copy, .n_ranges = n };
    return 0;
}

struct owned {
    uint32_t owner, range; /* host, or n_hosts + segment */
};

static int compare_owned(const void *x, const void *y)
{
    const struct owned *a = x, *b = y;
    if (a->owner != b->owner)
        return a->owner < b->owner ? -1 : 1;
    return (a->range > b->range) - (a->range < b->range);
}

static int compare_subjects(const void *x, const void *y)
{
    const struct access_subject *a = x, *b = y;
    if (a->segment != b->segment)
        return a->segment < b->segment ? -1 : 1;
    return (a->host > b->host) - (a->host < b->host);
}

static int find_subjects(struct access *a)
{
    uint32_t n = a->sources.n, n_hosts = a->model->n_hosts;
    struct owned *owned = arena_array(&a->arena, n, struct owned);
    uint32_t *ranges = arena_array(&a->arena, n, uint32_t);
    a->subjects = arena_array(&a->arena, (size_t)n_hosts + a->model->n_segments + a->containers.n, struct access_subject);
    if (!owned || !ranges || !a->subjects)
        return -ENOMEM;
    for (uint32_t i = 0; i < n; i++) {
        const struct source_range *range = &a->sources.items[i];
        owned[i] = (struct owned){ range->host != MODEL_NONE ? range->host : n_hosts + range->segment, i };
    }
    qsort(owned, n, sizeof *owned, compare_owned);
    for (uint32_t i = 0; i < n; i++)
        ranges[i] = owned[i].range;
    for (uint32_t i = 0, end = 0; i < n; i = end) {
        for (end = i + 1; end < n && owned[end].owner == owned[i].owner;)
            end++;
        const struct source_range *range = &a->sources.items[ranges[i]];
        int r = index_subject(a, range->host, range->segment, ranges + i, end - i);
        if (r < 0)
            return r;
    }
    qsort(a->subjects, a->n_subjects, sizeof *a->subjects, compare_subjects);
    return 0;
}

/* Which containers have others of their project beside them that they may talk to. */
static int find_insides(struct access *a)
{
    const struct containers *c = &a->containers;
    cleanup_table struct table projects = { 0 };
    cleanup_buf struct buf key;
    buf_init(&key, 4096);
    a->is_inside = arena_array(&a->arena, c->n, bool);
    if (!a->is_inside)
        return -ENOMEM;
    for (uint32_t i = 0; i < c->n; i++) {
        uint32_t first;
        buf_clear(&key);
        buf_printf(&key, "%u/%.*s", c->items[i].host, STR_ARG(c->items[i].project));
        struct str copy = key.error ? STR_NONE : arena_copy(&a->arena, buf_str(&key));
        int r = copy.ptr ? table_add(&projects, copy, i, &first) : -ENOMEM;
        if (r < 0)
            return r;
        if (r == TABLE_E_EXISTS && containers_is_inside(c, first, i))
            a->is_inside[first] = a->is_inside[i] = true;
    }
    return 0;
}

/* Those that expectations speak of, whether they reach anything or not. */
static void mark_expected(const struct access *a, bool *is_expected)
{
    const struct model *m = a->model;
    for (uint32_t i = 0; i < m->n_expectations; i++)
        for (uint32_t k = 0; k < m->expectations[i].n_from; k++) {
            uint32_t service = m->expectations[i].from[k].service;
            for (uint32_t h = 0; service != MODEL_NONE && h < m->services[service].hosts.n; h++) {
                uint32_t container = containers_find(&a->containers, service, m->services[service].hosts.items[h]);
                if (container != MODEL_NONE)
                    is_expected[container] = true;
            }
        }
}

static int add_containers(struct access *a, const struct declared_numbers *numbers)
{
    bool *is_expected = arena_array(&a->arena, a->containers.n, bool);
    int r = is_expected ? find_insides(a) : -ENOMEM;
    if (is_expected)
        mark_expected(a, is_expected);
    for (uint32_t i = 0; r == 0 && i < a->containers.n; i++)
        if (is_expected[i] || a->is_inside[i] || a->containers.first_of_pass[i] < a->containers.first_of_pass[i + 1])
            a->subjects[a->n_subjects++] = (struct access_subject){
                .host = MODEL_NONE, .segment = MODEL_NONE, .container = i, .point = declared_container_point(numbers, i),
            };
    return r;
}

/* ---- what ---- */

struct collecting {
    struct access *a;
    struct buf objects;  /* struct access_object */
    struct table seen;   /* ports by their addresses */
    struct buf key;
};

static int add_object(struct collecting *c, struct access_object object)
{
    bool has_port = object.kind != ACCESS_WEB && object.kind != ACCESS_CONTAINER && object.kind != ACCESS_INTERNET;
    if (object.n_to == 0 || (has_port && object.port == 0))
        return 0;
    buf_clear(&c->key);
    buf_append(&c->key, str_make((const char *)&object.port, sizeof object.port));
    buf_append_char(&c->key, (char)object.protocol);
    buf_append(&c->key, str_make((const char *)object.to, object.n_to * sizeof *object.to));
    struct str key = c->key.error ? STR_NONE : arena_copy(&c->a->arena, buf_str(&c->key));
    int r = key.ptr ? table_add(&c->seen, key, 0, NULL) : -ENOMEM;
    if (r == 0)
        buf_append(&c->objects, str_make((const char *)&object, sizeof object));
    return r < 0 ? r : c->objects.error;
}

static int add_at_host(struct collecting *c, struct access_object object, const struct model_prefixes *own)
{
    const struct model_prefixes *addresses = own && own->n ? own : &c->a->model->hosts[object.host].addresses;
    struct address *to = arena_array(&c->a->arena, addresses->n, struct address);
    if (!to)
        return -ENOMEM;
    for (uint32_t i = 0; i < addresses->n; i++) {
        const struct address *address = &addresses->items[i].address;
        if (object.kind == ACCESS_INSTANCE && own && own->n && address_is_loopback(address)) /* dialled on its own host only */
            continue;
        to[object.n_to++] = *address;
    }
    object.to = to;
    return add_object(c, object);
}

static int add_web(struct collecting *c, const struct declared_numbers *numbers)
{
    const struct model *m = c->a->model;
    for (uint32_t surface = 0; surface < m->n_surfaces; surface++)
        for (uint32_t i = 0; i < m->n_services; i++) {
            if (!(c->a->grants.service_surfaces[i] >> surface & 1))
                continue;
            struct address *to = arena_new(&c->a->arena, struct address);
            if (!to)
                return -ENOMEM;
            *to = relation_service_point(numbers ? numbers->surfaces[surface] : surface, numbers ? numbers->services[i] : i);
            const struct access_object object = { ACCESS_WEB, i, surface, MODEL_NONE, RELATION_POINT_PROTOCOL, RELATION_POINT_PORT, to, 1, MODEL_NONE };
            int r = add_object(c, object);
            if (r < 0)
                return r;
        }
    return 0;
}

static uint8_t protocol_of(enum model_transport transport)
{
    return transport == MODEL_UDP ? RELATION_UDP : RELATION_TCP;
}

static int add_services(struct collecting *c, enum model_kind kind)
{
    const struct model *m = c->a->model;
    int r = 0;
    for (uint32_t i = 0; i < m->n_services; i++) {
        const struct model_service *s = &m->services[i];
        bool is_dialled = model_is_dialled_over_mesh(s);
        for (uint32_t k = 0; r == 0 && k < s->hosts.n && s->kind == kind && (kind == MODEL_KIND_DIRECT || is_dialled); k++) {
            struct access_object object = { .kind = kind == MODEL_KIND_DIRECT ? ACCESS_DIRECT : ACCESS_INSTANCE, .service = i, .surface = MODEL_NONE,
                                            .host = s->hosts.items[k], .port = s->port };
            object.protocol = kind == MODEL_KIND_DIRECT ? protocol_of(s->transport) : RELATION_TCP;
            r = add_at_host(c, object, &s->addresses);
        }
    }
    return r;
}

static int add_host_ports(struct collecting *c)
{
    const struct model *m = c->a->model;
    int r = 0;
    for (uint32_t i = 0; i < m->n_grants; i++)
        for (uint32_t t = 0; r == 0 && t < m->grants[i].n_to; t++) {
            const struct model_target *target = &m->grants[i].to[t];
            if (target->kind == MODEL_TARGET_HOST_PORT)
                r = add_at_host(c, (struct access_object){ .kind = ACCESS_HOST_PORT, .service = MODEL_NONE, .surface = MODEL_NONE, .host = target->host,
                                                           .protocol = protocol_of(target->transport), .port = target->port }, NULL);
        }
    return r;
}

static int add_surfaces(struct collecting *c)
{
    const struct model *m = c->a->model;
    int r = 0;
    for (uint32_t i = 0; i < m->n_surfaces; i++) {
        const struct model_surface *s = &m->surfaces[i];
        for (uint32_t k = 0; r == 0 && k < s->hosts.n; k++) {
            struct access_object object = { .kind = ACCESS_SURFACE, .service = MODEL_NONE, .surface = i, .host = s->hosts.items[k],
                                            .protocol = RELATION_TCP, .port = s->port };
            r = add_at_host(c, object, &s->addresses);
            object.port = s->redirect_port;
            if (r == 0)
                r = add_at_host(c, object, &s->addresses);
        }
    }
    return r;
}

struct access_object access_container_object(const struct access *a, uint32_t container, uint8_t protocol, uint16_t port, struct address *to)
{
    const struct container *c = &a->containers.items[container];
    *to = relation_container_point(container);
    return (struct access_object){
        .kind = port ? ACCESS_CONTAINER_PORT : ACCESS_CONTAINER, .service = c->services[0], .surface = MODEL_NONE, .host = c->host, .protocol = protocol,
        .port = port, .to = to, .n_to = 1, .container = container,
    };
}

static int add_container(struct collecting *c, const struct declared_numbers *numbers, uint32_t container, uint8_t protocol, uint16_t port)
{
    struct address *to = arena_new(&c->a->arena, struct address);
    if (!to)
        return -ENOMEM;
    struct access_object object = access_container_object(c->a, container, protocol, port, to);
    *to = declared_container_point(numbers, container);
    return add_object(c, object);
}

static int add_container_objects(struct collecting *c, const struct declared_numbers *numbers)
{
    const struct containers *containers = &c->a->containers;
    bool has_internet = false;
    int r = 0;
    for (uint32_t i = 0; r == 0 && i < containers->n; i++)
        r = c->a->is_inside[i] ? add_container(c, numbers, i, 0, 0) : 0;
    for (uint32_t i = 0; r == 0 && i < containers->n_passes; i++) {
        const struct container_pass *pass = &containers->passes[i];
        has_internet |= pass->way == CONTAINER_WAY_INTERNET;
        if (pass->way == CONTAINER_WAY_CONTAINER)
            r = add_container(c, numbers, pass->to, protocol_of((enum model_transport)pass->transport), pass->port);
    }
    if (r < 0 || !has_internet)
        return r;
    struct address *to = arena_new(&c->a->arena, struct address);
    if (!to)
        return -ENOMEM;
    *to = relation_internet_point();
    return add_object(c, (struct access_object){ .kind = ACCESS_INTERNET, .service = MODEL_NONE, .surface = MODEL_NONE, .host = MODEL_NONE,
                                                    .to = to, .n_to = 1 });
}

static int find_objects(struct access *a, const struct declared_numbers *numbers)
{
    struct collecting c = { .a = a };
    buf_init(&c.objects, RELATION_MEMORY_MAX);
    buf_init(&c.key, 1 << 20);
    int r = add_web(&c, numbers);
    if (r == 0)
        r = add_services(&c, MODEL_KIND_DIRECT);
    if (r == 0)
        r = add_host_ports(&c);
    if (r == 0)
        r = add_container_objects(&c, numbers);
    if (r == 0)
        r = add_surfaces(&c);
    if (r == 0)
        r = add_services(&c, MODEL_KIND_WEB);
    a->n_objects = (uint32_t)(c.objects.len / sizeof *a->objects);
    a->objects = arena_array(&a->arena, a->n_objects, struct access_object);
    if (!a->objects)
        r = -ENOMEM;
    else if (a->n_objects)
        memcpy(a->objects, c.objects.ptr, a->n_objects * sizeof *a->objects);
    table_deinit(&c.seen);
    buf_deinit(&c.objects);
    buf_deinit(&c.key);
    return r;
}

static int derive(struct access *a, const struct declared_numbers *numbers)
{
    int r = sources_init(&a->sources, a->model, &a->arena);
    a->families = arena_array(&a->arena, a->model->n_surfaces, uint8_t);
    if (!a->families)
        return -ENOMEM;
    for (uint32_t i = 0; i < a->model->n_surfaces; i++)
        a->families[i] = (uint8_t)declared_families(a->model, i);
    if (r == 0)
        r = containers_init(&a->containers, a->model);
    if (r == 0)
        r = declared_add(&a->grants, &a->sources, &a->containers, numbers, &a->relation);
    if (r == 0)
        r = find_subjects(a);
    if (r == 0)
        r = add_containers(a, numbers);
    return r == 0 ? find_objects(a, numbers) : r;
}

int access_init(struct access *ret, const struct model *model, const struct declared_numbers *numbers)
{
    struct access a = { .model = model };
    int r = grants_init(&a.grants, model);
    if (r < 0)
        return r;
    arena_init(&a.arena, RELATION_MEMORY_MAX);
    relation_init(&a.relation);
    r = derive(&a, numbers);
    if (r < 0)
        access_deinit(&a);
    else
        *ret = a;
    return r;
}

void access_deinit(struct access *access)
{
    relation_deinit(&access->relation);
    grants_deinit(&access->grants);
    containers_deinit(&access->containers);
    arena_deinit(&access->arena);
}

/* ---- asking ---- */

static bool is_container(const struct access_object *object)
{
    return object->kind == ACCESS_CONTAINER || object->kind == ACCESS_CONTAINER_PORT;
}

/* Whether a range of addresses can speak of address k of the object at all: another host's, and of its family. */
static bool is_pair(const struct access *access, const struct source_range *from, const struct access_object *object, uint32_t k)
{
    if (object->kind == ACCESS_WEB)
        return access->families[object->surface] & (address_is_v4(&from->first) ? DECLARED_IPV4 : DECLARED_IPV6);
    if (is_container(object) || object->kind == ACCESS_INTERNET || address_is_v4(&from->first) != address_is_v4(&object->to[k]))
        return false;
    const struct source_range *whose = sources_find(&access->sources, &object->to[k]);
    return from->host == MODEL_NONE || !whose || whose->host != from->host;
}

/* The same of a container: what is beside it, and what is outside. */
static bool is_container_pair(const struct access *access, uint32_t container, const struct access_object *object)
{
    uint32_t host = access->containers.items[container].host;
    if (object->kind == ACCESS_WEB)
        return model_runs_on(&access->model->surfaces[object->surface].hosts, host);
    return !is_container(object) || (object->host == host && object->container != container);
}

/* The address by which subject i-th asks for the k-th of the object, or NULL: there is nothing to ask. */
static const struct address *asks_by(const struct access *access, const struct access_subject *s, uint32_t i, const struct access_object *object, uint32_t k)
{
    if (s->container != MODEL_NONE)
        return is_container_pair(access, s->container, object) ? &s->point : NULL;
    const struct source_range *from = &access->sources.items[s->ranges[i]];
    return is_pair(access, from, object, k) ? &from->first : NULL;
}

enum access_answer access_ask(const struct access *access, const struct matrix *matrix, uint32_t subject, const struct access_object *o)
{
    const struct access_subject *s = &access->subjects[subject];
    uint32_t n = 0, n_yes = 0, n_ranges = s->container != MODEL_NONE ? 1 : s->n_ranges;
    for (uint32_t i = 0; i < n_ranges; i++)
        for (uint32_t k = 0; k < o->n_to; k++) {
            const struct address *from = asks_by(access, s, i, o, k);
            n += from != NULL;
            n_yes += from && matrix_allows(matrix, from, &o->to[k], o->protocol, o->port);
        }
    return n == 0 ? ACCESS_NONE : n_yes == 0 ? ACCESS_NO : n_yes == n ? ACCESS_YES : ACCESS_PARTLY;
}

uint32_t access_find_rule(const struct access *access, const struct relation *relation, uint32_t subject, const struct access_object *o)
{
    const struct access_subject *s = &access->subjects[subject];
    uint32_t first = UINT32_MAX, n_ranges = s->container != MODEL_NONE ? 1 : s->n_ranges;
    for (uint32_t i = 0; i < n_ranges; i++)
        for (uint32_t k = 0; k < o->n_to; k++) {
            const struct address *from = asks_by(access, s, i, o, k);
            uint32_t rule = from ? relation_find_rule(relation, from, &o->to[k], o->protocol, o->port) : UINT32_MAX;
            first = rule < first ? rule : first;
        }
    return first;
}

/* ---- names ---- */

void access_write_container(struct buf *out, const struct containers *containers, uint32_t container)
{
    const struct container *c = &containers->items[container];
    const struct model_service *s = &containers->model->services[c->services[0]];
    buf_append(out, s->name.text);
    if (s->hosts.n > 1)
        buf_printf(out, " on %.*s", STR_ARG(containers->model->hosts[c->host].name.text));
}

void access_write_subject(struct buf *out, const struct access *access, uint32_t subject)
{
    const struct access_subject *s = &access->subjects[subject];
    if (s->container != MODEL_NONE)
        access_write_container(out, &access->containers, s->container);
    else if (s->host != MODEL_NONE)
        buf_append(out, access->model->hosts[s->host].name.text);
    else
        buf_printf(out, "others of %.*s", STR_ARG(access->model->segments[s->segment].name.text));
}

void access_write_object(struct buf *out, const struct access *access, uint32_t object)
{
    const struct access_object *o = &access->objects[object];
    const struct model *m = access->model;
    const char *udp = o->protocol == RELATION_UDP ? "udp/" : "";
    switch (o->kind) {
    case ACCESS_WEB: buf_append(out, m->services[o->service].name.text); break;
    case ACCESS_DIRECT:
        buf_append(out, m->services[o->service].name.text);
        if (m->services[o->service].hosts.n > 1)
            buf_printf(out, " on %.*s", STR_ARG(m->hosts[o->host].name.text));
        break;
    case ACCESS_CONTAINER:
        buf_append(out, STR("all of "));
        access_write_container(out, &access->containers, o->container);
        break;
    case ACCESS_CONTAINER_PORT:
        buf_printf(out, "%.*s:%s%u", STR_ARG(m->services[o->service].name.text), udp, o->port);
        if (m->services[o->service].hosts.n > 1)
            buf_printf(out, " on %.*s", STR_ARG(m->hosts[o->host].name.text));
        break;
    case ACCESS_INTERNET: buf_append(out, STR("the internet")); break;
    default: buf_printf(out, "%.*s:%s%u", STR_ARG(m->hosts[o->host].name.text), udp, o->port); break;
    }
}

uint32_t access_subject_segment(const struct access *access, uint32_t subject)
{
    const struct access_subject *s = &access->subjects[subject];
    return s->container == MODEL_NONE ? s->segment : access->model->hosts[access->containers.items[s->container].host].segment;
}

uint32_t access_object_segment(const struct access *access, uint32_t object)
{
    const struct access_object *o = &access->objects[object];
    const struct model *m = access->model;
    bool has_service = o->service != MODEL_NONE && m->services[o->service].hosts.n;
    uint32_t host = o->host != MODEL_NONE ? o->host : has_service ? m->services[o->service].hosts.items[0] : MODEL_NONE;
    return host == MODEL_NONE ? MODEL_NONE : m->hosts[host].segment;
}
