/* Reading an image back: its nested prefixes become disjoint ranges, each class of guests a selector, each of its rules a relation rule. */
#include "policy/gateway_layer.h"

#include <errno.h>
#include <stdio.h>

#include "base/table.h"
#include "policy/containers.h"
#include "policy/nesting.h"

struct reading {
    struct gateway_layer *layer;
    const struct model *model;
    struct error *err;
    struct table services; /* by name, to the declaration's number */
    struct containers containers;
    struct table numbers;  /* of the containers beside the gateway, as images have them, to the declaration's */
    struct arena scratch;
};

static int refuse(const struct reading *r, const char *what, struct str name)
{
    error_set(r->err, "the image of %.*s: %s '%.*s' is not in the declaration", STR_ARG(r->model->hosts[r->layer->host].name.text), what,
              STR_ARG(name));
    return -EINVAL;
}

/* ---- who: the view's addresses and prefixes as disjoint ranges ---- */

/* Owners are principals; IMAGE_NOBODY: known, and no guest. A slot hides the prefixes around it, also where it says nobody: as the view's
 * look-up has it. */
static uint32_t take_guests(struct image view, struct nesting_range *ranges)
{
    const struct image_address_slot *slots = image_section(view, IMAGE_ADDRESSES);
    const struct image_prefix *prefixes = image_section(view, IMAGE_PREFIXES);
    uint32_t n = 0;
    for (uint32_t i = 0; i < image_count(view, IMAGE_PREFIXES); i++)
        ranges[n++] = nesting_range_of(&prefixes[i].prefix, prefixes[i].principal, 0);
    for (uint32_t i = 0; i < image_count(view, IMAGE_ADDRESSES); i++)
        if (slots[i].principal != IMAGE_NONE)
            ranges[n++] = (struct nesting_range){ slots[i].address, slots[i].address, slots[i].principal, 1 };
    return n;
}

/* A principal with a container's number is that container, by whatever address. */
static int take_containers(struct reading *r, struct image view, struct nesting_range *ranges, uint32_t *n)
{
    for (uint32_t i = 0; i < image_count(view, IMAGE_PRINCIPALS); i++) {
        const struct image_principal *principal = image_principal(view, i);
        uint32_t container;
        if (!principal->container)
            continue;
        if (!table_get(&r->numbers, str_make((const char *)&principal->container, sizeof principal->container), &container))
            return refuse(r, "the container of", image_str(view, principal->host));
        struct address point = relation_container_point(container);
        ranges[(*n)++] = (struct nesting_range){ .first = point, .last = point, .owner = i };
    }
    return 0;
}

static int read_guests(struct reading *r, struct image view, struct nesting_range **ret, uint32_t *ret_n)
{
    size_t n_max = image_count(view, IMAGE_PREFIXES) + (size_t)image_count(view, IMAGE_ADDRESSES);
    struct nesting_range *ranges = arena_array(&r->scratch, n_max, struct nesting_range);
    struct nesting_range *cut = arena_array(&r->scratch, 2 * n_max + 2 + image_count(view, IMAGE_PRINCIPALS), struct nesting_range);
    if (!ranges || !cut)
        return -ENOMEM;
    uint32_t n = nesting_cut(ranges, take_guests(view, ranges), cut);
    *ret_n = 0;
    *ret = cut;
    for (uint32_t i = 0; i < n; i++) {
        struct relation_range range = { cut[i].first, cut[i].last };
        if (!relation_range_cut_points(&range))
            continue;
        cut[i].last = range.last;
        cut[(*ret_n)++] = cut[i];
    }
    return take_containers(r, view, cut, ret_n);
}

/* ---- what: a class's row of verdicts as rules ---- */

/* A service that a class may reach, and by which rule. */
struct decision {
    uint32_t rule, service;
};

struct classes {
    const struct nesting_range *guests;
    uint32_t n_guests;
    const uint32_t *points;             /* the declaration's number of each of the view's services */
    uint32_t surface;
    struct relation_range *scratch, *ranges; /* of services, of guests */
    struct decision *decisions;
};

static uint32_t class_of_guest(struct image view, const struct nesting_range *guest)
{
    return guest->owner < image_count(view, IMAGE_PRINCIPALS) ? image_principal(view, guest->owner)->class_index : IMAGE_NONE;
}

