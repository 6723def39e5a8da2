/* One rule or element of a rendered firewall widened, narrowed, dropped, moved or turned round: the comparison finds exactly the flows that this
 * opened or closed, as told by walking the rules packet by packet. Some of them go through the kernel and its listing. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <netinet/in.h>
#include <stdio.h>

#include "nft_space.h"
#include "observe/nftables.h"
#include "policy/matrix.h"
#include "random_world.h"
#include "render/nftables.h"
#include "render/nftables_text.h"

enum { N_WORLDS = 60, N_PER_WORLD = 14, N_WANTED = 300, N_THROUGH_KERNEL = 60 };

enum mutation { DROP_ELEMENT, WIDEN_SOURCE, WIDEN_PORT, NARROW_SOURCE, OTHER_PORT, DROP_RULE, FLIP_RULE, REORDER, DROP_CONDITION, NEGATE, N_MUTATIONS };

static const struct render_nftables_options options = { .mesh_interface = STR("tailscale0") };
static const struct packet_arrival arrivals[] = { { .interface = STR("tailscale0") }, { .interface = STR("") } };

/* ---- mutations, in place ---- */

static int field_at(const struct packet_set *set, uint8_t field)
{
    for (int i = 0; i < set->n_fields; i++)
        if (set->fields[i] == field)
            return i;
    return -1;
}

static struct packet_set *some_set(struct packet_filter *filter, uint64_t *seed, uint8_t field)
{
    for (unsigned i = 0; i < 50; i++) {
        struct packet_set *set = packet_filter_set(filter, random_below(seed, packet_filter_n_sets(filter)));
        if (set->n_elements && field_at(set, field) >= 0)
            return set;
    }
    return NULL;
}

static void widen(struct relation_range *range, uint64_t *seed)
{
    uint8_t more = (uint8_t)(1 + random_below(seed, 9));
    range->last.bytes[15] = range->last.bytes[15] > 255 - more ? 255 : (uint8_t)(range->last.bytes[15] + more);
}

static void mutate_element(struct packet_filter *filter, enum mutation mutation, uint64_t *seed)
{
    uint8_t field = mutation == WIDEN_PORT || mutation == OTHER_PORT ? PACKET_PORT : PACKET_SOURCE;
    struct packet_set *set = some_set(filter, seed, field);
    if (!set)
        return;
    uint32_t k = random_below(seed, set->n_elements);
    struct relation_range *values = packet_filter_values(filter, set, k), *value = &values[field_at(set, field)];
    switch (mutation) {
    case DROP_ELEMENT:
        for (unsigned i = 0; i < set->n_fields; i++)
            values[i] = packet_filter_values(filter, set, set->n_elements - 1)[i];
        set->n_elements--;
        break;
    case NARROW_SOURCE:
        if (address_equal(&value->first, &value->last))
            value->first.bytes[15] ^= 0x80, value->last = value->first;
        else
            value->last = value->first;
        break;
    case OTHER_PORT: *value = packet_number(7 + random_below(seed, 3), 9); break;
    default: widen(value, seed); break;
    }
    set->is_interval = true;
}

static void mutate_rule(struct packet_filter *filter, enum mutation mutation, uint64_t *seed)
{
    struct packet_chain *chain = packet_filter_chain(filter, random_below(seed, packet_filter_n_chains(filter)));
    if (!chain->n_rules)
        return;
    uint32_t k = random_below(seed, chain->n_rules), *order = (uint32_t *)(void *)filter->order.ptr + chain->first_rule;
    struct packet_rule *rule = packet_filter_rule_of(filter, chain, k);
    switch (mutation) {
    case DROP_RULE: rule->verdict = PACKET_CONTINUE; break;
    case FLIP_RULE:
        if (rule->verdict == PACKET_ACCEPT || rule->verdict == PACKET_DROP)
            rule->verdict = rule->verdict == PACKET_ACCEPT ? PACKET_DROP : PACKET_ACCEPT;
        break;
    case REORDER: {
        uint32_t other = random_below(seed, chain->n_rules), kept = order[k];
        order[k] = order[other];
        order[other] = kept;
        break;
    }
    case DROP_CONDITION: rule->n_matches -= rule->n_matches > 0; break;
    default:
        if (rule->n_matches) {
            struct packet_match *match = packet_filter_match(filter, rule->first_match);
            match->negated = !match->negated && packet_filter_set(filter, match->set)->fields[0] != PACKET_CT_STATE;
        }
    }
}

