/* Grants and expectations: who, what, and over which surface. */
#include "model/read.h"

/* ---- who ---- */

/* Takes "host/" off the front: the kind it says, or READ_KINDS and the text as it was. */
static enum read_kind split_kind(struct str *text)
{
    size_t slash = str_find_char(*text, '/');
    for (enum read_kind kind = 0; slash < text->len && kind <= READ_SERVICE; kind++) {
        if (str_equal(str_first(*text, slash), str_of(read_kind_name(kind)))) {
            *text = str_skip(*text, slash + 1);
            return kind;
        }
    }
    return READ_KINDS;
}

/* Two kinds of things with one name: whichever was meant, the other might be read. */
static bool is_ambiguous(struct reader *r, const struct yaml_node *node, struct str name, bool is_target)
{
    enum read_kind found[READ_KINDS];
    unsigned n = 0;
    for (enum read_kind kind = 0; kind <= READ_SERVICE; kind++)
        if (table_get(&r->names[kind], name, NULL))
            found[n++] = kind;
    if (n < 2)
        return false;
    struct str hint = read_hint(r, "write \"%s/%.*s\" or \"%s/%.*s\"", read_kind_name(found[0]), STR_ARG(name),
                                read_kind_name(found[n - 1]), STR_ARG(name));
    if (is_target && found[0] == READ_HOST)
        hint = read_hint(r, "write \"service/%.*s\", or \"host/%.*s:PORT\" for a port of the host", STR_ARG(name), STR_ARG(name));
    read_error(r, node, hint, "%s is a %s and a %s", read_quote(r, name), read_kind_name(found[0]), read_kind_name(found[n - 1]));
    return true;
}

static bool principal_unknown(struct reader *r, const struct yaml_node *node, struct str name, enum read_kind kind)
{
    unsigned kinds = kind == READ_KINDS ? 1u << READ_HOST | 1u << READ_SEGMENT | 1u << READ_SERVICE : 1u << kind;
    struct str hint = read_suggestion(r, name, kinds);
    if (!read_is_label(name))
        read_error(r, node, hint.ptr ? hint : STR("there are no patterns here; a segment stands for all its hosts"),
                   "expected the name of a host, a segment or a service, found %s", read_quote(r, node->text));
    else
        read_error(r, node, hint, "there is no %s %s", kind == READ_KINDS ? "host, segment or service" : read_kind_name(kind),
                   read_quote(r, name));
    return false;
}

/* A program on a host comes from the host's address, like every other there. */
static bool service_can_ask(struct reader *r, const struct yaml_node *node, uint32_t service)
{
    const struct model_service *s = &r->model->services[service];
    if (s->where == MODEL_WHERE_CONTAINER)
        return true;
    read_error(r, node, s->hosts.n ? read_hint(r, "name its host: %.*s", STR_ARG(r->model->hosts[s->hosts.items[0]].name.text)) : STR_NONE,
               "service %s can't ask: only one with 'container:' is told from its host", read_quote(r, s->name.text));
    return false;
}

static bool read_principal(struct reader *r, const struct yaml_node *node, struct model_principal *ret)
{
    struct str text;
    uint32_t index;
    if (!read_text(r, node, "a host, a segment or a service", &text))
        return false;
    struct str name = text;
    enum read_kind kind = split_kind(&name);
    if (kind == READ_KINDS && is_ambiguous(r, node, name, false))
        return false;
    bool is_any = kind == READ_KINDS;
    *ret = (struct model_principal){ { text, node->at }, MODEL_NONE, MODEL_NONE, MODEL_NONE };
    if ((is_any || kind == READ_HOST) && table_get(&r->names[READ_HOST], name, &index))
        ret->host = index;
    else if ((is_any || kind == READ_SEGMENT) && table_get(&r->names[READ_SEGMENT], name, &index))
        ret->segment = index;
    else if ((is_any || kind == READ_SERVICE) && table_get(&r->names[READ_SERVICE], name, &index))
        ret->service = index;
    else
        return principal_unknown(r, node, name, kind);
    return ret->service == MODEL_NONE || service_can_ask(r, node, ret->service);
}

struct principals {
    struct model_principal *items;
    uint32_t n;
};

