/* Arenas, buffers and tables: what they hold, and that they refuse to pass their caps or an empty heap. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/arena.h"
#include "base/buf.h"
#include "base/table.h"

/* The heap fails when this many more calls were made; negative: never. */
static int heap_calls_left = -1;
void *__real_calloc(size_t n, size_t size);
void *__wrap_calloc(size_t n, size_t size);
void *__real_realloc(void *p, size_t size);
void *__wrap_realloc(void *p, size_t size);

void *__wrap_calloc(size_t n, size_t size)
{
    return heap_calls_left == 0 ? NULL : (heap_calls_left--, __real_calloc(n, size));
}

void *__wrap_realloc(void *p, size_t size)
{
    return heap_calls_left == 0 ? NULL : (heap_calls_left--, __real_realloc(p, size));
}

/* ---- arena ---- */

static void test_arena_gives_zeroed_aligned_memory_that_stays(void **state)
{
    (void)state;
    struct arena arena;
    arena_init(&arena, 0);
    unsigned char *pieces[1000];
    for (size_t i = 0; i < ARRAY_SIZE(pieces); i++) {
        pieces[i] = arena_alloc(&arena, 1, i % 300);
        assert_non_null(pieces[i]);
        assert_int_equal((uintptr_t)pieces[i] % 16, 0);
        for (size_t k = 0; k < i % 300; k++)
            assert_int_equal(pieces[i][k], 0);
        memset(pieces[i], (int)(i % 251), i % 300);
    }
    for (size_t i = 0; i < ARRAY_SIZE(pieces); i++)
        for (size_t k = 0; k < i % 300; k++)
            assert_int_equal(pieces[i][k], i % 251);
    arena_deinit(&arena);
    assert_int_equal(arena.held, 0);
    assert_non_null(arena_alloc(&arena, 1, 1)); /* and can be used again */
    arena_deinit(&arena);
}

/* Of the heap and of pages of the arena's own, in turn and around the border between them. */
static void test_arena_holds_large_pieces(void **state)
{
    (void)state;
    static const size_t sizes[] = { 100, (2 << 20) - 64, 2 << 20, 40, (5 << 20) + 3, 1 << 20, 3 << 20, (16 << 20) + 1, 8 };
    struct arena arena;
    arena_init(&arena, 64 << 20);
    for (unsigned round = 0; round < 2; round++) {
        unsigned char *pieces[ARRAY_SIZE(sizes)];
        for (size_t i = 0; i < ARRAY_SIZE(sizes); i++) {
            pieces[i] = arena_alloc(&arena, sizes[i], 1);
            assert_non_null(pieces[i]);
            for (size_t k = 0; k < sizes[i]; k++)
                if (pieces[i][k])
                    fail_msg("byte %zu of piece %zu is not zero", k, i);
            memset(pieces[i], (int)i + 1, sizes[i]);
        }
        for (size_t i = 0; i < ARRAY_SIZE(sizes); i++)
            for (size_t k = 0; k < sizes[i]; k++)
                if (pieces[i][k] != i + 1)
                    fail_msg("byte %zu of piece %zu was overwritten", k, i);
        assert_null(arena_alloc(&arena, 64 << 20, 1)); /* past the cap */
        arena_deinit(&arena);
    }
}

static void test_arena_keeps_its_cap(void **state)
{
    (void)state;
    struct arena arena;
    arena_init(&arena, 10000);
    assert_null(arena_alloc(&arena, 1, 10001));
    assert_non_null(arena_alloc(&arena, 1, 5000));
    assert_null(arena_alloc(&arena, 1, 6000));
    assert_non_null(arena_alloc(&arena, 1, 3000));
    size_t n = 0;
    while (n < 10000 && arena_alloc(&arena, 1, 16))
        n++;
    assert_in_range(n, 1, 10000 / 16);
    assert_true(arena.held <= 10000 && arena.used <= arena.held);
    arena_deinit(&arena);
}

