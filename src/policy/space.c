/* Cutting the address axis: into elements, between all places where a used selector begins or ends; then these into classes, selector by
 * selector. Each selector takes what it holds of every class into a class of its own, so that a class is a path in a tree whose steps are
 * selectors, and two elements are in one class exactly when the same selectors hold them. */
#include "policy/space.h"

#include <errno.h>

#include "policy/space_order.h"

enum { NODES_MAX = 1 << 26, IDS_MAX = 1 << 27 };

/* ---- classes ---- */

/* Elements that the selectors on the way from the root hold, and no other one so far. */
struct node {
    uint32_t parent, id;   /* the last step */
    uint32_t stamp, child; /* the child by the selector stamp - 1; when all is refined, child is the node's class + 1 */
};

struct refining {
    struct cutting *c;
    uint32_t *node_of;     /* by element */
    struct node *nodes;    /* the first one is of what no selector holds */
    uint32_t n_nodes, max_nodes;
    struct span *spans;    /* scratch, as many as the largest selector has ranges */
    uint32_t max_classes;
    size_t max_ids;
};

static int add_child(struct refining *r, uint32_t parent, uint32_t id)
{
    if (r->n_nodes == r->max_nodes) {
        uint32_t max = r->max_nodes * 2;
        if (max > NODES_MAX)
            return -E2BIG;
        struct node *nodes = realloc(r->nodes, max * sizeof *nodes);
        if (!nodes)
            return -ENOMEM;
        r->nodes = nodes;
        r->max_nodes = max;
    }
    r->nodes[r->n_nodes] = (struct node){ .parent = parent, .id = id };
    r->nodes[parent].stamp = id + 1;
    r->nodes[parent].child = r->n_nodes++;
    return 0;
}

static int refine_span(struct refining *r, struct span span, uint32_t id)
{
    for (uint32_t i = span.first; i < span.end; i++) {
        uint32_t node = r->node_of[i];
        int e = r->nodes[node].stamp == id + 1 ? 0 : add_child(r, node, id);
        if (e < 0)
            return e;
        r->node_of[i] = r->nodes[node].child;
    }
    return 0;
}

static int refine(struct refining *r, uint32_t id)
{
    const struct relation_selector *selector = &r->c->selectors[id];
    int e = 0;
    cutting_find_spans(r->c, selector, r->spans);
    for (uint32_t i = 0; e == 0 && i < selector->n; i++) {
        r->c->n_steps += r->spans[i].end - r->spans[i].first;
        e = r->c->n_steps > SPACE_STEPS_MAX ? -E2BIG : refine_span(r, r->spans[i], id);
    }
    return e;
}

/* Room for one class more, of n selectors. */
static int reserve_class(struct refining *r, struct space_part *part, size_t n)
{
    size_t n_ids = part->n_classes ? part->first_id[part->n_classes] : 0;
    if (n > IDS_MAX - n_ids)
        return -E2BIG;
    if (part->n_classes + 2 > r->max_classes) {
        uint32_t max = r->max_classes ? r->max_classes * 2 : 128;
        uint32_t *first_id = realloc(part->first_id, max * sizeof *first_id);
        if (!first_id)
            return -ENOMEM;
        part->first_id = first_id;
        r->max_classes = max;
    }
    if (n_ids + n >= r->max_ids) {
        size_t max = r->max_ids ? r->max_ids : 128;
        while (max <= n_ids + n)
            max *= 2;
        uint32_t *ids = realloc(part->ids, max * sizeof *ids);
        if (!ids)
            return -ENOMEM;
        part->ids = ids;
        r->max_ids = max;
    }
    part->first_id[part->n_classes] = (uint32_t)n_ids;
    return 0;
}

