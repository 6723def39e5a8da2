/* What holds for every head that the HTTP/1 parsers accept, and how two heads are compared; for the fuzz targets. */
#pragma once

#include <stdio.h>
#include <stdlib.h>

#include "http/h1.h"

#define CHECK(condition)                                                                                               \
    do {                                                                                                               \
        if (!(condition)) {                                                                                            \
            fprintf(stderr, "%s:%d: %s\n", __FILE__, __LINE__, #condition);                                            \
            abort();                                                                                                   \
        }                                                                                                              \
    } while (0)

static inline void check_same_head(const struct http_head *a, const struct http_head *b)
{
    CHECK(str_equal(a->method, b->method) && str_equal(a->authority, b->authority) && str_equal(a->path, b->path));
    CHECK(a->status == b->status && a->version == b->version && str_equal(a->reason, b->reason));
    CHECK(a->framing == b->framing && a->content_length == b->content_length && a->has_content_length == b->has_content_length);
    CHECK(a->keep_alive == b->keep_alive && a->expect_continue == b->expect_continue && a->upgrade == b->upgrade);
    CHECK(a->websocket == b->websocket && a->te_trailers == b->te_trailers && a->is_head == b->is_head && a->is_grpc == b->is_grpc);
    CHECK(str_equal(a->upgrade_to, b->upgrade_to) && a->n_fields == b->n_fields);
    for (uint32_t i = 0; i < a->n_fields; i++) {
        const struct http_field *f = &a->fields[i], *g = &b->fields[i];
        CHECK(str_equal(f->name, g->name) && str_equal(f->value, g->value) && f->id == g->id && f->flags == g->flags);
    }
}

static inline bool check_no_control(struct str s)
{
    for (size_t i = 0; i < s.len; i++)
        if (((uint8_t)s.ptr[i] < 0x20 && s.ptr[i] != '\t') || s.ptr[i] == 0x7f)
            return false;
    return true;
}

static inline bool check_is_blank(char c)
{
    return c == ' ' || c == '\t';
}

static inline void check_fields(const struct http_head *head)
{
    unsigned n_length = 0, n_coding = 0;
    CHECK(head->n_fields <= HTTP_FIELDS_MAX);
    for (uint32_t i = 0; i < head->n_fields; i++) {
        const struct http_field *f = &head->fields[i];
        CHECK(f->name.len > 0 && check_no_control(f->name) && str_find_char(f->name, ':') == f->name.len);
        CHECK(str_find_char(f->name, ' ') == f->name.len && str_find_char(f->name, '\t') == f->name.len);
        CHECK(head->status > 0 || str_find_char(f->name, '_') == f->name.len);
        CHECK(check_no_control(f->value));
        CHECK(f->value.len == 0 || (!check_is_blank(f->value.ptr[0]) && !check_is_blank(f->value.ptr[f->value.len - 1])));
        CHECK(f->id == http_field_id(f->name));
        CHECK(!(f->flags & HTTP_FIELD_HOP) || http_field_is_hop(f->id) || f->id == HTTP_OTHER);
        CHECK((f->flags & HTTP_FIELD_HOP) || !http_field_is_hop(f->id));
        n_length += f->id == HTTP_CONTENT_LENGTH;
        n_coding += f->id == HTTP_TRANSFER_ENCODING;
    }
    CHECK(n_length + n_coding <= 1);
}

/* Writes a head as the parser understood it; what is parsed again must be the same. */
static inline void check_write_fields(struct buf *out, const struct http_head *head)
{
    for (uint32_t i = 0; i < head->n_fields; i++) {
        buf_append(out, head->fields[i].name);
        buf_append(out, STR(": "));
        buf_append(out, head->fields[i].value);
        buf_append(out, STR("\r\n"));
    }
    buf_append(out, STR("\r\n"));
    CHECK(out->error == 0);
}
