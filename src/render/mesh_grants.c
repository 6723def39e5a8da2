/* Flows to grants: equal sets of sources, then equal sets of services, then destinations are each merged. */
#include "render/mesh_grants.h"

#include <errno.h>
#include <stdlib.h>

#include "base/buf.h"
#include "base/table.h"

enum { MESH_MEMORY_MAX = 1 << 30 };

/* One flow as it is grouped. A destination is a host, where all of its addresses are meant, or one address. */
struct entry {
    uint32_t host;               /* MODEL_NONE: the address alone counts */
    struct address address;
    uint32_t principal;          /* a host, or n_hosts and a stranger's range */
    uint32_t line;
    uint16_t port;
    uint8_t transport;
    bool is_derived;
};

/* A destination and a service with all of its sources. */
struct cell {
    uint32_t host;
    struct address address;
    struct mesh_service service;
    uint32_t set;                /* of sources, by number; then the set of services */
    uint32_t first_entry, n_entries;
    uint32_t next;               /* of one group; MODEL_NONE ends */
};

struct grouper {
    const struct model *model;
    const struct flows *flows;
    struct arena *arena;         /* the result's */
    struct arena scratch;
    struct entry *entries;
    uint32_t n_entries;
    struct cell *cells;
    uint32_t n_cells;
    struct model_indexes *members; /* hosts of each segment */
    bool *is_source;             /* by principal; of the cell at hand */
    bool *is_whole;              /* by segment; of the cell at hand: its tag or user stands for its hosts */
    struct table sets;           /* a set of selectors, as bytes, to its number */
    struct buf sets_list;        /* struct selector_set */
    struct buf grants;           /* struct mesh_grant */
};

struct selector_set {
    const struct mesh_selector *items;
    uint32_t n;
};

/* ---- entries: destinations as whole hosts where that is exact ---- */

static int compare_u32(uint32_t a, uint32_t b)
{
    return a < b ? -1 : a > b;
}

static int entry_compare(const void *x, const void *y)
{
    const struct entry *a = x, *b = y;
    int order = compare_u32(a->host, b->host);
    order = order ? order : address_compare(&a->address, &b->address);
    order = order ? order : compare_u32(a->transport, b->transport);
    order = order ? order : compare_u32(a->port, b->port);
    order = order ? order : compare_u32(a->principal, b->principal);
    return order ? order : compare_u32(a->line, b->line);
}

static bool is_same_service(const struct entry *a, const struct entry *b)
{
    return a->host == b->host && a->transport == b->transport && a->port == b->port;
}

static uint32_t count_of_family(const struct model_prefixes *addresses, bool is_v4)
{
    uint32_t n = 0;
    for (uint32_t i = 0; i < addresses->n; i++)
        n += address_is_v4(&addresses->items[i].address) == is_v4;
    return n;
}

/* How many flows there are when the principal reaches all of the host's addresses that it has a family in common with. */
static uint32_t flows_when_complete(const struct grouper *g, uint32_t principal, uint32_t host)
{
    const struct model_prefixes *to = &g->model->hosts[host].addresses;
    if (principal >= g->model->n_hosts)
        return count_of_family(to, address_is_v4(&g->flows->sources.items[principal - g->model->n_hosts].first));
    const struct model_prefixes *from = &g->model->hosts[principal].addresses;
    return count_of_family(from, true) * count_of_family(to, true) + count_of_family(from, false) * count_of_family(to, false);
}

static int entry_compare_by_host(const void *x, const void *y)
{
    const struct entry *a = x, *b = y;
    int order = compare_u32(a->host, b->host);
    order = order ? order : compare_u32(a->transport, b->transport);
    order = order ? order : compare_u32(a->port, b->port);
    order = order ? order : compare_u32(a->principal, b->principal);
    return order ? order : address_compare(&a->address, &b->address);
}

static bool run_is_complete(const struct grouper *g, uint32_t first, uint32_t end)
{
    for (uint32_t i = first, k; i < end; i = k) {
        for (k = i; k < end && g->entries[k].principal == g->entries[i].principal; k++)
            ;
        if (k - i != flows_when_complete(g, g->entries[i].principal, g->entries[i].host))
            return false;
    }
    return true;
}

