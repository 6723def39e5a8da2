/* The proof against asking the layers one flow at a time, on thousands of small worlds made from seeds whose layers are not as declared.
 * The asking here walks the declaration (naive.h) and each layer's rules, and shares nothing with the proof.
 *
 * POSTERN_TEST_WORLDS: how many worlds, instead of N_WORLDS. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdio.h>

#include "policy/declared.h"
#include "policy/flows.h"
#include "policy/naive.h"
#include "policy/verify.h"
#include "random_world.h"

enum { N_WORLDS = 600, N_FLOWS = 1400, GATEWAYS_MAX = 16, HOSTS_MAX = 16, KINDS = 3 };

struct scene {
    struct world world;
    uint64_t seed;
    struct grants grants;
    struct containers containers;
    struct flows flows;
    struct relation declared, mesh;
    struct relation firewall[HOSTS_MAX], lan[HOSTS_MAX], unknown[HOSTS_MAX], lan_unknown[HOSTS_MAX];
    const struct relation *firewalls[HOSTS_MAX], *firewalls_lan[HOSTS_MAX], *unknowns[HOSTS_MAX], *unknowns_lan[HOSTS_MAX];
    struct compile_output images[GATEWAYS_MAX];
    struct gateway_layer gateways[GATEWAYS_MAX];
    uint32_t n_gateways;
    struct address probes[PROBES_MAX + 2 * HOSTS_MAX];
    uint32_t n_probes;
};

static bool chance(struct scene *s, uint32_t percent)
{
    return random_below(&s->seed, 100) < percent;
}

/* ---- layers that are nearly as declared ---- */

static void add_range_rule(struct relation *relation, struct relation_range from, struct relation_range to, uint8_t protocol, uint32_t first,
                           uint32_t last)
{
    struct relation_rule rule = { .protocol_first = protocol, .protocol_last = protocol, .port_first = (uint16_t)first, .port_last = (uint16_t)last };
    assert_int_equal(relation_add_selector(relation, &from, 1, &rule.source), 0);
    assert_int_equal(relation_add_selector(relation, &to, 1, &rule.destination), 0);
    assert_int_equal(relation_add_reason(relation, (struct relation_reason){ STR("layer"), relation_n_rules(relation) + 1, STR("rule") }, &rule.reason), 0);
    assert_int_equal(relation_add_rule(relation, &rule), 0);
}

static struct relation_range whole(const struct address *address)
{
    return (struct relation_range){ *address, *address };
}

/* The flow as it is, not at all, or a little wider or narrower. */
static void add_flow(struct scene *s, struct relation *relation, const struct flow *flow, uint32_t percent)
{
    const struct source_range *source = &s->flows.sources.items[flow->source];
    struct relation_range from = { source->first, source->last };
    uint32_t first = flow->port, last = flow->port;
    if (chance(s, percent)) {
        switch (random_below(&s->seed, 4)) {
        case 0:
            return;
        case 1:
            from = address_is_v4(&from.first) ? relation_all_v4 : relation_all_v6;
            break;
        case 2:
            last++;
            break;
        default:
            from.last = from.first;
            break;
        }
    }
    add_range_rule(relation, from, whole(&flow->destination), flow->transport == MODEL_UDP ? RELATION_UDP : RELATION_TCP, first, last);
}

static const struct address *random_probe(struct scene *s)
{
    return &s->probes[random_below(&s->seed, s->n_probes)];
}

static uint16_t random_port(struct scene *s)
{
    static const uint16_t ports[] = { 443, 444, 445, 80, 81, 1000, 1001, 1002, 1003, 22, 0, 65535 };
    return ports[random_below(&s->seed, ARRAY_SIZE(ports))];
}

static void add_stray(struct scene *s, struct relation *relation, const struct address *to)
{
    const struct address *from = random_probe(s);
    uint16_t port = random_port(s);
    if (address_is_v4(from) == address_is_v4(to))
        add_range_rule(relation, whole(from), whole(to), chance(s, 70) ? RELATION_TCP : RELATION_UDP, port, chance(s, 80) ? port : 65535);
}

