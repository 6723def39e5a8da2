/* Each principal's subjects against each target's places; a segment's line holds when it holds for all in it. */
#include "policy/expect.h"

#include <errno.h>

struct checking {
    const struct access *access;
    const struct model *model;
    const struct matrix *matrix;
    struct expect_result *result;
    struct buf failures;
    uint32_t *subject_of_host;   /* or MODEL_NONE: it has no address */
    uint32_t *first_of_segment;  /* subjects are sorted by segment; n_segments + 1 */
    uint32_t *subject_of_container;
    uint32_t *who, *scratch;     /* subjects of a principal, and those that fail */
    uint32_t expectation;
    const struct model_target *target;
    bool is_can;
};

/* ---- one subject and one place ---- */

/* A host's own ports are nobody's business here: nothing is asked, and neither line fails. */
static bool is_own(const struct checking *c, uint32_t subject, const struct access_object *object)
{
    const struct access_subject *s = &c->access->subjects[subject];
    if (s->container != MODEL_NONE)
        return object->kind == ACCESS_CONTAINER_PORT && object->container == s->container;
    return object->kind != ACCESS_WEB && object->host != MODEL_NONE && s->host == object->host;
}

/* ---- a principal and one or several places, of which one must do (can) or none may (cannot) ---- */

/* Who the principal is, into c->who. */
static uint32_t find_subjects(struct checking *c, const struct model_principal *p)
{
    uint32_t n = 0;
    if (p->host != MODEL_NONE && c->subject_of_host[p->host] != MODEL_NONE)
        c->who[n++] = c->subject_of_host[p->host];
    for (uint32_t s = p->segment != MODEL_NONE ? c->first_of_segment[p->segment] : 0; p->segment != MODEL_NONE && s < c->first_of_segment[p->segment + 1]; s++)
        c->who[n++] = s;
    for (uint32_t i = 0; p->service != MODEL_NONE && i < c->model->services[p->service].hosts.n; i++) {
        uint32_t container = containers_find(&c->access->containers, p->service, c->model->services[p->service].hosts.items[i]);
        if (container != MODEL_NONE && c->subject_of_container[container] != MODEL_NONE)
            c->who[n++] = c->subject_of_container[container];
    }
    return n;
}

static bool is_failing(const struct checking *c, uint32_t subject, const struct access_object *objects, uint32_t n, uint32_t *ret_object)
{
    for (uint32_t i = 0; i < n; i++) {
        enum access_answer answer = access_ask(c->access, c->matrix, subject, &objects[i]);
        if (c->is_can && (answer == ACCESS_YES || is_own(c, subject, &objects[i])))
            return false;
        if (!c->is_can && (answer == ACCESS_YES || answer == ACCESS_PARTLY)) {
            *ret_object = i;
            return true;
        }
    }
    *ret_object = 0;
    return c->is_can;
}

static int fail(struct checking *c, const struct model_principal *p, const struct access_object *object, bool is_any_surface, uint32_t n, bool is_all)
{
    struct expect_failure failure = {
        .expectation = c->expectation, .target = c->target, .is_can = c->is_can, .kind = object->kind, .service = object->service, .host = object->host,
        .container = object->container, .protocol = object->protocol, .port = object->port, .principal = p,
        .surface = is_any_surface ? MODEL_NONE : object->surface, .n_subjects = n, .is_all = is_all, .rule = UINT32_MAX,
        .subjects = arena_array(&c->result->arena, n, uint32_t),
    };
    if (!failure.subjects)
        return -ENOMEM;
    if (n)
        memcpy(failure.subjects, c->scratch, n * sizeof *c->scratch);
    if (!c->is_can && n)
        failure.rule = access_find_rule(c->access, &c->access->relation, c->scratch[0], object);
    buf_append(&c->failures, str_make((const char *)&failure, sizeof failure));
    return c->failures.error;
}

/* Of the line's principals, those who come from addresses, and those who are containers. */
enum askers { ASKED_BY_ADDRESSES = 1, ASKED_BY_CONTAINERS = 2, ASKED_BY_ALL = 3 };

static int check_places(struct checking *c, enum askers askers, const struct access_object *objects, uint32_t n)
{
    const struct model_expectation *e = &c->model->expectations[c->expectation];
    int r = 0;
    for (uint32_t i = 0; r == 0 && n && i < e->n_from; i++) {
        const struct model_principal *p = &e->from[i];
        if (!(askers & (p->service != MODEL_NONE ? ASKED_BY_CONTAINERS : ASKED_BY_ADDRESSES)))
            continue;
        uint32_t n_who = find_subjects(c, p), n_failing = 0, object = 0, at = 0;
        for (uint32_t s = 0; s < n_who; s++)
            if (is_failing(c, c->who[s], objects, n, &at)) {
                object = n_failing ? object : at;
                c->scratch[n_failing++] = c->who[s];
            }
        bool is_nobody = c->is_can && n_who == 0 && p->segment == MODEL_NONE;
        if (n_failing || is_nobody)
            r = fail(c, p, &objects[object], c->is_can && n > 1 && objects[0].kind == ACCESS_WEB, n_failing, n_failing == n_who);
    }
    return r;
}

