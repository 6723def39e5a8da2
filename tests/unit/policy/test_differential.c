/* The compiled answer against the naive one, on thousands of declarations made from seeds. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdio.h>

#include "policy/flows.h"
#include "policy/naive.h"
#include "random_world.h"

enum { N_WORLDS = 3000 };

struct tally {
    uint64_t asked, allowed;
};

static void fail_at(uint64_t seed, const char *what, const struct address *a, uint32_t x, uint32_t y, uint32_t got, uint32_t expected)
{
    char text[ADDRESS_TEXT_SIZE];
    fail_msg("seed %llu: %s: from %s (%u, %u): got %d, expected %d", (unsigned long long)seed, what, address_format(a, text), x, y, (int)got,
             (int)expected);
}

/* The line of the grant that decides, or MODEL_NONE. */
static uint32_t principal_line(struct image view, uint32_t principal, const char *name)
{
    const struct image_name_slot *slot = image_find_name(view, str_of(name));
    uint32_t rule = slot && principal != IMAGE_NONE ? image_verdict(view, principal, slot->service) : IMAGE_NONE;
    if (rule == IMAGE_NONE)
        return MODEL_NONE;
    struct str place = image_str(view, image_rule(view, rule)->place);
    uint64_t line = 0;
    str_split(&place, ':');
    assert_true(str_to_u64(place, UINT32_MAX, &line));
    return (uint32_t)line;
}

static uint32_t compiled_line(struct image view, const struct address *from, const char *name)
{
    return principal_line(view, image_find_principal(view, from), name);
}

/* Of services in containers beside the gateway: who is a guest by its container's number, and of what. */
static void compare_containers(const struct world *w, uint64_t seed, uint32_t surface, struct image view, struct tally *tally)
{
    for (uint32_t i = 0; i < w->model.n_services; i++) {
        const struct model_service *asks = &w->model.services[i];
        if (asks->where != MODEL_WHERE_CONTAINER || !model_runs_on(&asks->hosts, 0))
            continue;
        struct str reference = asks->place.text;
        uint32_t guest = image_find_guest(view, image_container_number(reference));
        bool is_guest = naive_container_is_guest(&w->model, 0, reference, surface);
        if ((guest != IMAGE_NONE) != is_guest)
            fail_msg("seed %llu: container %.*s is %sa guest of surface %u", (unsigned long long)seed, STR_ARG(reference), is_guest ? "" : "not ", surface);
        for (uint32_t k = 0; k < w->model.n_services; k++) {
            char name[96];
            uint32_t grant = naive_container_verdict(&w->model, 0, reference, k, surface);
            snprintf(name, sizeof name, "%.*s.home.example", STR_ARG(w->model.services[k].name.text));
            if (principal_line(view, guest, name) != (grant == MODEL_NONE ? MODEL_NONE : w->model.grants[grant].at.line))
                fail_msg("seed %llu: container %.*s and service %u over %u", (unsigned long long)seed, STR_ARG(reference), k, surface);
            tally->asked++;
            tally->allowed += grant != MODEL_NONE;
        }
    }
}

static void compare_view(const struct world *w, uint64_t seed, uint32_t surface, struct image view, const struct address *from, struct tally *tally)
{
    bool is_guest = naive_is_guest(&w->model, from, surface);
    if ((image_find_principal(view, from) != IMAGE_NONE) != is_guest)
        fail_at(seed, "guest", from, surface, 0, !is_guest, is_guest);
    for (uint32_t i = 0; i < w->model.n_services; i++) {
        const struct model_service *s = &w->model.services[i];
        uint32_t grant = naive_verdict(&w->model, from, i, surface);
        uint32_t expected = grant == MODEL_NONE ? MODEL_NONE : w->model.grants[grant].at.line;
        char name[96];
        snprintf(name, sizeof name, "%.*s.home.example", STR_ARG(s->name.text));
        uint32_t got = compiled_line(view, from, name);
        if (got != expected)
            fail_at(seed, "verdict", from, surface, i, got, expected);
        snprintf(name, sizeof name, "%.*s-%.*s.home.example", STR_ARG(s->name.text), STR_ARG(w->model.hosts[s->hosts.items[0]].name.text));
        got = compiled_line(view, from, name);
        if (got != expected)
            fail_at(seed, "verdict for the instance's name", from, surface, i, got, expected);
        tally->asked++;
        tally->allowed += expected != MODEL_NONE;
    }
}

/* What somebody can reach, the broker dials for that surface; what nobody was granted, it doesn't. */
static void compare_dial(const struct world *w, uint64_t seed, const struct compile_output *out, const struct address *probes, uint32_t n_probes)
{
    struct image dial = world_attach(out->dial, IMAGE_DIAL);
    for (uint32_t surface = 0; surface < out->n_views; surface++) {
        struct image view = world_attach(out->views[surface], IMAGE_VIEW);
        for (uint32_t i = 0; i < image_count(view, IMAGE_INSTANCES); i++) {
            const struct image_instance *instance = image_instance(view, i);
            assert_true(instance->target < image_count(dial, IMAGE_TARGETS));
            const struct image_target *target = image_target(dial, instance->target);
            assert_true(target->surfaces >> surface & 1);
            assert_true(target->identity == instance->identity);
            assert_true(str_equal(image_str(dial, target->name), image_str(view, instance->name)));
        }
        for (uint32_t i = 0; i < image_count(dial, IMAGE_TARGETS); i++) {
            struct str service = image_str(dial, image_target(dial, i)->name);
            uint32_t n_reaching = 0, index = MODEL_NONE;
            service = str_split(&service, '@');
            for (uint32_t k = 0; k < w->model.n_services; k++)
                if (str_equal(w->model.services[k].name.text, service))
                    index = k;
            for (uint32_t k = 0; k < n_probes; k++)
                n_reaching += naive_verdict(&w->model, &probes[k], index, surface) != MODEL_NONE;
            for (uint32_t k = 0; k < w->model.n_services; k++)
                if (w->model.services[k].where == MODEL_WHERE_CONTAINER && model_runs_on(&w->model.services[k].hosts, 0))
                    n_reaching += naive_container_verdict(&w->model, 0, w->model.services[k].place.text, index, surface) != MODEL_NONE;
            if ((n_reaching > 0) != (image_target(dial, i)->surfaces >> surface & 1))
                fail_at(seed, "dialled for a surface", &probes[0], surface, i, n_reaching == 0, n_reaching > 0);
        }
    }
}