static bool owns(const struct scene *s, uint32_t host, const struct address *address)
{
    const struct model_host *h = &s->world.model.hosts[host];
    for (uint32_t i = 0; i < h->addresses.n; i++)
        if (address_equal(&h->addresses.items[i].address, address))
            return true;
    for (uint32_t i = 0; i < h->lan.n; i++)
        if (address_equal(&h->lan.items[i].address, address))
            return true;
    for (uint32_t g = 0; g < s->n_gateways; g++)
        for (uint32_t i = 0; s->gateways[g].host == host && i < s->gateways[g].n_listeners; i++)
            if (address_equal(&s->gateways[g].listeners[i].address, address))
                return true;
    return false;
}

static void make_firewall(struct scene *s, uint32_t host, uint32_t percent)
{
    relation_init(&s->firewall[host]);
    relation_init(&s->lan[host]);
    relation_init(&s->unknown[host]);
    relation_init(&s->lan_unknown[host]);
    if (chance(s, 25))
        return;
    s->firewalls[host] = &s->firewall[host];
    s->firewalls_lan[host] = chance(s, 90) ? &s->lan[host] : NULL;
    if (chance(s, 40))
        s->unknowns[host] = &s->unknown[host];
    for (uint32_t i = 0; i < s->flows.n; i++)
        if (owns(s, host, &s->flows.items[i].destination))
            add_flow(s, s->unknowns[host] && chance(s, percent * 2) ? &s->unknown[host] : &s->firewall[host], &s->flows.items[i], percent);
    if (chance(s, 30))
        s->unknowns_lan[host] = &s->lan_unknown[host];
    for (uint32_t i = 0; percent && i < s->n_probes; i++) {
        if (!owns(s, host, &s->probes[i]))
            continue;
        if (chance(s, 10))
            add_stray(s, &s->firewall[host], &s->probes[i]);
        if (chance(s, 10))
            add_stray(s, &s->lan[host], &s->probes[i]);
        if (chance(s, 20))
            add_stray(s, &s->unknown[host], &s->probes[i]);
        if (chance(s, 30))
            add_stray(s, &s->lan_unknown[host], &s->probes[i]);
    }
}

static void make_gateways(struct scene *s, uint32_t percent)
{
    struct model altered = s->world.model;
    struct error err = { "" };
    /* A gateway that still enforces what was declared before the last grant. */
    if (altered.n_grants && chance(s, percent))
        altered.n_grants--;
    for (uint32_t host = 0; host < altered.n_hosts; host++) {
        struct compile_input input = { .model = chance(s, 50) ? &altered : &s->world.model, .gateway = host, .generation = 1, .revision = STR("feed") };
        if (!altered.hosts[host].gateway || altered.hosts[host].addresses.n == 0)
            continue;
        if (compile_model(&input, &s->images[s->n_gateways], &err) != 0)
            fail_msg("gateway %u: %s", host, err.text);
        if (gateway_layer_init(&s->gateways[s->n_gateways], &s->world.model, host, &s->images[s->n_gateways], &err) != 0)
            fail_msg("gateway %u: %s", host, err.text);
        s->n_gateways++;
    }
}

static void add_lans(struct scene *s)
{
    for (uint32_t i = 0; i < s->world.model.n_hosts; i++) {
        char text[ADDRESS_TEXT_SIZE];
        snprintf(text, sizeof text, "192.168.1.%u", i + 1);
        if (chance(s, 50))
            s->world.model.hosts[i].lan = world_prefixes(&s->world, text);
    }
}