static int entries_make(struct grouper *g)
{
    const struct model *model = g->model;
    g->entries = arena_array(&g->scratch, (size_t)g->flows->n + 1, struct entry);
    if (!g->entries)
        return -E2BIG;
    for (uint32_t i = 0; i < g->flows->n; i++) {
        const struct flow *flow = &g->flows->items[i];
        const struct source_range *source = &g->flows->sources.items[flow->source];
        g->entries[g->n_entries++] = (struct entry){
            .host = flow->host, .address = flow->destination, .port = flow->port, .transport = flow->transport,
            .principal = source->host != MODEL_NONE ? source->host : model->n_hosts + flow->source,
            .line = model->grants[flow->grant].at.line, .is_derived = flow->reason == FLOW_INSTANCE,
        };
    }
    qsort(g->entries, g->n_entries, sizeof *g->entries, entry_compare_by_host);
    for (uint32_t i = 0, k; i < g->n_entries; i = k) {
        for (k = i; k < g->n_entries && is_same_service(&g->entries[i], &g->entries[k]); k++)
            ;
        bool is_whole = g->entries[i].host != MODEL_NONE && run_is_complete(g, i, k);
        for (uint32_t e = i; e < k; e++) {
            if (is_whole)
                memset(&g->entries[e].address, 0, sizeof g->entries[e].address);
            else
                g->entries[e].host = MODEL_NONE;
        }
    }
    qsort(g->entries, g->n_entries, sizeof *g->entries, entry_compare);
    return 0;
}

/* ---- sets of sources as selectors ---- */

int mesh_selector_compare(const struct mesh_selector *a, const struct mesh_selector *b)
{
    int order = compare_u32(a->kind, b->kind);
    order = order ? order : compare_u32(a->index, b->index);
    order = order ? order : compare_u32(a->address, b->address);
    order = order ? order : address_compare(&a->first, &b->first);
    return order ? order : address_compare(&a->last, &b->last);
}

static bool is_bound(const struct model_binding *binding)
{
    return binding->tag.text.len || binding->user.text.len;
}

static void selector_add(struct buf *out, struct mesh_selector selector)
{
    buf_append(out, str_make((const char *)&selector, sizeof selector));
}

/* Equal sets get one number. */
static int set_number(struct grouper *g, const struct buf *selectors, uint32_t *ret)
{
    if (selectors->error)
        return selectors->error;
    struct str key = arena_copy(&g->scratch, buf_str(selectors));
    if (!key.ptr)
        return -E2BIG;
    uint32_t n = (uint32_t)(g->sets_list.len / sizeof(struct selector_set)), number = n;
    int added = table_add(&g->sets, key, n, &number);
    if (added < 0)
        return added;
    if (added == 0) {
        struct mesh_selector *items = arena_alloc(g->arena, key.len + 1, 1);
        if (!items)
            return -E2BIG;
        memcpy(items, key.ptr, key.len);
        struct selector_set set = { items, (uint32_t)(key.len / sizeof *items) };
        buf_append(&g->sets_list, str_make((const char *)&set, sizeof set));
    }
    *ret = number;
    return g->sets_list.error;
}

static struct selector_set set_of(const struct grouper *g, uint32_t number)
{
    return ((const struct selector_set *)(const void *)g->sets_list.ptr)[number];
}

/* All hosts of the segment are sources; the destination itself may be missing, since what stays on one host needs no grant. */
static bool segment_is_whole(const struct grouper *g, uint32_t segment, uint32_t to)
{
    bool has_other = false;
    for (uint32_t i = 0; i < g->members[segment].n; i++) {
        uint32_t host = g->members[segment].items[i];
        if (!g->is_source[host] && host != to)
            return false;
        has_other |= host != to;
    }
    return has_other;
}