static void mutate(struct packet_filter *filter, enum mutation mutation, uint64_t *seed)
{
    if (mutation <= OTHER_PORT)
        mutate_element(filter, mutation, seed);
    else
        mutate_rule(filter, mutation, seed);
}

/* ---- every place where the answer may change, taken from the rules themselves ---- */

struct places {
    struct buf sources, ports;
};

static void add_places(struct places *places, const struct packet_filter *filter)
{
    for (uint32_t s = 0; s < packet_filter_n_sets(filter); s++) {
        const struct packet_set *set = packet_filter_set(filter, s);
        int source = field_at(set, PACKET_SOURCE), port = field_at(set, PACKET_PORT);
        for (uint32_t k = 0; k < set->n_elements; k++) {
            const struct relation_range *values = packet_filter_values(filter, set, k);
            for (unsigned i = 0; i < 2; i++) {
                const struct relation_range *value = i ? (port < 0 ? NULL : &values[port]) : source < 0 ? NULL : &values[source];
                if (!value)
                    continue;
                struct address after = value->last;
                for (unsigned b = 16; b-- > 0 && ++after.bytes[b] == 0;)
                    ;
                struct buf *to = i ? &places->ports : &places->sources;
                buf_append(to, str_make((const char *)&value->first, sizeof after));
                buf_append(to, str_make((const char *)&after, sizeof after));
            }
        }
    }
}

static int compare_places(const void *a, const void *b)
{
    return memcmp(a, b, sizeof(struct address));
}

static size_t unique(struct buf *list)
{
    size_t size = sizeof(struct address), n = list->len / size, kept = 0;
    if (n)
        qsort(list->ptr, n, size, compare_places);
    for (size_t i = 0; i < n; i++)
        if (kept == 0 || memcmp(list->ptr + (kept - 1) * size, list->ptr + i * size, size) != 0)
            memmove(list->ptr + kept++ * size, list->ptr + i * size, size);
    return kept;
}

/* ---- comparing ---- */

struct compared {
    struct relation before, after;
    struct space *space;
    struct matrix a, b, gained, lost;
};

static void compared_init(struct compared *c, const struct packet_filter *before, const struct packet_filter *after, const struct packet_arrival *arrival,
                          const struct relation_range *own, uint32_t n_own)
{
    const struct relation *both[] = { &c->before, &c->after };
    relation_init(&c->before);
    relation_init(&c->after);
    assert_int_equal(packet_filter_relation(before, PACKET_TO_HOST, arrival, own, n_own, &c->before, NULL), 0);
    assert_int_equal(packet_filter_relation(after, PACKET_TO_HOST, arrival, own, n_own, &c->after, NULL), 0);
    assert_int_equal(space_init(&c->space, both, 2), 0);
    assert_int_equal(matrix_of(c->space, &c->before, &c->a), 0);
    assert_int_equal(matrix_of(c->space, &c->after, &c->b), 0);
    assert_int_equal(matrix_subtract(&c->b, &c->a, &c->gained), 0);
    assert_int_equal(matrix_subtract(&c->a, &c->b, &c->lost), 0);
}

static void compared_deinit(struct compared *c)
{
    matrix_deinit(&c->a);
    matrix_deinit(&c->b);
    matrix_deinit(&c->gained);
    matrix_deinit(&c->lost);
    space_free(c->space);
    relation_deinit(&c->before);
    relation_deinit(&c->after);
}

struct checked {
    const struct packet_filter *before, *after; /* walked packet by packet */
    const struct packet_arrival *arrival;
    struct compared *compared;
    uint64_t seed;
    uint32_t n_changed;
};