static void scene_init(struct scene *s, uint64_t seed)
{
    *s = (struct scene){ .seed = seed * 7 + 3 };
    random_world(&s->world, seed);
    assert_true(s->world.model.n_hosts <= HOSTS_MAX);
    add_lans(s);
    for (uint32_t i = 0, n = random_probes(&s->world, seed, s->probes); i < n; i++)
        if (address_is_v4(&s->probes[i]) || relation_selector_contains((struct relation_selector){ &relation_all_v6, 1 }, &s->probes[i]))
            s->probes[s->n_probes++] = s->probes[i];
    for (uint32_t i = 0; i < s->world.model.n_hosts; i++)
        if (s->world.model.hosts[i].lan.n)
            s->probes[s->n_probes++] = s->world.model.hosts[i].lan.items[0].address;
    assert_int_equal(grants_init(&s->grants, &s->world.model), 0);
    assert_int_equal(flows_init(&s->flows, &s->grants, MODEL_NONE), 0);
    relation_init(&s->declared);
    relation_init(&s->mesh);
    assert_int_equal(containers_init(&s->containers, &s->world.model), 0);
    assert_int_equal(declared_add(&s->grants, &s->flows.sources, &s->containers, NULL, &s->declared), 0);
    uint32_t percent = chance(s, 30) ? 0 : 10;
    for (uint32_t i = 0; i < s->flows.n; i++)
        add_flow(s, &s->mesh, &s->flows.items[i], percent);
    for (uint32_t i = 0; percent && i < 6; i++)
        add_stray(s, &s->mesh, random_probe(s));
    make_gateways(s, percent * 5);
    for (uint32_t i = 0; i < s->world.model.n_hosts; i++)
        make_firewall(s, i, percent);
}

static void scene_deinit(struct scene *s)
{
    for (uint32_t g = 0; g < s->n_gateways; g++) {
        gateway_layer_deinit(&s->gateways[g]);
        compile_output_deinit(&s->images[g]);
    }
    for (uint32_t i = 0; i < s->world.model.n_hosts; i++) {
        relation_deinit(&s->firewall[i]);
        relation_deinit(&s->lan[i]);
        relation_deinit(&s->unknown[i]);
        relation_deinit(&s->lan_unknown[i]);
    }
    relation_deinit(&s->mesh);
    relation_deinit(&s->declared);
    flows_deinit(&s->flows);
    grants_deinit(&s->grants);
    containers_deinit(&s->containers);
    world_deinit(&s->world);
}

/* ---- one question at a time ---- */

/* What counts as passing: surely and by the declared way; surely; perhaps by the declared way; perhaps. */
enum how { LOW, HIGH, MAYBE_LOW, MAYBE_HIGH };

static bool lets(const struct relation *relation, const struct address *from, const struct address *to, uint8_t protocol, uint16_t port)
{
    return relation && relation_find_rule(relation, from, to, protocol, port) != UINT32_MAX;
}

static bool is_on_mesh(const struct scene *s, const struct address *address)
{
    return naive_identify(&s->world.model, address).host != MODEL_NONE;
}

static bool is_open_lan(const struct scene *s, const struct address *address)
{
    for (uint32_t i = 0; i < s->world.model.n_hosts; i++)
        if (s->world.model.hosts[i].lan.n && !s->firewalls_lan[i] && address_equal(&s->world.model.hosts[i].lan.items[0].address, address))
            return true;
    return false;
}

/* A direct port that a gateway relays is judged there, too. */
static bool is_relayed(const struct scene *s, const struct address *from, const struct address *to, uint8_t protocol, uint16_t port)
{
    bool has_relay = false, is_allowed = false;
    for (uint32_t g = 0; g < s->n_gateways; g++)
        for (uint32_t i = 0; i < s->gateways[g].n_ports; i++) {
            const struct gateway_port *p = &s->gateways[g].ports[i];
            if (p->protocol != protocol || p->port != port || !address_equal(&p->address, to))
                continue;
            has_relay = true;
            is_allowed |= lets(&s->gateways[g].relation, from, to, protocol, port);
        }
    return !has_relay || is_allowed;
}

