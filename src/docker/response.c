/* One response of the engine out of bytes as they come.
 *
 *   HEAD ──▶ LENGTH ───────────────────▶ WHOLE
 *    │ ▲ 1xx  CHUNKED ──▶ TRAILERS ──▶
 *    └─┘      UNTIL_CLOSE ── finish ──▶ */
#include "docker/response.h"

#include <errno.h>

enum state { HEAD, LENGTH, CHUNKED, TRAILERS, UNTIL_CLOSE, WHOLE, BROKEN };

enum { INTERIM_MAX = 8, PIECE_MAX = 64 << 10 };

void docker_response_init(struct docker_response *response)
{
    *response = (struct docker_response){ .api_version = "" };
    buf_init(&response->head, 2 * HTTP_HEAD_SIZE_MAX + PIECE_MAX);
    buf_init(&response->body, DOCKER_BODY_MAX);
}

void docker_response_deinit(struct docker_response *response)
{
    buf_deinit(&response->head);
    buf_deinit(&response->body);
}

static int refuse(struct docker_response *response, const char *problem)
{
    response->state = BROKEN;
    response->problem = problem;
    return DOCKER_RESPONSE_REFUSED;
}

static int whole(struct docker_response *response)
{
    response->state = WHOLE;
    return 0;
}

/* ---- heads and trailers, which may come in parts ---- */

static void take_api_version(struct docker_response *response, const struct http_head *head)
{
    for (uint32_t i = 0; i < head->n_fields; i++) {
        const struct http_field *field = &head->fields[i];
        if (str_equal_nocase(field->name, STR("api-version")) && field->value.len < sizeof response->api_version)
            str_copy(response->api_version, sizeof response->api_version, field->value);
    }
}

static int take_head(struct docker_response *response, const struct http_head *head)
{
    if (head->status < 200) {
        if (head->status == 101 || ++response->n_interim > INTERIM_MAX)
            return refuse(response, "an answer before the answer that nobody asked for");
        return DOCKER_RESPONSE_MORE;
    }
    response->status = head->status;
    response->keeps_alive = head->keep_alive;
    response->left = head->content_length;
    take_api_version(response, head);
    if (head->framing == HTTP_NO_BODY || (head->framing == HTTP_LENGTH && head->content_length == 0))
        return whole(response);
    http1_chunked_init(&response->chunked);
    response->state = head->framing == HTTP_LENGTH ? LENGTH : head->framing == HTTP_CHUNKED ? CHUNKED : UNTIL_CLOSE;
    return DOCKER_RESPONSE_MORE;
}

/* Both end with an empty line and are parsed from one buffer. *ret_used counts in bytes. */
static int feed_section(struct docker_response *response, struct str bytes, size_t *ret_used)
{
    struct http_head head;
    enum http_violation violation = HTTP_FINE;
    size_t before = response->head.len, size;
    bool is_trailer = response->state == TRAILERS;
    bytes = str_first(bytes, HTTP_HEAD_SIZE_MAX);
    buf_append(&response->head, bytes);
    if (response->head.error)
        return response->head.error == -ENOMEM ? -ENOMEM : refuse(response, "a head that never ends");
    int r = is_trailer ? http1_parse_trailers(response->head.ptr, response->head.len, &response->scanned, true, &head, &size, &violation)
                       : http1_parse_response(response->head.ptr, response->head.len, &response->scanned, false, &head, &size, &violation);
    if (r == HTTP1_REFUSED)
        return refuse(response, http_violation_text(violation));
    if (r == HTTP1_MORE) {
        *ret_used = bytes.len;
        return DOCKER_RESPONSE_MORE;
    }
    *ret_used = size - before;
    r = is_trailer ? whole(response) : take_head(response, &head);
    buf_clear(&response->head);
    response->scanned = 0;
    return r;
}

/* ---- content ---- */

static int take_piece(struct docker_response *response, struct str piece)
{
    if (piece.len == 0)
        return DOCKER_RESPONSE_MORE;
    if (response->take && response->status == 200)
        return response->take(response->context, piece) ? DOCKER_RESPONSE_MORE : refuse(response, "not wanted any more");
    buf_append(&response->body, piece);
    if (response->body.error)
        return response->body.error == -ENOMEM ? -ENOMEM : refuse(response, "an answer of more than 16 MB");
    return DOCKER_RESPONSE_MORE;
}

static int feed_length(struct docker_response *response, struct str bytes, size_t *ret_used)
{
    struct str piece = str_first(bytes, response->left < bytes.len ? (size_t)response->left : bytes.len);
    *ret_used = piece.len;
    response->left -= piece.len;
    int r = take_piece(response, piece);
    return r == DOCKER_RESPONSE_MORE && response->left == 0 ? whole(response) : r;
}

static int feed_chunked(struct docker_response *response, struct str bytes, size_t *ret_used)
{
    enum http_violation violation = HTTP_FINE;
    struct str piece = STR_NONE;
    int r = http1_chunked_decode(&response->chunked, bytes.ptr, bytes.len, ret_used, &piece, &violation);
    if (r == HTTP1_REFUSED)
        return refuse(response, http_violation_text(violation));
    if (r == HTTP1_DONE)
        response->state = TRAILERS;
    return take_piece(response, piece);
}

int docker_response_feed(struct docker_response *response, struct str bytes, size_t *ret_used)
{
    size_t used = 0;
    int r = DOCKER_RESPONSE_MORE;
    if (response->state >= WHOLE)
        return refuse(response, "more than an answer");
    while (r == DOCKER_RESPONSE_MORE && used < bytes.len) {
        struct str rest = str_skip(bytes, used);
        size_t step = 0;
        switch (response->state) {
        case HEAD:
        case TRAILERS:
            r = feed_section(response, rest, &step);
            break;
        case LENGTH:
            r = feed_length(response, rest, &step);
            break;
        case CHUNKED:
            r = feed_chunked(response, rest, &step);
            break;
        default: /* UNTIL_CLOSE */
            step = rest.len;
            r = take_piece(response, rest);
            break;
        }
        used += step;
    }
    *ret_used = used;
    return r;
}

int docker_response_finish(struct docker_response *response)
{
    if (response->state == UNTIL_CLOSE)
        return whole(response);
    return response->state == WHOLE ? 0 : refuse(response, "cut off");
}
