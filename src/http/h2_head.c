/* Header blocks of HTTP/2: the rules of RFC 9113 section 8.2 and 8.3 and ours for HTTP/1, so that a message means the same by either way. */
#include "http/h2_head.h"

#include "http/chars.h"

enum pseudo { PSEUDO_METHOD = 1, PSEUDO_SCHEME = 2, PSEUDO_AUTHORITY = 4, PSEUDO_PATH = 8, PSEUDO_PROTOCOL = 16, PSEUDO_STATUS = 32 };

void h2_reader_start(struct h2_reader *reader, enum h2_head_kind kind, bool from_instance)
{
    memset(reader, 0, offsetof(struct h2_reader, head) + offsetof(struct http_head, fields));
    reader->kind = (uint8_t)kind;
    reader->underscores_pass = from_instance;
    reader->head.version = 20;
    reader->head.keep_alive = true;
}

/* Room was checked by the caller: all that is received stays within HTTP_HEAD_SIZE_MAX. */
static struct str keep(struct h2_reader *reader, struct str s)
{
    char *to = reader->text + reader->text_len;
    if (s.len)
        memcpy(to, s.ptr, s.len);
    reader->text_len += (uint32_t)s.len;
    return str_make(to, s.len);
}

static bool is_token(struct str s)
{
    for (size_t i = 0; i < s.len; i++)
        if (!http_char_is(s.ptr[i], HTTP_CHAR_TOKEN | HTTP_CHAR_UNDERSCORE))
            return false;
    return s.len > 0;
}

static bool is_target(struct str s)
{
    for (size_t i = 0; i < s.len; i++)
        if (!http_char_is(s.ptr[i], HTTP_CHAR_TARGET))
            return false;
    return s.len > 0;
}

/* ---- pseudo-fields (RFC 9113 section 8.3) ---- */

static enum pseudo pseudo_of(struct str name, uint8_t kind)
{
    if (kind == H2_RESPONSE)
        return str_equal(name, STR(":status")) ? PSEUDO_STATUS : 0;
    return str_equal(name, STR(":method"))      ? PSEUDO_METHOD
           : str_equal(name, STR(":path"))      ? PSEUDO_PATH
           : str_equal(name, STR(":authority")) ? PSEUDO_AUTHORITY
           : str_equal(name, STR(":scheme"))    ? PSEUDO_SCHEME
           : str_equal(name, STR(":protocol"))  ? PSEUDO_PROTOCOL
                                                : 0;
}

static enum http_violation take_status(struct http_head *head, struct str value)
{
    uint64_t status;
    if (value.len != 3 || !str_to_u64(value, 599, &status) || status < 100 || status == 101) /* RFC 9113 section 8.6: no 101 */
        return HTTP_BAD_STATUS_LINE;
    head->status = (uint16_t)status;
    return HTTP_FINE;
}

static enum http_violation take_pseudo(struct h2_reader *reader, struct str name, struct str value)
{
    struct http_head *head = &reader->head;
    enum pseudo pseudo = reader->kind == H2_TRAILERS ? 0 : pseudo_of(name, reader->kind);
    if (!pseudo || reader->regular_seen || (reader->pseudo_seen & pseudo))
        return HTTP_BAD_PSEUDO_FIELD;
    reader->pseudo_seen |= (uint8_t)pseudo;
    switch (pseudo) {
    case PSEUDO_METHOD:
        if (!is_token(value) || value.len > HTTP_METHOD_MAX)
            return HTTP_BAD_METHOD;
        head->method = keep(reader, value);
        return HTTP_FINE;
    case PSEUDO_PATH:
        if (!is_target(value))
            return HTTP_BAD_TARGET;
        head->path = keep(reader, value);
        return HTTP_FINE;
    case PSEUDO_AUTHORITY:
        if (!http_authority_is_valid(value))
            return HTTP_BAD_HOST;
        head->authority = keep(reader, value);
        return HTTP_FINE;
    case PSEUDO_SCHEME:
        if (!str_equal(value, STR("https")) && !str_equal(value, STR("http")))
            return HTTP_BAD_PSEUDO_FIELD;
        reader->scheme = keep(reader, value);
        return HTTP_FINE;
    case PSEUDO_PROTOCOL:
        if (!is_token(value))
            return HTTP_BAD_PSEUDO_FIELD;
        reader->protocol = keep(reader, value);
        return HTTP_FINE;
    case PSEUDO_STATUS:
        return take_status(head, value);
    }
    return HTTP_BAD_PSEUDO_FIELD;
}

