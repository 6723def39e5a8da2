/* The container tables, written by one half and read back by the other, with nft and a kernel between them. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>

#include "nft_space.h"
#include "observe/containers.h"
#include "render/containers.h"

enum { TEXT_MAX = 8 << 20 };

/* ---- random elements of every kind ---- */

static uint64_t random_state;

static uint32_t random_below(uint32_t n)
{
    random_state = random_state * 6364136223846793005ULL + 1442695040888963407ULL;
    return (uint32_t)(random_state >> 33) % n;
}

static struct address random_address(bool v6)
{
    char text[64];
    struct address address;
    snprintf(text, sizeof text, v6 ? "fd00:%x::%x" : "10.1.%u.%u", random_below(4), 1 + random_below(200));
    assert_true(address_parse(str_of(text), &address));
    return address;
}

static struct container_element random_element(enum container_set set)
{
    const struct container_shape *shape = &container_shapes[set];
    struct container_element element = { .to_bits = 0 };
    if (shape->key & (CONTAINER_KEY_NAME | CONTAINER_KEY_NAME_AGAIN))
        snprintf(element.name, sizeof element.name, "br-%012x", random_below(16));
    if (shape->key & CONTAINER_KEY_FROM)
        element.from = random_address(shape->is_v6);
    if (shape->key & (CONTAINER_KEY_TO | CONTAINER_KEY_PREFIX))
        element.to = random_address(shape->is_v6);
    if (shape->key & CONTAINER_KEY_PREFIX) {
        element.to_bits = 124; /* none overlaps another: of those nft 1.0.6 takes none in the place of one that goes */
        element.to = address_mask(&element.to, element.to_bits);
    }
    if (shape->key & CONTAINER_KEY_PORT) {
        element.protocol = random_below(2) ? IPPROTO_TCP : IPPROTO_UDP;
        element.port = (uint16_t)(1 + random_below(65535));
    }
    element.class = shape->has_class ? (uint8_t)random_below(3) : 0;
    element.comment = shape->key != CONTAINER_KEY_PREFIX && random_below(2) ? STR("grafana to prometheus, postern.yml:41") : STR_NONE;
    return element;
}

static void random_filter(struct container_filter *ret, uint64_t seed)
{
    random_state = seed;
    container_filter_init(ret);
    for (unsigned set = 0; set < CONTAINER_N_SETS; set++)
        for (uint32_t n = random_below(12); n > 0; n--) {
            struct container_element element = random_element(set);
            container_filter_add(ret, container_shapes[set].is_v6 ? set - 1 : set, &element);
        }
    assert_int_equal(container_filter_seal(ret), 0);
}

/* ---- there and back ---- */

static void read_back(struct str listing, struct container_filter *ret)
{
    struct error err = { "" };
    container_filter_init(ret);
    if (observe_containers_read(listing, ret, NULL, &err) != 0)
        fail_msg("%s", err.text);
    assert_int_equal(container_filter_seal(ret), 0);
}

static void assert_same(const struct container_filter *a, const struct container_filter *b)
{
    struct buf change;
    buf_init(&change, TEXT_MAX);
    if (container_filter_describe_change(a, b, &change) != 0)
        fail_msg("%.*s", (int)change.len, change.ptr);
    buf_deinit(&change);
}

/* The text is loaded, a transaction for each part that begins with "# then", and what nft lists then is read. False: that can't be tried here. */
static bool load_and_read(const struct buf *text, struct container_filter *ret)
{
    static const char script[] = "ip link set lo up; d=$(mktemp -d) && awk -v d=$d 'BEGIN { n = 0 } /^# then/ { n++ } { print > (d \"/\" n) }' && "
                                 "for f in $d/*; do nft -f $f || exit 1; done; rm -r $d; exec nft -j list ruleset";
    cleanup_buf struct buf listing;
    bool failed;
    buf_init(&listing, TEXT_MAX);
    assert_int_equal(text->error, 0);
    if (!nft_space_run(script, buf_str(text), &listing, &failed)) {
        if (failed)
            fail_msg("nft refuses:\n%.*s", (int)text->len, text->ptr);
        return false;
    }
    read_back(buf_str(&listing), ret);
    return true;
}

static void test_what_is_written_is_read_back_and_so_is_what_it_is_changed_into(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= 24; seed++) {
        cleanup_buf struct buf text;
        struct container_filter before, after, there;
        buf_init(&text, TEXT_MAX);
        random_filter(&before, seed);
        random_filter(&after, seed * 1000);
        container_filter_write(&before, STR("a test"), &text);
        buf_append(&text, STR("# then\n"));
        if (seed % 2)
            container_filter_write_change(&before, &after, &text);
        container_filter_write_watch((unsigned)(seed % 3), &text);
        bool can = load_and_read(&text, &there);
        if (can) {
            assert_same(seed % 2 ? &after : &before, &there);
            container_filter_deinit(&there);
        }
        container_filter_deinit(&before);
        container_filter_deinit(&after);
        if (!can)
            skip();
    }
}

