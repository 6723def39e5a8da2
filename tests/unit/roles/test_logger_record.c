/* Access records: what is let in, and the forms they take. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include <jansson.h>
#include <string.h>

#include "roles/logger_record.h"

static struct ipc_record sample(void)
{
    struct ipc_record record = { .time_us = 1700000000123456, .generation = 3, .bytes_in = 10, .bytes_out = 5100, .connect_us = UINT32_MAX,
                                 .first_byte_us = 200, .total_us = 1234, .status = 200, .http_version = 20, .id = "0123456789abcdef",
                                 .method = "GET", .principal = "macbook", .segment = "clients", .service = "grafana",
                                 .instance = "grafana@roc", .host = "grafana.home.example", .rule = "postern.yml:41", .revision = "abc" };
    assert_true(address_parse(STR("100.64.0.13"), &record.client));
    return record;
}

static json_t *as_json(const struct ipc_record *record, const char *surface)
{
    char line[LOGGER_LINE_MAX];
    size_t len = logger_record_json(record, str_of(surface), 1, line);
    assert_true(len > 0 && len <= sizeof line && line[len - 1] == '\n');
    assert_null(memchr(line, '\n', len - 1));
    json_t *json = json_loadb(line, len - 1, JSON_REJECT_DUPLICATES, NULL);
    assert_non_null(json);
    return json;
}

static void json_has_every_field(void **state)
{
    (void)state;
    struct ipc_record record = sample();
    json_t *json = as_json(&record, "main");
    assert_string_equal(json_string_value(json_object_get(json, "time")), "2023-11-14T22:13:20.123Z");
    assert_string_equal(json_string_value(json_object_get(json, "client")), "100.64.0.13");
    assert_string_equal(json_string_value(json_object_get(json, "http")), "2");
    assert_true(json_is_null(json_object_get(json, "connect_ms")));
    assert_true(json_real_value(json_object_get(json, "total_ms")) == 1.234);
    assert_string_equal(json_string_value(json_object_get(json, "denied")), "");
    assert_int_equal(json_object_size(json), 23);
    json_decref(json);
}

static void fill(char *text, size_t size, char c)
{
    memset(text, c, size - 1);
    text[size - 1] = '\0';
}

/* Every text at its longest, every byte of it escaped, every number at its largest: still one whole line. */
static void longest_record_fits_its_line(void **state)
{
    (void)state;
    for (size_t i = 0; i < 3; i++) {
        char c = "\"\\x"[i];
        struct ipc_record record = { .time_us = 253402300799999999, .generation = INT64_MAX, .bytes_in = INT64_MAX, .bytes_out = INT64_MAX,
                                     .connect_us = UINT32_MAX - 1, .first_byte_us = UINT32_MAX - 1, .total_us = UINT32_MAX - 1, .status = 999,
                                     .denied = IPC_DENIED_NO_SUCH_NAME, .http_version = 11, .id = "ffffffffffffffff" };
        memset(&record.client, 0xfe, sizeof record.client);
        fill(record.method, sizeof record.method, c);
        fill(record.principal, sizeof record.principal, c);
        fill(record.segment, sizeof record.segment, c);
        fill(record.service, sizeof record.service, c);
        fill(record.instance, sizeof record.instance, c);
        fill(record.host, sizeof record.host, c);
        fill(record.rule, sizeof record.rule, c);
        fill(record.revision, sizeof record.revision, c);
        fill(record.reason, sizeof record.reason, c);
        char surface[IPC_NAME_MAX], line[LOGGER_LINE_MAX];
        fill(surface, sizeof surface, c);
        json_t *json = as_json(&record, surface);
        assert_int_equal(json_string_length(json_object_get(json, "instance")), sizeof record.instance - 1);
        json_decref(json);
        size_t len = logger_record_readable(&record, str_of(surface), true, line);
        assert_true(len < sizeof line && line[len - 1] == '\n');
    }
}

static void sound_record_passes_unchanged(void **state)
{
    (void)state;
    struct ipc_record record = sample(), copy = record;
    assert_true(logger_record_check(&record));
    assert_memory_equal(&record, &copy, sizeof record);
}

static void control_bytes_become_question_marks(void **state)
{
    (void)state;
    struct ipc_record record = sample();
    memcpy(record.host, "\x1b[2J\r\n\x7f\x80\xff", 10);
    assert_true(logger_record_check(&record));
    assert_string_equal(record.host, "?[2J?????");
}

static void bytes_behind_a_texts_end_are_cleared(void **state)
{
    (void)state;
    struct ipc_record record = sample();
    memcpy(record.reason, "no\0secret", 10);
    assert_true(logger_record_check(&record));
    for (size_t i = 2; i < sizeof record.reason; i++)
        assert_int_equal(record.reason[i], 0);
}

