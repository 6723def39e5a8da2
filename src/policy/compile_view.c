/* A surface's view: its guests in classes of equal verdicts, the services they may reach, and two hash tables to find both. */
#include <errno.h>

#include "policy/compiler.h"

/* Guests' rows of verdicts may not take more than this: a sentence to the user instead of a machine out of memory. */
enum { VERDICTS_MAX = 1 << 26 };

struct view {
    struct compiler *c;
    uint32_t surface;
    struct block block;
    struct arena arena;
    bool *is_for_surface;        /* per grant */
    uint32_t *local_service;     /* per service: its index here + 1, or 0 */
    uint32_t *local_rule;        /* per grant: its index here + 1, or 0 */
    uint32_t n_services, n_classes;
    uint32_t *row;               /* scratch: verdicts of one principal */
    uint32_t *list;              /* scratch: grants of one principal */
    uint32_t *listed;            /* per grant: the container + 1 in whose list it is */
    struct table rows;           /* class by its verdicts' bytes */
    struct table lists;          /* class by the bytes of the list of grants that make it */
    struct image_text *segment_names;
    struct image_address_slot *addresses;
    uint32_t n_addresses;
    struct image_prefix *prefixes;
    uint32_t n_prefixes;
};

static void view_deinit(struct view *v)
{
    block_deinit(&v->block);
    table_deinit(&v->rows);
    table_deinit(&v->lists);
    arena_deinit(&v->arena);
}

static struct str surface_name(const struct view *v)
{
    return v->surface == IMAGE_SURFACE_DIRECT ? STR(IMAGE_DIRECT_NAME) : v->c->model->surfaces[v->surface].name.text;
}

/* ---- services and names ---- */

static void add_service(struct view *v, uint32_t service_index)
{
    struct compiler *c = v->c;
    const struct model_service *s = &c->model->services[service_index];
    struct image_service image = {
        .name = block_text(&v->block, s->name.text),
        .first_instance = block_count(&v->block, IMAGE_INSTANCES),
        .n_instances = compiler_n_targets(c, service_index),
        .protocol = s->kind == MODEL_KIND_DIRECT ? (s->transport == MODEL_UDP ? IMAGE_PROTOCOL_UDP : IMAGE_PROTOCOL_TCP) :
                    s->protocol == MODEL_PROTOCOL_HTTPS ? IMAGE_PROTOCOL_HTTPS :
                    s->protocol == MODEL_PROTOCOL_H2C   ? IMAGE_PROTOCOL_H2C :
                                                          IMAGE_PROTOCOL_HTTP,
        .flags = s->tls_insecure ? IMAGE_SERVICE_TLS_INSECURE : 0,
    };
    if (s->protocol == MODEL_PROTOCOL_HTTPS) {
        image.tls_name = s->tls_name.len ? block_text(&v->block, s->tls_name) :
                                           block_printf(&v->block, "%.*s.%.*s", STR_ARG(s->name.text), STR_ARG(c->model->domain.text));
        image.tls_pin = block_text(&v->block, s->tls_pin);
    }
    for (uint32_t k = 0; k < image.n_instances; k++) {
        uint32_t host = compiler_instance_host(c, s, k), target = c->first_target[service_index] + k;
        struct image_instance instance = {
            .name = block_printf(&v->block, "%.*s@%.*s", STR_ARG(s->name.text), STR_ARG(c->model->hosts[host].name.text)),
            .service = v->n_services,
            .target = target,
            .identity = c->identities[target],
        };
        block_add(&v->block, IMAGE_INSTANCES, &instance);
    }
    block_add(&v->block, IMAGE_SERVICES, &image);
    v->local_service[service_index] = ++v->n_services;
}

