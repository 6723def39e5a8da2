/* What HTTP/2 sessions hold in all: who is told to stop when it is too much. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include "gateway/h2_session.h"

static void test_uploads_that_no_instance_takes_prevent_no_bound_on_memory(void **state)
{
    (void)state;
    static struct gateway gw;
    static struct h2_session sessions[1024];
    size_t n_refused = 0;
    gw.h2 = h2_shared_new();
    assert_non_null(gw.h2);
    for (size_t i = 0; i < ARRAY_SIZE(sessions); i++) {
        sessions[i].gw = &gw;
        /* As much as the connection's window lets a client send, a frame at a time. */
        for (size_t sent = 0; sent < H2_CONNECTION_WINDOW; sent += 16384)
            n_refused += !h2_hold(&sessions[i], 16384, H2_HELD_UPLOADS);
    }
    assert_true(n_refused > 0);
    assert_true(gw.h2->held <= H2_HELD_WORKER + ARRAY_SIZE(sessions) * (H2_HELD_UPLOADS + 16384ull));
    struct h2_session late = { .gw = &gw };
    assert_true(h2_hold(&late, 16384, H2_HELD_UPLOADS)); /* who holds little may still begin */
    h2_let_go(&late, 16384);
    assert_int_equal(late.held, 0);
    for (size_t i = 0; i < ARRAY_SIZE(sessions); i++)
        h2_let_go(&sessions[i], sessions[i].held);
    assert_int_equal(gw.h2->held, 0);
    free(gw.h2);
}

int main(void)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(test_uploads_that_no_instance_takes_prevent_no_bound_on_memory) };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
