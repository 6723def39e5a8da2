/* Both declarations on one axis, one numbering of services by name; the difference of the matrices, read in the names of either side. */
#include "policy/change.h"

#include <errno.h>

/* ---- one numbering for both ---- */

struct numbering {
    struct table surfaces, services, containers;
    struct declared_numbers numbers[2]; /* by side */
};

static int number_name(struct table *table, struct str name, uint32_t *ret)
{
    int r = table_add(table, name, table->n_used, ret);
    if (r == 0)
        *ret = table->n_used - 1;
    return r < 0 ? r : 0;
}

/* Containers are the same where their host and their reference are. */
static int number_containers(struct numbering *n, struct arena *arena, const struct model *model, const uint32_t **ret)
{
    cleanup_containers struct containers containers = { 0 };
    int r = containers_init(&containers, model);
    uint32_t *numbers = r == 0 ? arena_array(arena, containers.n, uint32_t) : NULL;
    if (r == 0 && !numbers)
        r = -ENOMEM;
    for (uint32_t i = 0; r == 0 && i < containers.n; i++) {
        const struct container *c = &containers.items[i];
        struct str name = arena_printf(arena, "%.*s %.*s", STR_ARG(model->hosts[c->host].name.text), STR_ARG(c->reference));
        r = name.ptr ? number_name(&n->containers, name, &numbers[i]) : -ENOMEM;
    }
    *ret = numbers;
    return r;
}

static int number_side(struct numbering *n, struct arena *arena, unsigned side, const struct model *model)
{
    uint32_t *surfaces = arena_array(arena, model->n_surfaces, uint32_t), *services = arena_array(arena, model->n_services, uint32_t);
    if (!surfaces || !services)
        return -ENOMEM;
    int r = 0;
    for (uint32_t i = 0; r == 0 && i < model->n_surfaces; i++)
        r = number_name(&n->surfaces, model->surfaces[i].name.text, &surfaces[i]);
    for (uint32_t i = 0; r == 0 && i < model->n_services; i++)
        r = number_name(&n->services, model->services[i].name.text, &services[i]);
    n->numbers[side] = (struct declared_numbers){ .surfaces = surfaces, .services = services };
    return r == 0 ? number_containers(n, arena, model, &n->numbers[side].containers) : r;
}

/* ---- finding ---- */

struct finding {
    struct change *change;
    const struct access *side, *other;
    const struct matrix *difference; /* what this side lets and the other doesn't */
    bool is_gain;
    struct buf items;                /* struct change_entry */
    struct table other_grants;       /* grants of the other side, as text */
    struct table other_hosts, other_services, other_surfaces, other_segments;
};

/* Where the subject's range starts, and where within it the other side's ranges begin or end: each stretch is one class. False past the last. */
static bool next_stretch(const struct sources *others, const struct source_range *range, struct address *at)
{
    bool is_found = false;
    struct address best = *at;
    uint32_t first = 0, end = others->n;
    while (first < end) {
        uint32_t middle = first + (end - first) / 2;
        if (address_compare(&others->items[middle].last, at) < 0)
            first = middle + 1;
        else
            end = middle;
    }
    for (uint32_t i = first; i < others->n && i < first + 2; i++) {
        struct address edges[2] = { others->items[i].first, others->items[i].last };
        bool is_last = true;
        for (unsigned b = 16; b-- > 0 && is_last;)
            is_last = ++edges[1].bytes[b] == 0;
        for (unsigned k = 0; k < (is_last ? 1u : 2u); k++)
            if (address_compare(&edges[k], at) > 0 && address_compare(&edges[k], &range->last) <= 0 &&
                (!is_found || address_compare(&edges[k], &best) < 0)) {
                best = edges[k];
                is_found = true;
            }
    }
    *at = best;
    return is_found;
}

static bool differs(const struct finding *f, uint32_t range, const struct access_object *object)
{
    const struct source_range *from = &f->side->sources.items[range];
    struct address at = from->first;
    do {
        if (matrix_row(f->difference, space_class_of(f->difference->space, SPACE_SOURCE, &at))->n == 0)
            continue;
        for (uint32_t k = 0; k < object->n_to; k++)
            if (matrix_allows(f->difference, &at, &object->to[k], object->protocol, object->port))
                return true;
    } while (next_stretch(&f->other->sources, from, &at));
    return false;
}

