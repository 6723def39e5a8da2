/* Responses of the engine out of bytes: the same however they are cut, bounded whatever they are. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include <stdio.h>

#include "docker/response.h"

#define CHUNKED "HTTP/1.1 200 OK\r\nApi-Version: 1.41\r\nTransfer-Encoding: chunked\r\n\r\n"

/* Fed in steps of this size; the last result, with what was used in *ret_used. */
static int feed(struct docker_response *response, struct str bytes, size_t step, size_t *ret_used)
{
    int r = DOCKER_RESPONSE_MORE;
    size_t total = 0;
    docker_response_init(response);
    while (r == DOCKER_RESPONSE_MORE && total < bytes.len) {
        size_t used = 0;
        r = docker_response_feed(response, str_first(str_skip(bytes, total), step), &used);
        total += used;
    }
    *ret_used = total;
    return r;
}

static void test_a_response_is_the_same_however_it_is_cut(void **state)
{
    (void)state;
    static const struct {
        const char *text, *body;
        unsigned status;
        bool keeps_alive;
    } rows[] = {
        { "HTTP/1.1 200 OK\r\nApi-Version: 1.41\r\nContent-Length: 5\r\n\r\nhello", "hello", 200, true },
        { CHUNKED "3\r\nhel\r\n2;x=y\r\nlo\r\n0\r\n\r\n", "hello", 200, true },
        { CHUNKED "5\r\nhello\r\n0\r\nTrailer: x\r\n\r\n", "hello", 200, true },
        { "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nAPI-VERSION: 1.41\r\nContent-Length: 5\r\n\r\nhello", "hello", 200, true },
        { "HTTP/1.1 404 Not Found\r\nApi-Version: 1.41\r\nContent-Length: 2\r\nConnection: close\r\n\r\n{}", "{}", 404, false },
        { "HTTP/1.1 204 No Content\r\nApi-Version: 1.41\r\n\r\n", "", 204, true },
        { "HTTP/1.1 200 OK\r\nApi-Version: 1.41\r\nContent-Length: 0\r\n\r\n", "", 200, true },
    };
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++)
        for (size_t step = 1; step <= strlen(rows[i].text); step++) {
            struct docker_response response;
            size_t used;
            assert_int_equal(feed(&response, str_of(rows[i].text), step, &used), 0);
            assert_int_equal(used, strlen(rows[i].text));
            assert_int_equal(response.status, rows[i].status);
            assert_int_equal(response.keeps_alive, rows[i].keeps_alive);
            assert_string_equal(response.api_version, "1.41");
            assert_true(str_equal(buf_str(&response.body), str_of(rows[i].body)));
            docker_response_deinit(&response);
        }
}

static void test_what_follows_a_response_is_left(void **state)
{
    (void)state;
    struct docker_response response;
    size_t used;
    assert_int_equal(feed(&response, STR("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nokHTTP/1.1"), 1000, &used), 0);
    assert_int_equal(used, strlen("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"));
    docker_response_deinit(&response);
}

static void test_what_is_not_http_is_refused(void **state)
{
    (void)state;
    static const char *const bad[] = {
        "SSH-2.0-OpenSSH_9.2\r\n\r\n", "HTTP/1.1 OK\r\n\r\n", "HTTP/2 200\r\n\r\n", CHUNKED "x\r\n", CHUNKED "3\r\nabcd\r\n", CHUNKED "ffffffffffffffff\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\n", "HTTP/1.1 200 OK\nContent-Length: 2\n\nok",
        "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: tcp\r\n\r\n",
    };
    for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
        struct docker_response response;
        size_t used;
        assert_int_equal(feed(&response, str_of(bad[i]), 7, &used), DOCKER_RESPONSE_REFUSED);
        assert_non_null(response.problem);
        assert_int_equal(docker_response_feed(&response, STR("more"), &used), DOCKER_RESPONSE_REFUSED);
        docker_response_deinit(&response);
    }
}