static void host_sources(const struct grouper *g, uint32_t host, struct buf *out)
{
    const struct model_host *h = &g->model->hosts[host];
    if (is_bound(&h->binding)) {
        selector_add(out, (struct mesh_selector){ .kind = MESH_HOST, .index = host });
        return;
    }
    for (uint32_t i = 0; i < h->addresses.n; i++)
        selector_add(out, (struct mesh_selector){ MESH_ADDRESS, host, i, h->addresses.items[i].address, h->addresses.items[i].address });
}

/* Whose sources these are is in is_source; entries are ascending by principal. */
static int sources_select(struct grouper *g, const struct cell *cell, uint32_t to, uint32_t *ret)
{
    struct buf out;
    buf_init(&out, MESH_MEMORY_MAX);
    uint32_t last = MODEL_NONE;
    for (uint32_t s = 0; s < g->model->n_segments; s++) {
        g->is_whole[s] = is_bound(&g->model->segments[s].binding) && segment_is_whole(g, s, to);
        if (g->is_whole[s])
            selector_add(&out, (struct mesh_selector){ .kind = MESH_SEGMENT, .index = s });
    }
    for (uint32_t i = 0; i < cell->n_entries; i++) {
        uint32_t principal = g->entries[cell->first_entry + i].principal;
        if (principal == last)
            continue;
        last = principal;
        if (principal >= g->model->n_hosts) {
            const struct source_range *range = &g->flows->sources.items[principal - g->model->n_hosts];
            selector_add(&out, (struct mesh_selector){ .kind = MESH_RANGE, .first = range->first, .last = range->last });
            continue;
        }
        uint32_t segment = g->model->hosts[principal].segment;
        if (segment == MODEL_NONE || !g->is_whole[segment])
            host_sources(g, principal, &out);
    }
    int r = set_number(g, &out, ret);
    buf_deinit(&out);
    return r;
}

static uint32_t owner_of(const struct grouper *g, const struct cell *cell)
{
    if (cell->host != MODEL_NONE)
        return cell->host;
    const struct source_range *range = sources_find(&g->flows->sources, &cell->address);
    return range ? range->host : MODEL_NONE;
}

/* ---- cells ---- */

static bool is_same_cell(const struct entry *a, const struct entry *b)
{
    return is_same_service(a, b) && address_equal(&a->address, &b->address);
}

static int cell_add(struct grouper *g, uint32_t first, uint32_t end)
{
    const struct entry *entry = &g->entries[first];
    struct cell *cell = &g->cells[g->n_cells++];
    *cell = (struct cell){ .host = entry->host, .address = entry->address, .service = { entry->port, entry->transport },
                           .first_entry = first, .n_entries = end - first, .next = MODEL_NONE };
    for (uint32_t i = first; i < end; i++)
        g->is_source[g->entries[i].principal] = true;
    int r = sources_select(g, cell, owner_of(g, cell), &cell->set);
    for (uint32_t i = first; i < end; i++)
        g->is_source[g->entries[i].principal] = false;
    return r;
}

static int cells_make(struct grouper *g)
{
    g->cells = arena_array(&g->scratch, (size_t)g->n_entries + 1, struct cell);
    int r = g->cells ? 0 : -E2BIG;
    for (uint32_t i = 0, k; i < g->n_entries && r == 0; i = k) {
        for (k = i; k < g->n_entries && is_same_cell(&g->entries[i], &g->entries[k]); k++)
            ;
        r = cell_add(g, i, k);
    }
    return r;
}

/* ---- merging ---- */

/* Cells of one destination and one set of sources: their services become one list. The cells are ascending by destination. */
struct bundle {
    uint32_t host, set, first_cell;  /* the first of a chain by next */
    struct address address;
    uint32_t next;                   /* bundles of equal sources and services */
};

static bool is_same_destination(const struct cell *a, const struct cell *b)
{
    return a->host == b->host && address_equal(&a->address, &b->address);
}

