/* What a head's fields are called and why a message is refused. */
#include "http/head.h"

static const struct {
    const char *text;
    uint16_t status;
} violations[HTTP_VIOLATION_COUNT] = {
    [HTTP_FINE] = { "fine", 200 },
    [HTTP_BAD_REQUEST_LINE] = { "malformed request line", 400 },
    [HTTP_BAD_METHOD] = { "malformed method", 400 },
    [HTTP_BAD_TARGET] = { "malformed request target", 400 },
    [HTTP_BAD_VERSION] = { "unsupported HTTP version", 505 },
    [HTTP_BAD_STATUS_LINE] = { "malformed status line", 400 },
    [HTTP_BARE_LF] = { "bare LF", 400 },
    [HTTP_BARE_CR] = { "bare CR", 400 },
    [HTTP_BAD_FIELD_NAME] = { "malformed field name", 400 },
    [HTTP_SPACE_BEFORE_COLON] = { "space before colon", 400 },
    [HTTP_OBS_FOLD] = { "folded field line", 400 },
    [HTTP_BAD_FIELD_VALUE] = { "malformed field value", 400 },
    [HTTP_UNDERSCORE_NAME] = { "underscore in field name", 400 },
    [HTTP_HEAD_TOO_LARGE] = { "head too large", 431 },
    [HTTP_TOO_MANY_FIELDS] = { "too many fields", 431 },
    [HTTP_LENGTH_AND_CHUNKED] = { "both Content-Length and Transfer-Encoding", 400 },
    [HTTP_DUPLICATE_LENGTH] = { "more than one Content-Length", 400 },
    [HTTP_BAD_LENGTH] = { "malformed Content-Length", 400 },
    [HTTP_BAD_TRANSFER_ENCODING] = { "Transfer-Encoding other than one chunked", 400 },
    [HTTP_TRANSFER_ENCODING_1_0] = { "Transfer-Encoding in HTTP/1.0", 400 },
    [HTTP_NO_HOST] = { "no Host", 400 },
    [HTTP_DUPLICATE_HOST] = { "more than one Host", 400 },
    [HTTP_BAD_HOST] = { "malformed Host", 400 },
    [HTTP_HOST_MISMATCH] = { "Host differs from the request target", 400 },
    [HTTP_CONNECT_METHOD] = { "CONNECT", 405 },
    [HTTP_UPGRADE_WITH_BODY] = { "Upgrade with a body", 400 },
    [HTTP_BAD_EXPECT] = { "unknown expectation", 417 },
    [HTTP_BAD_CHUNK_SIZE] = { "malformed chunk size", 400 },
    [HTTP_BAD_CHUNK_END] = { "chunk not closed by CRLF", 400 },
    [HTTP_BAD_CHUNK_EXTENSION] = { "malformed chunk extension", 400 },
    [HTTP_BAD_TRAILER] = { "malformed trailer section", 400 },
    [HTTP_BAD_PSEUDO_FIELD] = { "malformed pseudo-field", 400 },
    [HTTP_UPPERCASE_NAME] = { "uppercase field name in HTTP/2", 400 },
    [HTTP_CONNECTION_FIELD] = { "connection-specific field in HTTP/2", 400 },
    [HTTP_LENGTH_MISMATCH] = { "content differs from Content-Length", 400 },
};

unsigned http_violation_status(enum http_violation violation)
{
    return violations[violation].status;
}

const char *http_violation_text(enum http_violation violation)
{
    return violations[violation].text;
}

static bool name_is(struct str name, const char *known, size_t len)
{
    if (name.len != len)
        return false;
    for (size_t i = 0; i < len; i++)
        if (str_lower_char(name.ptr[i]) != known[i])
            return false;
    return true;
}

#define IS(known)     name_is(name, known, sizeof(known) - 1)
#define BEGINS(known) (name.len >= sizeof(known) - 1 && name_is(str_first(name, sizeof(known) - 1), known, sizeof(known) - 1))

