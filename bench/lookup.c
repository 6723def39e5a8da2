/* What deciding on a request costs, from 10 to 100,000 services: principal by address, service by host name, verdict, instance.
 *
 * bench/lookup [--json FILE]. Every look-up starts from what the one before it found, so that the processor can't overlap them, as it can't
 * in a worker that does something else in between. Three figures, because caches, not the algorithm, are what grows with the number of services:
 *   few names   64 names in random order, whatever the number of services: what they need is in the caches, so this is the algorithm;
 *   all names   every name equally likely, in random order: each look-up touches cache lines that nobody touched lately (no real load does that);
 *   one miss    reading one random cache line of as many bytes as the look-ups' tables have: what the memory alone takes at that size. */
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "base/buf.h"
#include "model/reader.h"
#include "policy/compile.h"

enum { N_CLIENTS = 64, N_QUERIES = 1 << 17, N_FEW = 64, N_FEW_QUERIES = 1 << 12, N_ROUNDS = 9, NAME_MAX_BYTES = 64, LINE = 64 };

struct query {
    struct address from;
    uint32_t name_length;
    char name[NAME_MAX_BYTES];
};

struct result {
    uint32_t n_services;
    double compile_ms, block_mb, probes, few_ns, all_ns, miss_ns;
};

static uint64_t seed = 1;

static uint32_t next_below(uint32_t n)
{
    seed ^= seed << 13;
    seed ^= seed >> 7;
    seed ^= seed << 17;
    return (uint32_t)(seed % n);
}

static double now_ns(clockid_t clock)
{
    struct timespec t;
    clock_gettime(clock, &t);
    return (double)t.tv_sec * 1e9 + (double)t.tv_nsec;
}

static void demand(bool ok, const char *what)
{
    if (ok)
        return;
    fprintf(stderr, "lookup: %s\n", what);
    exit(1);
}

/* ---- the declaration ---- */

static void write_declaration(struct buf *out, uint32_t n_services)
{
    buf_append(out, STR("postern: 1\ndomain: home.example\nsegments: { clients: {}, prod: {} }\nhosts:\n"
                        "  roc: { segment: prod, address: 100.64.0.1, gateway: true }\n"));
    for (uint32_t i = 0; i < N_CLIENTS; i++)
        buf_printf(out, "  client%u: { segment: clients, address: 100.64.1.%u }\n", i, i + 1);
    buf_append(out, STR("surfaces: { main: { port: 443 } }\nservices:\n"));
    for (uint32_t i = 0; i < n_services; i++)
        buf_printf(out, "  service-%u: { host: roc, port: %u }\n", i, 1024 + i % 60000);
    buf_append(out, STR("grants:\n  - { from: clients, to: \"*\", over: main }\n"));
    for (uint32_t i = 0; i < 8; i++)
        buf_printf(out, "  - { from: client%u, to: service-%u, over: main }\n", i, i);
}

static struct image compile_view(uint32_t n_services, struct compile_output *output, double *ret_compile_ms)
{
    struct buf text;
    struct model *model = NULL;
    struct model_findings findings = { 0 };
    struct error err = { "" };
    struct image view = { NULL };
    buf_init(&text, MODEL_FILE_SIZE_MAX);
    write_declaration(&text, n_services);
    demand(!text.error && model_read(buf_str(&text), STR("postern.yml"), &model, &findings) == 0, "the declaration is refused");
    struct compile_input input = { .model = model, .gateway = 0, .generation = 1, .revision = STR("0") };
    double before = now_ns(CLOCK_PROCESS_CPUTIME_ID);
    demand(compile_model(&input, output, &err) == 0, err.text);
    *ret_compile_ms = (now_ns(CLOCK_PROCESS_CPUTIME_ID) - before) / 1e6;
    demand(image_attach(output->views[0].data, output->views[0].size, IMAGE_VIEW, &view, &err) == 0, err.text);
    model_findings_deinit(&findings);
    model_free(model);
    buf_deinit(&text);
    return view;
}