static void read_principals(struct reader *r, const struct yaml_node *node, struct principals *ret)
{
    uint32_t n = 0;
    const struct yaml_node *item = read_items(r, node, "a host, a segment or a service", 0, &n);
    struct model_principal *items = item ? read_alloc(r, n, sizeof *items) : NULL;
    if (!items)
        return;
    uint32_t n_good = 0;
    for (uint32_t i = 0; i < n; i++, item = item->next)
        n_good += read_principal(r, item, &items[n_good]);
    *ret = (struct principals){ items, n_good };
}

/* ---- what ---- */

/* Whose port: a host's, or that of a service in a container. */
static bool port_owner(struct reader *r, const struct yaml_node *node, struct str name, enum read_kind kind, struct model_target *ret)
{
    bool is_host = kind != READ_SERVICE && table_get(&r->names[READ_HOST], name, &ret->host);
    bool is_service = kind != READ_HOST && table_get(&r->names[READ_SERVICE], name, &ret->service);
    if (is_host && is_service) {
        read_error(r, node, read_hint(r, "write \"host/%.*s:%u\" or \"service/%.*s:%u\"", STR_ARG(name), ret->port, STR_ARG(name), ret->port),
                   "%s is a host and a service", read_quote(r, name));
        return false;
    }
    ret->kind = is_service ? MODEL_TARGET_SERVICE_PORT : MODEL_TARGET_HOST_PORT;
    if (is_service && r->model->services[ret->service].where != MODEL_WHERE_CONTAINER) {
        read_error(r, node, STR("name the service without the port, or a port of its host"), "service %s is not in a container, so it has no ports of its own",
                   read_quote(r, name));
        return false;
    }
    if (is_host || is_service)
        return true;
    struct str hint = read_suggestion(r, name, kind == READ_KINDS ? 1u << READ_HOST | 1u << READ_SERVICE : 1u << kind);
    read_error(r, node, hint, "there is no %s %s", kind == READ_KINDS ? "host or service" : read_kind_name(kind), read_quote(r, name));
    return false;
}

/* "roc:22", "roc:udp/53" or "grafana:3000": in quotes, because "22:22" without them is 1342 to readers of YAML 1.1. name is the text without
 * the kind that it may say. */
static bool read_port_target(struct reader *r, const struct yaml_node *node, struct str text, enum read_kind kind, struct model_target *ret)
{
    struct str port_text = text, name = str_split(&port_text, ':'), rest = port_text;
    uint64_t port = 0;
    if (node->is_plain) {
        read_error(r, node, read_hint(r, "write %s", diagnose_double_quote(&r->d, node->text)),
                   "a port of a host needs quotes: YAML readers disagree about it");
        return false;
    }
    bool is_udp = str_starts_with(port_text, STR("udp/"));
    if (is_udp || str_starts_with(port_text, STR("tcp/")))
        rest = str_skip(port_text, 4);
    if (kind == READ_SEGMENT || !read_is_label(name) || !str_to_u64(rest, UINT16_MAX, &port) || port == 0 || rest.ptr[0] == '0') {
        read_error(r, node, STR("HOST:PORT or HOST:udp/PORT, PORT from 1 to 65535"), "%s is no port of a host",
                   read_quote(r, node->text));
        return false;
    }
    ret->transport = is_udp ? MODEL_UDP : MODEL_TCP;
    ret->port = (uint16_t)port;
    return port_owner(r, node, name, kind, ret);
}

/* Whether some web service that may be on one of the surfaces (bits) has a name that matches. */
static bool pattern_matches(const struct model *model, struct str pattern, uint64_t over)
{
    for (uint32_t i = 0; i < model->n_services; i++) {
        const struct model_service *service = &model->services[i];
        bool is_served = service->kind == MODEL_KIND_WEB && read_service_surfaces(service) & over;
        if (is_served && str_match_wildcard(pattern, service->name.text))
            return true;
    }
    return false;
}

