/* Access records: the check, the JSON line, the readable line, and the filters. Nothing here allocates or prints with formats: a busy
 * gateway writes tens of thousands of these lines a second. */
#include "roles/logger_record.h"

#include <string.h>
#include <time.h>

/* ---- the check ---- */

static bool check_text(char *text, size_t size)
{
    for (size_t i = 0; i < size; i++) {
        if (text[i] == '\0') {
            memset(text + i, 0, size - i); /* what follows was never meant, and would be kept in the ring */
            return true;
        }
        if (text[i] < 0x20 || text[i] > 0x7e)
            text[i] = '?';
    }
    return false;
}

static bool is_hex(char c)
{
    return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f');
}

bool logger_record_check(struct ipc_record *record)
{
    static const uint64_t year_9999_us = 253402300800ULL * 1000000;
    for (size_t i = 0; i < sizeof record->id - 1; i++)
        if (!is_hex(record->id[i]))
            return false;
    return record->id[sizeof record->id - 1] == '\0' && record->status <= 999 && record->denied <= IPC_DENIED_REVOKED &&
           (record->http_version == 0 || record->http_version == 10 || record->http_version == 11 || record->http_version == 20) &&
           record->time_us < year_9999_us && record->bytes_in <= INT64_MAX && record->bytes_out <= INT64_MAX &&
           record->generation <= INT64_MAX && check_text(record->method, sizeof record->method) &&
           check_text(record->principal, sizeof record->principal) && check_text(record->segment, sizeof record->segment) &&
           check_text(record->service, sizeof record->service) && check_text(record->instance, sizeof record->instance) &&
           check_text(record->host, sizeof record->host) && check_text(record->rule, sizeof record->rule) &&
           check_text(record->revision, sizeof record->revision) && check_text(record->reason, sizeof record->reason);
}

static const char *const denied_names[] = {
    [IPC_DENIED_NOT] = "",           [IPC_DENIED_NO_GRANT] = "no-grant",       [IPC_DENIED_NO_SUCH_NAME] = "no-such-name",
    [IPC_DENIED_NOBODY] = "nobody",  [IPC_DENIED_CAP] = "too-many",            [IPC_DENIED_BAD_REQUEST] = "bad-request",
    [IPC_DENIED_REVOKED] = "revoked",
};

const char *logger_denied_name(enum ipc_record_denied denied)
{
    return (size_t)denied < ARRAY_SIZE(denied_names) ? denied_names[denied] : "";
}

bool logger_denied_parse(struct str word, enum ipc_record_denied *ret)
{
    for (size_t i = 0; i < ARRAY_SIZE(denied_names); i++)
        if (str_equal(word, str_of(denied_names[i]))) {
            *ret = (enum ipc_record_denied)i;
            return true;
        }
    return false;
}

/* ---- writing ---- */

struct line {
    char *at, *end;
};

static void put(struct line *line, struct str s)
{
    size_t room = (size_t)(line->end - line->at);
    size_t n = s.len < room ? s.len : room;
    memcpy(line->at, s.ptr, n);
    line->at += n;
}

static void put_char(struct line *line, char c)
{
    if (line->at < line->end)
        *line->at++ = c;
}

/* At least width digits, zeroes in front. */
static void put_number(struct line *line, uint64_t value, unsigned width)
{
    char digits[20];
    size_t n = 0;
    do
        digits[n++] = (char)('0' + value % 10);
    while (value /= 10);
    while (n < width)
        digits[n++] = '0';
    while (n > 0)
        put_char(line, digits[--n]);
}

static void put_ms(struct line *line, uint64_t us)
{
    put_number(line, us / 1000, 1);
    put_char(line, '.');
    put_number(line, us % 1000, 3);
}

static void put_json_text(struct line *line, struct str key, const char *text)
{
    put(line, key);
    for (; *text; text++) {
        if (*text == '"' || *text == '\\')
            put_char(line, '\\');
        put_char(line, *text);
    }
    put_char(line, '"');
}