/* ---- fields (RFC 9113 section 8.2) ---- */

static enum http_violation check_name(struct str name, bool underscores_pass)
{
    unsigned classes = HTTP_CHAR_TOKEN | (underscores_pass ? HTTP_CHAR_UNDERSCORE : 0);
    if (name.len == 0)
        return HTTP_BAD_FIELD_NAME;
    for (size_t i = 0; i < name.len; i++) {
        char c = name.ptr[i];
        if (http_char_is(c, HTTP_CHAR_UPPER))
            return HTTP_UPPERCASE_NAME;
        if (!http_char_is(c, classes))
            return c == '_' ? HTTP_UNDERSCORE_NAME : HTTP_BAD_FIELD_NAME;
    }
    return HTTP_FINE;
}

static bool is_value(struct str value)
{
    if (value.len == 0)
        return true;
    const char *end = value.ptr + value.len;
    char first = value.ptr[0], last = end[-1];
    return http_skip_value(value.ptr, end) == end && first != ' ' && first != '\t' && last != ' ' && last != '\t';
}

static enum http_violation note_field(struct h2_reader *reader, const struct http_field *field)
{
    struct http_head *head = &reader->head;
    switch ((enum http_field_id)field->id) {
    case HTTP_HOST:
        reader->host = field->value;
        return reader->n_hosts++ ? HTTP_DUPLICATE_HOST : HTTP_FINE;
    case HTTP_CONTENT_LENGTH:
        if (reader->n_lengths++)
            return HTTP_DUPLICATE_LENGTH;
        head->has_content_length = str_to_u64(field->value, INT64_MAX, &head->content_length);
        return head->has_content_length ? HTTP_FINE : HTTP_BAD_LENGTH;
    case HTTP_CONNECTION: /* RFC 9113 section 8.2.2 */
    case HTTP_KEEP_ALIVE:
    case HTTP_PROXY_CONNECTION:
    case HTTP_TRANSFER_ENCODING:
    case HTTP_UPGRADE:
        return HTTP_CONNECTION_FIELD;
    case HTTP_TE:
        head->te_trailers = str_equal_nocase(field->value, STR("trailers"));
        return head->te_trailers ? HTTP_FINE : HTTP_CONNECTION_FIELD;
    case HTTP_EXPECT:
        head->expect_continue = str_equal_nocase(field->value, STR("100-continue"));
        return head->expect_continue || reader->kind != H2_REQUEST ? HTTP_FINE : HTTP_BAD_EXPECT;
    case HTTP_CONTENT_TYPE:
        head->is_grpc = http_type_is_grpc(field->value);
        return HTTP_FINE;
    case HTTP_COOKIE:
        reader->n_cookies++;
        return HTTP_FINE;
    default:
        return HTTP_FINE;
    }
}

static enum http_violation take_field(struct h2_reader *reader, struct str name, struct str value)
{
    struct http_head *head = &reader->head;
    reader->regular_seen = true;
    enum http_violation violation = check_name(name, reader->underscores_pass);
    if (violation != HTTP_FINE)
        return violation;
    if (!is_value(value))
        return HTTP_BAD_FIELD_VALUE;
    enum http_field_id id = http_field_id(name);
    if (reader->kind == H2_TRAILERS && !http_field_may_trail(name, id))
        return HTTP_FINE;
    struct http_field *field = &head->fields[head->n_fields++];
    field->name = keep(reader, name);
    field->value = keep(reader, value);
    field->id = (uint8_t)id;
    field->flags = http_field_is_hop(id) ? HTTP_FIELD_HOP : 0;
    return id == HTTP_OTHER ? HTTP_FINE : note_field(reader, field);
}