static void test_arena_refuses_products_that_overflow(void **state)
{
    (void)state;
    struct arena arena;
    arena_init(&arena, 0);
    assert_null(arena_alloc(&arena, SIZE_MAX / 2, 4));
    assert_null(arena_alloc(&arena, SIZE_MAX, 1));
    assert_int_equal(arena.held, 0);
    arena_deinit(&arena);
}

static void test_arena_survives_an_empty_heap(void **state)
{
    (void)state;
    struct arena arena;
    arena_init(&arena, 0);
    heap_calls_left = 0;
    assert_null(arena_alloc(&arena, 1, 1));
    assert_null(arena_copy(&arena, STR("x")).ptr);
    assert_null(arena_printf(&arena, "%d", 1).ptr);
    heap_calls_left = -1;
    struct str text = arena_printf(&arena, "%s-%d", "roc", 7);
    assert_true(str_equal(text, STR("roc-7")));
    assert_int_equal(text.ptr[text.len], '\0');
    struct str empty = arena_copy(&arena, STR_NONE);
    assert_non_null(empty.ptr);
    assert_int_equal(empty.ptr[0], '\0');
    arena_deinit(&arena);
}

/* ---- buf ---- */

static void test_buf_grows_to_its_cap_and_its_error_sticks(void **state)
{
    (void)state;
    struct buf buf;
    buf_init(&buf, 1000);
    for (int i = 0; i < 100; i++)
        buf_append(&buf, STR("0123456789"));
    assert_int_equal(buf.len, 1000);
    assert_int_equal(buf.error, 0);
    buf_append_char(&buf, 'x');
    assert_int_equal(buf.error, -E2BIG);
    assert_int_equal(buf.len, 1000);
    buf_consume(&buf, 500);
    buf_append_char(&buf, 'x'); /* room again, but something is missing already */
    assert_int_equal(buf.len, 500);
    assert_null(buf_reserve(&buf, 1));
    buf_clear(&buf);
    buf_append_char(&buf, 'x');
    assert_true(buf.error == 0 && str_equal(buf_str(&buf), STR("x")));
    buf_deinit(&buf);
    buf_deinit(&buf);
}

static void test_buf_survives_an_empty_heap(void **state)
{
    (void)state;
    struct buf buf;
    buf_init(&buf, 1000);
    heap_calls_left = 0;
    buf_append(&buf, STR("x"));
    heap_calls_left = -1;
    assert_int_equal(buf.error, -ENOMEM);
    assert_int_equal(buf.len, 0);
    buf_deinit(&buf);
}

static void test_buf_prints_and_consumes(void **state)
{
    (void)state;
    struct buf buf;
    buf_init(&buf, 100000);
    char long_text[5000];
    memset(long_text, 'a', sizeof long_text);
    buf_printf(&buf, "%.*s|%d", (int)sizeof long_text, long_text, -1);
    assert_int_equal(buf.len, 5003);
    buf_consume(&buf, 5000);
    assert_true(str_equal(buf_str(&buf), STR("|-1")));
    buf_consume(&buf, 99);
    assert_int_equal(buf.len, 0);
    buf_deinit(&buf);
}