static void put_json_ms(struct line *line, struct str key, uint32_t us)
{
    put(line, key);
    if (us == UINT32_MAX)
        put(line, STR("null"));
    else
        put_ms(line, us);
}

static void put_json_number(struct line *line, struct str key, uint64_t value)
{
    put(line, key);
    put_number(line, value, 1);
}

static struct str http_name(uint8_t version)
{
    return version == 20 ? STR("2") : version == 11 ? STR("1.1") : version == 10 ? STR("1.0") : STR("");
}

size_t logger_record_json(const struct ipc_record *record, struct str surface, uint32_t worker, char out[static LOGGER_LINE_MAX])
{
    struct line line = { out, out + LOGGER_LINE_MAX - 2 };
    static struct tm utc; /* of one second, which many records share; the logger has one thread */
    static time_t utc_of = -1;
    time_t seconds = (time_t)(record->time_us / 1000000);
    if (seconds != utc_of && gmtime_r(&seconds, &utc))
        utc_of = seconds;
    put(&line, STR("{\"time\":\"")); /* RFC 3339 section 5.6 */
    put_number(&line, (uint64_t)utc.tm_year + 1900, 4);
    put_char(&line, '-');
    put_number(&line, (uint64_t)utc.tm_mon + 1, 2);
    put_char(&line, '-');
    put_number(&line, (uint64_t)utc.tm_mday, 2);
    put_char(&line, 'T');
    put_number(&line, (uint64_t)utc.tm_hour, 2);
    put_char(&line, ':');
    put_number(&line, (uint64_t)utc.tm_min, 2);
    put_char(&line, ':');
    put_number(&line, (uint64_t)utc.tm_sec, 2);
    put_char(&line, '.');
    put_number(&line, record->time_us / 1000 % 1000, 3);
    put_json_text(&line, STR("Z\",\"id\":\""), record->id);
    char name[IPC_NAME_MAX];
    str_copy(name, sizeof name, surface);
    put_json_text(&line, STR(",\"surface\":\""), name);
    put_json_number(&line, STR(",\"worker\":"), worker);
    char client[ADDRESS_TEXT_SIZE];
    put_json_text(&line, STR(",\"client\":\""), address_format(&record->client, client));
    put_json_text(&line, STR(",\"principal\":\""), record->principal);
    put_json_text(&line, STR(",\"segment\":\""), record->segment);
    put_json_text(&line, STR(",\"service\":\""), record->service);
    put_json_text(&line, STR(",\"instance\":\""), record->instance);
    put_json_text(&line, STR(",\"host\":\""), record->host);
    put_json_text(&line, STR(",\"method\":\""), record->method);
    put(&line, STR(",\"http\":\""));
    put(&line, http_name(record->http_version));
    put_json_number(&line, STR("\",\"status\":"), record->status);
    put_json_number(&line, STR(",\"bytes_in\":"), record->bytes_in);
    put_json_number(&line, STR(",\"bytes_out\":"), record->bytes_out);
    put_json_ms(&line, STR(",\"connect_ms\":"), record->connect_us);
    put_json_ms(&line, STR(",\"first_byte_ms\":"), record->first_byte_us);
    put_json_ms(&line, STR(",\"total_ms\":"), record->total_us);
    put_json_text(&line, STR(",\"denied\":\""), logger_denied_name(record->denied));
    put_json_text(&line, STR(",\"reason\":\""), record->reason);
    put_json_text(&line, STR(",\"rule\":\""), record->rule);
    put_json_text(&line, STR(",\"revision\":\""), record->revision);
    put_json_number(&line, STR(",\"generation\":"), record->generation);
    line.end += 2;
    put(&line, STR("}\n"));
    return (size_t)(line.at - out);
}

/* ---- the readable form ---- */

static void put_colour(struct line *line, bool colour, struct str code)
{
    if (colour)
        put(line, code);
}

