/* A message head (RFC 9110), the same whether it came by HTTP/1.1 or HTTP/2: method or status, target, fields, framing.
 *
 * Slices borrow from the buffer that was parsed. Known fields carry an id, so that later steps never compare names. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/macros.h"
#include "base/str.h"

enum {
    HTTP_FIELDS_MAX = 128,           /* fields in one head or one trailer section */
    HTTP_HEAD_SIZE_MAX = 32 * 1024,  /* bytes of one head: request line or pseudo-fields, names, values */
    HTTP_METHOD_MAX = 32,
};

enum http_field_id {
    HTTP_OTHER,
    HTTP_HOST, HTTP_CONTENT_LENGTH, HTTP_TRANSFER_ENCODING, HTTP_CONNECTION, HTTP_KEEP_ALIVE, HTTP_PROXY_CONNECTION, HTTP_TE, HTTP_TRAILER,
    HTTP_UPGRADE, HTTP_EXPECT, HTTP_HTTP2_SETTINGS, HTTP_PROXY_AUTHENTICATE, HTTP_PROXY_AUTHORIZATION, HTTP_ALT_SVC,
    HTTP_DATE, HTTP_SERVER, HTTP_CONTENT_TYPE, HTTP_COOKIE,
    HTTP_FORWARDED,      /* Forwarded and every X-Forwarded-*, X-Real-IP */
    HTTP_IDENTITY,       /* Postern-* and Tailscale-*: ours to say, nobody else's */
    HTTP_REQUEST_ID,     /* Postern-Request-Id */
    HTTP_SEC_WEBSOCKET,  /* Sec-WebSocket-* */
};

enum http_field_flags {
    /* Hop-by-hop (RFC 9110 section 7.6.1): a fixed one, or nominated by Connection. HTTP_FORWARDED and HTTP_IDENTITY can't be nominated. */
    HTTP_FIELD_HOP = 1,
};

struct http_field {
    struct str name, value; /* value without surrounding blanks */
    uint8_t id, flags;
};

enum http_framing { HTTP_NO_BODY, HTTP_LENGTH, HTTP_CHUNKED, HTTP_UNTIL_CLOSE };

struct http_head {
    struct str method;          /* request */
    struct str authority;       /* request: host[:port] as sent (Host, absolute target's, or :authority) */
    struct str path;            /* request: path and query, begins with '/' or is "*" (OPTIONS) */
    struct str reason;          /* response, may be empty */
    uint16_t status;            /* response; 0 in a request */
    uint8_t version;            /* 10, 11 or 20 */
    uint8_t framing;            /* enum http_framing, decided by RFC 9112 section 6 */
    uint64_t content_length;    /* framing LENGTH; also what a HEAD response announces, then framing is NO_BODY */
    bool has_content_length;
    bool keep_alive;            /* HTTP/1: the connection may carry another message after this one */
    bool expect_continue;
    bool upgrade;               /* HTTP/1.1 with Connection: upgrade and one Upgrade value, no body */
    bool websocket;             /* upgrade, and the value is "websocket"; or an HTTP/2 extended CONNECT */
    bool te_trailers;           /* TE: trailers was there */
    bool is_head, is_grpc;      /* method HEAD; content-type application/grpc* */
    struct str upgrade_to;      /* the Upgrade value */
    uint32_t n_fields;
    struct http_field fields[HTTP_FIELDS_MAX];
};

/* Why a message was refused; each is one row of the rules that docs/http.md lists. */
enum http_violation {
    HTTP_FINE,
    HTTP_BAD_REQUEST_LINE, HTTP_BAD_METHOD, HTTP_BAD_TARGET, HTTP_BAD_VERSION, HTTP_BAD_STATUS_LINE,
    HTTP_BARE_LF, HTTP_BARE_CR, HTTP_BAD_FIELD_NAME, HTTP_SPACE_BEFORE_COLON, HTTP_OBS_FOLD, HTTP_BAD_FIELD_VALUE,
    HTTP_UNDERSCORE_NAME, HTTP_HEAD_TOO_LARGE, HTTP_TOO_MANY_FIELDS, HTTP_LENGTH_AND_CHUNKED, HTTP_DUPLICATE_LENGTH, HTTP_BAD_LENGTH,
    HTTP_BAD_TRANSFER_ENCODING, HTTP_TRANSFER_ENCODING_1_0, HTTP_NO_HOST, HTTP_DUPLICATE_HOST, HTTP_BAD_HOST, HTTP_HOST_MISMATCH,
    HTTP_CONNECT_METHOD, HTTP_UPGRADE_WITH_BODY, HTTP_BAD_EXPECT, HTTP_BAD_CHUNK_SIZE, HTTP_BAD_CHUNK_END, HTTP_BAD_CHUNK_EXTENSION, HTTP_BAD_TRAILER,
    HTTP_BAD_PSEUDO_FIELD, HTTP_UPPERCASE_NAME, HTTP_CONNECTION_FIELD, HTTP_LENGTH_MISMATCH,
    HTTP_VIOLATION_COUNT
};

/* The status to answer a request's violation with (400, 405 for CONNECT, 417, 431, 505); an instance's violation is always a 502. */
unsigned http_violation_status(enum http_violation violation);
/* A short stable text: "bare LF", for logs and plain answers. */
const char *http_violation_text(enum http_violation violation);

/* The usual phrase of a status. */
const char *http_reason(unsigned status);

enum http_field_id http_field_id(struct str name) pure_function;
/* The fixed hop-by-hop fields (RFC 9110 section 7.6.1), and Alt-Svc: a surface speaks only for itself. */
bool http_field_is_hop(enum http_field_id id) pure_function;
/* False for what a trailer section may not carry (RFC 9110 section 6.5.1): framing, routing, authentication, control, and what is ours to say. */
bool http_field_may_trail(struct str name, enum http_field_id id) pure_function;
/* application/grpc, alone or with +subtype or parameters. */
bool http_type_is_grpc(struct str value) pure_function;
const struct http_field *http_head_find(const struct http_head *head, enum http_field_id id);

bool http_authority_is_valid(struct str authority) pure_function;
/* host[:port] to a lower-case host name without port and trailing dot, into host[256]. IPv6 literals keep their brackets.
 * False when it is not a valid authority (userinfo, empty host, bad characters, bad port). */
bool http_authority_host(struct str authority, char host[static 256], struct str *ret_host) must_check;