/* Chains the cells first..end of one destination by their sets, and adds each chain as a bundle. */
static int bundles_of_destination(struct grouper *g, uint32_t first, uint32_t end, struct buf *bundles)
{
    cleanup_table struct table chains = { 0 };
    uint32_t *last = arena_array(&g->scratch, (size_t)end - first, uint32_t);
    if (!last)
        return -E2BIG;
    for (uint32_t i = first; i < end; i++) {
        struct cell *cell = &g->cells[i];
        uint32_t chain = i - first;
        int added = table_add(&chains, str_make((const char *)&cell->set, sizeof cell->set), chain, &chain);
        if (added < 0)
            return added;
        if (added == TABLE_E_EXISTS) {
            g->cells[last[chain]].next = i;
        } else {
            struct bundle bundle = { cell->host, cell->set, i, cell->address, MODEL_NONE };
            buf_append(bundles, str_make((const char *)&bundle, sizeof bundle));
        }
        last[chain] = i;
    }
    return bundles->error;
}

/* What must be equal for bundles to be one grant: who, and which services. */
static struct str bundle_key(struct grouper *g, const struct bundle *bundle)
{
    struct buf key;
    buf_init(&key, MESH_MEMORY_MAX);
    buf_append(&key, str_make((const char *)&bundle->set, sizeof bundle->set));
    for (uint32_t c = bundle->first_cell; c != MODEL_NONE; c = g->cells[c].next) {
        uint32_t service = (uint32_t)g->cells[c].service.transport << 16 | g->cells[c].service.port;
        buf_append(&key, str_make((const char *)&service, sizeof service));
    }
    struct str copy = key.error ? STR_NONE : arena_copy(&g->scratch, buf_str(&key));
    buf_deinit(&key);
    return copy;
}

static bool contains_host(const struct buf *hosts, uint32_t host)
{
    const uint32_t *items = (const void *)hosts->ptr;
    size_t low = 0, high = hosts->len / sizeof *items, n = high;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (items[middle] < host)
            low = middle + 1;
        else
            high = middle;
    }
    return low < n && items[low] == host;
}

static bool segment_is_in(const struct grouper *g, uint32_t segment, const struct buf *hosts)
{
    if (segment == MODEL_NONE || !is_bound(&g->model->segments[segment].binding))
        return false;
    for (uint32_t i = 0; i < g->members[segment].n; i++)
        if (!contains_host(hosts, g->members[segment].items[i]))
            return false;
    return true;
}

static void destinations_select(const struct grouper *g, const struct bundle *bundles, uint32_t first, struct buf *out)
{
    struct buf hosts;
    buf_init(&hosts, MESH_MEMORY_MAX);
    for (uint32_t b = first; b != MODEL_NONE; b = bundles[b].next)
        if (bundles[b].host != MODEL_NONE)
            buf_append(&hosts, str_make((const char *)&bundles[b].host, sizeof bundles[b].host));
    for (uint32_t s = 0; s < g->model->n_segments; s++)
        if (g->members[s].n && segment_is_in(g, s, &hosts))
            selector_add(out, (struct mesh_selector){ .kind = MESH_SEGMENT, .index = s });
    for (uint32_t b = first; b != MODEL_NONE; b = bundles[b].next) {
        if (bundles[b].host == MODEL_NONE) {
            const struct source_range *range = sources_find(&g->flows->sources, &bundles[b].address);
            struct mesh_selector selector = { MESH_RANGE, 0, 0, bundles[b].address, bundles[b].address };
            if (range && range->host != MODEL_NONE) {
                const struct model_prefixes *own = &g->model->hosts[range->host].addresses;
                selector.kind = MESH_ADDRESS;
                selector.index = range->host;
                while (selector.address < own->n && !address_equal(&own->items[selector.address].address, &bundles[b].address))
                    selector.address++;
            }
            selector_add(out, selector);
        } else if (!segment_is_in(g, g->model->hosts[bundles[b].host].segment, &hosts)) {
            host_sources(g, bundles[b].host, out);
        }
    }
    out->error = out->error ? out->error : hosts.error;
    buf_deinit(&hosts);
}