/* Which of the view's services the relay takes a port for, by the name that it looks up; IMAGE_NONE: for none. */
static uint32_t service_of_port(struct image view, const struct gateway_port *port)
{
    char name[sizeof "udp/65535"];
    snprintf(name, sizeof name, "%s/%u", port->protocol == RELATION_UDP ? "udp" : "tcp", (unsigned)port->port);
    const struct image_name_slot *slot = image_find_name(view, str_of(name));
    return slot ? slot->service : IMAGE_NONE;
}

/* The ports of one direct service that one rule lets the class reach. */
static int read_port_rules(struct reading *r, struct image view, struct relation_rule rule, uint32_t service)
{
    struct relation *relation = &r->layer->relation;
    int e = 0;
    for (uint32_t i = 0; e == 0 && i < r->layer->n_ports; i++) {
        const struct gateway_port *port = &r->layer->ports[i];
        const struct relation_range there = { port->address, port->address };
        if (service_of_port(view, port) != service)
            continue;
        rule.protocol_first = rule.protocol_last = port->protocol;
        rule.port_first = rule.port_last = port->port;
        e = relation_add_selector(relation, &there, 1, &rule.destination);
        if (e == 0)
            e = relation_add_rule(relation, &rule);
    }
    return e;
}

/* The services from first to end, which are in the order of their rules, that one rule lets the class reach. */
static int read_rule(struct reading *r, struct image view, const struct classes *c, uint32_t source, const struct decision *first,
                     const struct decision *end)
{
    struct relation *relation = &r->layer->relation;
    struct str place = image_str(view, image_rule(view, first->rule)->place), rest = place, file = str_split(&rest, ':');
    struct relation_rule out = {
        .source = source, .protocol_first = RELATION_POINT_PROTOCOL, .protocol_last = RELATION_POINT_PROTOCOL,
        .port_first = RELATION_POINT_PORT, .port_last = RELATION_POINT_PORT,
    };
    uint64_t line = 0;
    if (!str_to_u64(rest, UINT32_MAX, &line))
        file = place;
    uint32_t n = 0;
    for (const struct decision *d = first; d < end; d++) {
        struct address point = relation_service_point(c->surface, c->points[d->service]);
        c->scratch[n++] = (struct relation_range){ point, point };
    }
    int e = relation_add_reason(relation, (struct relation_reason){ file, (uint32_t)line, STR("gateway") }, &out.reason);
    if (c->surface == IMAGE_SURFACE_DIRECT) {
        for (const struct decision *d = first; e == 0 && d < end; d++)
            e = read_port_rules(r, view, out, d->service);
        return e;
    }
    if (e == 0)
        e = relation_add_selector(relation, c->scratch, n, &out.destination);
    return e == 0 ? relation_add_rule(relation, &out) : e;
}

static int compare_decisions(const void *a, const void *b)
{
    const struct decision *x = a, *y = b;
    if (x->rule != y->rule)
        return x->rule < y->rule ? -1 : 1;
    return (x->service > y->service) - (x->service < y->service);
}

static uint32_t take_decisions(struct image view, uint32_t class_index, struct decision *ret)
{
    uint32_t n_services = image_count(view, IMAGE_SERVICES), n = 0;
    const uint32_t *row = (const uint32_t *)image_section(view, IMAGE_VERDICTS) + (size_t)class_index * n_services;
    for (uint32_t i = 0; i < n_services; i++)
        if (row[i])
            ret[n++] = (struct decision){ row[i] - 1, i };
    qsort(ret, n, sizeof *ret, compare_decisions);
    return n;
}

/* Guests of one class together: their ranges as one selector. */
static int read_class(struct reading *r, struct image view, const struct classes *c, uint32_t class_index, uint32_t first, uint32_t end,
                      const uint32_t *order)
{
    uint32_t n = take_decisions(view, class_index, c->decisions), source;
    for (uint32_t i = first; i < end; i++)
        c->ranges[i - first] = (struct relation_range){ c->guests[order[i]].first, c->guests[order[i]].last };
    int e = relation_add_selector(&r->layer->relation, c->ranges, end - first, &source);
    for (uint32_t i = 0, next; e == 0 && i < n; i = next) {
        for (next = i + 1; next < n && c->decisions[next].rule == c->decisions[i].rule;)
            next++;
        e = read_rule(r, view, c, source, &c->decisions[i], &c->decisions[next]);
    }
    return e;
}

