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
    uint32_t *scratch;           /* subjects that fail */
    uint32_t expectation;
    const struct model_target *target;
    bool is_can;
};

/* ---- one subject and one place ---- */

/* A host's own ports are nobody's business here: nothing is asked, and neither line fails. */
static bool is_own(const struct checking *c, uint32_t subject, const struct access_object *object)
{
    return object->kind != ACCESS_WEB && object->host != MODEL_NONE && c->access->subjects[subject].host == object->host;
}

/* ---- a principal and one or several places, of which one must do (can) or none may (cannot) ---- */

struct subjects {
    uint32_t first, end;
};

static struct subjects subjects_of(const struct checking *c, const struct model_principal *p)
{
    if (p->host != MODEL_NONE) {
        uint32_t s = c->subject_of_host[p->host];
        return s == MODEL_NONE ? (struct subjects){ 0, 0 } : (struct subjects){ s, s + 1 };
    }
    if (p->segment == MODEL_NONE)
        return (struct subjects){ 0, 0 };
    return (struct subjects){ c->first_of_segment[p->segment], c->first_of_segment[p->segment + 1] };
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
        .expectation = c->expectation, .target = c->target, .is_can = c->is_can, .service = object->service, .host = object->host, .principal = p,
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

static int check_places(struct checking *c, const struct access_object *objects, uint32_t n)
{
    const struct model_expectation *e = &c->model->expectations[c->expectation];
    int r = 0;
    for (uint32_t i = 0; r == 0 && n && i < e->n_from; i++) {
        const struct model_principal *p = &e->from[i];
        struct subjects who = subjects_of(c, p);
        uint32_t n_failing = 0, object = 0, at = 0;
        for (uint32_t s = who.first; s < who.end; s++)
            if (is_failing(c, s, objects, n, &at)) {
                object = n_failing ? object : at;
                c->scratch[n_failing++] = s;
            }
        bool is_nobody = c->is_can && who.first == who.end && p->segment == MODEL_NONE;
        if (n_failing || is_nobody)
            r = fail(c, p, &objects[object], c->is_can && n > 1 && objects[0].kind == ACCESS_WEB, n_failing, n_failing == who.end - who.first);
    }
    return r;
}

/* ---- targets ---- */

static int check_web(struct checking *c, uint32_t service)
{
    const struct model_expectation *e = &c->model->expectations[c->expectation];
    struct access_object objects[64];
    struct address points[64];
    uint32_t n = 0;
    uint64_t open = c->access->grants.service_surfaces[service], named = 0;
    for (uint32_t i = 0; i < e->over.n; i++)
        named |= UINT64_C(1) << e->over.items[i];
    for (open &= e->over.n ? named : UINT64_MAX; open; open &= open - 1, n++) {
        uint32_t surface = (uint32_t)__builtin_ctzll(open);
        points[n] = relation_service_point(surface, service);
        objects[n] = (struct access_object){ ACCESS_WEB, service, surface, MODEL_NONE, RELATION_POINT_PROTOCOL, RELATION_POINT_PORT, &points[n], 1 };
    }
    int r = 0;
    if (e->over.n == 0)
        return check_places(c, objects, n);
    for (uint32_t i = 0; r == 0 && i < n; i++)
        r = check_places(c, &objects[i], 1);
    return r;
}

/* A port of a host, by its mesh addresses or those that a service names. */
static int check_port(struct checking *c, uint32_t service, uint32_t host, const struct model_prefixes *own, enum model_transport transport, uint16_t port)
{
    const struct model_prefixes *addresses = own && own->n ? own : &c->model->hosts[host].addresses;
    struct address *to = arena_array(&c->result->arena, addresses->n, struct address);
    if (!to)
        return -ENOMEM;
    for (uint32_t i = 0; i < addresses->n; i++)
        to[i] = addresses->items[i].address;
    const struct access_object object = { ACCESS_HOST_PORT, service, MODEL_NONE, host, transport == MODEL_UDP ? RELATION_UDP : RELATION_TCP, port, to,
                                          addresses->n };
    return check_places(c, &object, 1);
}

static int check_service(struct checking *c, uint32_t service)
{
    const struct model_service *s = &c->model->services[service];
    int r = 0;
    if (s->kind == MODEL_KIND_WEB)
        return check_web(c, service);
    for (uint32_t i = 0; r == 0 && i < s->hosts.n; i++)
        r = check_port(c, service, s->hosts.items[i], &s->addresses, s->kind == MODEL_KIND_DIRECT ? s->transport : MODEL_TCP, s->port);
    return r;
}

static int check_target(struct checking *c)
{
    const struct model_target *t = c->target;
    int r = 0;
    if (t->kind == MODEL_TARGET_HOST_PORT)
        return check_port(c, MODEL_NONE, t->host, NULL, t->transport, t->port);
    if (t->kind == MODEL_TARGET_SERVICE)
        return check_service(c, t->service);
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
    c->scratch = arena_array(arena, a->n_subjects, uint32_t);
    if (!c->subject_of_host || !c->first_of_segment || !c->scratch)
        return -ENOMEM;
    for (uint32_t i = 0; i < c->model->n_hosts; i++)
        c->subject_of_host[i] = MODEL_NONE;
    for (uint32_t i = 0; i < a->n_subjects; i++) {
        const struct access_subject *s = &a->subjects[i];
        if (s->host != MODEL_NONE)
            c->subject_of_host[s->host] = i;
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