static bool read_pattern(struct reader *r, const struct yaml_node *node, struct str text, const struct model_grant *grant,
                         struct model_target *ret)
{
    for (size_t i = 0; i < text.len; i++) {
        char c = text.ptr[i];
        if (!(c >= 'a' && c <= 'z') && !(c >= '0' && c <= '9') && c != '-' && c != '*') {
            read_error(r, node, STR("a pattern is made of the letters of names, and '*' for any run of them"), "%s is no pattern",
                       read_quote(r, text));
            return false;
        }
    }
    bool is_all = str_equal(text, STR("*"));
    if (!is_all && r->n_matches < r->model->n_services) {
        read_error(r, node, STR("name the services"), "too many patterns for so many services");
        return false;
    }
    ret->kind = MODEL_TARGET_PATTERN;
    ret->pattern = text;
    if (grant && grant->labelled) /* for names that no file knows */
        return true;
    r->n_matches -= is_all ? 0 : r->model->n_services;
    uint64_t over = grant && grant->over.n ? read_surfaces_mask(&grant->over) : UINT64_MAX;
    if (is_all ? !(r->web_surfaces & over) : !pattern_matches(r->model, text, over))
        read_warning(r, node, STR_NONE, "%s matches no web service%s", read_quote(r, text),
                     grant && grant->over.n ? " of that surface" : "");
    return true;
}

static bool target_unknown(struct reader *r, const struct yaml_node *node, struct str name, enum read_kind kind)
{
    struct str hint = read_suggestion(r, name, 1u << READ_SERVICE);
    if (!read_is_label(name)) {
        read_error(r, node, hint, "expected a service, a pattern or \"HOST:PORT\", found %s", read_quote(r, node->text));
        return false;
    }
    if (kind == READ_KINDS && table_get(&r->names[READ_HOST], name, NULL))
        hint = read_hint(r, "it is a host: name a port of it, such as \"%.*s:22\"", STR_ARG(name));
    else if (kind == READ_KINDS && table_get(&r->names[READ_SEGMENT], name, NULL))
        hint = STR("it is a segment: name services, or ports of its hosts");
    read_error(r, node, hint, "there is no service %s", read_quote(r, name));
    return false;
}

/* grant: what the target stands in; NULL for an expectation. */
static bool read_target(struct reader *r, const struct yaml_node *node, const struct model_grant *grant, struct model_target *ret)
{
    struct str text;
    if (node->kind == YAML_SCALAR && node->is_plain && str_find_char(node->text, ':') < node->text.len)
        text = node->text; /* read_port_target says what to do */
    else if (!read_text(r, node, "a service, a pattern or \"HOST:PORT\"", &text))
        return false;
    *ret = (struct model_target){ .text = { text, node->at }, .service = MODEL_NONE, .host = MODEL_NONE };
    struct str name = text;
    enum read_kind kind = split_kind(&name);
    if (str_find_char(text, ':') < text.len)
        return read_port_target(r, node, name, kind, ret);
    if (str_find_char(text, '*') < text.len)
        return read_pattern(r, node, text, grant, ret);
    if (str_equal(text, STR("internet"))) {
        ret->kind = MODEL_TARGET_INTERNET;
        return true;
    }
    if (kind == READ_HOST || kind == READ_SEGMENT) {
        read_error(r, node, STR("name services, or ports of hosts such as \"roc:22\""), "%s as a whole can't be reached",
                   read_quote(r, text));
        return false;
    }
    if (kind == READ_KINDS && is_ambiguous(r, node, name, true))
        return false;
    ret->kind = MODEL_TARGET_SERVICE;
    return table_get(&r->names[READ_SERVICE], name, &ret->service) || target_unknown(r, node, name, kind);
}

struct targets {
    struct model_target *items;
    uint32_t n;
};

static void read_targets(struct reader *r, const struct yaml_node *node, const struct model_grant *grant, struct targets *ret)
{
    uint32_t n = 0;
    const struct yaml_node *item = read_items(r, node, "a service, a pattern or \"HOST:PORT\"", 0, &n);
    struct model_target *items = item ? read_alloc(r, n, sizeof *items) : NULL;
    if (!items)
        return;
    uint32_t n_good = 0;
    for (uint32_t i = 0; i < n; i++, item = item->next)
        n_good += read_target(r, item, grant, &items[n_good]);
    *ret = (struct targets){ items, n_good };
}

static bool target_is_web(const struct model *model, const struct model_target *target)
{
    return target->kind == MODEL_TARGET_PATTERN ||
           (target->kind == MODEL_TARGET_SERVICE && model->services[target->service].kind == MODEL_KIND_WEB);
}