static bool passes(const struct scene *s, const struct address *from, const struct address *to, uint8_t protocol, uint16_t port, enum how how)
{
    bool mesh = lets(&s->mesh, from, to, protocol, port), has_firewall = false, firewall = false, lan = false;
    bool with_lan = how == HIGH || how == MAYBE_HIGH || !is_on_mesh(s, to), maybe = how == MAYBE_LOW || how == MAYBE_HIGH;
    for (uint32_t i = 0; i < s->world.model.n_hosts; i++) {
        if (!owns(s, i, to))
            continue;
        has_firewall |= s->firewalls[i] != NULL;
        firewall |= lets(s->firewalls[i], from, to, protocol, port) || (maybe && lets(s->unknowns[i], from, to, protocol, port));
        lan |= lets(s->firewalls_lan[i], from, to, protocol, port) || (maybe && lets(s->unknowns_lan[i], from, to, protocol, port));
    }
    return is_relayed(s, from, to, protocol, port) && ((mesh && (firewall || !has_firewall)) || (with_lan && lan));
}

static bool is_of(const struct scene *s, uint32_t host, const struct address *address)
{
    const struct model_host *h = &s->world.model.hosts[host];
    return naive_identify(&s->world.model, address).host == host || (h->lan.n && address_equal(&h->lan.items[0].address, address));
}

static bool is_served(const struct scene *s, const struct address *from, uint32_t service, uint32_t surface, enum how how)
{
    const struct address point = relation_service_point(surface, service);
    for (uint32_t g = 0; g < s->n_gateways; g++) {
        const struct gateway_layer *gateway = &s->gateways[g];
        const struct model_prefixes *own = &s->world.model.hosts[gateway->host].addresses;
        bool reached = false, dialled = false;
        for (uint32_t i = 0; i < gateway->n_listeners; i++) {
            const struct gateway_listener *l = &gateway->listeners[i];
            if (l->surface != surface || address_is_v4(&l->address) != address_is_v4(from))
                continue;
            reached |= is_of(s, gateway->host, from) || is_open_lan(s, &l->address) ||
                       passes(s, from, &l->address, RELATION_TCP, l->port, how);
        }
        for (uint32_t i = 0; i < gateway->n_ways; i++) {
            const struct gateway_way *way = &gateway->ways[i];
            if (way->service != service || !(way->surfaces >> surface & 1))
                continue;
            dialled |= way->kind == GATEWAY_WAY_HERE;
            for (uint32_t k = 0; way->kind == GATEWAY_WAY_NETWORK && k < way->n_to * own->n; k++) {
                const struct address *a = &own->items[k % own->n].address, *b = &way->to[k / own->n];
                if (address_is_v4(a) == address_is_v4(b))
                    dialled |= is_open_lan(s, b) || passes(s, a, b, RELATION_TCP, way->port, how);
            }
        }
        if (reached && dialled && lets(&gateway->relation, from, &point, RELATION_POINT_PROTOCOL, RELATION_POINT_PORT))
            return true;
    }
    return false;
}

/* ---- comparing ---- */

static bool holds(const struct relation_range *ranges, uint32_t n, const struct address *address)
{
    return relation_selector_contains((struct relation_selector){ ranges, n }, address);
}

static uint32_t find_finding(const struct verify_result *result, enum verify_kind kind, bool is_web, const struct address *from,
                             const struct address *to, uint8_t protocol, uint16_t port)
{
    for (uint32_t i = 0; i < result->n_findings; i++) {
        const struct verify_finding *f = &result->findings[i];
        if (f->kind == kind && f->is_web == is_web && holds(f->sources, f->n_sources, from) && holds(f->destinations, f->n_destinations, to) &&
            (is_web || (f->protocol == protocol && f->port_first <= port && port <= f->port_last)))
            return i;
    }
    return UINT32_MAX;
}

struct tally {
    uint64_t asked, found[KINDS];
    uint32_t n_held;
};

