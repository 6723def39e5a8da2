/* HTTP/1 heads: one search for the end that can stop and go on, then one pass over a whole head.
 *
 *   find_end ──▶ parse_request_line │ parse_status_line ──▶ parse_fields (note_field each) ──▶ settle_connection ──▶ settle_*
 */
#include "http/h1.h"

#include "http/chars.h"

enum { CONNECTION_OPTIONS_MAX = 32 };

/* What the fields said, before it is weighed together. */
struct notes {
    uint32_t n_host, n_length, n_coding, n_upgrade, n_connection;
    bool is_coding_chunked, close, keep_alive, upgrade, bad_expect;
};

/* The end of the head that starts at data, past its empty line; HTTP1_MORE, or a violation that no later byte can heal. Every LF is
 * looked at here once, so that what follows knows that each ends a CRLF. */
static int find_end(const char *data, size_t len, size_t *scanned, size_t *ret_end, enum http_violation *ret_violation)
{
    size_t limit = len < HTTP_HEAD_SIZE_MAX ? len : HTTP_HEAD_SIZE_MAX;
    for (size_t i = *scanned; i < limit; i++) {
        const char *lf = memchr(data + i, '\n', limit - i);
        if (!lf)
            break;
        i = (size_t)(lf - data);
        if (i == 0 || data[i - 1] != '\r') {
            *ret_violation = HTTP_BARE_LF;
            return HTTP1_REFUSED;
        }
        if (i == 1 || (i >= 3 && data[i - 2] == '\n')) {
            *scanned = 0;
            *ret_end = i + 1;
            return 0;
        }
    }
    *scanned = limit;
    if (len < HTTP_HEAD_SIZE_MAX)
        return HTTP1_MORE;
    *ret_violation = HTTP_HEAD_TOO_LARGE;
    return HTTP1_REFUSED;
}

/* A CR that is not part of a CRLF is refused for what it is; anything else for what it broke. p is before the head's last LF. */
static enum http_violation cr_or(const char *p, enum http_violation otherwise)
{
    return p[0] == '\r' && p[1] != '\n' ? HTTP_BARE_CR : otherwise;
}

static void init_head(struct http_head *head)
{
    memset(head, 0, offsetof(struct http_head, fields));
}

/* "HTTP/1.x" at p (RFC 9112 section 2.3); left is what remains of the head. */
static enum http_violation parse_version(const char *p, size_t left, uint8_t *ret_version, enum http_violation malformed)
{
    if (left < 8 || memcmp(p, "HTTP/", 5) != 0 || p[5] < '0' || p[5] > '9' || p[6] != '.' || p[7] < '0' || p[7] > '9')
        return malformed;
    if (p[5] != '1' || p[7] > '1')
        return HTTP_BAD_VERSION;
    *ret_version = p[7] == '1' ? 11 : 10;
    return HTTP_FINE;
}

/* Splits "http://authority/path" (RFC 9112 section 3.2.2) in place. */
static enum http_violation split_absolute(struct str target, struct http_head *head)
{
    size_t scheme = str_equal_nocase(str_first(target, 7), STR("http://"))    ? 7
                    : str_equal_nocase(str_first(target, 8), STR("https://")) ? 8
                                                                              : 0;
    if (!scheme)
        return HTTP_BAD_TARGET;
    struct str rest = str_skip(target, scheme);
    size_t slash = str_find_char(rest, '/');
    head->authority = str_first(rest, slash);
    head->path = str_skip(rest, slash);
    if (!http_authority_is_valid(head->authority))
        return HTTP_BAD_TARGET;
    if (head->path.len == 0)
        head->path = str_equal(head->method, STR("OPTIONS")) ? STR("*") : STR("/");
    return HTTP_FINE;
}

static enum http_violation parse_target(struct str target, struct http_head *head)
{
    if (target.ptr[0] == '/') {
        head->path = target;
        return HTTP_FINE;
    }
    if (str_equal(target, STR("*"))) {
        head->path = target;
        return str_equal(head->method, STR("OPTIONS")) ? HTTP_FINE : HTTP_BAD_TARGET;
    }
    return split_absolute(target, head);
}