static void test_the_removal_works_where_nothing_is_and_where_something_is(void **state)
{
    (void)state;
    for (unsigned is_there = 0; is_there < 2; is_there++) {
        cleanup_buf struct buf text;
        cleanup_buf struct buf listing;
        struct container_filter filter;
        bool failed;
        buf_init(&text, TEXT_MAX);
        buf_init(&listing, TEXT_MAX);
        random_filter(&filter, 7);
        if (is_there)
            container_filter_write(&filter, STR("a test"), &text);
        container_filter_write_removal(&text);
        container_filter_deinit(&filter);
        if (!nft_space_list(buf_str(&text), &listing, &failed)) {
            assert_false(failed);
            skip();
        }
        buf_append_char(&listing, '\0');
        assert_null(strstr(listing.ptr, CONTAINER_TABLE));
    }
}

static void test_counts_are_read_with_who_and_where_to(void **state)
{
    (void)state;
    static const char listing[] =
        "{\"nftables\": [{\"set\": {\"family\": \"inet\", \"name\": \"denied4\", \"table\": \"postern_containers\", \"elem\": [{\"elem\": {\"val\": "
        "{\"concat\": [\"br-0123456789ab\", \"10.1.0.2\", \"10.2.0.3\", \"tcp\", 22]}, \"counter\": {\"packets\": 7, \"bytes\": 420}}}]}}, "
        "{\"set\": {\"family\": \"bridge\", \"name\": \"seen6\", \"table\": \"postern_containers\", \"elem\": [{\"elem\": {\"val\": "
        "{\"concat\": [\"fd00::2\", \"fd00::3\", \"udp\", 53]}, \"counter\": {\"packets\": 1, \"bytes\": 60}}}]}}, "
        "{\"set\": {\"family\": \"inet\", \"name\": \"denied4\", \"table\": \"somebody_elses\", \"elem\": [1]}}]}";
    struct container_counts counts;
    struct error err;
    buf_init(&counts.items, TEXT_MAX);
    assert_int_equal(observe_containers_read(STR(""), NULL, &counts, &err), -EINVAL);
    assert_int_equal(observe_containers_read(str_of(listing), NULL, &counts, &err), 0);
    assert_int_equal(counts.items.len / sizeof(struct container_count), 2);
    const struct container_count *items = (const struct container_count *)(const void *)counts.items.ptr;
    assert_string_equal(items[0].what.name, "br-0123456789ab");
    assert_true(items[0].is_denied && items[0].n_packets == 7 && items[0].what.port == 22 && items[0].what.protocol == IPPROTO_TCP);
    assert_true(!items[1].is_denied && items[1].what.name[0] == '\0' && items[1].what.protocol == IPPROTO_UDP);
    container_counts_deinit(&counts);
}

static void test_listings_that_no_nft_writes_are_refused(void **state)
{
    (void)state;
    static const char *const elements[] = {
        "[7]", "[{\"concat\": []}]", "[{\"elem\": {}}]", "[\"a name that is too long\"]", "[\"br\\u0000x\"]", "[[\"br0\"]]", "[null]",
        "[{\"concat\": [\"br0\", \"br0\", \"br0\", \"br0\", \"br0\", \"br0\"]}]",
    };
    for (size_t i = 0; i < ARRAY_SIZE(elements); i++) {
        char text[600];
        struct container_filter filter;
        struct error err = { "" };
        snprintf(text, sizeof text, "{\"nftables\": [{\"set\": {\"family\": \"inet\", \"name\": \"held\", \"table\": \"%s\", \"elem\": %s}}]}", CONTAINER_TABLE,
                 elements[i]);
        container_filter_init(&filter);
        assert_int_equal(observe_containers_read(str_of(text), &filter, NULL, &err), -EINVAL);
        container_filter_deinit(&filter);
    }
}

static void test_a_bridge_whose_name_ends_a_string_is_refused(void **state)
{
    (void)state;
    struct container_filter filter;
    struct container_element element = { .name = "a\" drop" };
    container_filter_init(&filter);
    container_filter_add(&filter, CONTAINER_HELD, &element);
    assert_int_equal(container_filter_seal(&filter), -EINVAL);
    container_filter_deinit(&filter);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_what_is_written_is_read_back_and_so_is_what_it_is_changed_into),
        cmocka_unit_test(test_the_removal_works_where_nothing_is_and_where_something_is),
        cmocka_unit_test(test_counts_are_read_with_who_and_where_to),
        cmocka_unit_test(test_listings_that_no_nft_writes_are_refused),
        cmocka_unit_test(test_a_bridge_whose_name_ends_a_string_is_refused),
    };
    return cmocka_run_group_tests_name("container tables", tests, NULL, NULL);
}