static void compare(struct scene *s, uint64_t seed, const struct verify_result *result, const bool expected[static KINDS], bool is_web,
                    const struct address *from, const struct address *to, uint8_t protocol, uint16_t port, struct tally *tally)
{
    tally->asked++;
    for (unsigned kind = 0; kind < KINDS; kind++) {
        uint32_t found = find_finding(result, kind, is_web, from, to, protocol, port);
        tally->found[kind] += found != UINT32_MAX;
        if ((found != UINT32_MAX) != expected[kind]) {
            char a[ADDRESS_TEXT_SIZE], b[ADDRESS_TEXT_SIZE];
            fail_msg("seed %llu: %s to %s %u/%u (%u hosts): kind %u is %s", (unsigned long long)seed, address_format(from, a), address_format(to, b),
                     protocol, port, s->world.model.n_hosts, kind, expected[kind] ? "not found" : "found, and should not be");
        }
    }
}

static bool is_one_host(const struct scene *s, const struct address *from, const struct address *to)
{
    for (uint32_t i = 0; i < s->world.model.n_hosts; i++)
        if (is_of(s, i, from) && is_of(s, i, to))
            return true;
    return false;
}

static void compare_flow(struct scene *s, uint64_t seed, const struct verify_result *result, const struct address *from, const struct address *to,
                         uint8_t protocol, uint16_t port, struct tally *tally)
{
    bool how[4], expected[KINDS] = { false };
    bool declared = naive_flow(&s->world.model, from, to, protocol == RELATION_UDP ? MODEL_UDP : MODEL_TCP, port) != MODEL_NONE;
    for (unsigned i = 0; i < ARRAY_SIZE(how); i++)
        how[i] = passes(s, from, to, protocol, port, i);
    if (!is_one_host(s, from, to)) {
        expected[VERIFY_EXTRA] = how[HIGH] && !declared;
        expected[VERIFY_MISSING] = declared && !how[MAYBE_LOW] && !is_open_lan(s, to);
        expected[VERIFY_UNPROVED] = (declared && how[MAYBE_LOW] && !how[LOW] && !is_open_lan(s, to)) || (!declared && how[MAYBE_HIGH] && !how[HIGH]);
    }
    compare(s, seed, result, expected, false, from, to, protocol, port, tally);
}

static void compare_web(struct scene *s, uint64_t seed, const struct verify_result *result, const struct address *from, uint32_t service,
                        uint32_t surface, struct tally *tally)
{
    bool how[4], expected[KINDS];
    bool declared = naive_verdict(&s->world.model, from, service, surface) != MODEL_NONE && world_listens(&s->world.model, surface, from);
    const struct address point = relation_service_point(surface, service);
    for (unsigned i = 0; i < ARRAY_SIZE(how); i++)
        how[i] = is_served(s, from, service, surface, i);
    expected[VERIFY_EXTRA] = how[HIGH] && !declared;
    expected[VERIFY_MISSING] = declared && !how[MAYBE_LOW];
    expected[VERIFY_UNPROVED] = (declared && how[MAYBE_LOW] && !how[LOW]) || (!declared && how[MAYBE_HIGH] && !how[HIGH]);
    compare(s, seed, result, expected, true, from, &point, RELATION_POINT_PROTOCOL, RELATION_POINT_PORT, tally);
}

/* An address may be several gateways': any of them lets it in. */
static bool any_lets(const struct scene *s, const struct relation *const *by_host, const struct address *from, const struct address *to,
                     uint8_t protocol, uint16_t port)
{
    for (uint32_t i = 0; i < s->world.model.n_hosts; i++)
        if (owns(s, i, to) && lets(by_host[i], from, to, protocol, port))
            return true;
    return false;
}