/* RFC 9112 section 3: method SP request-target SP HTTP-version CRLF. end is past the head's last LF. */
static enum http_violation parse_request_line(const char **cursor, const char *end, struct http_head *head)
{
    const char *p = *cursor;
    const char *start = p;
    while (http_char_is(*p, HTTP_CHAR_TOKEN | HTTP_CHAR_UNDERSCORE))
        p++;
    if (*p != ' ' || p == start || p - start > HTTP_METHOD_MAX)
        return *p == '\r' ? cr_or(p, HTTP_BAD_REQUEST_LINE) : HTTP_BAD_METHOD;
    head->method = str_make(start, (size_t)(p - start));
    if (str_equal(head->method, STR("CONNECT")))
        return HTTP_CONNECT_METHOD;
    head->is_head = str_equal(head->method, STR("HEAD"));

    start = ++p;
    while (http_char_is(*p, HTTP_CHAR_TARGET))
        p++;
    if (*p == '\r')
        return cr_or(p, HTTP_BAD_REQUEST_LINE);
    if (*p != ' ' || p == start)
        return HTTP_BAD_TARGET;
    struct str target = str_make(start, (size_t)(p - start));

    p++;
    enum http_violation violation = parse_version(p, (size_t)(end - p), &head->version, HTTP_BAD_REQUEST_LINE);
    if (violation != HTTP_FINE)
        return violation;
    p += 8;
    if (p[0] != '\r' || p[1] != '\n')
        return cr_or(p, HTTP_BAD_REQUEST_LINE);
    *cursor = p + 2;
    return parse_target(target, head);
}

/* RFC 9112 section 4: HTTP-version SP status-code SP [reason] CRLF; the second space may be missing when there is no reason. */
static enum http_violation parse_status_line(const char **cursor, const char *end, struct http_head *head)
{
    const char *p = *cursor;
    enum http_violation violation = parse_version(p, (size_t)(end - p), &head->version, HTTP_BAD_STATUS_LINE);
    if (violation != HTTP_FINE)
        return violation;
    p += 8;
    if (end - p < 6 || p[0] != ' ' || p[1] < '1' || p[1] > '5' || p[2] < '0' || p[2] > '9' || p[3] < '0' || p[3] > '9')
        return HTTP_BAD_STATUS_LINE;
    head->status = (uint16_t)((p[1] - '0') * 100 + (p[2] - '0') * 10 + (p[3] - '0'));
    p += 4;
    if (*p == ' ') {
        const char *reason = ++p;
        p = http_skip_value(p, end);
        head->reason = str_make(reason, (size_t)(p - reason));
    }
    if (p[0] != '\r' || p[1] != '\n')
        return cr_or(p, HTTP_BAD_STATUS_LINE);
    *cursor = p + 2;
    return HTTP_FINE;
}

static bool list_has(struct str list, struct str wanted)
{
    while (list.len)
        if (str_equal_nocase(str_trim(str_split(&list, ',')), wanted))
            return true;
    return false;
}

static enum http_violation note_length(struct str value, struct http_head *head)
{
    if (!str_to_u64(value, INT64_MAX, &head->content_length))
        return HTTP_BAD_LENGTH;
    head->has_content_length = true;
    return HTTP_FINE;
}