enum http_field_id http_field_id(struct str name)
{
    if (name.len < 2)
        return HTTP_OTHER;
    switch (str_lower_char(name.ptr[0])) {
    case 'a':
        return IS("alt-svc") ? HTTP_ALT_SVC : HTTP_OTHER;
    case 'c':
        return IS("cookie")           ? HTTP_COOKIE
               : IS("connection")     ? HTTP_CONNECTION
               : IS("content-type")   ? HTTP_CONTENT_TYPE
               : IS("content-length") ? HTTP_CONTENT_LENGTH
                                      : HTTP_OTHER;
    case 'd':
        return IS("date") ? HTTP_DATE : HTTP_OTHER;
    case 'e':
        return IS("expect") ? HTTP_EXPECT : HTTP_OTHER;
    case 'f':
        return IS("forwarded") ? HTTP_FORWARDED : HTTP_OTHER;
    case 'h':
        return IS("host") ? HTTP_HOST : IS("http2-settings") ? HTTP_HTTP2_SETTINGS : HTTP_OTHER;
    case 'k':
        return IS("keep-alive") ? HTTP_KEEP_ALIVE : HTTP_OTHER;
    case 'p':
        return IS("postern-request-id")    ? HTTP_REQUEST_ID
               : BEGINS("postern-")        ? HTTP_IDENTITY
               : IS("proxy-connection")    ? HTTP_PROXY_CONNECTION
               : IS("proxy-authenticate")  ? HTTP_PROXY_AUTHENTICATE
               : IS("proxy-authorization") ? HTTP_PROXY_AUTHORIZATION
                                           : HTTP_OTHER;
    case 's':
        return IS("server") ? HTTP_SERVER : BEGINS("sec-websocket-") ? HTTP_SEC_WEBSOCKET : HTTP_OTHER;
    case 't':
        return IS("te")                  ? HTTP_TE
               : IS("trailer")           ? HTTP_TRAILER
               : IS("transfer-encoding") ? HTTP_TRANSFER_ENCODING
               : BEGINS("tailscale-")    ? HTTP_IDENTITY
                                         : HTTP_OTHER;
    case 'u':
        return IS("upgrade") ? HTTP_UPGRADE : HTTP_OTHER;
    case 'x':
        return BEGINS("x-forwarded-") || IS("x-real-ip") ? HTTP_FORWARDED : HTTP_OTHER;
    default:
        return HTTP_OTHER;
    }
}

bool http_field_is_hop(enum http_field_id id)
{
    switch (id) {
    case HTTP_CONNECTION:
    case HTTP_KEEP_ALIVE:
    case HTTP_PROXY_CONNECTION:
    case HTTP_PROXY_AUTHENTICATE:
    case HTTP_PROXY_AUTHORIZATION:
    case HTTP_TE:
    case HTTP_TRAILER:
    case HTTP_TRANSFER_ENCODING:
    case HTTP_UPGRADE:
    case HTTP_HTTP2_SETTINGS:
    case HTTP_ALT_SVC: /* an instance doesn't speak for the surface before it */
        return true;
    default:
        return false;
    }
}

bool http_field_may_trail(struct str name, enum http_field_id id)
{
    if (id != HTTP_OTHER)
        return false;
    switch (str_lower_char(name.ptr[0])) {
    case 'a':
        return !IS("age") && !IS("authorization") && !IS("authentication-info");
    case 'c':
        return !IS("cache-control") && !IS("content-encoding") && !IS("content-range");
    case 'e':
        return !IS("expires");
    case 'i':
        return !BEGINS("if-");
    case 'l':
        return !IS("location");
    case 'm':
        return !IS("max-forwards");
    case 'p':
        return !IS("pragma") && !IS("proxy-authentication-info");
    case 'r':
        return !IS("range") && !IS("retry-after");
    case 's':
        return !IS("set-cookie");
    case 'v':
        return !IS("vary");
    case 'w':
        return !IS("www-authenticate") && !IS("warning");
    default:
        return true;
    }
}

bool http_type_is_grpc(struct str value)
{
    struct str grpc = STR("application/grpc");
    if (!str_equal_nocase(str_first(value, grpc.len), grpc))
        return false;
    struct str rest = str_skip(value, grpc.len);
    return rest.len == 0 || rest.ptr[0] == '+' || rest.ptr[0] == ';' || rest.ptr[0] == ' ';
}

const struct http_field *http_head_find(const struct http_head *head, enum http_field_id id)
{
    for (uint32_t i = 0; i < head->n_fields; i++)
        if (head->fields[i].id == id)
            return &head->fields[i];
    return NULL;
}
