/* What passes between client and instance, and what the gate itself tells an instance; the same for every pair of protocols. */
#pragma once

#include "gateway/exchange.h"

/* Connection-specific fields stop here; framing is written anew; identity is ours to say, whoever said it before. */
static inline bool forward_request_passes(const struct http_field *field)
{
    if (field->flags & HTTP_FIELD_HOP)
        return false;
    switch (field->id) {
    case HTTP_HOST:
    case HTTP_CONTENT_LENGTH:
    case HTTP_EXPECT:
    case HTTP_FORWARDED:
    case HTTP_IDENTITY:
    case HTTP_REQUEST_ID:
        return false;
    default:
        return true;
    }
}

/* keep_id: the answer is our own and names its request itself. */
static inline bool forward_response_passes(const struct http_field *field, bool keep_length, bool keep_id)
{
    if (field->flags & HTTP_FIELD_HOP)
        return false;
    switch (field->id) {
    case HTTP_CONTENT_LENGTH:
        return keep_length;
    case HTTP_REQUEST_ID:
        return keep_id;
    case HTTP_ALT_SVC:
        return false;
    default:
        return true;
    }
}

/* Calls add with every field that says who asks for what. */
void forward_identity(const struct exchange *x, const struct http_head *head, const struct image_principal *principal,
                      void (*add)(void *self, struct str name, struct str value), void *self);
