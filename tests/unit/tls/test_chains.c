/* The chains' block: what goes in comes out, and what is malformed is refused whole. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <errno.h>
#include <stdlib.h>

#include "tls/chains.h"

static struct buf block_of_two(void)
{
    struct buf block;
    buf_init(&block, 1 << 16);
    tls_chains_append(&block, &(struct tls_chain){ .certificate = 7, .name = STR_NONE, .pem = STR("default pem") });
    tls_chains_append(&block, &(struct tls_chain){ .certificate = UINT64_MAX, .name = STR("shop.example"), .pem = STR("x") });
    return block;
}

/* Decodes from memory of exactly that size, so that a sanitizer sees a byte read past it. */
static int decode(const void *data, size_t size, uint32_t n, struct tls_chain *ret)
{
    void *exact = malloc(size ? size : 1);
    memcpy(exact, data, size);
    int r = tls_chains_decode(exact, size, n, ret);
    free(exact);
    return r;
}

static void test_round_trip(void **state)
{
    (void)state;
    struct buf block = block_of_two();
    struct tls_chain chains[2];
    assert_int_equal(block.len % 8, 0);
    assert_int_equal(tls_chains_decode(block.ptr, block.len, 2, chains), 0);
    assert_int_equal(chains[0].certificate, 7);
    assert_int_equal(chains[0].name.len, 0);
    assert_true(str_equal(chains[0].pem, STR("default pem")));
    assert_true(chains[1].certificate == UINT64_MAX);
    assert_true(str_equal(chains[1].name, STR("shop.example")));
    assert_true(str_equal(chains[1].pem, STR("x")));
    buf_deinit(&block);
}

static void test_other_counts_and_sizes_are_refused(void **state)
{
    (void)state;
    struct buf block = block_of_two();
    struct tls_chain chains[TLS_CHAINS_MAX];
    for (size_t size = 0; size < block.len; size++)
        assert_int_equal(decode(block.ptr, size, 2, chains), -EBADMSG);
    assert_int_equal(decode(block.ptr, block.len, 1, chains), -EBADMSG);
    assert_int_equal(decode(block.ptr, block.len, 3, chains), -EBADMSG);
    assert_int_equal(decode(block.ptr, block.len, UINT32_MAX, chains), -EBADMSG);
    buf_deinit(&block);
}

static void refuse(struct tls_chain first, struct tls_chain second)
{
    struct buf block;
    struct tls_chain chains[2];
    buf_init(&block, 1 << 20);
    tls_chains_append(&block, &first);
    tls_chains_append(&block, &second);
    assert_int_equal(decode(block.ptr, block.len, 2, chains), -EBADMSG);
    buf_deinit(&block);
}

static void test_defaults_and_names_are_checked(void **state)
{
    (void)state;
    struct tls_chain plain = { .pem = STR("p") }, named = { .name = STR("a.example"), .pem = STR("p") };
    refuse(plain, plain);
    refuse(named, named);
    refuse(plain, (struct tls_chain){ .name = STR("UPPER.example"), .pem = STR("p") });
    refuse(plain, (struct tls_chain){ .name = STR("a\0b"), .pem = STR("p") });
    refuse(plain, (struct tls_chain){ .name = STR("a.example"), .pem = STR_NONE });
}

static void test_lengths_that_overflow_are_refused(void **state)
{
    (void)state;
    struct tls_chain chains[1];
    static const uint32_t lengths[][2] = { { UINT32_MAX, UINT32_MAX }, { 0, UINT32_MAX }, { UINT32_MAX, 1 }, { 254, 1 }, { 0, TLS_CHAIN_PEM_MAX + 1 } };
    for (size_t i = 0; i < sizeof lengths / sizeof lengths[0]; i++) {
        struct tls_chain_head head = { .name_length = lengths[i][0], .pem_length = lengths[i][1] };
        assert_int_equal(decode(&head, sizeof head, 1, chains), -EBADMSG);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_round_trip),
        cmocka_unit_test(test_other_counts_and_sizes_are_refused),
        cmocka_unit_test(test_defaults_and_names_are_checked),
        cmocka_unit_test(test_lengths_that_overflow_are_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