/* Each path's authorities once, for all services that use them. */
static int add_authorities(struct view *v)
{
    struct compiler *c = v->c;
    uint32_t n = c->ca_index.n_used;
    uint32_t *offset_plus_1 = arena_array(&v->arena, n, uint32_t);
    if (!offset_plus_1)
        return -ENOMEM;
    for (uint32_t i = 0; i < c->model->n_services; i++) {
        const struct compiler_ca *ca = compiler_find_authorities(c, &c->model->services[i]);
        if (!v->local_service[i] || !ca)
            continue;
        uint32_t *offset = &offset_plus_1[ca - c->authorities];
        struct buf *blobs = &v->block.sections[IMAGE_BLOBS];
        if (!*offset) {
            *offset = (uint32_t)blobs->len + 1;
            buf_append(blobs, ca->pem);
        }
        if (blobs->error)
            return blobs->error;
        struct image_service *s = (struct image_service *)(void *)v->block.sections[IMAGE_SERVICES].ptr + (v->local_service[i] - 1);
        s->tls_ca_offset = *offset - 1;
        s->tls_ca_length = (uint32_t)ca->pem.len;
    }
    return 0;
}

static bool is_of_surface(const struct view *v, uint32_t service)
{
    return v->surface == IMAGE_SURFACE_DIRECT ? v->c->is_relayed[service] : v->c->reach[service] >> v->surface & 1;
}

static int add_services(struct view *v)
{
    const struct model *m = v->c->model;
    v->local_service = arena_array(&v->arena, m->n_services, uint32_t);
    if (!v->local_service)
        return -ENOMEM;
    for (uint32_t i = 0; i < m->n_services; i++)
        if (is_of_surface(v, i))
            add_service(v, i);
    v->row = arena_array(&v->arena, v->n_services, uint32_t);
    return v->row ? add_authorities(v) : -ENOMEM;
}

static uint32_t table_slots(uint32_t n_entries)
{
    uint32_t n = 2;
    while (n < 2 * (uint64_t)n_entries)
        n *= 2;
    return n;
}

static int put_name(struct view *v, struct image_name_slot *slots, uint32_t n_slots, struct image_name_slot entry)
{
    struct compiler *c = v->c;
    struct str name = block_str(&v->block, entry.name);
    uint32_t at = (uint32_t)str_hash(name) & (n_slots - 1);
    while (slots[at].name.length) {
        if (!str_equal(block_str(&v->block, slots[at].name), name)) {
            at = (at + 1) & (n_slots - 1);
            continue;
        }
        if (slots[at].service == entry.service && slots[at].instance == entry.instance)
            return 0;
        const struct image_service *services = (const void *)v->block.sections[IMAGE_SERVICES].ptr;
        struct str one = block_str(&v->block, services[slots[at].service].name), other = block_str(&v->block, services[entry.service].name);
        error_set(c->err, "%.*s: the host name %.*s stands for services %.*s and %.*s; rename one", STR_ARG(c->file), STR_ARG(name), STR_ARG(one),
                  STR_ARG(other));
        return -EINVAL;
    }
    slots[at] = entry;
    return 0;
}