/* ---- measuring ---- */

/* n_names: how many services are asked for. */
static void make_queries(struct query *queries, uint32_t n_queries, uint32_t n_services, uint32_t n_names)
{
    uint32_t stride = n_services / n_names;
    for (uint32_t i = 0; i < n_queries; i++) {
        uint8_t client = (uint8_t)(1 + next_below(N_CLIENTS));
        int n = snprintf(queries[i].name, sizeof queries[i].name, "service-%u.home.example", next_below(n_names) * stride);
        queries[i].name_length = (uint32_t)n;
        queries[i].from = (struct address){ { [10] = 0xff, [11] = 0xff, [12] = 100, [13] = 64, [14] = 1, [15] = client } };
    }
}

/* All queries once. What was found shifts the next query by nothing, but only once it is known: carry is always 0. */
static double measure_queries(struct image view, const struct query *queries, uint32_t n_queries)
{
    uint32_t carry = 0;
    double before = now_ns(CLOCK_PROCESS_CPUTIME_ID);
    for (uint32_t i = 0; i < n_queries; i++) {
        const struct query *q = &queries[i + carry];
        struct address from = q->from;
        uint32_t principal = image_find_principal(view, &from);
        const struct image_name_slot *slot = image_find_name(view, str_make(q->name, q->name_length));
        uint32_t rule = image_verdict(view, principal, slot->service);
        const struct image_instance *instance = image_instance(view, image_service(view, slot->service)->first_instance);
        carry = (rule == IMAGE_NONE) | (instance->service != slot->service);
    }
    double took = now_ns(CLOCK_PROCESS_CPUTIME_ID) - before;
    demand(carry == 0, "a look-up found the wrong thing");
    return took / n_queries;
}

/* The best of the rounds: what others do on the machine only ever adds. */
static double best_of(struct image view, const struct query *queries, uint32_t n_queries)
{
    double best = 1e18;
    for (unsigned round = 0; round < N_ROUNDS; round++) {
        double ns = measure_queries(view, queries, n_queries);
        best = ns < best ? ns : best;
    }
    return best;
}

/* A chain through every cache line of so many bytes, in random order. */
static double measure_miss(size_t bytes)
{
    uint32_t n = (uint32_t)(bytes / LINE) + 2;
    uint32_t *order = malloc(n * sizeof *order);
    char *lines = aligned_alloc(LINE, (size_t)n * LINE);
    demand(order && lines, "out of memory");
    memset(lines, 0, (size_t)n * LINE);
    for (uint32_t i = 0; i < n; i++)
        order[i] = i;
    for (uint32_t i = n - 1; i > 0; i--) { /* Sattolo's shuffle: one cycle */
        uint32_t k = next_below(i), swap = order[i];
        order[i] = order[k];
        order[k] = swap;
    }
    for (uint32_t i = 0; i < n; i++)
        memcpy(lines + (size_t)i * LINE, &order[i], sizeof order[i]);
    uint32_t at = 0;
    double best = 1e18;
    for (unsigned round = 0; round < N_ROUNDS; round++) {
        double before = now_ns(CLOCK_PROCESS_CPUTIME_ID);
        for (uint32_t i = 0; i < N_QUERIES; i++)
            memcpy(&at, lines + (size_t)at * LINE, sizeof at);
        double ns = (now_ns(CLOCK_PROCESS_CPUTIME_ID) - before) / N_QUERIES;
        best = ns < best ? ns : best;
    }
    demand(at < n, "the chain is broken");
    free(order);
    free(lines);
    return best;
}

/* Slots of the names' table that a look-up of a name that is there reads, on average. */
static double count_probes(struct image view)
{
    const struct image_name_slot *slots = image_section(view, IMAGE_NAMES);
    uint32_t mask = image_count(view, IMAGE_NAMES) - 1, n = 0;
    uint64_t probes = 0;
    for (uint32_t i = 0; i <= mask; i++)
        if (slots[i].name.length) {
            probes += ((i - (uint32_t)str_hash(image_str(view, slots[i].name))) & mask) + 1;
            n++;
        }
    return (double)probes / n;
}