/* Weighs one field whose id is known. */
static enum http_violation note_field(struct http_field *field, struct http_head *head, struct notes *notes)
{
    if (http_field_is_hop(field->id))
        field->flags = HTTP_FIELD_HOP;
    switch ((enum http_field_id)field->id) {
    case HTTP_HOST:
        if (notes->n_host++ == 0 && head->status == 0) {
            if (!http_authority_is_valid(field->value))
                return HTTP_BAD_HOST;
            if (head->authority.len && !str_equal_nocase(head->authority, field->value))
                return HTTP_HOST_MISMATCH;
            head->authority = field->value;
        }
        return HTTP_FINE;
    case HTTP_CONTENT_LENGTH:
        return notes->n_length++ ? HTTP_DUPLICATE_LENGTH : note_length(field->value, head);
    case HTTP_TRANSFER_ENCODING:
        notes->is_coding_chunked = notes->n_coding++ == 0 && str_equal_nocase(field->value, STR("chunked"));
        return HTTP_FINE;
    case HTTP_CONNECTION:
        notes->n_connection++;
        return HTTP_FINE;
    case HTTP_UPGRADE:
        notes->n_upgrade++;
        head->upgrade_to = field->value;
        return HTTP_FINE;
    case HTTP_EXPECT:
        head->expect_continue = true;
        notes->bad_expect |= !str_equal_nocase(field->value, STR("100-continue"));
        return HTTP_FINE;
    case HTTP_TE:
        head->te_trailers |= list_has(field->value, STR("trailers"));
        return HTTP_FINE;
    case HTTP_CONTENT_TYPE:
        head->is_grpc = http_type_is_grpc(field->value);
        return HTTP_FINE;
    default:
        return HTTP_FINE;
    }
}

/* Why the name that begins at p stops at stop, which is not a colon (RFC 9112 section 5.1 and 5.2). */
static enum http_violation name_violation(const char *p, const char *stop)
{
    if (*p == ' ' || *p == '\t')
        return HTTP_OBS_FOLD;
    if (*stop == '_')
        return HTTP_UNDERSCORE_NAME;
    if (stop > p && (*stop == ' ' || *stop == '\t')) {
        const char *next = stop;
        while (*next == ' ' || *next == '\t')
            next++;
        return *next == ':' ? HTTP_SPACE_BEFORE_COLON : HTTP_BAD_FIELD_NAME;
    }
    return *stop == '\r' ? cr_or(stop, HTTP_BAD_FIELD_NAME) : HTTP_BAD_FIELD_NAME;
}

/* The field lines from p to the empty line that ends at end. Underscores pass from instances only: what makes them dangerous is a
 * receiver that takes "X_Forwarded_For" for "X-Forwarded-For", as CGI does with requests. notes: NULL in a trailer section. */
static enum http_violation parse_fields(const char *p, const char *end, struct http_head *head, struct notes *notes, bool from_instance)
{
    unsigned name_classes = HTTP_CHAR_TOKEN | (from_instance ? HTTP_CHAR_UNDERSCORE : 0);
    const char *last = end - 2;
    uint32_t n_seen = 0;
    while (p < last) {
        const char *name = p;
        while (http_char_is(*p, name_classes))
            p++;
        if (*p != ':' || p == name)
            return name_violation(name, p);
        if (n_seen++ == HTTP_FIELDS_MAX)
            return HTTP_TOO_MANY_FIELDS;
        struct http_field *field = &head->fields[head->n_fields];
        field->name = str_make(name, (size_t)(p - name));

        do
            p++;
        while (*p == ' ' || *p == '\t');
        const char *value = p;
        p = http_skip_value(p, end);
        if (p[0] != '\r' || p[1] != '\n')
            return cr_or(p, HTTP_BAD_FIELD_VALUE);
        const char *value_end = p;
        while (value_end > value && (value_end[-1] == ' ' || value_end[-1] == '\t'))
            value_end--;
        field->value = str_make(value, (size_t)(value_end - value));
        p += 2;

        field->id = (uint8_t)http_field_id(field->name);
        field->flags = 0;
        if (!notes) {
            head->n_fields += http_field_may_trail(field->name, field->id);
            continue;
        }
        head->n_fields++;
        if (field->id != HTTP_OTHER) {
            enum http_violation violation = note_field(field, head, notes);
            if (violation != HTTP_FINE)
                return violation;
        }
    }
    return HTTP_FINE;
}

/* A nominated field is hop-by-hop. Only names that mean nothing to us can be nominated: a client must not be able to have Host, the
 * framing, or what we say about it taken away on the next hop. */