static bool has_container_askers(const struct checking *c)
{
    const struct model_expectation *e = &c->model->expectations[c->expectation];
    uint32_t i = 0;
    while (i < e->n_from && e->from[i].service == MODEL_NONE)
        i++;
    return i < e->n_from;
}

/* ---- targets ---- */

struct places {
    struct access_object *items;
    uint32_t n;
};

static int places_make(struct checking *c, uint32_t n_max, struct places *ret)
{
    *ret = (struct places){ arena_array(&c->result->arena, n_max, struct access_object), 0 };
    return ret->items ? 0 : -ENOMEM;
}

static int add_surface_places(struct checking *c, uint32_t service, struct places *places)
{
    const struct model_expectation *e = &c->model->expectations[c->expectation];
    uint64_t open = c->access->grants.service_surfaces[service], named = 0;
    for (uint32_t i = 0; i < e->over.n; i++)
        named |= UINT64_C(1) << e->over.items[i];
    for (open &= e->over.n ? named : UINT64_MAX; open; open &= open - 1) {
        uint32_t surface = (uint32_t)__builtin_ctzll(open);
        struct address *point = arena_new(&c->result->arena, struct address);
        if (!point || surface >= c->model->n_surfaces)
            return point ? 0 : -ENOMEM;
        *point = relation_service_point(surface, service);
        places->items[places->n++] = (struct access_object){ ACCESS_WEB, service, surface, MODEL_NONE, RELATION_POINT_PROTOCOL, RELATION_POINT_PORT, point,
                                                             1, MODEL_NONE };
    }
    return 0;
}

/* A port of the service's container on every host; named: what a failure calls it. */
static int add_container_places(struct checking *c, uint32_t service, uint32_t named, enum model_transport transport, uint16_t port, struct places *places)
{
    const struct model_indexes *hosts = &c->model->services[service].hosts;
    for (uint32_t i = 0; i < hosts->n; i++) {
        uint32_t container = containers_find(&c->access->containers, service, hosts->items[i]);
        struct address *point = arena_new(&c->result->arena, struct address);
        if (!point)
            return -ENOMEM;
        if (container == MODEL_NONE)
            continue;
        places->items[places->n] = access_container_object(c->access, container, transport == MODEL_UDP ? RELATION_UDP : RELATION_TCP, port, point);
        places->items[places->n++].service = named;
    }
    return 0;
}

static int check_web(struct checking *c, uint32_t service)
{
    const struct model_expectation *e = &c->model->expectations[c->expectation];
    const struct model_service *s = &c->model->services[service];
    bool is_beside = e->over.n == 0 && s->where == MODEL_WHERE_CONTAINER && has_container_askers(c);
    struct places places;
    int r = places_make(c, 64 + (is_beside ? s->hosts.n : 0), &places);
    if (r == 0)
        r = add_surface_places(c, service, &places);
    if (r < 0)
        return r;
    for (uint32_t i = 0; r == 0 && e->over.n && i < places.n; i++)
        r = check_places(c, ASKED_BY_ALL, &places.items[i], 1);
    if (e->over.n)
        return r;
    r = check_places(c, is_beside ? ASKED_BY_ADDRESSES : ASKED_BY_ALL, places.items, places.n);
    if (r == 0 && is_beside)
        r = add_container_places(c, service, service, MODEL_TCP, s->port, &places);
    return r == 0 && is_beside ? check_places(c, ASKED_BY_CONTAINERS, places.items, places.n) : r;
}

/* A port of a host, by its mesh addresses or those that a service names. */
static int check_port(struct checking *c, enum askers askers, uint32_t service, uint32_t host, const struct model_prefixes *own,
                      enum model_transport transport, uint16_t port)
{
    const struct model_prefixes *addresses = own && own->n ? own : &c->model->hosts[host].addresses;
    struct address *to = arena_array(&c->result->arena, addresses->n, struct address);
    if (!to)
        return -ENOMEM;
    for (uint32_t i = 0; i < addresses->n; i++)
        to[i] = addresses->items[i].address;
    const struct access_object object = { ACCESS_HOST_PORT, service, MODEL_NONE, host, transport == MODEL_UDP ? RELATION_UDP : RELATION_TCP, port, to,
                                          addresses->n, MODEL_NONE };
    return check_places(c, askers, &object, 1);
}

static int check_container_port(struct checking *c, uint32_t service, uint32_t named, enum model_transport transport, uint16_t port)
{
    struct places places;
    int r = places_make(c, c->model->services[service].hosts.n, &places);
    if (r == 0)
        r = add_container_places(c, service, named, transport, port, &places);
    return r == 0 ? check_places(c, ASKED_BY_CONTAINERS, places.items, places.n) : r;
}

