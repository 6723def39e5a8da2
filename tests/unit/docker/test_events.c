/* Events: lines out of pieces however they are cut, and what one line says. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include <errno.h>

#include "docker/events.h"

#define ID_A "d62e0e6310eaa335e34debaa3ce6079e85af114b2a1dda732bd9d4fbd7407eac"
#define ID_B "1273b18ad9b65674ada8bf4d3fe41dc97b94fc6098c059a8dc032eae47f6e8d0"

#define assert_text(s, text) assert_string_equal((s).ptr, (text))

static int parse(const char *json, struct arena *arena, struct docker_event *ret)
{
    struct error err = { "" };
    return docker_event_parse(str_of(json), arena, ret, &err);
}

static void test_events_of_containers_and_networks_are_told_apart(void **state)
{
    (void)state;
    struct arena arena;
    struct docker_event event;
    arena_init(&arena, 1 << 20);
    assert_int_equal(parse("{\"status\":\"start\",\"id\":\"old\",\"Type\":\"container\",\"Action\":\"start\",\"Actor\":{\"ID\":\"" ID_B "\",\"Attributes\":"
                           "{\"com.docker.compose.project\":\"p\",\"com.docker.compose.service\":\"s\",\"name\":\"web\"}},"
                           "\"time\":1,\"timeNano\":1795578962386784596}",
                           &arena, &event), 0);
    assert_int_equal(event.type, DOCKER_EVENT_CONTAINER);
    assert_int_equal(event.action, DOCKER_ACTION_START);
    assert_text(event.id, ID_B);
    assert_text(event.project, "p");
    assert_text(event.name, "web");
    assert_true(event.time_ns == 1795578962386784596);

    assert_int_equal(parse("{\"Type\":\"network\",\"Action\":\"connect\",\"Actor\":{\"ID\":\"" ID_A "\",\"Attributes\":{\"container\":\"" ID_B "\","
                           "\"name\":\"n\",\"type\":\"bridge\"}}}", &arena, &event), 0);
    assert_int_equal(event.action, DOCKER_ACTION_CONNECT);
    assert_text(event.container, ID_B);
    assert_text(event.driver, "bridge");
    assert_int_equal(event.time_ns, 0);

    assert_int_equal(parse("{\"Type\":\"container\",\"Action\":\"exec_start: sh\",\"Actor\":{\"ID\":\"" ID_B "\"}}", &arena, &event), 0);
    assert_int_equal(event.action, DOCKER_ACTION_OTHER);
    assert_int_equal(parse("{\"Type\":\"volume\",\"Action\":\"create\",\"Actor\":{\"ID\":\"v\"}}", &arena, &event), 0);
    assert_int_equal(event.type, DOCKER_EVENT_OTHER);
    assert_int_equal(parse("{\"Type\":\"daemon\",\"Action\":\"reload\"}", &arena, &event), 0);
    assert_int_equal(event.action, DOCKER_ACTION_RELOAD);
    arena_deinit(&arena);
}

static void test_an_event_about_nothing_that_can_be_asked_for_is_refused(void **state)
{
    (void)state;
    static const char *const bad[] = { "", "1", "[]", "{\"Type\":", "{\"Type\":\"container\",\"Action\":\"start\"}",
                                       "{\"Type\":\"network\",\"Actor\":{\"ID\":\"../x\"}}" };
    struct arena arena;
    arena_init(&arena, 1 << 20);
    for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
        struct docker_event event;
        assert_int_equal(parse(bad[i], &arena, &event), -EINVAL);
    }
    arena_deinit(&arena);
}

static void test_lines_are_the_same_however_the_stream_is_cut(void **state)
{
    (void)state;
    static const char stream[] = "\n{\"a\":1}\n{\"b\":2}\r\n\n{\"c\":3}\n{\"half\"";
    static const char *const wanted[] = { "{\"a\":1}", "{\"b\":2}", "{\"c\":3}" };
    for (size_t step = 1; step < sizeof stream; step++) {
        struct docker_lines lines;
        size_t n = 0;
        int error = 0;
        docker_lines_init(&lines);
        for (size_t at = 0; at < sizeof stream - 1; at += step) {
            struct str piece = str_first(str_make(stream + at, sizeof stream - 1 - at), step), line;
            while (docker_lines_next(&lines, &piece, &line, &error)) {
                assert_true(n < 3 && str_equal(line, str_of(wanted[n])));
                n++;
            }
        }
        assert_int_equal(n, 3);
        assert_int_equal(error, 0);
        docker_lines_deinit(&lines);
    }
}

static void test_a_line_without_end_is_refused_at_its_cap(void **state)
{
    (void)state;
    static char much[64 << 10];
    struct docker_lines lines;
    struct str line;
    int error = 0;
    size_t n = 0;
    memset(much, 'x', sizeof much);
    docker_lines_init(&lines);
    for (; error == 0 && n < 1000; n++) {
        struct str piece = str_make(much, sizeof much);
        assert_false(docker_lines_next(&lines, &piece, &line, &error));
    }
    assert_int_equal(error, -E2BIG);
    assert_int_equal(n, DOCKER_EVENT_LINE_MAX / sizeof much + 1);
    docker_lines_deinit(&lines);
}

static void test_the_question_for_events_since_is_escaped(void **state)
{
    (void)state;
    char text[DOCKER_EVENTS_PATH_SIZE];
    assert_string_equal(docker_events_path(0, text), "/events?filters=%7B%22type%22%3A%5B%22container%22%2C%22network%22%2C%22daemon%22%5D%7D");
    docker_events_path(1795578962000000005, text);
    assert_non_null(strstr(text, "&since=1795578962.000000005"));
    docker_events_path(UINT64_MAX, text);
    assert_non_null(strstr(text, "&since=18446744073.709551615"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_events_of_containers_and_networks_are_told_apart),
        cmocka_unit_test(test_an_event_about_nothing_that_can_be_asked_for_is_refused),
        cmocka_unit_test(test_lines_are_the_same_however_the_stream_is_cut),
        cmocka_unit_test(test_a_line_without_end_is_refused_at_its_cap),
        cmocka_unit_test(test_the_question_for_events_since_is_escaped),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