static bool container_differs(const struct finding *f, const struct address *point, const struct access_object *object)
{
    for (uint32_t k = 0; k < object->n_to; k++)
        if (matrix_allows(f->difference, point, &object->to[k], object->protocol, object->port))
            return true;
    return false;
}

static bool has_difference(const struct finding *f, uint32_t range)
{
    const struct source_range *from = &f->side->sources.items[range];
    struct address at = from->first;
    do {
        if (matrix_row(f->difference, space_class_of(f->difference->space, SPACE_SOURCE, &at))->n)
            return true;
    } while (next_stretch(&f->other->sources, from, &at));
    return false;
}

/* ---- causes ---- */

static int append_grant(struct buf *out, const struct model *m, const struct model_grant *g)
{
    buf_clear(out);
    for (uint32_t i = 0; i < g->n_from; i++)
        buf_printf(out, "%.*s,", STR_ARG(g->from[i].text.text));
    buf_append_char(out, '>');
    for (uint32_t i = 0; i < g->n_to; i++)
        buf_printf(out, "%.*s,", STR_ARG(g->to[i].text.text));
    buf_append_char(out, '>');
    for (uint32_t i = 0; i < g->over.n; i++)
        buf_printf(out, "%.*s,", STR_ARG(m->surfaces[g->over.items[i]].name.text));
    return out->error;
}

static int index_other(struct finding *f)
{
    const struct model *m = f->other->model;
    cleanup_buf struct buf text;
    buf_init(&text, 16 << 20);
    int r = 0;
    for (uint32_t i = 0; r >= 0 && i < m->n_grants; i++) {
        r = append_grant(&text, m, &m->grants[i]);
        struct str copy = arena_copy(&f->change->arena, buf_str(&text));
        if (r == 0)
            r = copy.ptr ? table_add(&f->other_grants, copy, i, NULL) : -ENOMEM;
    }
    for (uint32_t i = 0; r >= 0 && i < m->n_hosts; i++)
        r = table_add(&f->other_hosts, m->hosts[i].name.text, i, NULL);
    for (uint32_t i = 0; r >= 0 && i < m->n_services; i++)
        r = table_add(&f->other_services, m->services[i].name.text, i, NULL);
    for (uint32_t i = 0; r >= 0 && i < m->n_surfaces; i++)
        r = table_add(&f->other_surfaces, m->surfaces[i].name.text, i, NULL);
    for (uint32_t i = 0; r >= 0 && i < m->n_segments; i++)
        r = table_add(&f->other_segments, m->segments[i].name.text, i, NULL);
    return r < 0 ? r : 0;
}

static bool same_prefixes(const struct model_prefixes *a, const struct model_prefixes *b)
{
    bool same = a->n == b->n;
    for (uint32_t i = 0; same && i < a->n; i++)
        same = a->items[i].bits == b->items[i].bits && address_equal(&a->items[i].address, &b->items[i].address);
    return same;
}

static bool same_names(const struct model_indexes *a, const struct model_indexes *b, const struct model *ma, const struct model *mb, bool hosts)
{
    bool same = a->n == b->n;
    for (uint32_t i = 0; same && i < a->n; i++)
        same = hosts ? str_equal(ma->hosts[a->items[i]].name.text, mb->hosts[b->items[i]].name.text) :
                       str_equal(ma->surfaces[a->items[i]].name.text, mb->surfaces[b->items[i]].name.text);
    return same;
}

static struct str segment_name(const struct model *m, uint32_t segment)
{
    return segment == MODEL_NONE ? STR_NONE : m->segments[segment].name.text;
}

/* The place of the thing that is another one on the other side: there, where it is a loss and still exists, since that is what is new. */
static bool blame(const struct finding *f, struct change_entry *e, enum change_cause cause, struct model_place own, const struct model_place *others)
{
    e->cause = cause;
    e->is_in_before = !f->is_gain && !others;
    e->line = !f->is_gain && others ? others->line : own.line;
    return true;
}

