/* What the proof costs as a home lab grows far past one: 10^3 to 10^6 endpoints, up to 20,000 rules, three layers composed and compared.
 *
 * bench/proof [--json FILE | ENDPOINTS RULES]. The world: endpoints with scattered addresses, each in one of four segments and in a group, one
 * in eight in a second one, of Zipf-like size; one in a hundred is a server with a firewall; grants from groups, hosts and, seldom,
 * segments to services, most of them to a few; one in twenty is a web service behind two gateways. Each layer says it in its own words, as
 * it would be rendered: the declaration and the mesh grant by grant, the firewalls port by port with united sets of sources. One rule of the
 * mesh is lost: the proof must find that.
 *
 * Beside it, the obvious way: every endpoint with every server and port in use, each layer's rules walked. It is run for as many pairs as
 * a second allows and said in whole for all of them. */
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>

#include "base/buf.h"
#include "policy/verify.h"

enum { SEGMENTS = 4, GATEWAYS = 2, GROUPS_OF_HOST = 2, WEB_ONE_IN = 20, ROUNDS = 3 };

static uint64_t seed;

static uint32_t below(uint32_t n)
{
    seed ^= seed << 13;
    seed ^= seed >> 7;
    seed ^= seed << 17;
    return (uint32_t)((seed >> 11) % n);
}

/* Small numbers often: density falls with the value. */
static uint32_t zipf_below(uint32_t n)
{
    double u = (double)(below(1 << 30) + 1) / (1 << 30), value = 1;
    for (double limit = n; value < limit && u < 1.0; value *= 2)
        if (below(100) < 28)
            break;
    uint32_t top = value < n ? (uint32_t)value : n;
    return below(top * 2 < n ? top * 2 : n);
}

static double now_ms(clockid_t clock)
{
    struct timespec t;
    clock_gettime(clock, &t);
    return (double)t.tv_sec * 1e3 + (double)t.tv_nsec / 1e6;
}

static void demand(bool ok, const char *what)
{
    if (ok)
        return;
    fprintf(stderr, "proof: %s\n", what);
    exit(1);
}

/* ---- the world ---- */

/* From whom, to which server and port. */
struct grant {
    uint32_t kind, from; /* 0: group, 1: host, 2: segment */
    uint32_t server, port_first, port_last;
    uint8_t protocol;
    uint32_t web;        /* service + 1 */
};

struct members {
    struct relation_range *items;
    uint32_t n;
};

struct scene {
    uint32_t n_endpoints, n_rules, n_servers, n_groups, n_web;
    struct model model;
    struct sources sources;
    struct arena arena;
    struct members *groups, segments[SEGMENTS];
    struct grant *grants;
    struct relation declared, mesh, firewall, nothing;
    const struct relation **firewalls, **firewalls_lan;
    struct gateway_layer gateways[GATEWAYS];
    struct gateway_listener listeners[GATEWAYS];
    struct buf scratch;
};

static struct address endpoint_address(uint32_t i)
{
    uint32_t scattered = (i * UINT32_C(2654435)) & 0x3fffff; /* odd: each once */
    return (struct address){ { [10] = 0xff, [11] = 0xff, [12] = 100, [13] = (uint8_t)(64 | scattered >> 16), [14] = (uint8_t)(scattered >> 8),
                               [15] = (uint8_t)scattered } };
}

static int compare_ranges(const void *a, const void *b)
{
    return address_compare(&((const struct relation_range *)a)->first, &((const struct relation_range *)b)->first);
}

static int compare_sources(const void *a, const void *b)
{
    return address_compare(&((const struct source_range *)a)->first, &((const struct source_range *)b)->first);
}