/* Nothing missed, nothing found that isn't there, and the rule that lets a gained flow in is the one that does. */
static void check_flow(struct checked *c, const struct address *from, const struct address *to, uint8_t protocol, uint16_t port)
{
    uint32_t reason;
    bool was = packet_filter_decide(c->before, PACKET_TO_HOST, c->arrival, from, to, protocol, port, NULL) == PACKET_ADMITTED;
    bool is = packet_filter_decide(c->after, PACKET_TO_HOST, c->arrival, from, to, protocol, port, &reason) == PACKET_ADMITTED;
    bool gained = matrix_allows(&c->compared->gained, from, to, protocol, port), lost = matrix_allows(&c->compared->lost, from, to, protocol, port);
    if (gained != (is && !was) || lost != (was && !is)) {
        char a[ADDRESS_TEXT_SIZE], b[ADDRESS_TEXT_SIZE];
        fail_msg("seed %llu: %s to %s %u/%u was %d, is %d, but gained %d, lost %d", (unsigned long long)c->seed, address_format(from, a), address_format(to, b),
                 protocol, port, was, is, gained, lost);
    }
    c->n_changed += gained || lost;
    if (!gained)
        return;
    const struct relation *relation = &c->compared->after;
    uint32_t rule = relation_find_rule(relation, from, to, protocol, port);
    const struct relation_reason *found = relation_reason(relation, relation_rule(relation, rule)->reason), *expected = packet_filter_reason(c->after, reason);
    if (found->line != expected->line || !str_equal(found->text, expected->text))
        fail_msg("seed %llu: opened by '%.*s', but said to be by '%.*s'", (unsigned long long)c->seed, STR_ARG(expected->text), STR_ARG(found->text));
}

/* Sources outside of these are no addresses of anybody. */
static bool is_somebody(const struct address *address)
{
    const struct relation_range *all = address_is_v4(address) ? &relation_all_v4 : &relation_all_v6;
    return address_compare(&all->first, address) <= 0 && address_compare(address, &all->last) <= 0;
}

static void check_all(struct checked *c, const struct places *places, size_t n_sources, size_t n_ports, const struct relation_range *own, uint32_t n_own)
{
    const struct address *sources = (const void *)places->sources.ptr, *ports = (const void *)places->ports.ptr;
    for (size_t s = 0; s < n_sources; s++)
        for (uint32_t d = 0; d < n_own && is_somebody(&sources[s]); d++)
            for (size_t p = 0; p < n_ports && address_is_v4(&sources[s]) == address_is_v4(&own[d].first); p++) {
                uint32_t port = (uint32_t)ports[p].bytes[13] << 16 | (uint32_t)ports[p].bytes[14] << 8 | ports[p].bytes[15];
                if (port > UINT16_MAX)
                    continue;
                check_flow(c, &sources[s], &own[d].first, IPPROTO_TCP, (uint16_t)port);
                check_flow(c, &sources[s], &own[d].first, IPPROTO_UDP, (uint16_t)port);
            }
    /* What the walk saw nothing of isn't there. */
    if (!c->n_changed && (!matrix_is_empty(&c->compared->gained) || !matrix_is_empty(&c->compared->lost)))
        fail_msg("seed %llu: a difference where there is none", (unsigned long long)c->seed);
}

/* judged: what the comparison is made of; the walk is always of the structures. Returns how many flows at these places changed. */
static uint32_t check(const struct packet_filter *before, const struct packet_filter *after, const struct packet_filter *judged, const struct buf *own,
                      uint64_t seed)
{
    struct places places;
    uint32_t n_changed = 0, n_own = (uint32_t)(own->len / sizeof(struct relation_range));
    const struct relation_range *ranges = (const void *)own->ptr;
    const struct address edges[] = { relation_all_v4.first, relation_all_v6.first };
    buf_init(&places.sources, 1 << 24);
    buf_init(&places.ports, 1 << 24);
    buf_append(&places.sources, str_make((const char *)edges, sizeof edges));
    buf_append(&places.ports, str_make((const char *)&(struct address){ 0 }, sizeof(struct address)));
    add_places(&places, before);
    add_places(&places, after);
    size_t n_sources = unique(&places.sources), n_ports = unique(&places.ports);
    for (size_t i = 0; i < ARRAY_SIZE(arrivals); i++) {
        struct compared compared;
        compared_init(&compared, before, judged, &arrivals[i], ranges, n_own);
        struct checked c = { .before = before, .after = after, .arrival = &arrivals[i], .compared = &compared, .seed = seed };
        if (judged == after)
            check_all(&c, &places, n_sources, n_ports, ranges, n_own);
        else
            c.n_changed += !matrix_is_empty(&compared.gained) || !matrix_is_empty(&compared.lost);
        n_changed += c.n_changed;
        compared_deinit(&compared);
    }
    buf_deinit(&places.sources);
    buf_deinit(&places.ports);
    return n_changed;
}