/* The service that the container is named by is new or elsewhere, or what its project says is another thing. */
static bool blame_container(const struct finding *f, uint32_t container, struct change_entry *e)
{
    const struct model *m = f->side->model, *o = f->other->model;
    const struct container *c = &f->side->containers.items[container];
    const struct model_service *s = &m->services[c->services[0]];
    uint32_t k;
    if (!table_get(&f->other_services, s->name.text, &k))
        return blame(f, e, CHANGE_BY_SERVICE, s->name.at, NULL);
    return (o->services[k].where != s->where || !str_equal(o->services[k].place.text, s->place.text) ||
            !same_names(&s->hosts, &o->services[k].hosts, m, o, true)) &&
           blame(f, e, CHANGE_BY_SERVICE, s->name.at, &o->services[k].name.at);
}

static bool blame_subject(const struct finding *f, const struct access_subject *s, struct change_entry *e)
{
    const struct model *m = f->side->model, *o = f->other->model;
    uint32_t k;
    if (s->container != MODEL_NONE)
        return blame_container(f, s->container, e);
    if (s->host == MODEL_NONE) {
        const struct model_segment *segment = &m->segments[s->segment];
        if (!table_get(&f->other_segments, segment->name.text, &k))
            return blame(f, e, CHANGE_BY_SEGMENT, segment->name.at, NULL);
        return !same_prefixes(&segment->addresses, &o->segments[k].addresses) &&
               blame(f, e, CHANGE_BY_SEGMENT, segment->name.at, &o->segments[k].name.at);
    }
    const struct model_host *host = &m->hosts[s->host];
    if (!table_get(&f->other_hosts, host->name.text, &k))
        return blame(f, e, CHANGE_BY_HOST, host->name.at, NULL);
    return (!str_equal(segment_name(m, host->segment), segment_name(o, o->hosts[k].segment)) ||
            !same_prefixes(&host->addresses, &o->hosts[k].addresses)) &&
           blame(f, e, CHANGE_BY_HOST, host->name.at, &o->hosts[k].name.at);
}

static bool blame_object(const struct finding *f, const struct access_object *object, struct change_entry *e)
{
    const struct model *m = f->side->model, *o = f->other->model;
    uint32_t k;
    if (object->service != MODEL_NONE) {
        const struct model_service *s = &m->services[object->service], *was = NULL;
        if (table_get(&f->other_services, s->name.text, &k))
            was = &o->services[k];
        if (!was)
            return blame(f, e, CHANGE_BY_SERVICE, s->name.at, NULL);
        if (was->kind != s->kind || was->where != s->where || !str_equal(was->place.text, s->place.text) || was->port != s->port ||
            was->transport != s->transport ||
            !same_prefixes(&was->addresses, &s->addresses) || !same_names(&s->hosts, &was->hosts, m, o, true) ||
            !same_names(&s->surfaces, &was->surfaces, m, o, false))
            return blame(f, e, CHANGE_BY_SERVICE, s->name.at, &was->name.at);
    }
    if (object->surface != MODEL_NONE) {
        const struct model_surface *s = &m->surfaces[object->surface];
        if (!table_get(&f->other_surfaces, s->name.text, &k))
            return blame(f, e, CHANGE_BY_SURFACE, s->name.at, NULL);
        const struct model_surface *was = &o->surfaces[k];
        if (was->port != s->port || was->redirect_port != s->redirect_port || !same_names(&s->hosts, &was->hosts, m, o, true) ||
            !same_prefixes(&s->addresses, &was->addresses))
            return blame(f, e, CHANGE_BY_SURFACE, s->name.at, &was->name.at);
    }
    if (object->host == MODEL_NONE)
        return false;
    const struct model_host *host = &m->hosts[object->host];
    if (!table_get(&f->other_hosts, host->name.text, &k))
        return blame(f, e, CHANGE_BY_TARGET, host->name.at, NULL);
    return !same_prefixes(&host->addresses, &o->hosts[k].addresses) && blame(f, e, CHANGE_BY_TARGET, host->name.at, &o->hosts[k].name.at);
}

