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
    a->subjects[a->n_subjects++] = (struct access_subject){ host, segment, copy, n };
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
    a->subjects = arena_array(&a->arena, (size_t)n_hosts + a->model->n_segments, struct access_subject);
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

/* ---- what ---- */

struct collecting {
    struct access *a;
    struct buf objects;  /* struct access_object */
    struct table seen;   /* ports by their addresses */
    struct buf key;
};

static int add_object(struct collecting *c, struct access_object object)
{
    if (object.n_to == 0 || (object.kind != ACCESS_WEB && object.port == 0))
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
            const struct access_object object = { ACCESS_WEB, i, surface, MODEL_NONE, RELATION_POINT_PROTOCOL, RELATION_POINT_PORT, to, 1 };
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
        r = declared_add(&a->grants, &a->sources, numbers, &a->relation);
    if (r == 0)
        r = find_subjects(a);
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
    arena_deinit(&access->arena);
}

/* ---- asking ---- */

bool access_is_pair(const struct access *access, uint32_t range, const struct access_object *object, uint32_t k)
{
    const struct source_range *from = &access->sources.items[range];
    if (object->kind == ACCESS_WEB)
        return access->families[object->surface] & (address_is_v4(&from->first) ? DECLARED_IPV4 : DECLARED_IPV6);
    if (address_is_v4(&from->first) != address_is_v4(&object->to[k]))
        return false;
    const struct source_range *whose = sources_find(&access->sources, &object->to[k]);
    return from->host == MODEL_NONE || !whose || whose->host != from->host;
}

enum access_answer access_ask(const struct access *access, const struct matrix *matrix, uint32_t subject, const struct access_object *o)
{
    const struct access_subject *s = &access->subjects[subject];
    uint32_t n = 0, n_yes = 0;
    for (uint32_t i = 0; i < s->n_ranges; i++)
        for (uint32_t k = 0; k < o->n_to; k++)
            if (access_is_pair(access, s->ranges[i], o, k)) {
                n++;
                n_yes += matrix_allows(matrix, &access->sources.items[s->ranges[i]].first, &o->to[k], o->protocol, o->port);
            }
    return n == 0 ? ACCESS_NONE : n_yes == 0 ? ACCESS_NO : n_yes == n ? ACCESS_YES : ACCESS_PARTLY;
}

uint32_t access_find_rule(const struct access *access, const struct relation *relation, uint32_t subject, const struct access_object *o)
{
    const struct access_subject *s = &access->subjects[subject];
    uint32_t first = UINT32_MAX;
    for (uint32_t i = 0; i < s->n_ranges; i++)
        for (uint32_t k = 0; k < o->n_to; k++) {
            uint32_t rule = access_is_pair(access, s->ranges[i], o, k) ?
                relation_find_rule(relation, &access->sources.items[s->ranges[i]].first, &o->to[k], o->protocol, o->port) : UINT32_MAX;
            first = rule < first ? rule : first;
        }
    return first;
}

/* ---- names ---- */

void access_write_subject(struct buf *out, const struct access *access, uint32_t subject)
{
    const struct access_subject *s = &access->subjects[subject];
    if (s->host != MODEL_NONE)
        buf_append(out, access->model->hosts[s->host].name.text);
    else
        buf_printf(out, "others of %.*s", STR_ARG(access->model->segments[s->segment].name.text));
}

void access_write_object(struct buf *out, const struct access *access, uint32_t object)
{
    const struct access_object *o = &access->objects[object];
    const struct model *m = access->model;
    if (o->kind == ACCESS_WEB || o->kind == ACCESS_DIRECT)
        buf_append(out, m->services[o->service].name.text);
    if (o->kind == ACCESS_DIRECT && m->services[o->service].hosts.n > 1)
        buf_printf(out, " on %.*s", STR_ARG(m->hosts[o->host].name.text));
    if (o->kind == ACCESS_HOST_PORT || o->kind == ACCESS_SURFACE || o->kind == ACCESS_INSTANCE)
        buf_printf(out, "%.*s:%s%u", STR_ARG(m->hosts[o->host].name.text), o->protocol == RELATION_UDP ? "udp/" : "", o->port);
}

uint32_t access_object_segment(const struct access *access, uint32_t object)
{
    const struct access_object *o = &access->objects[object];
    const struct model *m = access->model;
    uint32_t host = o->host != MODEL_NONE ? o->host : m->services[o->service].hosts.n ? m->services[o->service].hosts.items[0] : MODEL_NONE;
    return host == MODEL_NONE ? MODEL_NONE : m->hosts[host].segment;
}