void h2_reader_add(struct h2_reader *reader, struct str name, struct str value)
{
    if (reader->violation != HTTP_FINE)
        return;
    if (name.len + value.len > HTTP_HEAD_SIZE_MAX - reader->text_len)
        reader->violation = HTTP_HEAD_TOO_LARGE;
    else if (name.len && name.ptr[0] == ':')
        reader->violation = (uint8_t)take_pseudo(reader, name, value);
    else if (reader->n_seen++ == HTTP_FIELDS_MAX)
        reader->violation = HTTP_TOO_MANY_FIELDS;
    else
        reader->violation = (uint8_t)take_field(reader, name, value);
}

/* ---- the whole ---- */

/* One Cookie field, as everything that isn't HTTP/2 expects it (RFC 9113 section 8.2.3). */
static void join_cookies(struct h2_reader *reader)
{
    struct http_head *head = &reader->head;
    char *to = reader->text + reader->text_len;
    struct http_field *first = NULL;
    uint32_t n_kept = 0;
    size_t len = 0;
    for (uint32_t i = 0; i < head->n_fields; i++) {
        struct http_field *field = &head->fields[i];
        if (field->id != HTTP_COOKIE) {
            head->fields[n_kept++] = *field;
            continue;
        }
        if (len) {
            memcpy(to + len, "; ", 2);
            len += 2;
        }
        if (field->value.len)
            memcpy(to + len, field->value.ptr, field->value.len);
        len += field->value.len;
        if (!first) {
            head->fields[n_kept] = *field;
            first = &head->fields[n_kept++];
        }
    }
    if (first)
        first->value = str_make(to, len);
    head->n_fields = n_kept;
    reader->text_len += (uint32_t)len;
}

static enum http_violation settle_authority(struct h2_reader *reader)
{
    struct http_head *head = &reader->head;
    if (reader->n_hosts) {
        if (!http_authority_is_valid(reader->host))
            return HTTP_BAD_HOST;
        if (head->authority.len && !str_equal_nocase(head->authority, reader->host))
            return HTTP_HOST_MISMATCH;
        head->authority = reader->host;
    }
    return head->authority.len ? HTTP_FINE : HTTP_NO_HOST;
}

/* CONNECT is for WebSocket only (RFC 8441 section 4, with :scheme and :path); anything else would make us an open proxy. */
static enum http_violation settle_connect(struct h2_reader *reader, bool ends_stream)
{
    struct http_head *head = &reader->head;
    if (!str_equal(reader->protocol, STR("websocket")))
        return HTTP_CONNECT_METHOD;
    if (ends_stream || head->has_content_length)
        return HTTP_UPGRADE_WITH_BODY;
    head->upgrade = head->websocket = true;
    head->upgrade_to = reader->protocol;
    return HTTP_FINE;
}

static enum http_violation settle_request(struct h2_reader *reader, bool ends_stream)
{
    struct http_head *head = &reader->head;
    bool is_connect = str_equal(head->method, STR("CONNECT"));
    if (is_connect && !(reader->pseudo_seen & PSEUDO_PROTOCOL))
        return HTTP_CONNECT_METHOD;
    uint8_t needed = PSEUDO_METHOD | PSEUDO_SCHEME | PSEUDO_PATH;
    if ((reader->pseudo_seen & needed) != needed || ((reader->pseudo_seen & PSEUDO_PROTOCOL) && !is_connect))
        return HTTP_BAD_PSEUDO_FIELD;
    bool is_asterisk = str_equal(head->path, STR("*")) && str_equal(head->method, STR("OPTIONS"));
    if (head->path.ptr[0] != '/' && !is_asterisk)
        return HTTP_BAD_TARGET;
    head->is_head = str_equal(head->method, STR("HEAD"));
    enum http_violation violation = settle_authority(reader);
    if (violation == HTTP_FINE && is_connect)
        violation = settle_connect(reader, ends_stream);
    return violation;
}

