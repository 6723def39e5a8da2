/* Attaching to blocks that are wrong in every way, and looking things up in those that are right. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <stdio.h>

#include "exercise_image.h"
#include "random_world.h"

struct fixture {
    struct world w;
    struct compile_output out; /* containers as an engine finds them */
};

static int set_up(void **state)
{
    struct fixture *f = calloc(1, sizeof *f);
    if (!f)
        return -1;
    world_homelab(&f->w);
    f->w.model.segments[2].addresses = world_prefixes(&f->w, "100.64.8.0/24");
    world_compile(&f->w, "roc", &f->out);
    *state = f;
    return 0;
}

static int tear_down(void **state)
{
    struct fixture *f = *state;
    compile_output_deinit(&f->out);
    world_deinit(&f->w);
    free(f);
    return 0;
}

/* A copy of a block with something changed, and what attaching to it says. */
struct changed {
    struct image_header *header;
    size_t size;
};

static struct changed change(struct compile_block block)
{
    struct changed c = { aligned_alloc(IMAGE_ALIGN, block.size), block.size };
    assert_non_null(c.header);
    memcpy(c.header, block.data, block.size);
    return c;
}

static void *section(struct changed c, enum image_section_id id)
{
    return (char *)c.header + c.header->sections[id].offset;
}

static void expect_refused(struct changed c, enum image_kind kind, const char *why)
{
    struct image untouched = { NULL };
    struct error err = { "" };
    int r = image_attach(c.header, c.size, kind, &untouched, &err);
    if (r != -EINVAL || !strstr(err.text, why))
        fail_msg("expected '%s', got %d '%s'", why, r, err.text);
    assert_null(untouched.header);
    free(c.header);
}

#define REFUSED(block, kind, change_, why)                                                                             \
    do {                                                                                                               \
        struct changed c = change(block);                                                                              \
        change_;                                                                                                       \
        expect_refused(c, kind, why);                                                                                  \
    } while (0)

static void test_real_blocks_attach(void **state)
{
    const struct fixture *f = *state;
    assert_true(exercise_block(f->out.views[0].data, f->out.views[0].size, IMAGE_VIEW));
    assert_true(exercise_block(f->out.views[1].data, f->out.views[1].size, IMAGE_VIEW));
    assert_true(exercise_block(f->out.dial.data, f->out.dial.size, IMAGE_DIAL));
    assert_true(exercise_block(f->out.plan.data, f->out.plan.size, IMAGE_PLAN));
    assert_true(exercise_block(f->out.keys.data, f->out.keys.size, IMAGE_KEYS));
}

static void test_headers_are_checked(void **state)
{
    const struct fixture *f = *state;
    struct compile_block view = f->out.views[0];
    REFUSED(view, IMAGE_VIEW, c.header->magic[0] = 'q', "not a postern block");
    REFUSED(view, IMAGE_VIEW, c.header->version++, "version 2");
    REFUSED(view, IMAGE_DIAL, (void)0, "kind");
    REFUSED(view, IMAGE_VIEW, c.header->size--, "its size says");
    REFUSED(view, IMAGE_VIEW, c.size -= IMAGE_ALIGN, "its size says");
    REFUSED(view, IMAGE_VIEW, c.size = sizeof(struct image_header) - 1, "smaller than a header");
    REFUSED(view, IMAGE_VIEW, memset(c.header->revision, 'a', sizeof c.header->revision), "unterminated revision");
    struct image image = { NULL };
    assert_int_equal(image_attach((const char *)view.data + 8, view.size - 8, IMAGE_VIEW, &image, NULL), -EINVAL);
}

