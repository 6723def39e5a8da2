/* Relations, classes and matrices: the edges of each by hand, and random relations against walking their rules. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "policy/matrix.h"

/* ---- helpers ---- */

static uint64_t seed;

static uint32_t below(uint32_t n)
{
    seed ^= seed << 13;
    seed ^= seed >> 7;
    seed ^= seed << 17;
    return (uint32_t)(seed % n);
}

static struct address address(const char *text)
{
    struct address a = { { 0 } };
    assert_true(address_parse(str_of(text), &a));
    return a;
}

static struct relation_range range(const char *first, const char *last)
{
    return (struct relation_range){ address(first), address(last) };
}

static uint32_t add_selector(struct relation *relation, const struct relation_range *ranges, uint32_t n)
{
    uint32_t selector = UINT32_MAX;
    assert_int_equal(relation_add_selector(relation, ranges, n, &selector), 0);
    return selector;
}

static void add_rule(struct relation *relation, uint32_t from, uint32_t to, uint8_t protocol, uint16_t first, uint16_t last)
{
    const struct relation_rule rule = { from, to, protocol, protocol, first, last, 0 };
    assert_int_equal(relation_add_rule(relation, &rule), 0);
}

static uint32_t add_one(struct relation *relation, const char *first, const char *last)
{
    const struct relation_range one = range(first, last);
    return add_selector(relation, &one, 1);
}

/* ---- relations ---- */

static void test_selectors_are_canonical(void **state)
{
    (void)state;
    cleanup_relation struct relation relation;
    relation_init(&relation);
    const struct relation_range mixed[] = {
        range("10.0.0.9", "10.0.0.9"), range("10.0.0.1", "10.0.0.3"), range("10.0.0.2", "10.0.0.2"), range("10.0.0.4", "10.0.0.5"),
        range("255.255.255.255", "255.255.255.255"), range("::1:0:0:0", "::1:0:0:7"),
    };
    uint32_t selector = add_selector(&relation, mixed, ARRAY_SIZE(mixed));
    struct relation_selector s = relation_selector(&relation, selector);
    assert_int_equal(s.n, 4); /* the last IPv4 address and the first IPv6 one past it are neighbours, but not of one family */
    assert_memory_equal(&s.items[0].last, &mixed[3].last, sizeof s.items[0].last);
    const struct relation_range same[] = { mixed[4], mixed[5], range("10.0.0.1", "10.0.0.5"), mixed[0] };
    assert_int_equal(add_selector(&relation, same, ARRAY_SIZE(same)), selector);
    const struct relation_range sorted[] = {
        mixed[1], mixed[2], range("10.0.0.2", "10.0.0.4"), range("10.0.0.5", "10.0.0.5"), mixed[0], mixed[4], mixed[5],
    };
    assert_int_equal(add_selector(&relation, sorted, ARRAY_SIZE(sorted)), selector);
    assert_int_equal(add_selector(&relation, s.items, s.n), selector);
    assert_int_equal(relation_n_selectors(&relation), 1);
    assert_true(relation_selector_contains(s, &mixed[3].first));
    const struct address between = address("10.0.0.6");
    assert_false(relation_selector_contains(s, &between));
    uint32_t untouched = 7;
    const struct relation_range backwards = range("10.0.0.2", "10.0.0.1"), across = range("::1", "10.0.0.1"), around = range("::1", "::2:0:0:0");
    assert_int_equal(relation_add_selector(&relation, &backwards, 1, &untouched), -EINVAL);
    assert_int_equal(relation_add_selector(&relation, &across, 1, &untouched), -EINVAL);
    assert_int_equal(relation_add_selector(&relation, &around, 1, &untouched), -EINVAL);
    assert_int_equal(untouched, 7);
}

static void test_rules_of_nobody_are_dropped(void **state)
{
    (void)state;
    cleanup_relation struct relation relation;
    relation_init(&relation);
    uint32_t nobody = add_selector(&relation, NULL, 0), one = add_one(&relation, "10.0.0.1", "10.0.0.1");
    add_rule(&relation, nobody, one, 6, 1, 2);
    add_rule(&relation, one, nobody, 6, 1, 2);
    assert_int_equal(relation_n_rules(&relation), 0);
}

