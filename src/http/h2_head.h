/* HTTP/2 message heads (RFC 9113 section 8): from decoded fields to struct http_head as they arrive, and back to nghttp2's arrays. */
#pragma once

#include <nghttp2/nghttp2.h>

#include "http/head.h"

enum h2_head_kind { H2_REQUEST, H2_RESPONSE, H2_TRAILERS };

/* One header block under way. The first violation sticks: what follows it is counted and not kept. Large: one per worker, or on the heap
 * for the rare block that is cut in two by the network. */
struct h2_reader {
    uint8_t kind;              /* enum h2_head_kind */
    uint8_t violation;         /* enum http_violation */
    uint8_t pseudo_seen;       /* bit per pseudo-field */
    bool regular_seen;         /* no pseudo-field may follow */
    bool underscores_pass;     /* from instances only (see docs/http.md) */
    uint32_t n_seen, n_cookies, n_hosts, n_lengths;
    uint32_t text_len;
    struct str scheme, protocol, host;
    struct http_head head;
    char text[2 * HTTP_HEAD_SIZE_MAX + 2 * HTTP_FIELDS_MAX]; /* as received, then the cookies joined */
};

/* from_instance: a response, or the trailers of one. */
void h2_reader_start(struct h2_reader *reader, enum h2_head_kind kind, bool from_instance);
/* One field line, in order; both slices are copied. */
void h2_reader_add(struct h2_reader *reader, struct str name, struct str value);
/* The block is complete, ends_stream when nothing follows. HTTP_FINE: reader->head is filled, its slices in reader->text; framing
 * LENGTH, or CHUNKED for a body of unknown length, or NO_BODY. In trailers only fields counts; forbidden ones were dropped.
 * An extended CONNECT for websocket (RFC 8441) has upgrade, websocket and upgrade_to set. */
enum http_violation h2_reader_finish(struct h2_reader *reader, bool ends_stream) must_check;
/* A copy that can go on where the original was; the original is to be started again. */
void h2_reader_move(struct h2_reader *to, const struct h2_reader *from);

/* A head on its way out; names and values are borrowed until nghttp2 has copied them (it also makes names lower case). */
struct h2_writer {
    size_t n;
    bool overflowed;
    nghttp2_nv fields[HTTP_FIELDS_MAX + 32];
};

static inline void h2_writer_start(struct h2_writer *writer)
{
    writer->n = 0;
    writer->overflowed = false;
}
/* secret: never put in a compression table (RFC 7541 section 7.1.3); also right for values that are used once. */
void h2_writer_add(struct h2_writer *writer, struct str name, struct str value, bool secret);
/* ":status" and its value, from storage that lives for ever. */
void h2_writer_add_status(struct h2_writer *writer, unsigned status);