static void build(const struct world *w, struct packet_filter *ret)
{
    struct error err = { "" };
    assert_int_equal(render_nftables_filter(&w->model, 0, &options, ret, &err), 0);
}

static void own_of(struct world *w, uint64_t seed, struct buf *own)
{
    random_world(w, seed);
    w->model.hosts[0].lan = world_prefixes(w, "192.168.1.10");
    buf_init(own, 1 << 20);
    render_nftables_own(&w->model, 0, own);
}

static void test_every_mutation_is_found_and_nothing_else(void **state)
{
    (void)state;
    unsigned n_effective = 0, n_of[N_MUTATIONS] = { 0 };
    for (uint64_t world = 1; world <= N_WORLDS; world++) {
        struct packet_filter before, after;
        struct world w;
        struct buf own;
        own_of(&w, world, &own);
        build(&w, &before);
        for (uint64_t i = 0; i < N_PER_WORLD; i++) {
            uint64_t seed = world * 1000 + i, random = seed;
            enum mutation mutation = (enum mutation)((world * N_PER_WORLD + i) % N_MUTATIONS);
            build(&w, &after);
            mutate(&after, mutation, &random);
            bool is_effective = check(&before, &after, &after, &own, seed) > 0;
            n_effective += is_effective;
            n_of[mutation] += is_effective;
            packet_filter_deinit(&after);
        }
        packet_filter_deinit(&before);
        buf_deinit(&own);
        world_deinit(&w);
    }
    for (unsigned i = 0; i < N_MUTATIONS; i++)
        if (n_of[i] < 5)
            fail_msg("mutation %u changed anything only %u times", i, n_of[i]);
    print_message("%u mutations that change something\n", n_effective);
    assert_true(n_effective >= N_WANTED);
}

static void assert_equal_relations(const struct packet_filter *after, const struct packet_filter *read, const struct buf *own)
{
    for (size_t i = 0; i < ARRAY_SIZE(arrivals); i++) {
        struct compared compared;
        compared_init(&compared, after, read, &arrivals[i], (const void *)own->ptr, (uint32_t)(own->len / sizeof(struct relation_range)));
        assert_true(matrix_is_empty(&compared.gained) && matrix_is_empty(&compared.lost));
        compared_deinit(&compared);
    }
}

/* The mutated text, as somebody could have edited it, loaded by nft and listed: the same difference. */
static void test_mutations_of_the_text_are_found_in_the_kernel(void **state)
{
    (void)state;
    unsigned n_taken = 0;
    for (uint64_t seed = 1; seed <= N_THROUGH_KERNEL; seed++) {
        struct packet_filter before, after, read;
        struct world w;
        struct buf own, text, listing;
        struct error err = { "" };
        uint64_t random = seed;
        bool failed;
        own_of(&w, seed, &own);
        build(&w, &before);
        build(&w, &after);
        mutate(&after, (enum mutation)(seed % N_MUTATIONS), &random);
        buf_init(&text, 1 << 24);
        buf_init(&listing, 1 << 24);
        nftables_text_write(&after, &text);
        bool is_there = nft_space_list(buf_str(&text), &listing, &failed);
        if (is_there) { /* overlapping elements are refused by nft itself */
            if (observe_nftables_read(buf_str(&listing), STR("nftables on h0"), &read, &err) != 0)
                fail_msg("%s", err.text);
            assert_equal_relations(&after, &read, &own);
            assert_int_equal(check(&before, &after, &read, &own, seed) > 0, check(&before, &after, &after, &own, seed) > 0);
            n_taken++;
            packet_filter_deinit(&read);
        }
        packet_filter_deinit(&before);
        packet_filter_deinit(&after);
        buf_deinit(&own);
        buf_deinit(&text);
        buf_deinit(&listing);
        world_deinit(&w);
        if (!is_there && !failed)
            skip();
    }
    assert_true(n_taken >= N_THROUGH_KERNEL * 2 / 3);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_every_mutation_is_found_and_nothing_else),
        cmocka_unit_test(test_mutations_of_the_text_are_found_in_the_kernel),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