static void test_sections_may_not_leave_the_block_or_meet(void **state)
{
    const struct fixture *f = *state;
    struct compile_block view = f->out.views[0];
    REFUSED(view, IMAGE_VIEW, c.header->sections[IMAGE_NAMES].offset = c.size, "outside the block");
    REFUSED(view, IMAGE_VIEW, c.header->sections[IMAGE_NAMES].offset = UINT64_MAX - 15, "outside the block");
    REFUSED(view, IMAGE_VIEW, c.header->sections[IMAGE_NAMES].offset += 4, "outside the block");
    REFUSED(view, IMAGE_VIEW, c.header->sections[IMAGE_STRINGS].offset = 0, "outside the block");
    REFUSED(view, IMAGE_VIEW, c.header->sections[IMAGE_NAMES].offset = c.header->sections[IMAGE_ADDRESSES].offset, "outside the block");
    REFUSED(view, IMAGE_VIEW, c.header->sections[IMAGE_RULES].count = c.size, "outside the block");
    REFUSED(view, IMAGE_VIEW, c.header->sections[IMAGE_RULES].count = UINT64_MAX / 2, "too many");
    REFUSED(view, IMAGE_VIEW, c.header->sections[IMAGE_STRINGS].count = (UINT64_C(1) << 32) + 4, "too many");
    REFUSED(view, IMAGE_VIEW, c.header->sections[IMAGE_RULES].stride = 4, "unknown layout");
    REFUSED(view, IMAGE_VIEW, c.header->sections[IMAGE_RULES].unused = 1, "unknown layout");
    REFUSED(view, IMAGE_VIEW, c.header->sections[IMAGE_TARGETS].count = 1, "no section of this kind");
}

static void test_a_view_may_not_point_anywhere(void **state)
{
    const struct fixture *f = *state;
    struct compile_block view = f->out.views[0];
    REFUSED(view, IMAGE_VIEW, ((struct image_surface *)section(c, IMAGE_SURFACES))->n_classes++, "verdicts");
    REFUSED(view, IMAGE_VIEW, ((struct image_surface *)section(c, IMAGE_SURFACES))->index = IMAGE_VIEWS_MAX, "wrong number");
    REFUSED(view, IMAGE_VIEW, ((struct image_surface *)section(c, IMAGE_SURFACES))->n_certificates = 1, "certificates out of range");
    REFUSED(view, IMAGE_VIEW, c.header->sections[IMAGE_SURFACES].count = 0, "wrong number of surfaces");
    REFUSED(view, IMAGE_VIEW, ((struct image_principal *)section(c, IMAGE_PRINCIPALS))->class_index = 1000, "class out of range");
    REFUSED(view, IMAGE_VIEW, ((struct image_principal *)section(c, IMAGE_PRINCIPALS))->host.offset = UINT32_MAX, "text outside");
    REFUSED(view, IMAGE_VIEW, ((struct image_service *)section(c, IMAGE_SERVICES))->first_instance++, "instances out of range");
    REFUSED(view, IMAGE_VIEW, ((struct image_service *)section(c, IMAGE_SERVICES))->n_instances = UINT32_MAX, "instances out of range");
    REFUSED(view, IMAGE_VIEW, ((struct image_service *)section(c, IMAGE_SERVICES))->tls_ca_length = 1, "outside the blobs");
    REFUSED(view, IMAGE_VIEW, ((struct image_service *)section(c, IMAGE_SERVICES))->protocol = 9, "unknown protocol");
    REFUSED(view, IMAGE_VIEW, ((struct image_service *)section(c, IMAGE_SERVICES))->flags = 2, "unknown protocol or flag");
    REFUSED(view, IMAGE_VIEW, ((struct image_instance *)section(c, IMAGE_INSTANCES))->service = 1, "an instance of another service");
    REFUSED(view, IMAGE_VIEW, ((struct image_instance *)section(c, IMAGE_INSTANCES))->name.length = UINT32_MAX, "text outside");
    REFUSED(view, IMAGE_VIEW, ((uint32_t *)section(c, IMAGE_VERDICTS))[0] = 99, "rule out of range");
    REFUSED(view, IMAGE_VIEW, ((struct image_rule *)section(c, IMAGE_RULES))->place.length = UINT32_MAX, "text outside");
}

static void fill_addresses(struct changed c)
{
    struct image_address_slot *slots = section(c, IMAGE_ADDRESSES);
    for (uint64_t i = 0; i < c.header->sections[IMAGE_ADDRESSES].count; i++)
        slots[i].principal = IMAGE_NOBODY;
}

static void fill_names(struct changed c)
{
    struct image_name_slot *slots = section(c, IMAGE_NAMES);
    for (uint64_t i = 0; i < c.header->sections[IMAGE_NAMES].count; i++)
        slots[i] = (struct image_name_slot){ { 0, 1 }, 0, IMAGE_NONE };
}

static struct image_name_slot *first_name(struct changed c)
{
    struct image_name_slot *slot = section(c, IMAGE_NAMES);
    while (slot->name.length == 0)
        slot++;
    return slot;
}