static void nominate(struct str option, struct http_head *head)
{
    for (uint32_t i = 0; i < head->n_fields; i++)
        if (head->fields[i].id == HTTP_OTHER && str_equal_nocase(head->fields[i].name, option))
            head->fields[i].flags |= HTTP_FIELD_HOP;
}

/* The options of every Connection field (RFC 9110 section 7.6.1), few enough that a head costs no more than its size. */
static enum http_violation settle_connection(struct http_head *head, struct notes *notes)
{
    uint32_t n_options = 0;
    for (uint32_t i = 0; notes->n_connection && i < head->n_fields; i++) {
        if (head->fields[i].id != HTTP_CONNECTION)
            continue;
        struct str list = head->fields[i].value;
        while (list.len) {
            struct str option = str_trim(str_split(&list, ','));
            for (size_t c = 0; c < option.len; c++)
                if (!http_char_is(option.ptr[c], HTTP_CHAR_TOKEN | HTTP_CHAR_UNDERSCORE))
                    return HTTP_BAD_FIELD_VALUE;
            if (++n_options > CONNECTION_OPTIONS_MAX)
                return HTTP_BAD_FIELD_VALUE;
            if (str_equal_nocase(option, STR("close")))
                notes->close = true;
            else if (str_equal_nocase(option, STR("keep-alive")))
                notes->keep_alive = true;
            else if (str_equal_nocase(option, STR("upgrade")))
                notes->upgrade = true;
            else if (option.len)
                nominate(option, head);
        }
    }
    head->keep_alive = !notes->close && (head->version == 11 || notes->keep_alive);
    return HTTP_FINE;
}

/* What may be said about the body in either direction (RFC 9112 section 6.1 to 6.3, and stricter: one way to say it, said once). */
static enum http_violation check_framing(const struct http_head *head, const struct notes *notes)
{
    if (notes->n_coding == 0)
        return HTTP_FINE;
    if (head->version == 10)
        return HTTP_TRANSFER_ENCODING_1_0;
    if (notes->n_coding > 1 || !notes->is_coding_chunked)
        return HTTP_BAD_TRANSFER_ENCODING;
    return notes->n_length ? HTTP_LENGTH_AND_CHUNKED : HTTP_FINE;
}

/* Another HTTP in a tunnel would be requests that nobody decides on, with whatever identity their sender likes. */
static bool is_http(struct str protocol)
{
    return str_equal_nocase(str_first(protocol, 2), STR("h2")) || str_equal_nocase(str_first(protocol, 4), STR("http"));
}

/* Upgrade counts with its Connection option, in HTTP/1.1, and when it names one protocol that isn't HTTP; otherwise it is as if it
 * weren't there. */
static enum http_violation settle_upgrade(struct http_head *head, const struct notes *notes)
{
    struct str to = head->upgrade_to;
    bool is_meant = head->version == 11 && notes->upgrade && notes->n_upgrade > 0;
    if (is_meant && (head->framing == HTTP_CHUNKED || head->content_length > 0) && head->status == 0)
        return HTTP_UPGRADE_WITH_BODY;
    head->upgrade = is_meant && notes->n_upgrade == 1 && to.len > 0 && str_find_char(to, ',') == to.len && !is_http(to);
    if (!head->upgrade)
        head->upgrade_to = STR_NONE;
    head->websocket = head->upgrade && str_equal_nocase(to, STR("websocket")) &&
                      (head->status || str_equal(head->method, STR("GET")));
    return HTTP_FINE;
}

static enum http_violation settle_request(struct http_head *head, const struct notes *notes)
{
    if (notes->n_host != 1)
        return notes->n_host ? HTTP_DUPLICATE_HOST : HTTP_NO_HOST;
    enum http_violation violation = check_framing(head, notes);
    if (violation != HTTP_FINE)
        return violation;
    head->framing = notes->n_coding ? HTTP_CHUNKED : notes->n_length ? HTTP_LENGTH : HTTP_NO_BODY;
    if (head->version == 10) /* RFC 9110 section 10.1.1: an expectation in HTTP/1.0 is ignored */
        head->expect_continue = false;
    else if (notes->bad_expect)
        return HTTP_BAD_EXPECT;
    head->expect_continue &= head->framing == HTTP_CHUNKED || head->content_length > 0; /* nobody waits to send nothing */
    return settle_upgrade(head, notes);
}

