/* Our own answers: one form for all of them. */
#include "gateway/answer.h"

#include <stdio.h>

static void add_field(struct http_head *head, const char *name, struct str value, enum http_field_id id)
{
    head->fields[head->n_fields++] = (struct http_field){ .name = str_of(name), .value = value, .id = (uint8_t)id };
}

void answer_send(struct gateway *gw, const struct front_ops *ops, void *front, unsigned status, const char *id, bool is_head, unsigned retry_after_s)
{
    char body[96], length[16], retry[16];
    struct http_head *head = &gw->head_back;
    int n = snprintf(body, sizeof body, "%u %s\nrequest %s\n", status, http_reason(status), id);
    snprintf(length, sizeof length, "%d", n);
    snprintf(retry, sizeof retry, "%u", retry_after_s);
    *head = (struct http_head){ .status = (uint16_t)status, .version = 11, .reason = str_of(http_reason(status)), .keep_alive = true,
                                .has_content_length = true, .content_length = (uint64_t)n, .framing = is_head ? HTTP_NO_BODY : HTTP_LENGTH };
    add_field(head, "date", gateway_date(gw), HTTP_DATE);
    add_field(head, "content-type", STR("text/plain; charset=utf-8"), HTTP_CONTENT_TYPE);
    add_field(head, "content-length", str_of(length), HTTP_CONTENT_LENGTH);
    add_field(head, "cache-control", STR("no-store"), HTTP_OTHER);
    add_field(head, "x-content-type-options", STR("nosniff"), HTTP_OTHER);
    add_field(head, "postern-request-id", str_of(id), HTTP_REQUEST_ID);
    if (retry_after_s)
        add_field(head, "retry-after", str_of(retry), HTTP_OTHER);
    ops->head(front, head, is_head);
    if (!is_head)
        ops->body(front, str_make(body, (size_t)n), true);
    ops->flush(front);
}