static struct result measure(uint32_t n_services, struct query *queries)
{
    struct result r = { .n_services = n_services };
    struct compile_output output;
    struct image view = compile_view(n_services, &output, &r.compile_ms);
    size_t read_bytes = output.views[0].size; /* all of a view is read by look-ups, but for its header and rules */
    r.block_mb = (double)read_bytes / 1e6;
    r.probes = count_probes(view);
    make_queries(queries, N_FEW_QUERIES, n_services, n_services < N_FEW ? n_services : N_FEW);
    r.few_ns = best_of(view, queries, N_FEW_QUERIES);
    make_queries(queries, N_QUERIES, n_services, n_services);
    r.all_ns = best_of(view, queries, N_QUERIES);
    r.miss_ns = measure_miss(read_bytes);
    compile_output_deinit(&output);
    return r;
}

/* ---- saying it ---- */

static void print_table(const struct result *results, uint32_t n)
{
    const struct result *first = &results[0], *last = &results[n - 1];
    puts("services  compile    view   slots read  few names  all names  one miss");
    for (uint32_t i = 0; i < n; i++)
        printf("%8u %6.1f ms %6.2f MB %8.2f %9.1f ns %7.1f ns %6.1f ns\n", results[i].n_services, results[i].compile_ms, results[i].block_mb,
               results[i].probes, results[i].few_ns, results[i].all_ns, results[i].miss_ns);
    printf("\n%u services against %u: %.2f times the slots, %.2f times the time for few names, %.2f times for all names.\n"
           "The last is memory's doing: the five cache lines that any look-up reads (slot, name, verdict, service, instance) are far away\n"
           "then, and one costs %.1f ns instead of %.1f.\n",
           last->n_services, first->n_services, last->probes / first->probes, last->few_ns / first->few_ns, last->all_ns / first->all_ns,
           last->miss_ns, first->miss_ns);
}

static void write_json(const char *path, const struct result *results, uint32_t n)
{
    FILE *f = fopen(path, "we");
    demand(f != NULL, "the JSON file can't be written");
    fputs("{\"lookup\": [", f);
    for (uint32_t i = 0; i < n; i++)
        fprintf(f, "%s\n  {\"services\": %u, \"compile_ms\": %.3f, \"view_mb\": %.3f, \"slots_read\": %.3f, \"few_names_ns\": %.2f, "
                   "\"all_names_ns\": %.2f, \"one_miss_ns\": %.2f}",
                i ? "," : "", results[i].n_services, results[i].compile_ms, results[i].block_mb, results[i].probes, results[i].few_ns,
                results[i].all_ns, results[i].miss_ns);
    fprintf(f, "\n ], \"ratio\": {\"slots_read\": %.3f, \"few_names\": %.3f, \"all_names\": %.3f}}\n", results[n - 1].probes / results[0].probes,
            results[n - 1].few_ns / results[0].few_ns, results[n - 1].all_ns / results[0].all_ns);
    demand(fclose(f) == 0, "the JSON file can't be written");
}

int main(int argc, char **argv)
{
    static const uint32_t sizes[] = { 10, 100, 1000, 10000, 100000 };
    struct result results[ARRAY_SIZE(sizes)];
    if (argc != 1 && (argc != 3 || strcmp(argv[1], "--json") != 0)) {
        fputs("usage: bench/lookup [--json FILE]\n", stderr);
        return 2;
    }
    struct query *queries = calloc(N_QUERIES + 1, sizeof *queries);
    demand(queries != NULL, "out of memory");
    for (size_t i = 0; i < ARRAY_SIZE(sizes); i++)
        results[i] = measure(sizes[i], queries);
    free(queries);
    print_table(results, ARRAY_SIZE(sizes));
    if (argc == 3)
        write_json(argv[2], results, ARRAY_SIZE(sizes));
    return 0;
}
