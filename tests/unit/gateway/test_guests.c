/* The table of containers that ask, held to a list through thousands of random changes. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include <errno.h>
#include <string.h>

#include "gateway/guests.h"

enum { ADDRESSES = 300, STEPS = 200000 };

static uint32_t state = 1;

static uint32_t random_below(uint32_t n)
{
    state = state * 1664525 + 1013904223;
    return (state >> 8) % n;
}

static struct address address_of(uint32_t i)
{
    struct address address = { { [10] = 0xff, [11] = 0xff, [12] = 10 } };
    address.bytes[14] = (uint8_t)(i >> 8);
    address.bytes[15] = (uint8_t)i;
    return address;
}

static void test_an_address_is_whoevers_it_was_put_for_last(void **unused)
{
    uint64_t wanted[ADDRESSES] = { 0 };
    struct guests guests = { 0 };
    (void)unused;
    for (unsigned step = 0; step < STEPS; step++) {
        uint32_t i = random_below(ADDRESSES);
        uint64_t container = 1 + random_below(3);
        struct address address = address_of(i);
        if (random_below(2)) {
            assert_int_equal(guests_put(&guests, &address, container), 0);
            wanted[i] = container;
        } else {
            assert_int_equal(guests_remove(&guests, &address, container), wanted[i] == container);
            if (wanted[i] == container)
                wanted[i] = 0;
        }
        uint32_t other = random_below(ADDRESSES);
        address = address_of(other);
        assert_int_equal(guests_find(&guests, &address), wanted[other]);
    }
    uint32_t n = 0;
    for (uint32_t i = 0; i < ADDRESSES; i++) {
        struct address address = address_of(i);
        assert_int_equal(guests_find(&guests, &address), wanted[i]);
        n += wanted[i] != 0;
    }
    assert_int_equal(guests.n, n);
    guests_deinit(&guests);
}

static void test_more_than_there_is_room_for_are_nobody(void **unused)
{
    struct guests guests = { 0 };
    struct address one_more = address_of(GUESTS_MAX), first = address_of(0);
    (void)unused;
    for (uint32_t i = 0; i < GUESTS_MAX; i++) {
        struct address address = address_of(i);
        assert_int_equal(guests_put(&guests, &address, 1), 0);
    }
    assert_int_equal(guests_put(&guests, &one_more, 1), -ENOSPC);
    assert_int_equal(guests_find(&guests, &one_more), 0);
    assert_int_equal(guests_put(&guests, &first, 2), 0);
    assert_true(guests_remove(&guests, &first, 2));
    assert_int_equal(guests_put(&guests, &one_more, 1), 0);
    guests_deinit(&guests);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_an_address_is_whoevers_it_was_put_for_last),
        cmocka_unit_test(test_more_than_there_is_room_for_are_nobody),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