/* NAME.DOMAIN, NAME-HOST.DOMAIN and the extra names; a direct port's is the port. The texts first, because the table is found by them. */
static int add_names(struct view *v)
{
    const struct model *m = v->c->model;
    uint32_t n = 0, n_max = 0;
    for (uint32_t i = 0; i < m->n_services; i++)
        if (v->local_service[i])
            n_max += 1 + m->services[i].hosts.n + m->services[i].names.n;
    struct image_name_slot *entries = arena_array(&v->arena, n_max, struct image_name_slot);
    if (!entries)
        return -ENOMEM;
    for (uint32_t i = 0; i < m->n_services; i++) {
        const struct model_service *s = &m->services[i];
        if (!v->local_service[i])
            continue;
        uint32_t service = v->local_service[i] - 1;
        const struct image_service *image = (const struct image_service *)(void *)v->block.sections[IMAGE_SERVICES].ptr + service;
        uint32_t first_instance = v->block.sections[IMAGE_SERVICES].error ? 0 : image->first_instance;
        if (v->surface == IMAGE_SURFACE_DIRECT) {
            entries[n++] = (struct image_name_slot){
                block_printf(&v->block, "%s/%u", s->transport == MODEL_UDP ? "udp" : "tcp", s->port), service, first_instance };
            continue;
        }
        entries[n++] = (struct image_name_slot){
            block_printf(&v->block, "%.*s.%.*s", STR_ARG(s->name.text), STR_ARG(m->domain.text)), service, IMAGE_NONE };
        for (uint32_t k = 0; k < s->hosts.n; k++) {
            struct str host = m->hosts[compiler_instance_host(v->c, s, k)].name.text;
            entries[n++] = (struct image_name_slot){
                block_printf(&v->block, "%.*s-%.*s.%.*s", STR_ARG(s->name.text), STR_ARG(host), STR_ARG(m->domain.text)), service,
                first_instance + k };
        }
        for (uint32_t k = 0; k < s->names.n; k++)
            entries[n++] = (struct image_name_slot){ block_text(&v->block, s->names.items[k].text), service, IMAGE_NONE };
    }
    uint32_t n_slots = table_slots(n);
    struct image_name_slot *slots = block_add_zeroed(&v->block, IMAGE_NAMES, n_slots);
    if (!slots || v->block.sections[IMAGE_STRINGS].error)
        return -ENOMEM;
    for (uint32_t i = 0; i < n; i++) {
        int r = put_name(v, slots, n_slots, entries[i]);
        if (r < 0)
            return r;
    }
    return 0;
}

/* ---- classes ---- */

static uint32_t rule_of(struct view *v, uint32_t grant)
{
    if (!v->local_rule[grant]) {
        struct image_rule rule = { block_printf(&v->block, "%.*s:%u", STR_ARG(v->c->file), v->c->model->grants[grant].at.line) };
        v->local_rule[grant] = block_add(&v->block, IMAGE_RULES, &rule) + 1;
    }
    return v->local_rule[grant];
}

static void fill_row(struct view *v, uint32_t n_list)
{
    const struct grants *g = &v->c->grants;
    memset(v->row, 0, v->n_services * sizeof *v->row);
    for (uint32_t i = 0; i < n_list; i++) {
        uint32_t grant = v->list[i];
        for (uint32_t t = 0; t < g->model->grants[grant].n_to; t++) {
            const struct model_indexes *services = grants_target(g, grant, t);
            for (uint32_t k = 0; k < services->n; k++) {
                uint32_t s = services->items[k];
                if (v->local_service[s] && !v->row[v->local_service[s] - 1]) /* what may not be served here is not in the view */
                    v->row[v->local_service[s] - 1] = rule_of(v, grant);
            }
        }
    }
}

static int add_class(struct view *v, uint32_t *ret_class)
{
    struct str row = str_make((const char *)v->row, v->n_services * sizeof *v->row);
    if (table_get(&v->rows, row, ret_class))
        return 0;
    if (v->c->n_verdicts + v->n_services > VERDICTS_MAX) {
        error_set(v->c->err, "%.*s: surface %.*s has more than %u kinds of guests times %u services; write grants for segments instead of hosts",
                  STR_ARG(v->c->file), STR_ARG(surface_name(v)), v->n_classes, v->n_services);
        return -EINVAL;
    }
    struct str kept = arena_copy(&v->arena, row);
    if (!kept.ptr)
        return -ENOMEM;
    int r = table_add(&v->rows, kept, v->n_classes, NULL);
    if (r < 0)
        return r;
    buf_append(&v->block.sections[IMAGE_VERDICTS], kept);
    v->c->n_verdicts += v->n_services;
    *ret_class = v->n_classes++;
    return 0;
}

