/* What containers reach, as rules of the declared relation: from their points to those of others, of the internet, and to their gateway. */
#include <errno.h>

#include "policy/declared.h"

struct address declared_container_point(const struct declared_numbers *numbers, uint32_t container)
{
    return relation_container_point(numbers ? numbers->containers[container] : container);
}

static int select_one(struct relation *relation, struct address point, uint32_t *ret)
{
    const struct relation_range range = { point, point };
    return relation_add_selector(relation, &range, 1, ret);
}

static int select_surface(const struct containers *c, const struct container_pass *pass, struct relation *relation, uint32_t *ret)
{
    const struct model_prefixes *own = &c->model->surfaces[pass->to].addresses;
    const struct model_prefixes *addresses = own->n ? own : &c->model->hosts[c->items[pass->from].host].addresses;
    cleanup_buf struct buf ranges;
    buf_init(&ranges, RELATION_MEMORY_MAX);
    for (uint32_t i = 0; i < addresses->n; i++) {
        const struct relation_range range = { addresses->items[i].address, addresses->items[i].address };
        buf_append(&ranges, str_make((const char *)&range, sizeof range));
    }
    return ranges.error ? ranges.error :
                          relation_add_selector(relation, (const struct relation_range *)(const void *)ranges.ptr, addresses->n, ret);
}

static int add_pass(const struct containers *c, const struct declared_numbers *numbers, const struct container_pass *pass, struct relation *relation)
{
    const struct model *m = c->model;
    uint8_t protocol = pass->transport == MODEL_UDP ? RELATION_UDP : RELATION_TCP;
    struct relation_rule rule = { .protocol_first = protocol, .protocol_last = protocol, .port_first = pass->port, .port_last = pass->port };
    struct relation_reason reason = { declared_file(m), m->grants[pass->grant].at.line, STR(DECLARED_GRANT) };
    cleanup_buf struct buf text;
    buf_init(&text, 4096);
    int r = select_one(relation, declared_container_point(numbers, pass->from), &rule.source);
    if (r < 0)
        return r;
    switch ((enum container_way)pass->way) {
    case CONTAINER_WAY_CONTAINER: r = select_one(relation, declared_container_point(numbers, pass->to), &rule.destination); break;
    case CONTAINER_WAY_INTERNET:
        rule.protocol_first = 0;
        rule.protocol_last = RELATION_PROTOCOL_MAX;
        rule.port_last = RELATION_PORT_MAX;
        r = select_one(relation, relation_internet_point(), &rule.destination);
        break;
    case CONTAINER_WAY_SURFACE:
        buf_printf(&text, DECLARED_SURFACE "%.*s", STR_ARG(m->surfaces[pass->to].name.text));
        reason.text = buf_str(&text);
        r = text.error ? text.error : select_surface(c, pass, relation, &rule.destination);
        break;
    }
    if (r == 0)
        r = relation_add_reason(relation, reason, &rule.reason);
    return r == 0 ? relation_add_rule(relation, &rule) : r;
}

int declared_add_passes(const struct containers *containers, const struct declared_numbers *numbers, const uint32_t *order, uint32_t n,
                        struct relation *relation)
{
    int r = 0;
    for (uint32_t i = 0; r == 0 && i < n; i++)
        r = add_pass(containers, numbers, &containers->passes[order[i]], relation);
    return r;
}

/* ---- inside projects ---- */

/* One rule for the whole project: that a container reaches itself is said, and no flow. */
static int add_inside(const struct containers *c, const struct declared_numbers *numbers, const uint32_t *members, uint32_t n, struct relation *relation)
{
    const struct model *m = c->model;
    const struct container *first = &c->items[members[0]];
    struct relation_rule rule = { .protocol_last = RELATION_PROTOCOL_MAX, .port_last = RELATION_PORT_MAX };
    cleanup_buf struct buf text, ranges;
    buf_init(&text, 4096);
    buf_init(&ranges, RELATION_MEMORY_MAX);
    buf_printf(&text, DECLARED_INSIDE "%.*s", STR_ARG(first->project));
    for (uint32_t i = 0; i < n; i++) {
        struct address point = declared_container_point(numbers, members[i]);
        buf_append(&ranges, str_make((const char *)&(struct relation_range){ point, point }, sizeof(struct relation_range)));
    }
    if (text.error || ranges.error)
        return text.error ? text.error : ranges.error;
    const struct relation_reason reason = {
        declared_file(m), first->listed != MODEL_NONE ? m->projects[first->listed].name.at.line : m->services[first->services[0]].name.at.line, buf_str(&text)
    };
    int r = relation_add_selector(relation, (const struct relation_range *)(const void *)ranges.ptr, n, &rule.source);
    rule.destination = rule.source;
    if (r == 0)
        r = relation_add_reason(relation, reason, &rule.reason);
    return r == 0 ? relation_add_rule(relation, &rule) : r;
}

struct member {
    const struct container *container;
    uint32_t number;
};

/* By host and project; those without one last. */
static int compare_members(const void *a, const void *b)
{
    const struct member *x = a, *y = b;
    if (x->container->host != y->container->host)
        return x->container->host < y->container->host ? -1 : 1;
    int order = str_compare(x->container->project, y->container->project);
    return order ? order : (x->number > y->number) - (x->number < y->number);
}

int declared_add_insides(const struct containers *containers, const struct declared_numbers *numbers, struct relation *relation)
{
    uint32_t n = containers->n;
    struct member *members = malloc(((size_t)n + 1) * sizeof *members);
    uint32_t *group = malloc(((size_t)n + 1) * sizeof *group), n_group;
    int r = members && group ? 0 : -ENOMEM;
    for (uint32_t i = 0; r == 0 && i < n; i++)
        members[i] = (struct member){ &containers->items[i], i };
    if (r == 0)
        qsort(members, n, sizeof *members, compare_members);
    for (uint32_t i = 0, next; r == 0 && i < n; i = next) {
        for (n_group = 0, next = i; next < n && (next == i || containers_is_inside(containers, members[i].number, members[next].number)); next++)
            group[n_group++] = members[next].number;
        if (n_group > 1)
            r = add_inside(containers, numbers, group, n_group, relation);
    }
    free(members);
    free(group);
    return r;
}