/* Counting sort of the guests by class; the guests of class k stand in order[first[k]] to order[first[k + 1]]. */
static int read_classes(struct reading *r, struct image view, const struct classes *c)
{
    uint32_t n_classes = image_surface(view, 0)->n_classes;
    uint32_t *first = arena_array(&r->scratch, (size_t)n_classes + 2, uint32_t);
    uint32_t *order = arena_array(&r->scratch, c->n_guests, uint32_t);
    if (!first || !order)
        return -ENOMEM;
    for (uint32_t i = 0; i < c->n_guests; i++)
        if (class_of_guest(view, &c->guests[i]) < n_classes)
            first[class_of_guest(view, &c->guests[i]) + 2]++;
    for (uint32_t i = 1; i <= n_classes + 1; i++)
        first[i] += first[i - 1];
    for (uint32_t i = 0; i < c->n_guests; i++)
        if (class_of_guest(view, &c->guests[i]) < n_classes)
            order[first[class_of_guest(view, &c->guests[i]) + 1]++] = i;
    for (uint32_t k = 0; k < n_classes; k++) {
        int e = read_class(r, view, c, k, first[k], first[k + 1], order);
        if (e < 0)
            return e;
    }
    return 0;
}

static int read_view(struct reading *r, const struct compile_block *block)
{
    struct image view;
    int e = image_attach(block->data, block->size, IMAGE_VIEW, &view, r->err);
    if (e < 0)
        return e;
    uint32_t n_services = image_count(view, IMAGE_SERVICES), *points = arena_array(&r->scratch, n_services, uint32_t);
    struct nesting_range *guests;
    struct classes c = { .points = points, .surface = image_surface(view, 0)->index,
                         .scratch = arena_array(&r->scratch, n_services, struct relation_range),
                         .decisions = arena_array(&r->scratch, n_services, struct decision) };
    if (!points || !c.scratch || !c.decisions)
        return -ENOMEM;
    if (c.surface >= r->model->n_surfaces && c.surface != IMAGE_SURFACE_DIRECT)
        return refuse(r, "surface", image_str(view, image_surface(view, 0)->name));
    for (uint32_t i = 0; i < n_services; i++) {
        struct str name = image_str(view, image_service(view, i)->name);
        if (!table_get(&r->services, name, &points[i]))
            return refuse(r, "service", name);
    }
    for (uint32_t i = 0; c.surface == IMAGE_SURFACE_DIRECT && i < r->layer->n_ports; i++) {
        uint32_t service = service_of_port(view, &r->layer->ports[i]);
        if (service == IMAGE_NONE)
            return refuse(r, "a direct port's service", STR("?"));
        r->layer->ports[i].service = points[service];
    }
    e = read_guests(r, view, &guests, &c.n_guests);
    if (e < 0)
        return e;
    c.guests = guests;
    c.ranges = arena_array(&r->scratch, c.n_guests, struct relation_range);
    return c.ranges ? read_classes(r, view, &c) : -ENOMEM;
}

/* ---- where to ---- */

static bool is_of_host(const struct model_host *host, const struct address *address)
{
    for (uint32_t i = 0; i < host->addresses.n + host->lan.n; i++) {
        const struct address_prefix *p = i < host->addresses.n ? &host->addresses.items[i] : &host->lan.items[i - host->addresses.n];
        if (address_prefix_contains(p, address))
            return true;
    }
    return address_is_loopback(address);
}

/* host: whose instance it is. What is its own the gateway reaches without a network, by whatever address (a bridge's, say). */
static void read_target(const struct reading *r, struct image dial, const struct image_target *target, struct str host, struct gateway_way *way)
{
    way->kind = GATEWAY_WAY_HERE;
    if (target->kind == IMAGE_TARGET_UNRESOLVED) {
        way->kind = GATEWAY_WAY_NONE;
        way->why = image_str(dial, target->path);
    }
    if (target->kind != IMAGE_TARGET_ADDRESS || str_equal(host, r->model->hosts[r->layer->host].name.text))
        return;
    for (uint32_t i = 0; i < target->n_addresses; i++)
        if (!is_of_host(&r->model->hosts[r->layer->host], &target->addresses[i])) {
            way->kind = GATEWAY_WAY_NETWORK;
            way->to[way->n_to++] = target->addresses[i];
        }
}

static int read_dial(struct reading *r, const struct compile_block *block)
{
    struct image dial;
    int e = image_attach(block->data, block->size, IMAGE_DIAL, &dial, r->err);
    if (e < 0)
        return e;
    struct gateway_layer *layer = r->layer;
    layer->ways = arena_array(&layer->arena, image_count(dial, IMAGE_TARGETS), struct gateway_way);
    if (!layer->ways)
        return -ENOMEM;
    for (uint32_t i = 0; i < image_count(dial, IMAGE_TARGETS); i++) {
        const struct image_target *target = image_target(dial, i);
        struct gateway_way *way = &layer->ways[layer->n_ways++];
        struct str rest = image_str(dial, target->name), name = str_split(&rest, '@');
        *way = (struct gateway_way){ .surfaces = target->surfaces, .port = target->port, .text = image_str(dial, target->name) };
        if (!table_get(&r->services, name, &way->service))
            return refuse(r, "service", name);
        read_target(r, dial, target, rest, way);
    }
    return 0;
}