static void test_a_full_table_would_be_searched_for_ever(void **state)
{
    const struct fixture *f = *state;
    struct compile_block view = f->out.views[0];
    REFUSED(view, IMAGE_VIEW, fill_addresses(c), "no empty slot");
    REFUSED(view, IMAGE_VIEW, fill_names(c), "no empty slot");
    REFUSED(view, IMAGE_VIEW, c.header->sections[IMAGE_ADDRESSES].count--, "power of two");
    REFUSED(view, IMAGE_VIEW, c.header->sections[IMAGE_NAMES].count--, "power of two");
    REFUSED(view, IMAGE_VIEW, c.header->sections[IMAGE_NAMES].count = 0, "power of two");
    REFUSED(view, IMAGE_VIEW, ((struct image_address_slot *)section(c, IMAGE_ADDRESSES))->principal = IMAGE_NOBODY - 1, "principal out of range");
    REFUSED(view, IMAGE_VIEW, first_name(c)->service = 1000, "service out of range");
    REFUSED(view, IMAGE_VIEW, first_name(c)->instance = 1000, "no instance of its service");
    REFUSED(view, IMAGE_VIEW, first_name(c)->name.offset = UINT32_MAX, "text outside");
}

static void test_prefixes_must_be_in_order(void **state)
{
    const struct fixture *f = *state;
    struct compile_block view = f->out.views[1];
    REFUSED(view, IMAGE_VIEW, ((struct image_prefix *)section(c, IMAGE_PREFIXES))->prefix.bits = 129, "more bits");
    REFUSED(view, IMAGE_VIEW, ((struct image_prefix *)section(c, IMAGE_PREFIXES))->principal = 50, "principal out of range");
    struct image_prefix prefixes[2] = { { .prefix = { .bits = 8 } }, { .prefix = { .bits = 9 } } };
    struct world w;
    struct compile_output out;
    world_homelab(&w);
    w.model.segments[2].addresses = world_prefixes(&w, "100.64.8.0/24,100.64.9.0/24");
    world_compile(&w, "roc", &out);
    REFUSED(out.views[1], IMAGE_VIEW, memcpy(section(c, IMAGE_PREFIXES), prefixes, sizeof prefixes), "not in order");
    compile_output_deinit(&out);
    world_deinit(&w);
}