static void put_padded(struct line *line, struct str s, size_t width)
{
    put(line, s);
    for (size_t n = s.len; n < width; n++)
        put_char(line, ' ');
}

/* Three digits and a unit: 812 B, 1.2 kB, 34 MB. */
static void put_size(struct line *line, uint64_t bytes)
{
    static const char units[] = " kMGTPE";
    unsigned unit = 0;
    uint64_t tenths = bytes * 10;
    if (bytes > UINT64_MAX / 10)
        tenths = UINT64_MAX;
    while (tenths >= 10000 && unit + 2 < sizeof units) {
        tenths /= 1000;
        unit++;
    }
    put_number(line, tenths / 10, 1);
    if (unit > 0 && tenths < 100) {
        put_char(line, '.');
        put_number(line, tenths % 10, 1);
    }
    put_char(line, ' ');
    if (unit > 0)
        put_char(line, units[unit]);
    put_char(line, 'B');
}

static void put_duration(struct line *line, uint32_t us)
{
    if (us < 10000) {
        put_number(line, us / 1000, 1);
        put_char(line, '.');
        put_number(line, us % 1000 / 100, 1);
        put(line, STR(" ms"));
    } else if (us < 10000000) {
        put_number(line, us / 1000, 1);
        put(line, STR(" ms"));
    } else {
        put_number(line, us / 1000000, 1);
        put(line, STR(" s"));
    }
}

static struct str status_colour(uint16_t status)
{
    if (status >= 500 || status == 0)
        return STR("\033[31m");
    if (status >= 400)
        return STR("\033[33m");
    return STR("\033[32m");
}

/* A connection or flow of a direct port: no HTTP, no status. */
static bool is_direct(const struct ipc_record *record)
{
    return record->status == 0 && record->http_version == 0 && (strcmp(record->method, "TCP") == 0 || strcmp(record->method, "UDP") == 0);
}

/* 14:03:22.123  agents  robin → registry  GET 200  1.2 ms  5.1 kB  registry@roc  postern.yml:41  4f2c… */
size_t logger_record_readable(const struct ipc_record *record, struct str surface, bool colour, char out[static LOGGER_LINE_MAX])
{
    struct line line = { out, out + LOGGER_LINE_MAX - 1 };
    time_t seconds = (time_t)(record->time_us / 1000000);
    struct tm local;
    localtime_r(&seconds, &local);
    const struct str dim = STR("\033[2m"), plain = STR("\033[0m");
    put_colour(&line, colour, dim);
    put_number(&line, (uint64_t)local.tm_hour, 2);
    put_char(&line, ':');
    put_number(&line, (uint64_t)local.tm_min, 2);
    put_char(&line, ':');
    put_number(&line, (uint64_t)local.tm_sec, 2);
    put_char(&line, '.');
    put_number(&line, record->time_us / 1000 % 1000, 3);
    put_colour(&line, colour, plain);
    put(&line, STR("  "));
    put_padded(&line, surface, 7);
    put_char(&line, ' ');
    char client[ADDRESS_TEXT_SIZE];
    struct str from = record->principal[0] ? str_of(record->principal)
                      : record->segment[0] ? str_of(record->segment)
                                           : str_of(address_format(&record->client, client));
    struct str to = record->service[0] ? str_of(record->service) : record->host[0] ? str_of(record->host) : STR("-");
    put_padded(&line, from, 10);
    put(&line, STR(" \u2192 "));
    put_padded(&line, to, 14);
    put_char(&line, ' ');
    put_padded(&line, str_of(record->method), 5);
    put_char(&line, ' ');
    bool is_relayed = is_direct(record) && record->denied == IPC_DENIED_NOT && record->first_byte_us != UINT32_MAX;
    put_colour(&line, colour, is_relayed ? STR("\033[32m") : status_colour(record->status));
    if (is_relayed)
        put(&line, STR("relayed"));
    else if (record->status > 0)
        put_number(&line, record->status, 3);
    else
        put(&line, STR("closed"));
    put_colour(&line, colour, plain);
    put(&line, STR("  "));
    if (record->total_us != UINT32_MAX) {
        put_duration(&line, record->total_us);
        put(&line, STR("  "));
    }
    if (is_direct(record)) {
        put_size(&line, record->bytes_in);
        put(&line, STR(" in, "));
    }
    put_size(&line, record->bytes_out);
    if (is_direct(record))
        put(&line, STR(" out"));
    if (record->denied != IPC_DENIED_NOT) {
        put(&line, STR("  "));
        put_colour(&line, colour, STR("\033[33m"));
        put(&line, STR("denied: "));
        put(&line, str_of(logger_denied_name(record->denied)));
        put_colour(&line, colour, plain);
    }
    const struct str details[] = { str_of(record->reason), str_of(record->instance), str_of(record->rule), str_of(record->id) };
    put_colour(&line, colour, dim);
    for (size_t i = 0; i < ARRAY_SIZE(details); i++) {
        if (details[i].len == 0)
            continue;
        put(&line, STR("  "));
        put(&line, details[i]);
    }
    put_colour(&line, colour, plain);
    line.end++;
    put_char(&line, '\n');
    return (size_t)(line.at - out);
}