/* The class of whom the first n grants in v->list speak of, or IMAGE_NONE in *ret_class: no guest. */
static int find_class_of_list(struct view *v, uint32_t n, uint32_t *ret_class)
{
    *ret_class = IMAGE_NONE;
    if (n == 0)
        return 0;
    struct str key = str_make((const char *)v->list, n * sizeof *v->list);
    if (table_get(&v->lists, key, ret_class))
        return 0;
    fill_row(v, n);
    uint32_t class_index;
    int r = add_class(v, &class_index);
    if (r < 0)
        return r;
    struct str kept = arena_copy(&v->arena, key);
    if (!kept.ptr)
        return -ENOMEM;
    r = table_add(&v->lists, kept, class_index, NULL);
    if (r < 0)
        return r;
    *ret_class = class_index;
    return 0;
}

static int find_class(struct view *v, struct grants_cursor cursor, uint32_t *ret_class)
{
    uint32_t n = 0;
    for (uint32_t grant; grants_next(&cursor, &grant);)
        if (v->is_for_surface[grant])
            v->list[n++] = grant;
    return find_class_of_list(v, n, ret_class);
}

/* ---- principals ---- */

static uint32_t add_principal(struct view *v, struct str host, uint32_t segment, uint32_t class_index)
{
    struct image_principal p = { .class_index = class_index };
    if (host.len)
        p.host = block_text(&v->block, host);
    if (segment != MODEL_NONE) {
        if (!v->segment_names[segment].length)
            v->segment_names[segment] = block_text(&v->block, v->c->model->segments[segment].name.text);
        p.segment = v->segment_names[segment];
    }
    return block_add(&v->block, IMAGE_PRINCIPALS, &p);
}

static void add_host_addresses(struct view *v, const struct model_host *host, uint32_t principal)
{
    for (uint32_t i = 0; i < host->addresses.n; i++) {
        if (principal == IMAGE_NOBODY && !image_find_prefix(v->prefixes, v->n_prefixes, &host->addresses.items[i].address, 128))
            continue; /* nothing would claim it: the surface need not know it */
        v->addresses[v->n_addresses++] = (struct image_address_slot){ .address = host->addresses.items[i].address, .principal = principal };
    }
}

static int compare_prefixes(const void *a, const void *b)
{
    const struct image_prefix *x = a, *y = b;
    if (x->prefix.bits != y->prefix.bits)
        return x->prefix.bits > y->prefix.bits ? -1 : 1;
    return address_compare(&x->prefix.address, &y->prefix.address);
}

static int sort_prefixes(struct view *v)
{
    qsort(v->prefixes, v->n_prefixes, sizeof *v->prefixes, compare_prefixes);
    for (uint32_t i = 1; i < v->n_prefixes; i++) {
        char text[ADDRESS_PREFIX_TEXT_SIZE];
        if (compare_prefixes(&v->prefixes[i - 1], &v->prefixes[i]) != 0)
            continue;
        error_set(v->c->err, "%.*s: addresses %s belong to two segments", STR_ARG(v->c->file),
                  address_prefix_format(&v->prefixes[i].prefix, text));
        return -EINVAL;
    }
    return 0;
}

/* Segments at large. A longer prefix of a segment that is no guest takes its addresses out of a shorter one that is. */
static int add_segments(struct view *v, const uint32_t *classes)
{
    const struct model *m = v->c->model;
    for (uint32_t pass = 0; pass < 2; pass++) {
        uint32_t n_guests = v->n_prefixes;
        for (uint32_t i = 0; i < m->n_segments; i++) {
            const struct model_prefixes *p = &m->segments[i].addresses;
            bool is_guest = classes[i] != IMAGE_NONE;
            if (p->n == 0 || is_guest != (pass == 0))
                continue;
            uint32_t principal = is_guest ? add_principal(v, STR_NONE, i, classes[i]) : IMAGE_NOBODY;
            for (uint32_t k = 0; k < p->n; k++)
                if (is_guest || image_find_prefix(v->prefixes, n_guests, &p->items[k].address, p->items[k].bits))
                    v->prefixes[v->n_prefixes++] = (struct image_prefix){ .prefix = p->items[k], .principal = principal };
        }
        int r = sort_prefixes(v);
        if (r < 0)
            return r;
    }
    if (v->n_prefixes)
        buf_append(&v->block.sections[IMAGE_PREFIXES], str_make((const char *)v->prefixes, v->n_prefixes * sizeof *v->prefixes));
    return 0;
}