static void test_the_other_blocks_may_not_point_anywhere(void **state)
{
    const struct fixture *f = *state;
    REFUSED(f->out.dial, IMAGE_DIAL, ((struct image_target *)section(c, IMAGE_TARGETS))->kind = 9, "unknown kind");
    REFUSED(f->out.dial, IMAGE_DIAL, ((struct image_target *)section(c, IMAGE_TARGETS))->n_addresses = 5, "too many addresses");
    REFUSED(f->out.dial, IMAGE_DIAL, ((struct image_target *)section(c, IMAGE_TARGETS))->kind = IMAGE_TARGET_ADDRESS, "no address");
    REFUSED(f->out.dial, IMAGE_DIAL, ((struct image_target *)section(c, IMAGE_TARGETS))->path.offset = UINT32_MAX, "text outside");
    REFUSED(f->out.dial, IMAGE_DIAL, ((struct image_target *)section(c, IMAGE_TARGETS))->path.length = 0, "no path");
    REFUSED(f->out.plan, IMAGE_PLAN, ((struct image_listener *)section(c, IMAGE_LISTENERS))->surface = 2, "surface out of range");
    REFUSED(f->out.plan, IMAGE_PLAN, ((struct image_listener *)section(c, IMAGE_LISTENERS))->kind = 9, "unknown kind");
    REFUSED(f->out.plan, IMAGE_PLAN, ((struct image_listener *)section(c, IMAGE_LISTENERS))->kind = IMAGE_LISTENER_DIRECT_UDP, "surface out of range");
    REFUSED(f->out.plan, IMAGE_PLAN, ((struct image_listener *)section(c, IMAGE_LISTENERS))->surface = IMAGE_SURFACE_DIRECT, "surface out of range");
    REFUSED(f->out.dial, IMAGE_DIAL, ((struct image_target *)section(c, IMAGE_TARGETS))->direct = IMAGE_DIRECT_TCP, "a surface's too");
    REFUSED(f->out.dial, IMAGE_DIAL, ((struct image_target *)section(c, IMAGE_TARGETS))->direct = 3, "unknown kind of direct port");
    REFUSED(f->out.plan, IMAGE_PLAN, ((struct image_listener *)section(c, IMAGE_LISTENERS))->port = 0, "no port");
    REFUSED(f->out.plan, IMAGE_PLAN, c.header->sections[IMAGE_SETTINGS].count = 0, "not exactly one");
    REFUSED(f->out.plan, IMAGE_PLAN, ((struct image_settings *)section(c, IMAGE_SETTINGS))->host.offset = UINT32_MAX, "text outside");
    REFUSED(f->out.plan, IMAGE_PLAN, ((struct image_surface *)section(c, IMAGE_SURFACES))->index = 1, "wrong number");
    REFUSED(f->out.keys, IMAGE_KEYS, ((struct image_certificate *)section(c, IMAGE_CERTIFICATES))->surface = 2, "surface out of range");
    REFUSED(f->out.keys, IMAGE_KEYS, ((struct image_certificate *)section(c, IMAGE_CERTIFICATES))->surface = 1, "outside its surface's slice");
    REFUSED(f->out.keys, IMAGE_KEYS, ((struct image_certificate *)section(c, IMAGE_CERTIFICATES))->key_file.length = UINT32_MAX, "text outside");
    REFUSED(f->out.dial, IMAGE_DIAL, ((struct image_target *)section(c, IMAGE_TARGETS))->container = 0, "without a number");
    REFUSED(f->out.dial, IMAGE_DIAL, ((struct image_target *)section(c, IMAGE_TARGETS))->kind = IMAGE_TARGET_NETNS, "without a container");
    REFUSED(f->out.docker, IMAGE_DOCKER, ((struct image_container *)section(c, IMAGE_CONTAINERS))->number ^= 1, "another name's number");
    REFUSED(f->out.docker, IMAGE_DOCKER, ((struct image_container *)section(c, IMAGE_CONTAINERS))->reference.length = UINT32_MAX, "text outside");
    REFUSED(f->out.docker, IMAGE_DOCKER, ((struct image_container *)section(c, IMAGE_CONTAINERS))->flags = 4, "unknown flags");
    REFUSED(f->out.docker, IMAGE_DOCKER, ((struct image_engine *)section(c, IMAGE_ENGINE))->socket.length = 0, "no absolute path");
    REFUSED(f->out.docker, IMAGE_DOCKER, c.header->sections[IMAGE_ENGINE].count = 0, "not exactly one");
}

/* Every byte of every block, set to what breaks bounds most often: attach refuses, or what it lets through is safe to read. */
static void test_no_changed_byte_makes_a_look_up_unsafe(void **state)
{
    static const uint8_t values[] = { 0x00, 0x01, 0x7f, 0xfe, 0xff };
    const struct fixture *f = *state;
    const struct compile_block blocks[] = { f->out.views[1], f->out.dial, f->out.plan, f->out.keys, f->out.docker };
    unsigned n_attached = 0, n_refused = 0;
    for (size_t i = 0; i < ARRAY_SIZE(blocks); i++)
        for (size_t at = 0; at < blocks[i].size; at++) {
            uint8_t *byte = (uint8_t *)blocks[i].data + at, before = *byte;
            for (size_t k = 0; k < ARRAY_SIZE(values); k++) {
                *byte = values[k];
                bool attached = exercise_block(blocks[i].data, blocks[i].size, (enum image_kind)(IMAGE_VIEW + i));
                n_attached += attached;
                n_refused += !attached;
            }
            *byte = before;
        }
    assert_true(n_attached > 1000 && n_refused > 1000);
}

static void test_no_cut_block_attaches(void **state)
{
    const struct fixture *f = *state;
    struct compile_block view = f->out.views[1];
    struct image_header *header = view.data;
    for (size_t size = 0; size < view.size; size++) {
        if (size >= sizeof *header)
            header->size = size; /* a liar of its own size */
        bool attached = exercise_block(view.data, size, IMAGE_VIEW);
        assert_true(!attached || size > view.size - IMAGE_ALIGN); /* the last section's padding is nobody's */
    }
    header->size = view.size;
}

