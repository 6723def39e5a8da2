/* Access records on their way to the logger: batched, never waited for, counted when dropped. */
#pragma once

#include "gateway/gateway.h"

/* Copies it into the batch. */
void recorder_add(struct gateway *gw, const struct ipc_record *record);
/* Writes the batch; a full pipe drops it and counts. */
void recorder_flush(struct gateway *gw);