static void test_prefixes_stay_in_their_family(void **state)
{
    (void)state;
    struct address_prefix everything, low, lan, multicast;
    assert_true(address_prefix_parse(STR("::/0"), &everything) && address_prefix_parse(STR("::/64"), &low));
    assert_true(address_prefix_parse(STR("192.168.0.0/16"), &lan) && address_prefix_parse(STR("ff02::/16"), &multicast));
    struct relation_range r = relation_range_of_prefix(&everything), expected = range("::1:0:0:0", "::ffff:ffff:ffff:ffff");
    assert_memory_equal(&r, &relation_all_v6, sizeof r);
    r = relation_range_of_prefix(&low);
    assert_memory_equal(&r, &expected, sizeof r);
    r = relation_range_of_prefix(&lan);
    expected = range("192.168.0.0", "192.168.255.255");
    assert_memory_equal(&r, &expected, sizeof r);
    r = relation_range_of_prefix(&multicast);
    expected = range("ff02::", "ff02:ffff:ffff:ffff:ffff:ffff:ffff:ffff");
    assert_memory_equal(&r, &expected, sizeof r);
}

static void test_service_points_lie_outside(void **state)
{
    (void)state;
    uint32_t surface = 9, service = 9;
    struct address point = relation_service_point(3, 70000);
    assert_true(relation_is_service_point(&point, &surface, &service));
    assert_int_equal(surface, 3);
    assert_int_equal(service, 70000);
    assert_true(address_compare(&relation_all_v6.last, &point) < 0);
    point = address("ff02::1");
    assert_false(relation_is_service_point(&point, &surface, &service));
}

/* ---- classes ---- */

static void test_classes_cover_the_axis_once(void **state)
{
    (void)state;
    cleanup_relation struct relation relation;
    relation_init(&relation);
    const struct relation_range two[] = { range("10.0.0.0", "10.0.0.255"), range("fd00::", "fd00::ff") };
    uint32_t wide = add_selector(&relation, two, 2), one = add_one(&relation, "10.0.0.7", "10.0.0.7"), all = add_selector(&relation, &relation_all_v4, 1);
    add_rule(&relation, wide, all, 6, 1, 1);
    add_rule(&relation, one, all, 6, 2, 2);
    struct space *space = NULL;
    const struct relation *relations[] = { &relation };
    assert_int_equal(space_init(&space, relations, 1), 0);
    assert_int_equal(space_n_classes(space, SPACE_SOURCE), 3); /* nobody's, wide, wide and one */
    assert_int_equal(space_n_classes(space, SPACE_DESTINATION), 2);
    struct relation_range r;
    const struct address inside = address("10.0.0.8"), first = address("10.0.0.0"), six = address("fd00::5");
    uint32_t class_index = space_class_of(space, SPACE_SOURCE, &inside);
    assert_int_equal(class_index, space_class_of(space, SPACE_SOURCE, &first));
    assert_int_equal(class_index, space_class_of(space, SPACE_SOURCE, &six));
    assert_true(space_class_range(space, SPACE_SOURCE, class_index, 0, &r));
    assert_memory_equal(&r.first, &two[0].first, sizeof r.first);
    assert_true(space_class_range(space, SPACE_SOURCE, class_index, 1, &r) && space_class_range(space, SPACE_SOURCE, class_index, 2, &r));
    assert_memory_equal(&r, &two[1], sizeof r);
    assert_false(space_class_range(space, SPACE_SOURCE, class_index, 3, &r));
    /* Nobody's begins at the beginning, ends at the end, and is cut where the families are. */
    for (uint32_t k = 0; space_class_range(space, SPACE_SOURCE, 0, k, &r); k++)
        assert_int_equal(address_is_v4(&r.first), address_is_v4(&r.last));
    assert_int_equal(r.last.bytes[0], 0xff);
    space_free(space);
}