/* ---- grants ---- */

static void read_grant_from(struct reader *r, const struct yaml_node *value, void *object)
{
    struct model_grant *grant = object;
    struct principals from = { 0 };
    read_principals(r, value, &from);
    grant->from = from.items;
    grant->n_from = from.n;
}

static void read_grant_over(struct reader *r, const struct yaml_node *value, void *object)
{
    struct model_grant *grant = object;
    read_references(r, value, READ_SURFACE, READ_SURFACES_MAX, &grant->over);
}

static void read_grant_labelled(struct reader *r, const struct yaml_node *value, void *object)
{
    struct model_grant *grant = object;
    (void)!read_bool(r, value, &grant->labelled);
}

static void read_grant_to(struct reader *r, const struct yaml_node *value, void *object)
{
    struct model_grant *grant = object;
    struct targets to = { 0 };
    read_targets(r, value, grant, &to);
    grant->to = to.items;
    grant->n_to = to.n;
}

static bool indexes_contain(const struct model_indexes *indexes, uint32_t index)
{
    uint32_t i = 0;
    while (i < indexes->n && indexes->items[i] != index)
        i++;
    return i < indexes->n;
}

/* A service that says over: is on those surfaces only; a grant over another one would never let anybody in. */
static void grant_check_surfaces(struct reader *r, const struct model_grant *grant, const struct model_target *target)
{
    const struct model *model = r->model;
    const struct model_service *service = &model->services[target->service];
    for (uint32_t i = 0; i < grant->over.n && service->surfaces.n; i++)
        if (!indexes_contain(&service->surfaces, grant->over.items[i]))
            read_error_at(r, target->text, read_hint(r, "its own over: names other surfaces (line %u)", service->name.at.line),
                          "%s is not served over %s", read_quote(r, service->name.text),
                          read_quote(r, model->surfaces[grant->over.items[i]].name.text));
}

static struct str internal_hint(struct reader *r, const struct model_grant *grant, const struct model_target *target)
{
    const struct model_service *service = &r->model->services[target->service];
    for (uint32_t i = 0; i < grant->n_from && service->where == MODEL_WHERE_CONTAINER; i++)
        if (grant->from[i].service != MODEL_NONE)
            return read_hint(r, "write \"%.*s:%u\" for the port of its container", STR_ARG(service->name.text), service->port);
    return STR("remove 'internal: true' from it if it is to be reached");
}

/* labelled: is a word about patterns. */
static void grant_check_labelled(struct reader *r, const struct yaml_node *labelled, const struct model_grant *grant)
{
    bool has_pattern = false;
    for (uint32_t i = 0; i < grant->n_to; i++)
        has_pattern |= grant->to[i].kind == MODEL_TARGET_PATTERN;
    if (labelled && grant->labelled && grant->n_to && !has_pattern)
        read_error(r, labelled->key, STR("leave it out, or grant a pattern such as mcp-*"),
                   "'labelled:' lets patterns match what containers offer, and this grant has none");
}

static void grant_check(struct reader *r, const struct yaml_node *node, const struct yaml_node *over,
                        const struct model_grant *grant)
{
    const struct model *model = r->model;
    uint32_t n_web = 0;
    for (uint32_t i = 0; i < grant->n_to; i++) {
        const struct model_target *target = &grant->to[i];
        bool is_web = target_is_web(model, target);
        n_web += is_web;
        if (target->kind == MODEL_TARGET_SERVICE && model->services[target->service].kind == MODEL_KIND_INTERNAL)
            read_error_at(r, target->text, internal_hint(r, grant, target), "%s is internal: no surface serves it",
                          read_quote(r, model->services[target->service].name.text));
        else if (!is_web && over)
            read_error_at(r, target->text, STR("give it a grant of its own, without over:"),
                          target->kind == MODEL_TARGET_INTERNET ? "%s is reached over no surface" : "%s is a port, reached over no surface",
                          read_quote(r, target->text.text));
        if (target->kind == MODEL_TARGET_SERVICE && is_web)
            grant_check_surfaces(r, grant, target);
    }
    if (n_web && !over)
        read_error(r, node,
                   model->n_surfaces ? read_hint(r, "for example over: %.*s", STR_ARG(model->surfaces[0].name.text))
                                     : STR("declare one under surfaces:"),
                   "a grant to a web service says over which surface");
}