static int lines_collect(const struct grouper *g, const struct bundle *bundles, uint32_t first, struct mesh_grant *grant)
{
    struct buf lines;
    buf_init(&lines, MESH_MEMORY_MAX);
    bool *seen = calloc((size_t)g->model->n_grants + 1, sizeof *seen);
    grant->is_derived = true;
    for (uint32_t b = first; seen && b != MODEL_NONE; b = bundles[b].next)
        for (uint32_t c = bundles[b].first_cell; c != MODEL_NONE; c = g->cells[c].next)
            for (uint32_t i = 0; i < g->cells[c].n_entries; i++) {
                const struct entry *entry = &g->entries[g->cells[c].first_entry + i];
                grant->is_derived &= entry->is_derived;
                uint32_t low = 0, high = g->model->n_grants; /* grants are ascending by line */
                while (low < high) {
                    uint32_t middle = low + (high - low) / 2;
                    if (g->model->grants[middle].at.line < entry->line)
                        low = middle + 1;
                    else
                        high = middle;
                }
                seen[low] = true;
            }
    for (uint32_t i = 0; seen && i < g->model->n_grants; i++)
        if (seen[i])
            buf_append(&lines, str_make((const char *)&g->model->grants[i].at.line, sizeof(uint32_t)));
    uint32_t *copy = arena_alloc(g->arena, lines.len + 1, 1);
    int r = !seen ? -ENOMEM : lines.error ? lines.error : copy ? 0 : -E2BIG;
    if (r == 0 && lines.len)
        memcpy(copy, lines.ptr, lines.len);
    grant->lines = copy;
    grant->n_lines = (uint32_t)(lines.len / sizeof *copy);
    free(seen);
    buf_deinit(&lines);
    return r;
}

static int grant_add(struct grouper *g, const struct bundle *bundles, uint32_t first)
{
    struct selector_set sources = set_of(g, bundles[first].set);
    struct mesh_grant grant = { .sources = sources.items, .n_sources = sources.n };
    struct buf destinations;
    buf_init(&destinations, MESH_MEMORY_MAX);
    destinations_select(g, bundles, first, &destinations);
    uint32_t number = 0;
    int r = set_number(g, &destinations, &number);
    buf_deinit(&destinations);
    if (r)
        return r;
    struct selector_set to = set_of(g, number);
    grant.destinations = to.items;
    grant.n_destinations = to.n;
    for (uint32_t c = bundles[first].first_cell; c != MODEL_NONE; c = g->cells[c].next)
        grant.n_services++;
    struct mesh_service *services = arena_array(g->arena, grant.n_services, struct mesh_service);
    if (!services)
        return -E2BIG;
    uint32_t n = 0;
    for (uint32_t c = bundles[first].first_cell; c != MODEL_NONE; c = g->cells[c].next)
        services[n++] = g->cells[c].service;
    grant.services = services;
    r = lines_collect(g, bundles, first, &grant);
    buf_append(&g->grants, str_make((const char *)&grant, sizeof grant));
    return r ? r : g->grants.error;
}

static int grants_of_bundles(struct grouper *g, struct bundle *bundles, uint32_t n)
{
    cleanup_table struct table chains = { 0 };
    uint32_t *last = arena_array(&g->scratch, (size_t)n + 1, uint32_t);
    bool *is_first = arena_array(&g->scratch, (size_t)n + 1, bool);
    int r = last && is_first ? 0 : -E2BIG;
    for (uint32_t b = 0; b < n && r == 0; b++) {
        struct str key = bundle_key(g, &bundles[b]);
        uint32_t chain = b;
        int added = key.ptr ? table_add(&chains, key, b, &chain) : -E2BIG;
        if (added == TABLE_E_EXISTS)
            bundles[last[chain]].next = b;
        else
            is_first[b] = true;
        last[chain] = b;
        r = added < 0 ? added : 0;
    }
    for (uint32_t b = 0; b < n && r == 0; b++)
        if (is_first[b])
            r = grant_add(g, bundles, b);
    return r;
}

static int grants_make(struct grouper *g)
{
    struct buf bundles;
    buf_init(&bundles, MESH_MEMORY_MAX);
    int r = 0;
    for (uint32_t i = 0, k; i < g->n_cells && r == 0; i = k) {
        for (k = i; k < g->n_cells && is_same_destination(&g->cells[i], &g->cells[k]); k++)
            ;
        r = bundles_of_destination(g, i, k, &bundles);
    }
    if (r == 0)
        r = grants_of_bundles(g, (struct bundle *)(void *)bundles.ptr, (uint32_t)(bundles.len / sizeof(struct bundle)));
    buf_deinit(&bundles);
    return r;
}