/* ---- filters ---- */

static bool set_text(char *field, size_t size, struct str value)
{
    if (value.len == 0 || value.len >= size)
        return false;
    str_copy(field, size, value);
    return true;
}

bool logger_filter_set(struct logger_filter *filter, struct str key, struct str value)
{
    if (str_equal(key, STR("id"))) {
        for (size_t i = 0; i < value.len; i++)
            if (!is_hex(str_lower_char(value.ptr[i])))
                return false;
        if (value.len != sizeof filter->id - 1)
            return false;
        for (size_t i = 0; i < value.len; i++)
            filter->id[i] = str_lower_char(value.ptr[i]);
        return true;
    }
    if (str_equal(key, STR("from")))
        return set_text(filter->from, sizeof filter->from, value);
    if (str_equal(key, STR("to")))
        return set_text(filter->to, sizeof filter->to, value);
    if (str_equal(key, STR("surface")))
        return set_text(filter->surface, sizeof filter->surface, value);
    if (str_equal(key, STR("denied")) && str_equal(value, STR("1"))) {
        filter->denied = true;
        return true;
    }
    uint64_t status;
    if (!str_equal(key, STR("status")) || value.len != 3)
        return false;
    if (str_to_u64(value, 999, &status) && status > 0) {
        filter->status_low = filter->status_high = (uint16_t)status;
        return true;
    }
    if (!str_equal_nocase(str_skip(value, 1), STR("xx")) || value.ptr[0] < '1' || value.ptr[0] > '5')
        return false;
    filter->status_low = (uint16_t)((value.ptr[0] - '0') * 100);
    filter->status_high = filter->status_low + 99;
    return true;
}

static bool match(const char *pattern, struct str text)
{
    return text.len > 0 && str_match_wildcard(str_of(pattern), text);
}

bool logger_filter_match(const struct logger_filter *filter, const struct ipc_record *record, struct str surface)
{
    if (filter->id[0] && memcmp(filter->id, record->id, sizeof record->id) != 0)
        return false;
    if (filter->surface[0] && !str_equal(str_of(filter->surface), surface))
        return false;
    if (filter->denied && record->denied == IPC_DENIED_NOT)
        return false;
    if (filter->status_high > 0 && (record->status < filter->status_low || record->status > filter->status_high))
        return false;
    if (filter->from[0]) {
        char client[ADDRESS_TEXT_SIZE];
        if (!match(filter->from, str_of(record->principal)) && !match(filter->from, str_of(record->segment)) &&
            !match(filter->from, str_of(address_format(&record->client, client))))
            return false;
    }
    return !filter->to[0] || match(filter->to, str_of(record->service)) || match(filter->to, str_of(record->instance)) ||
           match(filter->to, str_of(record->host));
}