static enum http_violation settle_response(struct http_head *head, const struct notes *notes, bool request_is_head)
{
    enum http_violation violation = check_framing(head, notes);
    if (violation != HTTP_FINE)
        return violation;
    head->expect_continue = false;
    if (head->status < 200 || head->status == 204) { /* RFC 9112 section 6.1, RFC 9110 section 8.6: neither may be said */
        if (notes->n_coding)
            return HTTP_BAD_TRANSFER_ENCODING;
        if (head->content_length > 0)
            return HTTP_BAD_LENGTH;
        head->has_content_length = false;
    }
    bool has_no_body = request_is_head || head->status < 200 || head->status == 204 || head->status == 304;
    head->framing = has_no_body       ? HTTP_NO_BODY
                    : notes->n_coding ? HTTP_CHUNKED
                    : notes->n_length ? HTTP_LENGTH
                                      : HTTP_UNTIL_CLOSE;
    if (head->framing == HTTP_UNTIL_CLOSE)
        head->keep_alive = false;
    violation = settle_upgrade(head, notes);
    if (head->status != 101) {
        head->upgrade = head->websocket = false;
        head->upgrade_to = STR_NONE;
    } else if (!head->upgrade) {
        return HTTP_BAD_FIELD_VALUE; /* RFC 9110 section 15.2.2: 101 says to what, once */
    }
    return violation;
}

static int refuse(enum http_violation violation, enum http_violation *ret_violation)
{
    *ret_violation = violation;
    return HTTP1_REFUSED;
}

/* A whole head of either direction: start line, fields, and what they settle together. */
static int parse_head(const char *data, size_t len, size_t *scanned, bool is_response, bool request_is_head, struct http_head *ret,
                      size_t *ret_used, enum http_violation *ret_violation)
{
    size_t size;
    int r = find_end(data, len, scanned, &size, ret_violation);
    if (r)
        return r;
    struct notes notes = { 0 };
    const char *p = data;
    init_head(ret);
    enum http_violation violation = is_response ? parse_status_line(&p, data + size, ret) : parse_request_line(&p, data + size, ret);
    if (violation == HTTP_FINE)
        violation = parse_fields(p, data + size, ret, &notes, is_response);
    if (violation == HTTP_FINE)
        violation = settle_connection(ret, &notes);
    if (violation == HTTP_FINE)
        violation = is_response ? settle_response(ret, &notes, request_is_head) : settle_request(ret, &notes);
    if (violation != HTTP_FINE)
        return refuse(violation, ret_violation);
    *ret_used = size;
    return 0;
}

int http1_parse_request(const char *data, size_t len, size_t *scanned, struct http_head *ret, size_t *ret_used,
                        enum http_violation *ret_violation)
{
    return parse_head(data, len, scanned, false, false, ret, ret_used, ret_violation);
}

int http1_parse_response(const char *data, size_t len, size_t *scanned, bool request_is_head, struct http_head *ret, size_t *ret_used,
                         enum http_violation *ret_violation)
{
    return parse_head(data, len, scanned, true, request_is_head, ret, ret_used, ret_violation);
}

int http1_parse_trailers(const char *data, size_t len, size_t *scanned, bool from_instance, struct http_head *ret, size_t *ret_used,
                         enum http_violation *ret_violation)
{
    size_t size;
    int r = find_end(data, len, scanned, &size, ret_violation);
    if (r)
        return r;
    init_head(ret);
    enum http_violation violation = parse_fields(data, data + size, ret, NULL, from_instance);
    if (violation != HTTP_FINE)
        return refuse(violation, ret_violation);
    *ret_used = size;
    return 0;
}