/* Selectors come in the order of their ids, so the way back to the root is descending. */
static int add_class(struct refining *r, struct space_part *part, uint32_t node)
{
    uint32_t n = 0;
    for (uint32_t i = node; i; i = r->nodes[i].parent)
        n++;
    int e = reserve_class(r, part, n);
    if (e < 0)
        return e;
    uint32_t at = part->first_id[part->n_classes] + n;
    part->first_id[part->n_classes + 1] = at;
    for (uint32_t i = node; i; i = r->nodes[i].parent)
        part->ids[--at] = r->nodes[i].id;
    r->nodes[node].child = ++part->n_classes;
    return 0;
}

/* Classes are numbered as they appear on the axis, what nobody holds first; intervals don't merge across borders of families. */
static int list_intervals(struct refining *r, struct space_part *part)
{
    part->starts = malloc(((size_t)r->c->n_elements + 1) * sizeof *part->starts);
    part->class_of = malloc(((size_t)r->c->n_elements + 1) * sizeof *part->class_of);
    if (!part->starts || !part->class_of)
        return -ENOMEM;
    for (uint32_t i = 0; i < r->n_nodes; i++)
        r->nodes[i].child = 0;
    int e = add_class(r, part, 0);
    for (uint32_t i = 0; e == 0 && i < r->c->n_elements; i++) {
        struct node *node = &r->nodes[r->node_of[i]];
        if (i && r->node_of[i] == r->node_of[i - 1] && !is_border(r->c, i))
            continue;
        e = node->child ? 0 : add_class(r, part, r->node_of[i]);
        part->starts[part->n_intervals] = address_of(element_start(r->c, i));
        part->class_of[part->n_intervals++] = node->child - 1;
    }
    return e;
}

static int make_classes(struct cutting *c, unsigned side, struct span *spans)
{
    struct refining r = { .c = c, .max_nodes = 64, .n_nodes = 1, .spans = spans };
    r.node_of = calloc((size_t)c->n_elements + 1, sizeof *r.node_of);
    r.nodes = calloc(r.max_nodes, sizeof *r.nodes);
    int e = r.node_of && r.nodes ? 0 : -ENOMEM;
    for (uint32_t id = 0; e == 0 && id < c->space->n_ids; id++)
        if (c->sides[id] >> side & 1)
            e = refine(&r, id);
    if (e == 0)
        e = list_intervals(&r, &c->space->parts[side]);
    free(r.node_of);
    free(r.nodes);
    return e;
}

/* ---- indexes of what came out ---- */

/* For each selector: the classes in it, ascending. */
static int index_classes(struct space_part *part, uint32_t n_ids)
{
    part->first_class = calloc((size_t)n_ids + 2, sizeof *part->first_class);
    part->classes = malloc(((size_t)part->first_id[part->n_classes] + 1) * sizeof *part->classes);
    if (!part->first_class || !part->classes)
        return -ENOMEM;
    for (uint32_t i = 0; i < part->first_id[part->n_classes]; i++)
        part->first_class[part->ids[i] + 2]++;
    for (uint32_t i = 2; i <= n_ids + 1; i++)
        part->first_class[i] += part->first_class[i - 1];
    for (uint32_t k = 0; k < part->n_classes; k++)
        for (uint32_t i = part->first_id[k]; i < part->first_id[k + 1]; i++)
            part->classes[part->first_class[part->ids[i] + 1]++] = k;
    return 0;
}

/* For each class: its intervals, ascending. */
static int index_intervals(struct space_part *part)
{
    part->first_interval = calloc((size_t)part->n_classes + 2, sizeof *part->first_interval);
    part->intervals = malloc(((size_t)part->n_intervals + 1) * sizeof *part->intervals);
    if (!part->first_interval || !part->intervals)
        return -ENOMEM;
    for (uint32_t i = 0; i < part->n_intervals; i++)
        part->first_interval[part->class_of[i] + 2]++;
    for (uint32_t i = 2; i <= part->n_classes + 1; i++)
        part->first_interval[i] += part->first_interval[i - 1];
    for (uint32_t i = 0; i < part->n_intervals; i++)
        part->intervals[part->first_interval[part->class_of[i] + 1]++] = i;
    return 0;
}

/* ---- the whole ---- */