static int find_cause(const struct finding *f, struct change_entry *e)
{
    const struct model *m = f->side->model;
    uint32_t line = relation_reason(&f->side->relation, relation_rule(&f->side->relation, e->rule)->reason)->line;
    const struct model_grant *grant = NULL;
    cleanup_buf struct buf text;
    buf_init(&text, 16 << 20);
    e->cause = CHANGE_BY_GRANT;
    e->line = line;
    e->is_in_before = !f->is_gain;
    for (uint32_t i = 0; i < m->n_grants && !grant; i++)
        if (m->grants[i].at.line == line)
            grant = &m->grants[i];
    int r = grant ? append_grant(&text, m, grant) : 0;
    if (r < 0)
        return r;
    if (grant && table_get(&f->other_grants, buf_str(&text), NULL) && !blame_subject(f, &f->side->subjects[e->subject], e))
        blame_object(f, &f->side->objects[e->object], e);
    return 0;
}

/* ---- one side ---- */

static int add_entry(struct finding *f, uint32_t subject, uint32_t object)
{
    const struct access *a = f->side;
    struct change_entry e = { .subject = subject, .object = object, .is_gain = f->is_gain };
    e.is_derived = a->objects[object].kind == ACCESS_SURFACE || a->objects[object].kind == ACCESS_INSTANCE;
    e.is_across = a->objects[object].kind == ACCESS_INTERNET || access_subject_segment(a, subject) != access_object_segment(a, object);
    e.rule = access_find_rule(a, &a->relation, subject, &a->objects[object]);
    int r = e.rule == UINT32_MAX ? 0 : find_cause(f, &e);
    buf_append(&f->items, str_make((const char *)&e, sizeof e));
    return r < 0 ? r : f->items.error;
}

static int find_subject(struct finding *f, uint32_t subject)
{
    const struct access_subject *s = &f->side->subjects[subject];
    bool is_container = s->container != MODEL_NONE, has_any = false;
    int r = 0;
    if (is_container)
        has_any = matrix_row(f->difference, space_class_of(f->difference->space, SPACE_SOURCE, &s->point))->n > 0;
    for (uint32_t i = 0; i < s->n_ranges && !has_any; i++)
        has_any = has_difference(f, s->ranges[i]);
    for (uint32_t object = 0; r == 0 && has_any && object < f->side->n_objects; object++) {
        bool is_different = is_container && container_differs(f, &s->point, &f->side->objects[object]);
        for (uint32_t i = 0; i < s->n_ranges && !is_different; i++)
            is_different = differs(f, s->ranges[i], &f->side->objects[object]);
        if (is_different)
            r = add_entry(f, subject, object);
    }
    return r;
}

static int find_side(struct finding *f)
{
    int r = index_other(f);
    for (uint32_t i = 0; r == 0 && i < f->side->n_subjects; i++)
        r = find_subject(f, i);
    table_deinit(&f->other_grants);
    table_deinit(&f->other_hosts);
    table_deinit(&f->other_services);
    table_deinit(&f->other_surfaces);
    table_deinit(&f->other_segments);
    return r;
}

/* ---- the whole ---- */

static int entry_name(struct change *c, const struct change_entry *e, struct buf *out)
{
    const struct access *a = change_side(c, e);
    const struct access_object *o = &a->objects[e->object];
    buf_clear(out);
    access_write_subject(out, a, e->subject);
    buf_append_char(out, '>');
    access_write_object(out, a, e->object);
    buf_printf(out, ">%.*s", STR_ARG(o->kind == ACCESS_WEB ? a->model->surfaces[o->surface].name.text : STR_NONE));
    return out->error;
}

/* A loss in the same names as a gain is dropped, and the gain says that it only moved. */
static int pair_moved(struct change *c, uint32_t *n)
{
    cleanup_table struct table gains = { 0 };
    cleanup_buf struct buf name;
    buf_init(&name, 4096);
    uint32_t n_kept = 0, k;
    for (uint32_t i = 0; i < *n; i++) {
        struct change_entry *e = &c->items[i];
        int r = entry_name(c, e, &name);
        struct str copy = r == 0 && e->is_gain ? arena_copy(&c->arena, buf_str(&name)) : STR_NONE;
        if (r == 0 && e->is_gain)
            r = copy.ptr ? table_add(&gains, copy, i, NULL) : -ENOMEM;
        if (r < 0)
            return r;
        bool is_moved = !e->is_gain && table_get(&gains, buf_str(&name), &k);
        if (is_moved)
            c->items[k].is_moved = true;
        else
            c->items[n_kept++] = *e;
    }
    *n = n_kept;
    return 0;
}