/* ---- in all ---- */

static int members_make(struct grouper *g)
{
    const struct model *model = g->model;
    g->members = arena_array(&g->scratch, (size_t)model->n_segments + 1, struct model_indexes);
    g->is_source = arena_array(&g->scratch, (size_t)model->n_hosts + g->flows->sources.n + 1, bool);
    g->is_whole = arena_array(&g->scratch, (size_t)model->n_segments + 1, bool);
    if (!g->members || !g->is_source || !g->is_whole)
        return -E2BIG;
    for (uint32_t i = 0; i < model->n_hosts; i++)
        if (model->hosts[i].segment != MODEL_NONE)
            g->members[model->hosts[i].segment].n++;
    for (uint32_t s = 0; s < model->n_segments; s++) {
        g->members[s].items = arena_array(&g->scratch, (size_t)g->members[s].n + 1, uint32_t);
        if (!g->members[s].items)
            return -E2BIG;
        g->members[s].n = 0;
    }
    for (uint32_t i = 0; i < model->n_hosts; i++) {
        struct model_indexes *members = model->hosts[i].segment != MODEL_NONE ? &g->members[model->hosts[i].segment] : NULL;
        if (members)
            members->items[members->n++] = i;
    }
    return 0;
}

static int grant_compare(const void *x, const void *y)
{
    const struct mesh_grant *a = x, *b = y;
    int order = compare_u32(a->n_lines ? a->lines[0] : 0, b->n_lines ? b->lines[0] : 0);
    order = order ? order : compare_u32(a->is_derived, b->is_derived);
    for (uint32_t i = 0; i < a->n_sources && i < b->n_sources && !order; i++)
        order = mesh_selector_compare(&a->sources[i], &b->sources[i]);
    order = order ? order : compare_u32(a->n_sources, b->n_sources);
    for (uint32_t i = 0; i < a->n_destinations && i < b->n_destinations && !order; i++)
        order = mesh_selector_compare(&a->destinations[i], &b->destinations[i]);
    order = order ? order : compare_u32(a->services[0].port, b->services[0].port);
    return order ? order : compare_u32(a->services[0].transport, b->services[0].transport);
}

static int result_make(struct grouper *g, struct mesh_grants *ret)
{
    uint32_t n = (uint32_t)(g->grants.len / sizeof(struct mesh_grant));
    ret->items = arena_array(g->arena, (size_t)n + 1, struct mesh_grant);
    if (!ret->items)
        return -E2BIG;
    if (n)
        memcpy(ret->items, g->grants.ptr, g->grants.len);
    qsort(ret->items, n, sizeof *ret->items, grant_compare);
    ret->n = n;
    return 0;
}

int mesh_grants_init(struct mesh_grants *ret, const struct model *model, const struct flows *flows)
{
    struct mesh_grants result = { 0 };
    struct grouper g = { .model = model, .flows = flows, .arena = &result.arena };
    arena_init(&result.arena, MESH_MEMORY_MAX);
    arena_init(&g.scratch, MESH_MEMORY_MAX);
    buf_init(&g.sets_list, MESH_MEMORY_MAX);
    buf_init(&g.grants, MESH_MEMORY_MAX);
    int r = members_make(&g);
    if (r == 0)
        r = entries_make(&g);
    if (r == 0)
        r = cells_make(&g);
    if (r == 0)
        r = grants_make(&g);
    if (r == 0)
        r = result_make(&g, &result);
    table_deinit(&g.sets);
    buf_deinit(&g.sets_list);
    buf_deinit(&g.grants);
    arena_deinit(&g.scratch);
    if (r == 0)
        *ret = result;
    else
        arena_deinit(&result.arena);
    return r;
}

void mesh_grants_deinit(struct mesh_grants *grants)
{
    arena_deinit(&grants->arena);
}