/* The seeds in tests/corpus/image must be blocks of today's layout, or the fuzz target tests nothing. */
static void test_seeds_of_the_fuzz_target_attach(void **state)
{
    (void)state;
    static const struct {
        const char *name;
        enum image_kind kind;
    } seeds[] = {
        { "main-view", IMAGE_VIEW }, { "agents-view", IMAGE_VIEW }, { "dial", IMAGE_DIAL }, { "plan", IMAGE_PLAN }, { "keys", IMAGE_KEYS },
        { "docker", IMAGE_DOCKER }, { "dial-of-namespaces", IMAGE_DIAL },
    };
    for (size_t i = 0; i < ARRAY_SIZE(seeds); i++) {
        char path[4096], data[16384];
        snprintf(path, sizeof path, CORPUS "/valid-%s", seeds[i].name);
        FILE *file = fopen(path, "rbe");
        assert_non_null(file);
        size_t size = fread(data, 1, sizeof data, file);
        fclose(file);
        if (!exercise_block(data, size, seeds[i].kind))
            fail_msg("%s doesn't attach: make it anew with build/tests/unit/policy/write_blocks tests/corpus/image", path);
    }
}

/* ---- look-ups ---- */

static void test_prefix_search_is_the_linear_one(void **state)
{
    (void)state;
    uint64_t seed = 42;
    struct image_prefix prefixes[40];
    for (unsigned round = 0; round < 2000; round++) {
        uint32_t n = 0, wanted = random_below(&seed, ARRAY_SIZE(prefixes));
        for (unsigned bits = 128; bits > 0 && n < wanted; bits -= 1 + random_below(&seed, 8) % bits)
            for (unsigned i = 0; i < 3 && n < wanted; i++) {
                struct address a = { { [14] = (uint8_t)i, [15] = (uint8_t)random_next(&seed) } };
                struct address_prefix p = { address_mask(&a, bits), (uint8_t)bits };
                if (n == 0 || prefixes[n - 1].prefix.bits != bits || address_compare(&prefixes[n - 1].prefix.address, &p.address) < 0) {
                    prefixes[n] = (struct image_prefix){ .prefix = p, .principal = n };
                    n++;
                }
            }
        struct address asked = { { [14] = (uint8_t)random_below(&seed, 4), [15] = (uint8_t)random_next(&seed) } };
        unsigned max_bits = random_below(&seed, 129);
        const struct image_prefix *expected = NULL, *got = image_find_prefix(prefixes, n, &asked, max_bits);
        for (uint32_t i = 0; i < n && !expected; i++)
            if (prefixes[i].prefix.bits <= max_bits && address_prefix_contains(&prefixes[i].prefix, &asked))
                expected = &prefixes[i];
        assert_ptr_equal(got, expected);
    }
}

static void test_indexes_out_of_range_are_denied(void **state)
{
    const struct fixture *f = *state;
    struct image view = world_attach(f->out.views[0], IMAGE_VIEW);
    assert_int_equal(image_verdict(view, IMAGE_NONE, 0), IMAGE_NONE);
    assert_int_equal(image_verdict(view, image_count(view, IMAGE_PRINCIPALS), 0), IMAGE_NONE);
    assert_int_equal(image_verdict(view, 0, image_count(view, IMAGE_SERVICES)), IMAGE_NONE);
    assert_null(image_find_name(view, STR("")));
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(test_real_blocks_attach),
    cmocka_unit_test(test_headers_are_checked),
    cmocka_unit_test(test_sections_may_not_leave_the_block_or_meet),
    cmocka_unit_test(test_a_view_may_not_point_anywhere),
    cmocka_unit_test(test_a_full_table_would_be_searched_for_ever),
    cmocka_unit_test(test_prefixes_must_be_in_order),
    cmocka_unit_test(test_the_other_blocks_may_not_point_anywhere),
    cmocka_unit_test(test_no_changed_byte_makes_a_look_up_unsafe),
    cmocka_unit_test(test_no_cut_block_attaches),
    cmocka_unit_test(test_seeds_of_the_fuzz_target_attach),
    cmocka_unit_test(test_prefix_search_is_the_linear_one),
    cmocka_unit_test(test_indexes_out_of_range_are_denied),
};

int main(void)
{
    return cmocka_run_group_tests_name("image", tests, set_up, tear_down);
}
