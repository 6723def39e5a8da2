/* The one check that every dial passes, over hand-made dial blocks. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include <errno.h>
#include <string.h>
#include <sys/mman.h>

#include "roles/broker_table.h"

enum { N_TARGETS = 3 };

/* A block as the compiler writes it: three targets, of surface 0, of surface 1, of both and the last one. */
static struct image make_block(uint64_t generation)
{
    struct {
        struct image_header header;
        char padding[16 - sizeof(struct image_header) % 16];
        char strings[16];
        struct image_target targets[N_TARGETS];
    } *block = mmap(NULL, sizeof *block, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    assert_ptr_not_equal(block, MAP_FAILED);
    struct image_header *header = &block->header;
    memcpy(header->magic, IMAGE_MAGIC, sizeof header->magic);
    header->version = IMAGE_VERSION;
    header->kind = IMAGE_DIAL;
    header->size = sizeof *block;
    header->generation = generation;
    header->sections[IMAGE_STRINGS] = (struct image_section){ offsetof(__typeof__(*block), strings), sizeof block->strings, 1, 0 };
    header->sections[IMAGE_TARGETS] =
        (struct image_section){ offsetof(__typeof__(*block), targets), N_TARGETS, sizeof(struct image_target), 0 };
    block->strings[0] = 'x';
    static const uint64_t surfaces[N_TARGETS] = { 1, 2, 1ULL << 63 | 3 };
    for (size_t i = 0; i < N_TARGETS; i++)
        block->targets[i] = (struct image_target){ .surfaces = surfaces[i], .identity = i, .kind = IMAGE_TARGET_UNRESOLVED, .path = { 0, 1 } };
    struct image image;
    struct error err = { 0 };
    int r = image_attach(block, sizeof *block, IMAGE_DIAL, &image, &err);
    if (r)
        fail_msg("%s", err.text);
    return image;
}

static void take(struct broker_table *table, uint64_t generation)
{
    struct error err = { 0 };
    assert_int_equal(broker_table_take(table, make_block(generation), generation, &err), 0);
}

static int find(const struct broker_table *table, uint64_t generation, uint32_t target, uint32_t surface)
{
    const struct image_target *found = NULL;
    struct image image = { NULL };
    int r = broker_table_find(table, generation, target, surface, &found, &image);
    assert_true(r == 0 ? found && found->identity == target && image.header->generation == generation : !found && !image.header);
    return r;
}

static void target_is_found_for_its_surfaces_only(void **state)
{
    (void)state;
    struct broker_table table = { 0 };
    take(&table, 1);
    assert_int_equal(find(&table, 1, 0, 0), 0);
    assert_int_equal(find(&table, 1, 0, 1), -EPERM);
    assert_int_equal(find(&table, 1, 1, 0), -EPERM);
    assert_int_equal(find(&table, 1, 1, 1), 0);
    assert_int_equal(find(&table, 1, 2, 0), 0);
    assert_int_equal(find(&table, 1, 2, 1), 0);
    assert_int_equal(find(&table, 1, 2, 2), -EPERM);
    assert_int_equal(find(&table, 1, 2, 63), 0);
    broker_table_deinit(&table);
}

/* A shift by 64 and more would be undefined, and on many machines a shift by nothing. */
static void surface_numbers_past_the_bits_reach_nothing(void **state)
{
    (void)state;
    struct broker_table table = { 0 };
    take(&table, 1);
    static const uint32_t absurd[] = { 64, 65, 127, 128, UINT32_MAX };
    for (size_t i = 0; i < ARRAY_SIZE(absurd); i++)
        for (uint32_t target = 0; target < N_TARGETS; target++)
            assert_int_equal(find(&table, 1, target, absurd[i]), -EPERM);
    broker_table_deinit(&table);
}

static void index_past_the_end_is_refused(void **state)
{
    (void)state;
    struct broker_table table = { 0 };
    take(&table, 1);
    assert_int_equal(find(&table, 1, N_TARGETS, 0), -EPERM);
    assert_int_equal(find(&table, 1, UINT32_MAX, 0), -EPERM);
    broker_table_deinit(&table);
}

static void two_generations_are_held_the_oldest_goes(void **state)
{
    (void)state;
    struct broker_table table = { 0 };
    assert_int_equal(find(&table, 0, 0, 0), -EPERM);
    assert_int_equal(find(&table, 1, 0, 0), -ESTALE);
    take(&table, 5);
    take(&table, 6);
    take(&table, 8);
    assert_int_equal(find(&table, 5, 0, 0), -ESTALE);
    assert_int_equal(find(&table, 6, 0, 0), 0);
    assert_int_equal(find(&table, 7, 0, 0), -ESTALE);
    assert_int_equal(find(&table, 8, 0, 0), 0);
    take(&table, 8); /* again: in its own place */
    assert_int_equal(find(&table, 6, 0, 0), 0);
    broker_table_deinit(&table);
}

static void block_of_another_generation_changes_nothing(void **state)
{
    (void)state;
    struct broker_table table = { 0 };
    struct error err = { 0 };
    take(&table, 1);
    struct image other = make_block(3);
    assert_int_equal(broker_table_take(&table, other, 2, &err), -EINVAL);
    assert_int_equal(broker_table_take(&table, other, 0, &err), -EINVAL);
    assert_int_equal(find(&table, 1, 0, 0), 0);
    assert_int_equal(find(&table, 3, 0, 0), -ESTALE);
    munmap((void *)(uintptr_t)other.header, other.header->size);
    broker_table_deinit(&table);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(target_is_found_for_its_surfaces_only),
        cmocka_unit_test(surface_numbers_past_the_bits_reach_nothing),
        cmocka_unit_test(index_past_the_end_is_refused),
        cmocka_unit_test(two_generations_are_held_the_oldest_goes),
        cmocka_unit_test(block_of_another_generation_changes_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