static void read_grant(struct reader *r, const struct yaml_node *node, struct model_grant *grant)
{
    static const struct read_field fields[] = {
        { "from", true, read_grant_from },
        { "over", false, read_grant_over },
        { "labelled", false, read_grant_labelled },
        { "to", true, read_grant_to },
    };
    static const struct read_shape shape = { "a grant", "{ from: clients, to: grafana, over: main }", fields, ARRAY_SIZE(fields) };
    grant->at = node->at;
    const struct yaml_node *const *given = read_mapping(r, node, &shape, grant);
    if (!given)
        return;
    grant_check(r, given[3] ? given[3] : node, given[1], grant);
    grant_check_labelled(r, given[2], grant);
    check_askers(r, grant->from, grant->n_from, grant->to, grant->n_to, &grant->over, READ_FOR_GRANT);
}

void read_grants(struct reader *r, const struct yaml_node *value, void *object)
{
    uint32_t n = 0;
    const struct yaml_node *item = read_list(r, value, "a list of grants such as { from: clients, to: grafana, over: main }", &n);
    (void)object;
    struct model_grant *grants = item ? read_alloc(r, n, sizeof *grants) : NULL;
    if (!grants)
        return;
    r->model->grants = grants;
    r->model->n_grants = n;
    for (; item; item = item->next)
        read_grant(r, item, grants++);
}

/* ---- expectations ---- */

static void read_expectation_from(struct reader *r, const struct yaml_node *value, void *object)
{
    struct model_expectation *expectation = object;
    struct principals from = { 0 };
    read_principals(r, value, &from);
    expectation->from = from.items;
    expectation->n_from = from.n;
}

static void read_expectation_can(struct reader *r, const struct yaml_node *value, void *object)
{
    struct model_expectation *expectation = object;
    struct targets can = { 0 };
    read_targets(r, value, NULL, &can);
    expectation->can = can.items;
    expectation->n_can = can.n;
}

static void read_expectation_cannot(struct reader *r, const struct yaml_node *value, void *object)
{
    struct model_expectation *expectation = object;
    struct targets cannot = { 0 };
    read_targets(r, value, NULL, &cannot);
    expectation->cannot = cannot.items;
    expectation->n_cannot = cannot.n;
}

static void read_expectation_over(struct reader *r, const struct yaml_node *value, void *object)
{
    struct model_expectation *expectation = object;
    read_references(r, value, READ_SURFACE, READ_SURFACES_MAX, &expectation->over);
}

static void read_expectation(struct reader *r, const struct yaml_node *node, struct model_expectation *expectation)
{
    static const struct read_field fields[] = {
        { "from", true, read_expectation_from },
        { "can", false, read_expectation_can },
        { "cannot", false, read_expectation_cannot },
        { "over", false, read_expectation_over },
    };
    static const struct read_shape shape = {
        "an expectation", "{ from: robin, can: registry, cannot: grafana }", fields, ARRAY_SIZE(fields)
    };
    expectation->at = node->at;
    const struct yaml_node *const *given = read_mapping(r, node, &shape, expectation);
    if (!given)
        return;
    if (!given[1] && !given[2])
        read_error(r, node, STR("for example can: registry"), "an expectation needs 'can:' or 'cannot:'");
    check_askers(r, expectation->from, expectation->n_from, expectation->can, expectation->n_can, &expectation->over, READ_FOR_EXPECTATION);
    check_askers(r, expectation->from, expectation->n_from, expectation->cannot, expectation->n_cannot, &expectation->over, READ_FOR_EXPECTATION);
}

void read_expectations(struct reader *r, const struct yaml_node *value, void *object)
{
    uint32_t n = 0;
    const struct yaml_node *item = read_list(r, value, "a list of expectations such as { from: robin, can: registry }", &n);
    (void)object;
    struct model_expectation *expectations = item ? read_alloc(r, n, sizeof *expectations) : NULL;
    if (!expectations)
        return;
    r->model->expectations = expectations;
    r->model->n_expectations = n;
    for (; item; item = item->next)
        read_expectation(r, item, expectations++);
}