static unsigned risk_of(const struct change *c, const struct change_entry *e)
{
    static const unsigned by_kind[ACCESS_KINDS] = {
        [ACCESS_HOST_PORT] = 0, [ACCESS_INTERNET] = 1, [ACCESS_DIRECT] = 2, [ACCESS_CONTAINER] = 3, [ACCESS_CONTAINER_PORT] = 4, [ACCESS_WEB] = 5,
        [ACCESS_INSTANCE] = 6, [ACCESS_SURFACE] = 7,
    };
    return (e->is_moved ? 64u : 0) + (e->is_gain ? 0 : 32u) + (e->is_derived ? 16u : 0) + (e->is_across ? 0 : 8u) +
           by_kind[change_side(c, e)->objects[e->object].kind];
}

static int compare_entries(const void *x, const void *y, void *context)
{
    const struct change_entry *a = x, *b = y;
    unsigned ra = risk_of(context, a), rb = risk_of(context, b);
    if (ra != rb)
        return ra < rb ? -1 : 1;
    if (a->subject != b->subject)
        return a->subject < b->subject ? -1 : 1;
    return (a->object > b->object) - (a->object < b->object);
}

static int compare_sides(struct change *c, const struct space *space)
{
    cleanup_matrix struct matrix before = { 0 }, after = { 0 }, gained = { 0 }, lost = { 0 };
    int r = matrix_of(space, &c->before.relation, &before);
    if (r == 0)
        r = matrix_of(space, &c->after.relation, &after);
    if (r == 0)
        r = matrix_subtract(&after, &before, &gained);
    if (r == 0)
        r = matrix_subtract(&before, &after, &lost);
    struct finding f = { .change = c, .side = &c->after, .other = &c->before, .difference = &gained, .is_gain = true };
    buf_init(&f.items, RELATION_MEMORY_MAX);
    if (r == 0)
        r = find_side(&f);
    struct finding g = { .change = c, .side = &c->before, .other = &c->after, .difference = &lost, .items = f.items };
    if (r == 0)
        r = find_side(&g);
    struct buf *items = r == 0 ? &g.items : &f.items;
    uint32_t n = (uint32_t)(items->len / sizeof *c->items);
    c->items = arena_array(&c->arena, n, struct change_entry);
    if (r == 0 && !c->items)
        r = -ENOMEM;
    if (r == 0 && n)
        memcpy(c->items, items->ptr, n * sizeof *c->items);
    buf_deinit(items);
    if (r == 0)
        r = pair_moved(c, &n);
    c->n = r == 0 ? n : 0;
    if (c->n)
        qsort_r(c->items, c->n, sizeof *c->items, compare_entries, c);
    return r;
}

int change_init(struct change *ret, const struct model *before, const struct model *after)
{
    struct change c = { 0 };
    struct numbering n = { 0 };
    struct space *space = NULL;
    arena_init(&c.arena, RELATION_MEMORY_MAX);
    int r = number_side(&n, &c.arena, 0, before);
    if (r == 0)
        r = number_side(&n, &c.arena, 1, after);
    if (r == 0)
        r = access_init(&c.before, before, &n.numbers[0]);
    if (r == 0)
        r = access_init(&c.after, after, &n.numbers[1]);
    const struct relation *const relations[] = { &c.before.relation, &c.after.relation };
    if (r == 0)
        r = space_init(&space, relations, ARRAY_SIZE(relations));
    if (r == 0)
        r = compare_sides(&c, space);
    space_free(space);
    table_deinit(&n.surfaces);
    table_deinit(&n.services);
    table_deinit(&n.containers);
    if (r < 0)
        change_deinit(&c);
    else
        *ret = c;
    return r;
}

void change_deinit(struct change *change)
{
    access_deinit(&change->before);
    access_deinit(&change->after);
    arena_deinit(&change->arena);
}