/* As many places in IPv6 as are sorted by digits: in two selectors, one or none, whatever the order they came in. */
static void test_many_places_of_ipv6(void **state)
{
    (void)state;
    enum { N = 4096 };
    cleanup_relation struct relation relation;
    relation_init(&relation);
    struct relation_range *ranges[2] = { calloc(N, sizeof *ranges[0]), calloc(N, sizeof *ranges[1]) };
    uint32_t n[2] = { 0 }, all = add_selector(&relation, &relation_all_v4, 1);
    for (uint32_t i = 0; i < N; i++) {
        uint32_t scattered = i * UINT32_C(2654435769);
        struct address a = { { 0xfd, (uint8_t)(scattered >> 24), (uint8_t)(scattered >> 16), [7] = (uint8_t)(scattered >> 8),
                               [15] = (uint8_t)scattered } };
        for (uint32_t k = 0; k < 2; k++)
            if (i >> k & 1)
                ranges[k][n[k]++] = (struct relation_range){ a, a };
    }
    for (uint32_t k = 0; k < 2; k++)
        add_rule(&relation, add_selector(&relation, ranges[k], n[k]), all, 6, 1, 1);
    struct space *space = NULL;
    const struct relation *relations[] = { &relation };
    assert_int_equal(space_init(&space, relations, 1), 0);
    assert_int_equal(space_n_classes(space, SPACE_SOURCE), 4);
    for (uint32_t i = 0; i < n[0]; i++) {
        struct relation_selector other = { ranges[1], n[1] };
        bool in_both = false;
        for (uint32_t k = 0; k < other.n && !in_both; k++)
            in_both = address_equal(&other.items[k].first, &ranges[0][i].first);
        uint32_t class_index = space_class_of(space, SPACE_SOURCE, &ranges[0][i].first);
        struct address next = ranges[0][i].first;
        next.bytes[14] = 1;
        /* The first is in this selector alone, the second in both. */
        assert_int_equal(class_index, space_class_of(space, SPACE_SOURCE, &ranges[0][in_both].first));
        assert_int_equal(space_class_of(space, SPACE_SOURCE, &next), 0);
    }
    space_free(space);
    free(ranges[0]);
    free(ranges[1]);
}

/* A hostile policy: every range within all before it, so that what the selectors hold grows with the square. */
static int init_nested(uint32_t n, bool of_sources)
{
    cleanup_relation struct relation relation;
    relation_init(&relation);
    uint32_t all = add_selector(&relation, &relation_all_v4, 1);
    for (uint32_t i = 1; i < n; i++) {
        struct relation_range range = relation_all_v4;
        range.first.bytes[13] = (uint8_t)(i >> 16);
        range.first.bytes[14] = (uint8_t)(i >> 8);
        range.first.bytes[15] = (uint8_t)i;
        uint32_t nested = add_selector(&relation, &range, 1);
        add_rule(&relation, of_sources ? nested : all, of_sources ? all : nested, 6, 1, 1);
    }
    struct space *space = NULL;
    const struct relation *relations[] = { &relation };
    int r = space_init(&space, relations, 1);
    assert_true(r == 0 || !space);
    if (r == 0)
        assert_int_equal(space_n_classes(space, of_sources ? SPACE_SOURCE : SPACE_DESTINATION), n);
    space_free(space);
    return r;
}

static void test_nesting_is_too_big_in_bounded_time(void **state)
{
    (void)state;
    assert_int_equal(init_nested(70000, true), -E2BIG);
    assert_int_equal(init_nested(20000, false), -E2BIG);
    assert_int_equal(init_nested(20000, true), 0);
}

/* ---- matrices against the rules themselves ---- */

/* A small axis that crosses every border: positions become addresses around the families' ends. */
enum { AXIS = 48 };

static struct address position(uint32_t at)
{
    static const char *const bases[] = { "::fffe:ffff:fff8", "0.0.0.0", "10.0.0.0", "255.255.255.248", "::1:0:0:0", "fd00::" };
    struct address a = address(bases[at / 8]);
    a.bytes[15] = (uint8_t)(a.bytes[15] + at % 8);
    return a;
}

static uint32_t family_of(uint32_t at)
{
    return at / 8 == 0 ? 0 : at / 8 < 4 ? 1 : 2;
}

static uint32_t random_selector(struct relation *relation)
{
    struct relation_range ranges[6];
    uint32_t n = below(7), n_used = 0;
    for (uint32_t i = 0; i < n; i++) {
        uint32_t first = below(AXIS), last = first + below(below(3) ? 2 : AXIS - first);
        if (last >= AXIS || family_of(first) != family_of(last))
            last = first;
        ranges[n_used++] = (struct relation_range){ position(first), position(last) };
    }
    return add_selector(relation, ranges, n_used);
}