static void make_members(struct scene *s)
{
    uint32_t *group_of = malloc((size_t)s->n_endpoints * GROUPS_OF_HOST * sizeof *group_of);
    uint32_t *segment_of = malloc(s->n_endpoints * sizeof *segment_of);
    uint32_t *count = calloc(s->n_groups + SEGMENTS, sizeof *count);
    s->groups = arena_array(&s->arena, s->n_groups, struct members);
    for (uint32_t i = 0; i < s->n_endpoints; i++) {
        segment_of[i] = below(10) < 7 ? 0 : 1 + below(SEGMENTS - 1);
        count[s->n_groups + segment_of[i]]++;
        for (uint32_t k = 0; k < GROUPS_OF_HOST; k++) {
            group_of[i * GROUPS_OF_HOST + k] = k == 0 ? below(s->n_groups) : below(8) ? UINT32_MAX : zipf_below(s->n_groups);
            if (group_of[i * GROUPS_OF_HOST + k] != UINT32_MAX)
                count[group_of[i * GROUPS_OF_HOST + k]]++;
        }
        s->model.hosts[i].segment = segment_of[i];
    }
    for (uint32_t g = 0; g < s->n_groups + SEGMENTS; g++) {
        struct members *m = g < s->n_groups ? &s->groups[g] : &s->segments[g - s->n_groups];
        m->items = arena_array(&s->arena, count[g] + 1, struct relation_range);
    }
    for (uint32_t i = 0; i < s->n_endpoints; i++) {
        struct address a = endpoint_address(i);
        struct members *m = &s->segments[segment_of[i]];
        m->items[m->n++] = (struct relation_range){ a, a };
        for (uint32_t k = 0; k < GROUPS_OF_HOST; k++)
            if (group_of[i * GROUPS_OF_HOST + k] != UINT32_MAX) {
                m = &s->groups[group_of[i * GROUPS_OF_HOST + k]];
                m->items[m->n++] = (struct relation_range){ a, a };
            }
    }
    for (uint32_t g = 0; g < s->n_groups + SEGMENTS; g++) {
        struct members *m = g < s->n_groups ? &s->groups[g] : &s->segments[g - s->n_groups];
        qsort(m->items, m->n, sizeof *m->items, compare_ranges);
    }
    free(group_of);
    free(segment_of);
    free(count);
}

static void make_model(struct scene *s)
{
    s->model = (struct model){ .n_hosts = s->n_endpoints, .n_services = s->n_web, .n_surfaces = 1 };
    s->model.hosts = arena_array(&s->arena, s->n_endpoints, struct model_host);
    s->sources = (struct sources){ arena_array(&s->arena, s->n_endpoints, struct source_range), s->n_endpoints };
    struct address_prefix *prefixes = arena_array(&s->arena, s->n_endpoints, struct address_prefix);
    demand(s->model.hosts && s->sources.items && prefixes, "out of memory");
    make_members(s);
    for (uint32_t i = 0; i < s->n_endpoints; i++) {
        prefixes[i] = (struct address_prefix){ endpoint_address(i), 128 };
        s->model.hosts[i].addresses = (struct model_prefixes){ &prefixes[i], 1 };
        s->sources.items[i] = (struct source_range){ prefixes[i].address, prefixes[i].address, i, s->model.hosts[i].segment };
    }
    qsort(s->sources.items, s->n_endpoints, sizeof *s->sources.items, compare_sources);
}

/* Servers are the first endpoints; the first two of them the gateways. */
static void make_grants(struct scene *s)
{
    s->grants = arena_array(&s->arena, s->n_rules, struct grant);
    for (uint32_t i = 0; i < s->n_rules; i++) {
        struct grant *g = &s->grants[i];
        uint32_t dice = below(1000), port = 1024 + zipf_below(30000);
        g->kind = dice < 780 ? 0 : dice < 998 ? 1 : 2;
        g->from = g->kind == 0 ? below(s->n_groups) : g->kind == 1 ? below(s->n_endpoints) : below(SEGMENTS);
        g->server = zipf_below(s->n_servers);
        g->protocol = below(10) ? RELATION_TCP : RELATION_UDP;
        g->port_first = port;
        g->port_last = below(16) ? port : port + below(100);
        g->web = i % WEB_ONE_IN == 0 ? 1 + zipf_below(s->n_web) : 0;
    }
}

/* ---- the layers ---- */

static void append_sources(struct scene *s, const struct grant *g, uint32_t but)
{
    struct address one = endpoint_address(g->from), not = endpoint_address(but);
    const struct relation_range single = { one, one };
    const struct members *m = g->kind == 0 ? &s->groups[g->from] : &s->segments[g->kind == 2 ? g->from : 0];
    uint32_t n = g->kind == 1 ? 1 : m->n;
    const struct relation_range *items = g->kind == 1 ? &single : m->items;
    for (uint32_t i = 0; i < n; i++)
        if (but == UINT32_MAX || !address_equal(&items[i].first, &not))
            buf_append(&s->scratch, str_make((const char *)&items[i], sizeof items[i]));
}

