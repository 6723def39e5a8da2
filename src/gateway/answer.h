/* Answers of our own: plain, short, the same for the same reason whoever asks, and telling nothing of what is behind. */
#pragma once

#include "gateway/exchange.h"

/* Sends status with its text and the request's id as a whole response. is_head: no body. retry_after_s 0: no such field. */
void answer_send(struct gateway *gw, const struct front_ops *ops, void *front, unsigned status, const char *id, bool is_head, unsigned retry_after_s);