static void test_a_response_that_ends_with_the_connection_is_whole_then_and_another_is_cut_off(void **state)
{
    (void)state;
    struct docker_response response;
    size_t used;
    assert_int_equal(feed(&response, STR("HTTP/1.1 200 OK\r\nApi-Version: 1.41\r\n\r\nhel"), 3, &used), DOCKER_RESPONSE_MORE);
    assert_int_equal(docker_response_finish(&response), 0);
    assert_false(response.keeps_alive);
    docker_response_deinit(&response);
    assert_int_equal(feed(&response, STR(CHUNKED "3\r\nhel\r\n"), 3, &used), DOCKER_RESPONSE_MORE);
    assert_int_equal(docker_response_finish(&response), DOCKER_RESPONSE_REFUSED);
    docker_response_deinit(&response);
}

/* Feeds the same piece again and again; how many bytes it took until refused. */
static size_t feed_endlessly(const char *head, struct str piece, size_t limit)
{
    struct docker_response response;
    size_t used, total = 0;
    int r = feed(&response, str_of(head), 4096, &used);
    while (r == DOCKER_RESPONSE_MORE && total < limit) {
        r = docker_response_feed(&response, piece, &used);
        total += used;
    }
    assert_int_equal(r, DOCKER_RESPONSE_REFUSED);
    assert_true(response.body.cap <= 2 * DOCKER_BODY_MAX && response.head.cap <= (1 << 18));
    docker_response_deinit(&response);
    return total;
}

static void test_nothing_endless_is_gathered(void **state)
{
    (void)state;
    static char much[64 << 10];
    memset(much, 'x', sizeof much);
    struct str piece = str_make(much, sizeof much);
    size_t limit = 64 << 20;
    char chunk[sizeof much + 16];
    int n = snprintf(chunk, sizeof chunk, "%zx\r\n%.*s\r\n", sizeof much, (int)sizeof much, much);
    assert_true(feed_endlessly("HTTP/1.1 200 OK\r\nContent-Length: 99999999999\r\n\r\n", piece, limit) <= DOCKER_BODY_MAX + sizeof much);
    assert_true(feed_endlessly("HTTP/1.1 200 OK\r\n\r\n", piece, limit) <= DOCKER_BODY_MAX + sizeof much);
    assert_true(feed_endlessly(CHUNKED, str_make(chunk, (size_t)n), limit) <= DOCKER_BODY_MAX + 2 * sizeof chunk);
    assert_true(feed_endlessly("HTTP/1.1 200 OK\r\nX: ", piece, limit) <= 2 * sizeof much);
    assert_true(feed_endlessly("", STR("HTTP/1.1 103 Early Hints\r\n\r\n"), limit) <= 1024);
    assert_true(feed_endlessly(CHUNKED "0\r\nX: ", piece, limit) <= 2 * sizeof much);
}

struct taken {
    size_t n, limit;
};

static bool take(void *context, struct str piece)
{
    struct taken *taken = context;
    taken->n += piece.len;
    return taken->n < taken->limit;
}

static void test_a_stream_is_handed_on_and_not_gathered_but_a_refusal_is(void **state)
{
    (void)state;
    struct docker_response response;
    struct taken taken = { .limit = 10 };
    size_t used;
    docker_response_init(&response);
    response.take = take;
    response.context = &taken;
    assert_int_equal(docker_response_feed(&response, STR(CHUNKED "4\r\nabcd\r\n"), &used), DOCKER_RESPONSE_MORE);
    assert_true(taken.n == 4 && response.body.len == 0);
    assert_int_equal(docker_response_feed(&response, STR("8\r\nabcdefgh\r\n"), &used), DOCKER_RESPONSE_REFUSED);
    docker_response_deinit(&response);

    docker_response_init(&response);
    response.take = take;
    response.context = &taken;
    taken.n = 0;
    assert_int_equal(docker_response_feed(&response, STR("HTTP/1.1 400 Bad Request\r\nContent-Length: 2\r\n\r\n{}"), &used), 0);
    assert_true(taken.n == 0 && response.body.len == 2);
    docker_response_deinit(&response);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_response_is_the_same_however_it_is_cut),
        cmocka_unit_test(test_what_follows_a_response_is_left),
        cmocka_unit_test(test_what_is_not_http_is_refused),
        cmocka_unit_test(test_a_response_that_ends_with_the_connection_is_whole_then_and_another_is_cut_off),
        cmocka_unit_test(test_nothing_endless_is_gathered),
        cmocka_unit_test(test_a_stream_is_handed_on_and_not_gathered_but_a_refusal_is),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