static void random_relation(struct relation *relation)
{
    relation_init(relation);
    for (uint32_t i = below(24); i > 0; i--) {
        struct relation_rule rule = { .source = random_selector(relation), .destination = random_selector(relation), .port_last = 65535 };
        rule.protocol_first = rule.protocol_last = below(3) ? 6 : 17;
        if (below(8) == 0) {
            rule.protocol_first = 0;
            rule.protocol_last = below(2) ? 255 : 6;
        } else if (below(8)) {
            rule.port_first = (uint16_t)below(8);
            rule.port_last = (uint16_t)(below(8) ? rule.port_first + below(3) : 65535);
        }
        assert_int_equal(relation_add_rule(relation, &rule), 0);
    }
}

static void check_row(const struct matrix_row *row)
{
    for (uint32_t i = 0; i < row->n; i++) {
        const struct matrix_interval *x = &row->items[i], *before = i ? x - 1 : NULL;
        assert_true(x->first <= x->last && x->last < 1 << 24);
        assert_true(!before || before->destination < x->destination || (before->destination == x->destination && before->last + 1 < x->first));
    }
}

static void test_matrices_say_what_the_rules_say(void **state)
{
    (void)state;
    static const uint16_t ports[] = { 0, 1, 2, 3, 5, 7, 8, 9, 65535 };
    static const uint8_t protocols[] = { 0, 6, 17, 255 };
    for (uint32_t world = 1; world <= 400; world++) {
        seed = world * UINT64_C(0x9e3779b97f4a7c15);
        struct relation relations[2];
        const struct relation *both[] = { &relations[0], &relations[1] };
        struct space *space;
        struct matrix m[5];
        random_relation(&relations[0]);
        random_relation(&relations[1]);
        assert_int_equal(space_init(&space, both, 2), 0);
        assert_int_equal(matrix_of(space, both[0], &m[0]), 0);
        assert_int_equal(matrix_of(space, both[1], &m[1]), 0);
        assert_int_equal(matrix_unite(&m[0], &m[1], &m[2]), 0);
        assert_int_equal(matrix_intersect(&m[0], &m[1], &m[3]), 0);
        assert_int_equal(matrix_subtract(&m[0], &m[1], &m[4]), 0);
        for (unsigned i = 0; i < ARRAY_SIZE(m); i++)
            for (uint32_t row = 0; row < m[i].n_rows; row++)
                check_row(&m[i].rows[row]);
        for (uint32_t try = 0; try < 2500; try++) {
            struct address from = position(below(AXIS)), to = position(below(AXIS));
            uint8_t protocol = protocols[below(ARRAY_SIZE(protocols))];
            uint16_t port = ports[below(ARRAY_SIZE(ports))];
            bool a = relation_find_rule(both[0], &from, &to, protocol, port) != UINT32_MAX;
            bool b = relation_find_rule(both[1], &from, &to, protocol, port) != UINT32_MAX;
            const bool expected[] = { a, b, a || b, a && b, a && !b };
            for (unsigned i = 0; i < ARRAY_SIZE(m); i++)
                assert_int_equal(matrix_allows(&m[i], &from, &to, protocol, port), expected[i]);
        }
        for (unsigned i = 0; i < ARRAY_SIZE(m); i++)
            matrix_deinit(&m[i]);
        space_free(space);
        relation_deinit(&relations[0]);
        relation_deinit(&relations[1]);
    }
}

static void test_only_the_spaces_own_relations(void **state)
{
    (void)state;
    cleanup_relation struct relation relation, other;
    relation_init(&relation);
    relation_init(&other);
    const struct relation *relations[] = { &relation };
    struct space *space;
    struct matrix matrix;
    assert_int_equal(space_init(&space, relations, 1), 0);
    assert_int_equal(matrix_of(space, &other, &matrix), -EINVAL);
    assert_int_equal(matrix_of(space, &relation, &matrix), 0);
    assert_true(matrix_is_empty(&matrix));
    matrix_deinit(&matrix);
    space_free(space);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_selectors_are_canonical),
        cmocka_unit_test(test_rules_of_nobody_are_dropped),
        cmocka_unit_test(test_prefixes_stay_in_their_family),
        cmocka_unit_test(test_service_points_lie_outside),
        cmocka_unit_test(test_classes_cover_the_axis_once),
        cmocka_unit_test(test_many_places_of_ipv6),
        cmocka_unit_test(test_nesting_is_too_big_in_bounded_time),
        cmocka_unit_test(test_matrices_say_what_the_rules_say),
        cmocka_unit_test(test_only_the_spaces_own_relations),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
