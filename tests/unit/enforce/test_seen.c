/* What was seen, by name: lines add up, survive being written, and labels that somebody made up can't write lines of their own. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdio.h>
#include <string.h>

#include "enforce/seen.h"

static void test_lines_are_written_read_and_added_up(void **state)
{
    (void)state;
    static const char text[] = "seen 3 monitoring/grafana container monitoring/prometheus 6 9090\n"
                               "denied 1 monitoring/grafana internet internet 0 0\n";
    struct seen seen;
    struct buf out;
    seen_init(&seen);
    buf_init(&out, 1 << 16);
    seen_read(&seen, STR("seen 2 monitoring/grafana container monitoring/prometheus 6 9090\nnonsense\nseen x y\n\n"
                         "denied 1 monitoring/grafana internet internet 0 0\nseen 1 monitoring/grafana container monitoring/prometheus 6 9090\n"
                         "seen 1 a somewhere b 6 1\nseen 1 a container b 256 1\nseen 1 a container b 6 65536\n"));
    seen_write(&seen, &out);
    assert_true(str_equal(buf_str(&out), str_of(text)));
    buf_deinit(&out);
    seen_deinit(&seen);
}

static void test_lines_have_a_cap(void **state)
{
    (void)state;
    struct seen seen;
    struct buf text;
    seen_init(&seen);
    buf_init(&text, 1 << 20);
    for (unsigned i = 0; i < SEEN_LINES_MAX + 100; i++)
        buf_printf(&text, "seen 1 a container b 6 %u\n", i + 1);
    seen_read(&seen, buf_str(&text));
    assert_int_equal(seen_count(&seen), SEEN_LINES_MAX);
    buf_deinit(&text);
    seen_deinit(&seen);
}

#define ID(digit) digit digit digit digit digit digit digit digit digit digit digit digit digit digit digit digit

static void places_make(const char *project, const char *name, const char *address, struct arena *arena, struct seen_places *ret)
{
    static const char networks[] = "[{\"Name\": \"n\", \"Id\": \"" ID("aaaa") "\", \"Driver\": \"bridge\", \"Options\": {}, \"Labels\": {}}]";
    char text[1024];
    struct docker_containers containers;
    struct docker_networks nets;
    struct error err = { "" };
    snprintf(text, sizeof text, "[{\"Id\": \"" ID("1111") "\", \"Names\": [\"/%s\"], \"State\": \"running\", "
             "\"Labels\": {\"com.docker.compose.project\": \"%s\", "
             "\"com.docker.compose.service\": \"s\", \"com.docker.compose.container-number\": \"1\"}, "
             "\"HostConfig\": {\"NetworkMode\": \"n\"}, \"NetworkSettings\": {\"Networks\": "
             "{\"n\": {\"NetworkID\": \"" ID("aaaa") "\", "
             "\"IPAddress\": \"%s\", \"IPPrefixLen\": 28}}}}]", name, project, address);
    assert_int_equal(docker_containers_parse(str_of(text), arena, &containers, &err), 0);
    assert_int_equal(docker_networks_parse(str_of(networks), arena, &nets, &err), 0);
    assert_int_equal(seen_places_init(ret, &containers, &nets), 0);
}

static uint32_t count(const struct seen_places *places)
{
    return (uint32_t)(places->items.len / sizeof(struct seen_place));
}

static void test_labels_that_no_declaration_could_name_are_no_names(void **state)
{
    (void)state;
    static const char *const projects[] = { "x y", "x\\n denied 1 a", "../x", "" };
    for (size_t i = 0; i < ARRAY_SIZE(projects); i++) {
        struct arena arena;
        struct seen_places places;
        arena_init(&arena, 0);
        places_make(projects[i], "plain", "10.1.0.2", &arena, &places);
        assert_int_equal(count(&places), 1);
        assert_string_equal(((const struct seen_place *)(const void *)places.items.ptr)->name, "plain");
        seen_places_deinit(&places);
        arena_deinit(&arena);
    }
}

static void test_an_address_that_changes_hands_is_told_and_one_that_nobody_has_is_kept(void **state)
{
    (void)state;
    struct arena arena;
    struct seen_places before, other, elsewhere;
    arena_init(&arena, 0);
    places_make("p", "a", "10.1.0.2", &arena, &before);
    places_make("q", "b", "10.1.0.2", &arena, &other);
    places_make("q", "b", "10.1.0.3", &arena, &elsewhere);
    assert_false(seen_places_keep(&other, &before));
    assert_true(seen_places_keep(&elsewhere, &before));
    assert_int_equal(count(&elsewhere), 2);
    seen_places_deinit(&before);
    seen_places_deinit(&other);
    seen_places_deinit(&elsewhere);
    arena_deinit(&arena);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_lines_are_written_read_and_added_up),
        cmocka_unit_test(test_lines_have_a_cap),
        cmocka_unit_test(test_labels_that_no_declaration_could_name_are_no_names),
        cmocka_unit_test(test_an_address_that_changes_hands_is_told_and_one_that_nobody_has_is_kept),
    };
    return cmocka_run_group_tests_name("seen", tests, NULL, NULL);
}