static enum http_violation settle_response(struct http_head *head, bool ends_stream)
{
    if (head->status == 0)
        return HTTP_BAD_PSEUDO_FIELD;
    if (head->status < 200 && ends_stream) /* RFC 9113 section 8.1: an interim response doesn't end */
        return HTTP_BAD_STATUS_LINE;
    head->expect_continue = false;
    if (head->status < 200 || head->status == 204) {
        if (head->content_length > 0)
            return HTTP_BAD_LENGTH;
        head->has_content_length = false;
    }
    return HTTP_FINE;
}

enum http_violation h2_reader_finish(struct h2_reader *reader, bool ends_stream)
{
    struct http_head *head = &reader->head;
    if (reader->violation != HTTP_FINE)
        return (enum http_violation)reader->violation;
    if (reader->kind == H2_TRAILERS)
        return ends_stream ? HTTP_FINE : HTTP_BAD_TRAILER;
    enum http_violation violation = reader->kind == H2_REQUEST ? settle_request(reader, ends_stream) : settle_response(head, ends_stream);
    if (violation != HTTP_FINE)
        return violation;
    bool is_interim = head->status > 0 && head->status < 200;
    head->framing = ends_stream || is_interim ? HTTP_NO_BODY : head->has_content_length ? HTTP_LENGTH : HTTP_CHUNKED;
    if (reader->kind == H2_REQUEST) {
        if (ends_stream && head->content_length > 0)
            return HTTP_LENGTH_MISMATCH;
        head->expect_continue &= !ends_stream;
        if (reader->n_cookies > 1)
            join_cookies(reader);
    }
    return HTTP_FINE;
}

static void shift(struct str *s, const struct h2_reader *from, struct h2_reader *to)
{
    if (s->ptr)
        s->ptr = to->text + (s->ptr - from->text);
}

void h2_reader_move(struct h2_reader *to, const struct h2_reader *from)
{
    size_t fixed = offsetof(struct h2_reader, head) + offsetof(struct http_head, fields);
    memcpy(to, from, fixed + from->head.n_fields * sizeof from->head.fields[0]);
    memcpy(to->text, from->text, from->text_len);
    struct str *slices[] = { &to->scheme, &to->protocol, &to->host, &to->head.method, &to->head.authority, &to->head.path, &to->head.upgrade_to };
    for (size_t i = 0; i < ARRAY_SIZE(slices); i++)
        shift(slices[i], from, to);
    for (uint32_t i = 0; i < to->head.n_fields; i++) {
        shift(&to->head.fields[i].name, from, to);
        shift(&to->head.fields[i].value, from, to);
    }
}

/* ---- writing ---- */

void h2_writer_add(struct h2_writer *writer, struct str name, struct str value, bool secret)
{
    if (writer->n == ARRAY_SIZE(writer->fields)) {
        writer->overflowed = true;
        return;
    }
    /* nghttp2 only reads through these */
    writer->fields[writer->n++] = (nghttp2_nv){ .name = (uint8_t *)(uintptr_t)name.ptr, .namelen = name.len,
                                                .value = (uint8_t *)(uintptr_t)value.ptr, .valuelen = value.len,
                                                .flags = secret ? NGHTTP2_NV_FLAG_NO_INDEX : NGHTTP2_NV_FLAG_NONE };
}

void h2_writer_add_status(struct h2_writer *writer, unsigned status)
{
    static char digits[500][3];
    char *text = digits[status - 100];
    text[0] = (char)('0' + status / 100);
    text[1] = (char)('0' + status / 10 % 10);
    text[2] = (char)('0' + status % 10);
    h2_writer_add(writer, STR(":status"), str_make(text, 3), false);
}
