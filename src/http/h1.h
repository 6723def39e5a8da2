/* HTTP/1 messages (RFC 9112), both directions, strictly: where peers differ in what they accept, the strictest rule is ours. */
#pragma once

#include "base/buf.h"
#include "http/head.h"

/* ---- heads ---- */

/* Results of the parsers below. */
enum { HTTP1_MORE = 1, HTTP1_REFUSED = 2 };

/* A request head at the start of data[len]. scanned: where the search for the end resumes, 0 at first, kept by the caller between
 * calls and 0 again after a whole head. 0: *ret is filled, *ret_used bytes were the head. HTTP1_MORE: no end yet. HTTP1_REFUSED: *ret_violation says why. */
int http1_parse_request(const char *data, size_t len, size_t *scanned, struct http_head *ret, size_t *ret_used,
                        enum http_violation *ret_violation) must_check;
/* A response head. request_is_head: its framing is NO_BODY whatever it says (RFC 9110 section 9.3.2). */
int http1_parse_response(const char *data, size_t len, size_t *scanned, bool request_is_head, struct http_head *ret, size_t *ret_used,
                         enum http_violation *ret_violation) must_check;

/* ---- chunked coding (RFC 9112 section 7.1) ---- */

struct http1_chunked {
    uint64_t left;      /* of the chunk's data */
    uint32_t line_len;  /* of the size line so far */
    uint32_t overhead;  /* bytes of size lines that the content didn't pay for */
    uint8_t state;
};

void http1_chunked_init(struct http1_chunked *chunked);
/* Decodes from data[len]: *ret_used bytes consumed, *ret_data the (borrowed, possibly empty) piece of content among them. One piece a
 * call: call again while there is input. 0; HTTP1_DONE after the last chunk's line: the trailer section follows at data + *ret_used
 * (http1_parse_trailers); HTTP1_REFUSED. */
enum { HTTP1_DONE = 3 };
int http1_chunked_decode(struct http1_chunked *chunked, const char *data, size_t len, size_t *ret_used, struct str *ret_data,
                         enum http_violation *ret_violation) must_check;
/* The trailer section with its closing empty line. As http1_parse_request; fields land in ret->fields (the rest of *ret is zeroed).
 * from_instance: names may have underscores, as in a response's head. Fields that may not be trailers (framing, routing, authentication:
 * RFC 9110 section 6.5.1) are dropped. */
int http1_parse_trailers(const char *data, size_t len, size_t *scanned, bool from_instance, struct http_head *ret, size_t *ret_used,
                         enum http_violation *ret_violation) must_check;

/* The header of a chunk of size bytes ("1a2b\r\n") into text; returns its length. */
enum { HTTP1_CHUNK_LINE_MAX = 20 };
size_t http1_format_chunk_line(char text[static HTTP1_CHUNK_LINE_MAX], uint64_t size);