static void add_rule(struct scene *s, struct relation *relation, struct address to, uint8_t protocol, uint32_t first, uint32_t last)
{
    struct relation_range range = { to, to };
    struct relation_rule rule = { .protocol_first = protocol, .protocol_last = protocol, .port_first = (uint16_t)first, .port_last = (uint16_t)last };
    const struct relation_range *sources = (const struct relation_range *)(const void *)s->scratch.ptr;
    int r = relation_add_selector(relation, sources, (uint32_t)(s->scratch.len / sizeof *sources), &rule.source);
    if (r == 0)
        r = relation_add_selector(relation, &range, 1, &rule.destination);
    if (r == 0)
        r = relation_add_reason(relation, (struct relation_reason){ STR("postern.yml"), relation_n_rules(relation) + 1, STR("grant") }, &rule.reason);
    if (r == 0)
        r = relation_add_rule(relation, &rule);
    demand(r == 0, "a layer can't be made");
}

static void declare(struct scene *s)
{
    for (uint32_t i = 0; i < s->n_rules; i++) {
        const struct grant *g = &s->grants[i];
        buf_clear(&s->scratch);
        if (!g->web) {
            append_sources(s, g, g->server);
            add_rule(s, &s->declared, endpoint_address(g->server), g->protocol, g->port_first, g->port_last);
            continue;
        }
        append_sources(s, g, UINT32_MAX);
        struct address point = relation_service_point(0, g->web - 1);
        add_rule(s, &s->declared, point, RELATION_POINT_PROTOCOL, RELATION_POINT_PORT, RELATION_POINT_PORT);
        for (uint32_t k = 0; k < GATEWAYS; k++) {
            add_rule(s, &s->gateways[k].relation, point, RELATION_POINT_PROTOCOL, RELATION_POINT_PORT, RELATION_POINT_PORT);
            buf_clear(&s->scratch);
            append_sources(s, g, k);
            add_rule(s, &s->declared, endpoint_address(k), RELATION_TCP, 443, 443);
            buf_clear(&s->scratch);
            append_sources(s, g, UINT32_MAX);
        }
    }
}

static int compare_grants(const void *a, const void *b)
{
    const struct grant *x = a, *y = b;
    const uint64_t p = (uint64_t)x->server << 40 | (uint64_t)x->protocol << 32 | x->port_first << 16 | x->port_last;
    const uint64_t q = (uint64_t)y->server << 40 | (uint64_t)y->protocol << 32 | y->port_first << 16 | y->port_last;
    return (p > q) - (p < q);
}

static bool is_alone(const struct scene *s, const struct grant *g)
{
    for (uint32_t i = 0; i < s->n_rules; i++) {
        const struct grant *other = &s->grants[i];
        if (other != g && (other->web ? g->server < GATEWAYS : other->server == g->server) && other->port_last >= g->port_first &&
            other->port_first <= g->port_last)
            return false;
    }
    return !g->web && g->kind == 0 && g->server >= GATEWAYS;
}

/* The first grant that no other one stands in for. */
static uint32_t find_lost(const struct scene *s)
{
    for (uint32_t i = 0; i < s->n_rules; i++)
        if (is_alone(s, &s->grants[i]))
            return i;
    demand(false, "no grant stands alone");
    return 0;
}

/* As a mesh's policy says it: grant by grant, whole groups; but for one that is lost. */
static void render_mesh(struct scene *s)
{
    uint32_t lost = find_lost(s);
    for (uint32_t i = 0; i < s->n_rules; i++) {
        const struct grant *g = &s->grants[i];
        buf_clear(&s->scratch);
        append_sources(s, g, UINT32_MAX);
        if (!g->web && i != lost)
            add_rule(s, &s->mesh, endpoint_address(g->server), g->protocol, g->port_first, g->port_last);
        for (uint32_t k = 0; g->web && k < GATEWAYS; k++)
            add_rule(s, &s->mesh, endpoint_address(k), RELATION_TCP, 443, 443);
    }
}

/* As a host's firewall has it: one set per port of a server, with all that may send there. */
static void render_firewalls(struct scene *s)
{
    struct grant *sorted = malloc((size_t)s->n_rules * (1 + GATEWAYS) * sizeof *sorted);
    uint32_t n = 0;
    for (uint32_t i = 0; i < s->n_rules; i++)
        for (uint32_t k = 0; k < (s->grants[i].web ? GATEWAYS : 1); k++) {
            sorted[n] = s->grants[i];
            if (sorted[n].web) {
                sorted[n].server = k;
                sorted[n].protocol = RELATION_TCP;
                sorted[n].port_first = sorted[n].port_last = 443;
            }
            n++;
        }
    qsort(sorted, n, sizeof *sorted, compare_grants);
    for (uint32_t first = 0, end; first < n; first = end) {
        buf_clear(&s->scratch);
        for (end = first; end < n && compare_grants(&sorted[first], &sorted[end]) == 0; end++)
            append_sources(s, &sorted[end], sorted[end].server);
        add_rule(s, &s->firewall, endpoint_address(sorted[first].server), sorted[first].protocol, sorted[first].port_first, sorted[first].port_last);
    }
    free(sorted);
}