static void what_is_no_record_is_refused(void **state)
{
    (void)state;
    struct ipc_record records[12];
    for (size_t i = 0; i < ARRAY_SIZE(records); i++)
        records[i] = sample();
    records[0].id[3] = 'g';
    records[1].id[16] = 'a';
    records[2].denied = IPC_DENIED_REVOKED + 1;
    records[3].status = 1000;
    records[4].http_version = 30;
    records[5].time_us = UINT64_MAX;
    memset(records[6].method, 'x', sizeof records[6].method);
    memset(records[7].reason, 'x', sizeof records[7].reason);
    memset(records[8].instance, 'x', sizeof records[8].instance);
    records[9].id[0] = 'A';
    records[10].bytes_out = UINT64_MAX;
    records[11].generation = 1ULL << 63;
    for (size_t i = 0; i < ARRAY_SIZE(records); i++)
        assert_false(logger_record_check(&records[i]));
}

static void denied_words_go_both_ways(void **state)
{
    (void)state;
    for (enum ipc_record_denied denied = IPC_DENIED_NOT; denied <= IPC_DENIED_REVOKED; denied++) {
        enum ipc_record_denied back = IPC_DENIED_REVOKED;
        assert_true(logger_denied_parse(str_of(logger_denied_name(denied)), &back));
        assert_int_equal(back, denied);
    }
    enum ipc_record_denied untouched = IPC_DENIED_CAP;
    assert_false(logger_denied_parse(STR("perhaps"), &untouched));
    assert_int_equal(untouched, IPC_DENIED_CAP);
}

static bool matches(const char *key, const char *value)
{
    struct logger_filter filter = { 0 };
    struct ipc_record record = sample();
    assert_true(logger_filter_set(&filter, str_of(key), str_of(value)));
    return logger_filter_match(&filter, &record, STR("main"));
}

static void filters_match_what_they_say(void **state)
{
    (void)state;
    static const char *const yes[][2] = { { "from", "macbook" }, { "from", "clients" }, { "from", "100.64.0.*" }, { "to", "graf*" },
                                          { "to", "grafana@roc" }, { "to", "*.home.example" }, { "surface", "main" }, { "status", "200" },
                                          { "status", "2xx" }, { "status", "2XX" }, { "id", "0123456789ABCDEF" } };
    static const char *const no[][2] = { { "from", "mac" }, { "from", "100.64.0.1" }, { "to", "grafan" }, { "surface", "agents" },
                                         { "status", "404" }, { "status", "3xx" }, { "id", "0123456789abcdee" }, { "denied", "1" } };
    for (size_t i = 0; i < ARRAY_SIZE(yes); i++)
        assert_true(matches(yes[i][0], yes[i][1]));
    for (size_t i = 0; i < ARRAY_SIZE(no); i++)
        assert_false(matches(no[i][0], no[i][1]));
}

static void filters_that_are_none_change_nothing(void **state)
{
    (void)state;
    static const char *const wrong[][2] = { { "status", "000" }, { "status", "6xx" }, { "status", "40" }, { "status", "4x4" }, { "id", "123" },
                                            { "id", "0123456789abcdeg" }, { "denied", "0" }, { "from", "" }, { "colour", "red" }, { "", "" } };
    for (size_t i = 0; i < ARRAY_SIZE(wrong); i++) {
        struct logger_filter filter = { 0 }, untouched = { 0 };
        assert_false(logger_filter_set(&filter, str_of(wrong[i][0]), str_of(wrong[i][1])));
        assert_memory_equal(&filter, &untouched, sizeof filter);
    }
    char long_name[65];
    fill(long_name, sizeof long_name, 'x');
    struct logger_filter filter = { 0 };
    assert_false(logger_filter_set(&filter, STR("to"), str_of(long_name)));
}

/* '*' in from: must not match a field that is empty: "--from *" shows who is somebody. */
static void empty_fields_match_no_pattern(void **state)
{
    (void)state;
    struct logger_filter filter = { 0 };
    struct ipc_record record = sample();
    record.service[0] = record.instance[0] = record.host[0] = '\0';
    assert_true(logger_filter_set(&filter, STR("to"), STR("*")));
    assert_false(logger_filter_match(&filter, &record, STR("main")));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(json_has_every_field),
        cmocka_unit_test(longest_record_fits_its_line),
        cmocka_unit_test(sound_record_passes_unchanged),
        cmocka_unit_test(control_bytes_become_question_marks),
        cmocka_unit_test(bytes_behind_a_texts_end_are_cleared),
        cmocka_unit_test(what_is_no_record_is_refused),
        cmocka_unit_test(denied_words_go_both_ways),
        cmocka_unit_test(filters_match_what_they_say),
        cmocka_unit_test(filters_that_are_none_change_nothing),
        cmocka_unit_test(empty_fields_match_no_pattern),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