static int check_service(struct checking *c, uint32_t service)
{
    const struct model_service *s = &c->model->services[service];
    bool is_beside = s->where == MODEL_WHERE_CONTAINER;
    enum model_transport transport = s->kind == MODEL_KIND_DIRECT ? s->transport : MODEL_TCP;
    int r = 0;
    if (s->kind == MODEL_KIND_WEB)
        return check_web(c, service);
    for (uint32_t i = 0; r == 0 && i < s->hosts.n; i++)
        r = check_port(c, is_beside ? ASKED_BY_ADDRESSES : ASKED_BY_ALL, service, s->hosts.items[i], &s->addresses, transport, s->port);
    return r == 0 && is_beside && has_container_askers(c) ? check_container_port(c, service, service, transport, s->port) : r;
}

static int check_target(struct checking *c)
{
    const struct model_target *t = c->target;
    const struct address internet = relation_internet_point();
    const struct access_object outside = { ACCESS_INTERNET, MODEL_NONE, MODEL_NONE, MODEL_NONE, 0, 0, &internet, 1, MODEL_NONE };
    int r = 0;
    switch (t->kind) {
    case MODEL_TARGET_HOST_PORT: return check_port(c, ASKED_BY_ALL, MODEL_NONE, t->host, NULL, t->transport, t->port);
    case MODEL_TARGET_SERVICE: return check_service(c, t->service);
    case MODEL_TARGET_SERVICE_PORT: return check_container_port(c, t->service, MODEL_NONE, t->transport, t->port);
    case MODEL_TARGET_INTERNET: return check_places(c, ASKED_BY_CONTAINERS, &outside, 1);
    case MODEL_TARGET_PATTERN: break;
    }
    for (uint32_t i = 0; r == 0 && i < c->model->n_services; i++)
        if (c->model->services[i].kind == MODEL_KIND_WEB && str_match_wildcard(t->pattern, c->model->services[i].name.text))
            r = check_web(c, i);
    return r;
}

/* ---- the whole ---- */

static int prepare(struct checking *c)
{
    const struct access *a = c->access;
    struct arena *arena = &c->result->arena;
    c->subject_of_host = arena_array(arena, c->model->n_hosts, uint32_t);
    c->first_of_segment = arena_array(arena, (size_t)c->model->n_segments + 2, uint32_t);
    c->subject_of_container = arena_array(arena, a->containers.n, uint32_t);
    c->who = arena_array(arena, a->n_subjects, uint32_t);
    c->scratch = arena_array(arena, a->n_subjects, uint32_t);
    if (!c->subject_of_host || !c->first_of_segment || !c->subject_of_container || !c->who || !c->scratch)
        return -ENOMEM;
    for (uint32_t i = 0; i < a->containers.n; i++)
        c->subject_of_container[i] = MODEL_NONE;
    for (uint32_t i = 0; i < c->model->n_hosts; i++)
        c->subject_of_host[i] = MODEL_NONE;
    for (uint32_t i = 0; i < a->n_subjects; i++) {
        const struct access_subject *s = &a->subjects[i];
        if (s->host != MODEL_NONE)
            c->subject_of_host[s->host] = i;
        if (s->container != MODEL_NONE)
            c->subject_of_container[s->container] = i;
        if (s->segment != MODEL_NONE)
            c->first_of_segment[s->segment + 1] = i + 1; /* its end; those without anybody are filled below */
    }
    for (uint32_t i = 1; i <= c->model->n_segments; i++)
        if (c->first_of_segment[i] < c->first_of_segment[i - 1])
            c->first_of_segment[i] = c->first_of_segment[i - 1];
    return 0;
}

static int check_all(struct checking *c)
{
    int r = prepare(c);
    for (uint32_t i = 0; r == 0 && i < c->model->n_expectations; i++) {
        const struct model_expectation *e = &c->model->expectations[i];
        c->expectation = i;
        for (uint32_t k = 0; r == 0 && k < e->n_can + e->n_cannot; k++) {
            c->is_can = k < e->n_can;
            c->target = c->is_can ? &e->can[k] : &e->cannot[k - e->n_can];
            r = check_target(c);
        }
    }
    if (r == -E2BIG && c->failures.error == -E2BIG) {
        c->result->is_cut = true;
        r = 0;
    }
    return r;
}

int expect_check(const struct access *access, const struct matrix *matrix, struct expect_result *ret)
{
    struct expect_result result = { 0 };
    struct checking c = { .access = access, .model = access->model, .matrix = matrix, .result = &result };
    arena_init(&result.arena, RELATION_MEMORY_MAX);
    buf_init(&c.failures, EXPECT_FAILURES_MAX * sizeof(struct expect_failure));
    int r = check_all(&c);
    result.n = (uint32_t)(c.failures.len / sizeof *result.items);
    result.items = arena_array(&result.arena, result.n, struct expect_failure);
    if (r == 0 && !result.items)
        r = -ENOMEM;
    if (r == 0 && result.n)
        memcpy(result.items, c.failures.ptr, result.n * sizeof *result.items);
    buf_deinit(&c.failures);
    if (r < 0)
        expect_result_deinit(&result);
    else
        *ret = result;
    return r;
}

void expect_result_deinit(struct expect_result *result)
{
    arena_deinit(&result->arena);
}