static void make_gateways(struct scene *s)
{
    for (uint32_t k = 0; k < GATEWAYS; k++) {
        struct gateway_layer *g = &s->gateways[k];
        s->listeners[k] = (struct gateway_listener){ 0, endpoint_address(k), 443 };
        *g = (struct gateway_layer){ .host = k, .listeners = &s->listeners[k], .n_listeners = 1, .n_ways = s->n_web };
        g->ways = arena_array(&s->arena, s->n_web, struct gateway_way);
        for (uint32_t i = 0; i < s->n_web; i++)
            g->ways[i] = (struct gateway_way){ .surfaces = 1, .service = i, .kind = GATEWAY_WAY_HERE };
        relation_init(&g->relation);
    }
}

static void scene_init(struct scene *s, uint32_t n_endpoints, uint32_t n_rules)
{
    *s = (struct scene){ .n_endpoints = n_endpoints, .n_rules = n_rules };
    seed = 88172645463325252u;
    s->n_servers = n_endpoints / 100 > 10 ? n_endpoints / 100 : 10;
    s->n_groups = n_rules / 10 > 10 ? n_rules / 10 : 10;
    s->n_web = n_rules / WEB_ONE_IN + 1;
    arena_init(&s->arena, 0);
    buf_init(&s->scratch, RELATION_MEMORY_MAX);
    relation_init(&s->declared);
    relation_init(&s->mesh);
    relation_init(&s->firewall);
    relation_init(&s->nothing);
    make_model(s);
    make_grants(s);
    make_gateways(s);
    declare(s);
    render_mesh(s);
    render_firewalls(s);
    s->firewalls = arena_array(&s->arena, n_endpoints, const struct relation *);
    s->firewalls_lan = arena_array(&s->arena, n_endpoints, const struct relation *);
    demand(s->firewalls && s->firewalls_lan, "out of memory");
    for (uint32_t i = 0; i < s->n_servers; i++) {
        s->firewalls[i] = &s->firewall;
        s->firewalls_lan[i] = &s->nothing;
    }
}

static void scene_deinit(struct scene *s)
{
    for (uint32_t k = 0; k < GATEWAYS; k++)
        relation_deinit(&s->gateways[k].relation);
    relation_deinit(&s->declared);
    relation_deinit(&s->mesh);
    relation_deinit(&s->firewall);
    relation_deinit(&s->nothing);
    buf_deinit(&s->scratch);
    arena_deinit(&s->arena);
}

/* ---- measuring ---- */

struct result {
    uint32_t n_endpoints, n_rules, n_sources, n_destinations, n_findings;
    double layers_ms, proof_ms, pairwise_s, question_us;
    long peak_kb;
};

static double measure_proof(const struct scene *s, struct result *result)
{
    const struct verify_layers layers = {
        .model = &s->model, .sources = &s->sources, .declared = &s->declared, .mesh = &s->mesh, .firewalls = s->firewalls,
        .firewalls_lan = s->firewalls_lan, .gateways = s->gateways, .n_gateways = GATEWAYS,
    };
    double best = 1e18;
    for (unsigned round = 0; round < ROUNDS; round++) {
        struct verify_result found;
        double before = now_ms(CLOCK_PROCESS_CPUTIME_ID);
        int r = verify(&layers, &found);
        double took = now_ms(CLOCK_PROCESS_CPUTIME_ID) - before;
        demand(r == 0, r == -7 ? "the proof is too big" : "the proof fails");
        demand(!verify_holds(&found) && !found.is_cut, "the lost rule is not found");
        for (uint32_t i = 0; i < found.n_findings; i++)
            demand(found.findings[i].kind == VERIFY_MISSING && found.findings[i].steps[0].layer == VERIFY_MESH, "something else than the lost rule is found");
        result->n_sources = found.n_source_classes;
        result->n_destinations = found.n_destination_classes;
        result->n_findings = found.n_findings;
        verify_result_deinit(&found);
        best = took < best ? took : best;
    }
    return best;
}