/* What findings claim of layers and rules, one of its addresses asked. */
static void check_finding(struct scene *s, const struct verify_finding *f)
{
    const struct address *from = &f->sources[0].first, *to = &f->destinations[0].first;
    assert_true(f->n_sources && f->n_destinations && f->port_first <= f->port_last);
    assert_int_equal(f->declared != NULL, f->kind == VERIFY_MISSING || (f->kind == VERIFY_UNPROVED && f->declared != NULL));
    for (uint32_t i = 0; i < f->n_steps; i++) {
        const struct verify_step *step = &f->steps[i];
        bool is_last = i + 1 == f->n_steps;
        assert_true(f->kind != VERIFY_EXTRA || step->answer == VERIFY_YES);
        assert_true(step->answer != VERIFY_NO || is_last);
        assert_true(f->kind != VERIFY_MISSING || !is_last || step->answer == VERIFY_NO);
        if (f->is_web || step->layer == VERIFY_INSTANCE)
            continue;
        assert_int_equal(step->rule != NULL, step->answer != VERIFY_NO);
        if (step->layer == VERIFY_GATEWAY)
            assert_int_equal(is_relayed(s, from, to, f->protocol, f->port_last), step->answer == VERIFY_YES);
        if (step->layer == VERIFY_MESH)
            assert_int_equal(lets(&s->mesh, from, to, f->protocol, f->port_last), step->answer == VERIFY_YES);
        if (step->layer == VERIFY_FIREWALL && step->answer != VERIFY_UNKNOWN)
            assert_int_equal(any_lets(s, s->firewalls, from, to, f->protocol, f->port_last), step->answer == VERIFY_YES);
        if (step->layer == VERIFY_FIREWALL_LAN && step->answer != VERIFY_UNKNOWN)
            assert_int_equal(any_lets(s, s->firewalls_lan, from, to, f->protocol, f->port_last), step->answer == VERIFY_YES);
    }
    assert_true(f->is_web || f->n_steps > 0);
}

static void compare_scene(uint64_t seed, struct tally *tally)
{
    static struct scene s;
    cleanup_verify_result struct verify_result result;
    scene_init(&s, seed);
    const struct verify_layers layers = {
        .model = &s.world.model, .sources = &s.flows.sources, .declared = &s.declared, .mesh = &s.mesh, .firewalls = s.firewalls,
        .firewalls_lan = s.firewalls_lan, .firewalls_unknown = s.unknowns, .firewalls_lan_unknown = s.unknowns_lan,
        .gateways = s.gateways, .n_gateways = s.n_gateways,
    };
    assert_int_equal(verify(&layers, &result), 0);
    assert_false(result.is_cut);
    tally->n_held += verify_holds(&result);
    for (uint32_t i = 0; i < result.n_findings; i++)
        check_finding(&s, &result.findings[i]);
    for (uint32_t i = 0; i < N_FLOWS; i++) {
        const struct address *from = random_probe(&s), *to = random_probe(&s);
        if (chance(&s, 40) && s.flows.n) {
            const struct flow *flow = &s.flows.items[random_below(&s.seed, s.flows.n)];
            compare_flow(&s, seed, &result, from, &flow->destination, flow->transport == MODEL_UDP ? RELATION_UDP : RELATION_TCP, flow->port, tally);
        } else {
            compare_flow(&s, seed, &result, from, to, chance(&s, 70) ? RELATION_TCP : RELATION_UDP, random_port(&s), tally);
        }
    }
    for (uint32_t i = 0; i < s.n_probes; i++)
        for (uint32_t service = 0; service < s.world.model.n_services; service++)
            for (uint32_t surface = 0; surface < s.world.model.n_surfaces; surface++)
                compare_web(&s, seed, &result, &s.probes[i], service, surface, tally);
    scene_deinit(&s);
}

static void test_findings_are_the_naive_ones(void **state)
{
    (void)state;
    struct tally tally = { 0 };
    const char *wanted = getenv("POSTERN_TEST_WORLDS");
    uint64_t n = N_WORLDS;
    assert_true(!wanted || str_to_u64(str_of(wanted), UINT32_MAX, &n));
    for (uint64_t seed = 1; seed <= n; seed++)
        compare_scene(seed, &tally);
    print_message("%llu asked; %llu missing, %llu extra, %llu unproved; %u worlds hold\n", (unsigned long long)tally.asked,
                  (unsigned long long)tally.found[VERIFY_MISSING], (unsigned long long)tally.found[VERIFY_EXTRA],
                  (unsigned long long)tally.found[VERIFY_UNPROVED], tally.n_held);
    for (unsigned kind = 0; kind < KINDS; kind++)
        assert_true(tally.found[kind] > n);
    assert_true(tally.n_held > n / 20);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_findings_are_the_naive_ones),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