static int read_plan(struct reading *r, const struct compile_block *block)
{
    struct image plan;
    int e = image_attach(block->data, block->size, IMAGE_PLAN, &plan, r->err);
    if (e < 0)
        return e;
    struct gateway_layer *layer = r->layer;
    layer->listeners = arena_array(&layer->arena, image_count(plan, IMAGE_LISTENERS), struct gateway_listener);
    layer->ports = arena_array(&layer->arena, image_count(plan, IMAGE_LISTENERS), struct gateway_port);
    if (!layer->listeners || !layer->ports)
        return -ENOMEM;
    for (uint32_t i = 0; i < image_count(plan, IMAGE_LISTENERS); i++) {
        const struct image_listener *listener = image_listener(plan, i);
        if (listener->surface == IMAGE_SURFACE_DIRECT) {
            uint8_t protocol = listener->kind == IMAGE_LISTENER_DIRECT_UDP ? RELATION_UDP : RELATION_TCP;
            layer->ports[layer->n_ports++] = (struct gateway_port){ listener->address, MODEL_NONE, listener->port, protocol };
            continue;
        }
        if (listener->surface >= r->model->n_surfaces)
            return refuse(r, "a surface", STR("?"));
        if (listener->kind == IMAGE_LISTENER_TLS)
            layer->listeners[layer->n_listeners++] = (struct gateway_listener){ listener->surface, listener->address, listener->port };
    }
    return 0;
}

static int read_blocks(struct reading *r, const struct compile_output *blocks)
{
    int e = 0;
    for (uint32_t i = 0; e == 0 && i < r->model->n_services; i++)
        e = table_add(&r->services, r->model->services[i].name.text, i, NULL);
    if (e != 0)
        return e < 0 ? e : -EINVAL;
    e = read_plan(r, &blocks->plan);
    if (e == 0)
        e = read_dial(r, &blocks->dial);
    for (uint32_t i = 0; e == 0 && i < blocks->n_views; i++)
        if (blocks->views[i].data)
            e = read_view(r, &blocks->views[i]);
    if (e == 0 && blocks->views[IMAGE_SURFACE_DIRECT].data)
        e = read_view(r, &blocks->views[IMAGE_SURFACE_DIRECT]);
    return e;
}

static int number_containers(struct reading *r)
{
    int e = containers_init(&r->containers, r->model);
    const struct containers *c = &r->containers;
    for (uint32_t i = e == 0 ? c->first_of_host[r->layer->host] : 0; e == 0 && i < c->first_of_host[r->layer->host + 1]; i++) {
        uint64_t number = image_container_number(c->items[i].reference);
        struct str key = arena_copy(&r->scratch, str_make((const char *)&number, sizeof number));
        e = key.ptr ? table_add(&r->numbers, key, i, NULL) : -ENOMEM;
        e = e < 0 ? e : 0;
    }
    return e;
}

int gateway_layer_init(struct gateway_layer *ret, const struct model *model, uint32_t host, const struct compile_output *blocks, struct error *err)
{
    struct gateway_layer layer = { .host = host };
    struct reading r = { .layer = &layer, .model = model, .err = err };
    arena_init(&layer.arena, 0);
    arena_init(&r.scratch, 0);
    relation_init(&layer.relation);
    int e = number_containers(&r);
    if (e == 0)
        e = read_blocks(&r, blocks);
    table_deinit(&r.services);
    table_deinit(&r.numbers);
    containers_deinit(&r.containers);
    arena_deinit(&r.scratch);
    if (e < 0)
        gateway_layer_deinit(&layer);
    else
        *ret = layer;
    return e;
}

const struct gateway_port *gateway_layer_find_port(const struct gateway_layer *layer, const struct address *address, uint8_t protocol, uint16_t port)
{
    for (uint32_t i = 0; i < layer->n_ports; i++)
        if (layer->ports[i].protocol == protocol && layer->ports[i].port == port && address_equal(&layer->ports[i].address, address))
            return &layer->ports[i];
    return NULL;
}

void gateway_layer_deinit(struct gateway_layer *layer)
{
    relation_deinit(&layer->relation);
    arena_deinit(&layer->arena);
}