static int add_hosts(struct view *v, const uint32_t *segment_classes)
{
    struct compiler *c = v->c;
    for (uint32_t i = 0; i < c->model->n_hosts; i++) {
        const struct model_host *host = &c->model->hosts[i];
        if (host->addresses.n == 0)
            continue;
        uint32_t class_index;
        if (c->grants.by_host[i].n == 0) {
            class_index = host->segment == MODEL_NONE ? IMAGE_NONE : segment_classes[host->segment];
        } else {
            int r = find_class(v, grants_of_host(&c->grants, i), &class_index);
            if (r < 0)
                return r;
        }
        uint32_t principal = class_index == IMAGE_NONE ? IMAGE_NOBODY : add_principal(v, host->name.text, host->segment, class_index);
        add_host_addresses(v, host, principal);
    }
    return 0;
}

static int compare_numbers(const void *a, const void *b)
{
    const uint32_t *x = a, *y = b;
    return (*x > *y) - (*x < *y);
}

/* The grants of all services that name the container, in the order of the file. */
static uint32_t list_grants(struct view *v, const struct container *container, uint32_t mark)
{
    uint32_t n = 0;
    for (uint32_t i = 0; i < container->n_services; i++) {
        const struct model_indexes *grants = &v->c->grants.by_service[container->services[i]];
        for (uint32_t k = 0; k < grants->n; k++) {
            uint32_t grant = grants->items[k];
            if (!v->is_for_surface[grant] || v->listed[grant] == mark)
                continue;
            v->listed[grant] = mark;
            v->list[n++] = grant;
        }
    }
    qsort(v->list, n, sizeof *v->list, compare_numbers);
    return n;
}

/* Who asks from a container beside the gateway. The engine says its addresses while it runs; the declaration doesn't know them. */
static int add_containers(struct view *v)
{
    const struct containers *c = &v->c->containers;
    uint32_t gateway = v->c->input->gateway;
    for (uint32_t i = c->first_of_host[gateway]; i < c->first_of_host[gateway + 1]; i++) {
        uint32_t class_index;
        int r = find_class_of_list(v, list_grants(v, &c->items[i], i + 1), &class_index);
        if (r < 0)
            return r;
        if (class_index == IMAGE_NONE)
            continue;
        const struct image_principal p = {
            .host = block_text(&v->block, c->model->services[c->items[i].services[0]].name.text),
            .class_index = class_index,
            .container = image_container_number(c->items[i].reference),
        };
        block_add(&v->block, IMAGE_PRINCIPALS, &p);
    }
    return 0;
}

static int add_address_table(struct view *v)
{
    uint32_t n_slots = table_slots(v->n_addresses);
    struct image_address_slot *slots = block_add_zeroed(&v->block, IMAGE_ADDRESSES, n_slots);
    if (!slots)
        return -ENOMEM;
    for (uint32_t i = 0; i < n_slots; i++)
        slots[i].principal = IMAGE_NONE;
    for (uint32_t i = 0; i < v->n_addresses; i++) {
        uint32_t at = (uint32_t)address_hash(&v->addresses[i].address) & (n_slots - 1);
        while (slots[at].principal != IMAGE_NONE && !address_equal(&slots[at].address, &v->addresses[i].address))
            at = (at + 1) & (n_slots - 1);
        if (slots[at].principal != IMAGE_NONE && slots[at].principal != v->addresses[i].principal) {
            char text[ADDRESS_TEXT_SIZE];
            error_set(v->c->err, "%.*s: address %s belongs to two hosts", STR_ARG(v->c->file), address_format(&slots[at].address, text));
            return -EINVAL;
        }
        slots[at] = v->addresses[i];
    }
    return 0;
}

