/* An access record as a hijacked worker might write it: refused, or one sound JSON line and one printable line; the filters' words too. */
#include <assert.h>
#include <jansson.h>
#include <string.h>

#include "roles/logger_record.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void try_words(const char *text, size_t size)
{
    struct logger_filter filter = { 0 };
    struct str line = str_make(text, size);
    while (line.len > 0) {
        struct str word = str_split(&line, ' ');
        struct str value = word, key = str_split(&value, '=');
        struct logger_filter before = filter;
        if (!logger_filter_set(&filter, key, value))
            assert(memcmp(&before, &filter, sizeof filter) == 0);
    }
    struct ipc_record record = { .id = "0123456789abcdef", .principal = "robin", .host = "grafana.home.example" };
    (void)logger_filter_match(&filter, &record, STR("main"));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct ipc_record record = { .id = "0123456789abcdef" };
    char line[LOGGER_LINE_MAX];
    try_words((const char *)data, size < 512 ? size : 512);
    memcpy(&record, data, size < sizeof record ? size : sizeof record);
    if (!logger_record_check(&record))
        return 0;
    size_t len = logger_record_json(&record, STR("main"), 0, line);
    json_t *json = json_loadb(line, len, JSON_REJECT_DUPLICATES, NULL);
    assert(json && json_object_size(json) == 23);
    assert(strcmp(json_string_value(json_object_get(json, "host")), record.host) == 0);
    json_decref(json);
    len = logger_record_readable(&record, STR("main"), false, line);
    assert(len > 0 && line[len - 1] == '\n' && !memchr(line, '\033', len) && memchr(line, '\n', len) == line + len - 1);
    return 0;
}