static void compare_world(uint64_t seed, struct tally *tally)
{
    struct world w;
    struct address probes[PROBES_MAX];
    struct compile_output out;
    struct error err = { "" };
    random_world(&w, seed);
    uint32_t n_probes = random_probes(&w, seed, probes);
    struct compile_input input = { .model = &w.model, .gateway = 0, .generation = seed, .revision = STR("feed") };
    if (compile_model(&input, &out, &err) != 0)
        fail_msg("seed %llu: %s", (unsigned long long)seed, err.text);
    for (uint32_t surface = 0; surface < w.model.n_surfaces; surface++) {
        struct image view = world_attach(out.views[surface], IMAGE_VIEW);
        for (uint32_t i = 0; i < n_probes; i++)
            compare_view(&w, seed, surface, view, &probes[i], tally);
        compare_containers(&w, seed, surface, view, tally);
    }
    compare_dial(&w, seed, &out, probes, n_probes);
    compile_output_deinit(&out);
    world_deinit(&w);
}

static void test_verdicts_are_the_naive_ones(void **state)
{
    (void)state;
    struct tally tally = { 0 };
    for (uint64_t seed = 1; seed <= N_WORLDS; seed++)
        compare_world(seed, &tally);
    print_message("%llu verdicts, %llu allowed\n", (unsigned long long)tally.asked, (unsigned long long)tally.allowed);
    assert_true(tally.allowed > tally.asked / 50 && tally.allowed < tally.asked / 2);
}

static uint32_t find_flow(const struct flows *flows, const struct address *from, const struct address *to, unsigned transport, uint16_t port)
{
    for (uint32_t i = 0; i < flows->n; i++) {
        const struct flow *f = &flows->items[i];
        const struct source_range *range = &flows->sources.items[f->source];
        if (f->port == port && f->transport == transport && address_equal(&f->destination, to) && address_compare(&range->first, from) <= 0 &&
            address_compare(from, &range->last) <= 0)
            return f->grant;
    }
    return MODEL_NONE;
}

static void compare_flows(uint64_t seed, struct tally *tally)
{
    static const uint16_t ports[] = { 80, 81, 443, 444, 446, 1000, 1001, 1002, 9999 };
    struct world w;
    struct address probes[PROBES_MAX];
    cleanup_grants struct grants grants = { 0 };
    cleanup_flows struct flows flows = { 0 };
    uint64_t walk = seed;
    random_world(&w, seed);
    uint32_t n = random_probes(&w, seed, probes);
    assert_int_equal(grants_init(&grants, &w.model), 0);
    assert_int_equal(flows_init(&flows, &grants, MODEL_NONE), 0);
    for (uint32_t i = 0; i < n; i++) {
        struct naive_principal who = naive_identify(&w.model, &probes[i]);
        const struct source_range *range = sources_find(&flows.sources, &probes[i]);
        if ((range ? range->host : MODEL_NONE) != who.host || (range ? range->segment : MODEL_NONE) != who.segment)
            fail_at(seed, "identity", &probes[i], 0, 0, range ? range->segment : MODEL_NONE, who.segment);
        for (uint32_t k = 0; k < n * ARRAY_SIZE(ports) * 2; k += 1 + (uint32_t)random_next(&walk) % 5) {
            const struct address *to = &probes[k % n];
            uint16_t port = ports[k / n % ARRAY_SIZE(ports)];
            unsigned transport = k / n / ARRAY_SIZE(ports) % 2;
            uint32_t expected = naive_flow(&w.model, &probes[i], to, transport, port);
            uint32_t got = find_flow(&flows, &probes[i], to, transport, port);
            if (got != expected)
                fail_at(seed, "flow", &probes[i], k % n, port, got, expected);
            tally->asked++;
            tally->allowed += expected != MODEL_NONE;
        }
    }
    world_deinit(&w);
}

static void test_flows_are_the_naive_ones(void **state)
{
    (void)state;
    struct tally tally = { 0 };
    for (uint64_t seed = 1; seed <= 300; seed++)
        compare_flows(seed, &tally);
    print_message("%llu packets, %llu allowed\n", (unsigned long long)tally.asked, (unsigned long long)tally.allowed);
    assert_true(tally.allowed > tally.asked / 1000);
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(test_verdicts_are_the_naive_ones),
    cmocka_unit_test(test_flows_are_the_naive_ones),
};

int main(void)
{
    return cmocka_run_group_tests_name("differential", tests, NULL, NULL);
}