static int add_principals(struct view *v)
{
    const struct model *m = v->c->model;
    size_t n_addresses = 0, n_prefixes = 0;
    for (uint32_t i = 0; i < m->n_hosts; i++)
        n_addresses += m->hosts[i].addresses.n;
    for (uint32_t i = 0; i < m->n_segments; i++)
        n_prefixes += m->segments[i].addresses.n;
    v->addresses = arena_array(&v->arena, n_addresses, struct image_address_slot);
    v->prefixes = arena_array(&v->arena, n_prefixes, struct image_prefix);
    v->segment_names = arena_array(&v->arena, m->n_segments, struct image_text);
    uint32_t *segment_classes = arena_array(&v->arena, m->n_segments, uint32_t);
    if (!v->addresses || !v->prefixes || !v->segment_names || !segment_classes)
        return -ENOMEM;
    for (uint32_t i = 0; i < m->n_segments; i++) {
        int r = find_class(v, (struct grants_cursor){ .a = v->c->grants.by_segment[i] }, &segment_classes[i]);
        if (r < 0)
            return r;
    }
    int r = add_segments(v, segment_classes);
    if (r == 0)
        r = add_hosts(v, segment_classes);
    if (r == 0)
        r = add_containers(v);
    return r < 0 ? r : add_address_table(v);
}

/* ---- the whole ---- */

/* Whether the grant makes guests: on a surface also by a pattern that means nothing yet. */
static bool is_for_view(const struct view *v, uint32_t grant)
{
    const struct model_grant *g = &v->c->model->grants[grant];
    if (v->surface != IMAGE_SURFACE_DIRECT)
        return grants_is_for_surface(&v->c->grants, grant, v->surface);
    for (uint32_t t = 0; t < g->n_to; t++)
        if (g->to[t].kind == MODEL_TARGET_SERVICE && v->c->is_relayed[g->to[t].service])
            return true;
    return false;
}

static int prepare(struct view *v)
{
    const struct model *m = v->c->model;
    v->is_for_surface = arena_array(&v->arena, m->n_grants, bool);
    v->local_rule = arena_array(&v->arena, m->n_grants, uint32_t);
    v->list = arena_array(&v->arena, m->n_grants, uint32_t);
    v->listed = arena_array(&v->arena, m->n_grants, uint32_t);
    if (!v->is_for_surface || !v->local_rule || !v->list || !v->listed)
        return -ENOMEM;
    for (uint32_t i = 0; i < m->n_grants; i++)
        v->is_for_surface[i] = is_for_view(v, i);
    return 0;
}

int compiler_build_view(struct compiler *c, uint32_t surface, struct compile_block *ret)
{
    cleanup(view_deinit) struct view v = { .c = c, .surface = surface };
    block_init(&v.block, IMAGE_VIEW);
    arena_init(&v.arena, 0);
    int r = prepare(&v);
    if (r == 0)
        r = add_services(&v);
    if (r == 0)
        r = add_names(&v);
    if (r == 0)
        r = add_principals(&v);
    if (r < 0)
        return r;
    const struct model_surface *s = surface == IMAGE_SURFACE_DIRECT ? NULL : &c->model->surfaces[surface];
    struct image_surface image = {
        .name = block_text(&v.block, surface_name(&v)),
        .domain = block_text(&v.block, c->model->domain.text),
        .port = s ? s->port : 0,
        .redirect_port = s ? s->redirect_port : 0,
        .n_workers = s ? s->n_workers : 1,
        .max_connections_per_principal = s ? s->max_connections_per_principal : 0,
        .n_classes = v.n_classes,
        .index = surface,
    };
    block_add(&v.block, IMAGE_SURFACES, &image);
    return block_finish(&v.block, c->input->generation, c->input->revision, ret);
}