static void test_json_strings(void **state)
{
    static const struct {
        struct str text;
        const char *json;
    } cases[] = {
        { { "a\"b\\c", 5 }, "\"a\\\"b\\\\c\"" }, { { "\n\r\t\b\x1b\x7f", 6 }, "\"\\n\\r\\t\\u0008\\u001b\\u007f\"" }, { { "a\0b", 3 }, "\"a\\u0000b\"" },
        { { "gr\xc3\xbc\xc3\x9f", 6 }, "\"gr\xc3\xbc\xc3\x9f\"" }, { { "\xf0\x9f\x9a\xaa", 4 }, "\"\xf0\x9f\x9a\xaa\"" },
        { { "\xff", 1 }, "\"\\ufffd\"" }, { { "\xc3", 1 }, "\"\\ufffd\"" }, { { "\xc0\xaf", 2 }, "\"\\ufffd\\ufffd\"" },
        { { "\xed\xa0\x80", 3 }, "\"\\ufffd\\ufffd\\ufffd\"" }, { { "\xf4\x90\x80\x80", 4 }, "\"\\ufffd\\ufffd\\ufffd\\ufffd\"" },
        { { "\xe2\x82", 2 }, "\"\\ufffd\\ufffd\"" }, { { "", 0 }, "\"\"" },
    };
    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        struct buf buf;
        buf_init(&buf, 1000);
        buf_append_json(&buf, cases[i].text);
        buf_append_char(&buf, '\0');
        assert_string_equal(buf.ptr, cases[i].json);
        buf_deinit(&buf);
    }
}

/* ---- table ---- */

static void test_table_keeps_the_first_of_equal_keys(void **state)
{
    (void)state;
    cleanup_table struct table table = { 0 };
    uint32_t value = 9;
    assert_false(table_get(&table, STR("a"), &value));
    assert_int_equal(table_add(&table, STR("a"), 1, NULL), 0);
    assert_int_equal(table_add(&table, STR("a"), 2, &value), TABLE_E_EXISTS);
    assert_int_equal(value, 1);
    assert_int_equal(table_add(&table, STR(""), 3, NULL), 0);
    assert_true(table_get(&table, STR_NONE, &value));
    assert_int_equal(value, 3);
    assert_true(table_get(&table, STR("a"), NULL));
    assert_false(table_get(&table, STR("A"), NULL));
}

static void test_table_holds_many(void **state)
{
    enum { MANY = 20000 };
    static char keys[MANY][8];
    (void)state;
    cleanup_table struct table table = { 0 };
    for (uint32_t i = 0; i < MANY; i++) {
        snprintf(keys[i], sizeof keys[i], "k%u", i);
        assert_int_equal(table_add(&table, str_of(keys[i]), i, NULL), 0);
    }
    assert_int_equal(table.n_used, MANY);
    for (uint32_t i = 0, value; i < MANY; i++) {
        assert_true(table_get(&table, str_of(keys[i]), &value));
        assert_int_equal(value, i);
    }
    assert_false(table_get(&table, STR("k20000"), NULL));
}

static void test_table_survives_an_empty_heap(void **state)
{
    (void)state;
    cleanup_table struct table table = { 0 };
    char keys[9][2] = { "a", "b", "c", "d", "e", "f", "g", "h", "i" };
    heap_calls_left = 1;
    int r = 0;
    size_t n = 0;
    while (n < ARRAY_SIZE(keys) && (r = table_add(&table, str_of(keys[n]), 0, NULL)) == 0)
        n++;
    heap_calls_left = -1;
    assert_int_equal(r, -ENOMEM);
    assert_int_equal(table.n_used, n);
    for (size_t i = 0; i < n; i++)
        assert_true(table_get(&table, str_of(keys[i]), NULL));
    assert_int_equal(table_add(&table, str_of(keys[n]), 0, NULL), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_arena_gives_zeroed_aligned_memory_that_stays),
        cmocka_unit_test(test_arena_holds_large_pieces),
        cmocka_unit_test(test_arena_keeps_its_cap),
        cmocka_unit_test(test_arena_refuses_products_that_overflow),
        cmocka_unit_test(test_arena_survives_an_empty_heap),
        cmocka_unit_test(test_buf_grows_to_its_cap_and_its_error_sticks),
        cmocka_unit_test(test_buf_survives_an_empty_heap),
        cmocka_unit_test(test_buf_prints_and_consumes),
        cmocka_unit_test(test_json_strings),
        cmocka_unit_test(test_table_keeps_the_first_of_equal_keys),
        cmocka_unit_test(test_table_holds_many),
        cmocka_unit_test(test_table_survives_an_empty_heap),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