static int classify(struct cutting *c)
{
    uint32_t most = 0;
    for (uint32_t id = 0; id < c->space->n_ids; id++)
        most = c->selectors[id].n > most ? c->selectors[id].n : most;
    struct span *spans = malloc(((size_t)most + 1) * sizeof *spans);
    int r = spans ? 0 : -ENOMEM;
    for (unsigned side = 0; r == 0 && side < N_SIDES; side++)
        r = make_classes(c, side, spans);
    free(spans);
    return r;
}

static int cut(struct cutting *c)
{
    int r = cutting_number_selectors(c);
    if (r == 0)
        r = cutting_find_elements(c);
    if (r == 0)
        r = classify(c);
    for (unsigned side = 0; r == 0 && side < N_SIDES; side++) {
        r = index_classes(&c->space->parts[side], c->space->n_ids);
        if (r == 0)
            r = index_intervals(&c->space->parts[side]);
    }
    return r;
}

static void cutting_deinit(struct cutting *c)
{
    free(c->selectors);
    free(c->sides);
    free(c->keys);
    for (unsigned i = 0; i < N_BLOCKS; i++)
        free(c->blocks[i]);
    free(c->pages);
    free(c->v4);
}

int space_init(struct space **ret, const struct relation *const *relations, uint32_t n)
{
    struct space *space = calloc(1, sizeof *space);
    struct cutting c = { .space = space };
    if (!space)
        return -ENOMEM;
    space->relations = malloc(((size_t)n + 1) * sizeof *space->relations);
    space->id_of = calloc((size_t)n + 1, sizeof *space->id_of);
    int r = space->relations && space->id_of ? 0 : -ENOMEM;
    if (r == 0) {
        memcpy(space->relations, relations, n * sizeof *relations);
        space->n_relations = n;
        r = cut(&c);
    }
    cutting_deinit(&c);
    if (r < 0)
        space_free(space);
    else
        *ret = space;
    return r;
}

struct space *space_free(struct space *space)
{
    if (!space)
        return NULL;
    for (uint32_t i = 0; i < space->n_relations; i++)
        free(space->id_of[i]);
    for (unsigned i = 0; i < N_SIDES; i++) {
        struct space_part *part = &space->parts[i];
        free(part->starts);
        free(part->class_of);
        free(part->first_id);
        free(part->ids);
        free(part->first_class);
        free(part->classes);
        free(part->first_interval);
        free(part->intervals);
    }
    free(space->relations);
    free(space->id_of);
    free(space);
    return NULL;
}

int space_find_relation(const struct space *space, const struct relation *relation)
{
    for (uint32_t i = 0; i < space->n_relations; i++)
        if (space->relations[i] == relation)
            return (int)i;
    return -1;
}

uint32_t space_n_classes(const struct space *space, enum space_side side)
{
    return space->parts[side].n_classes;
}

static uint32_t interval_of(const struct space_part *part, const struct address *address)
{
    uint32_t first = 0, end = part->n_intervals;
    while (end - first > 1) {
        uint32_t middle = first + (end - first) / 2;
        if (address_compare(&part->starts[middle], address) <= 0)
            first = middle;
        else
            end = middle;
    }
    return first;
}

uint32_t space_class_of(const struct space *space, enum space_side side, const struct address *address)
{
    const struct space_part *part = &space->parts[side];
    return part->class_of[interval_of(part, address)];
}

bool space_class_range(const struct space *space, enum space_side side, uint32_t class_index, uint32_t k, struct relation_range *ret)
{
    const struct space_part *part = &space->parts[side];
    if (class_index >= part->n_classes || k >= part->first_interval[class_index + 1] - part->first_interval[class_index])
        return false;
    uint32_t i = part->intervals[part->first_interval[class_index] + k];
    struct key last = { 0, 0 };
    if (i + 1 < part->n_intervals)
        last = key_of(&part->starts[i + 1]);
    last.hi -= last.lo == 0;
    last.lo--;
    *ret = (struct relation_range){ part->starts[i], address_of(last) };
    return true;
}