/* Every endpoint to every server on every port that some rule of the declaration names for it: what it takes in all, from a second of it. */
static double measure_pairwise(const struct scene *s, double *ret_question_us)
{
    double before = now_ms(CLOCK_PROCESS_CPUTIME_ID), took = 0;
    uint64_t n = 0, agreed = 0;
    while (took < 1000) {
        const struct grant *g = &s->grants[below(s->n_rules)];
        struct address from = endpoint_address(below(s->n_endpoints)), to = endpoint_address(g->server);
        bool declared = relation_find_rule(&s->declared, &from, &to, g->protocol, (uint16_t)g->port_first) != UINT32_MAX;
        bool passes = relation_find_rule(&s->mesh, &from, &to, g->protocol, (uint16_t)g->port_first) != UINT32_MAX &&
                      relation_find_rule(&s->firewall, &from, &to, g->protocol, (uint16_t)g->port_first) != UINT32_MAX;
        agreed += declared == passes;
        if (++n % 64 == 0)
            took = now_ms(CLOCK_PROCESS_CPUTIME_ID) - before;
    }
    demand(agreed > 0, "nothing is as declared");
    *ret_question_us = took * 1e3 / (double)n;
    return took / 1e3 / (double)n * s->n_endpoints * s->n_rules;
}

static struct result measure(uint32_t n_endpoints, uint32_t n_rules)
{
    static struct scene s;
    struct result result = { .n_endpoints = n_endpoints, .n_rules = n_rules };
    struct rusage usage;
    double before = now_ms(CLOCK_PROCESS_CPUTIME_ID);
    scene_init(&s, n_endpoints, n_rules);
    result.layers_ms = now_ms(CLOCK_PROCESS_CPUTIME_ID) - before;
    result.proof_ms = measure_proof(&s, &result);
    result.pairwise_s = measure_pairwise(&s, &result.question_us);
    getrusage(RUSAGE_SELF, &usage);
    result.peak_kb = usage.ru_maxrss;
    scene_deinit(&s);
    return result;
}

static void write_json(const char *path, const struct result *results, size_t n)
{
    FILE *out = fopen(path, "we");
    demand(out != NULL, "the JSON file can't be written");
    fputs("[\n", out);
    for (size_t i = 0; i < n; i++) {
        const struct result *r = &results[i];
        fprintf(out, "  { \"endpoints\": %u, \"rules\": %u, \"source_classes\": %u, \"destination_classes\": %u, "
                     "\"proof_ms\": %.2f, \"question_us\": %.2f, \"pairwise_s\": %.1f, "
                     "\"peak_mb\": %.0f }%s\n",
                r->n_endpoints, r->n_rules, r->n_sources, r->n_destinations, r->proof_ms, r->question_us, r->pairwise_s, (double)r->peak_kb / 1024,
                i + 1 < n ? "," : "");
    }
    fputs("]\n", out);
    demand(fclose(out) == 0, "the JSON file can't be written");
}

int main(int argc, char **argv)
{
    static const uint32_t sizes[][2] = { { 1000, 200 }, { 10000, 2000 }, { 100000, 10000 }, { 1000000, 20000 } };
    struct result results[ARRAY_SIZE(sizes)];
    const char *json = argc == 3 && strcmp(argv[1], "--json") == 0 ? argv[2] : NULL;
    uint64_t endpoints = 0, rules = 0;
    bool one = argc == 3 && !json && str_to_u64(str_of(argv[1]), 1 << 21, &endpoints) && str_to_u64(str_of(argv[2]), 1 << 20, &rules);
    demand(argc == 1 || json || one, "usage: proof [--json FILE] | proof ENDPOINTS RULES");
    printf("%10s %7s %8s %8s %9s %9s %8s %11s %12s\n", "endpoints", "rules", "sources", "dests", "layers", "proof", "peak", "one tuple", "pairwise");
    for (size_t i = 0; i < (one ? 1 : ARRAY_SIZE(sizes)); i++) {
        results[i] = one ? measure((uint32_t)endpoints, (uint32_t)rules) : measure(sizes[i][0], sizes[i][1]);
        const struct result *r = &results[i];
        printf("%10u %7u %8u %8u %6.0f ms %6.1f ms %5.0f MB %8.1f us %10.0f s\n", r->n_endpoints, r->n_rules, r->n_sources, r->n_destinations,
               r->layers_ms, r->proof_ms, (double)r->peak_kb / 1024, r->question_us, r->pairwise_s);
        fflush(stdout);
    }
    if (json)
        write_json(json, results, ARRAY_SIZE(sizes));
    return 0;
}
