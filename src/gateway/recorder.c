/* Access records: a batch per round, one atomic write to the logger's pipe. */
#include "gateway/recorder.h"

#include <limits.h>
#include <string.h>
#include <unistd.h>

_Static_assert(sizeof(struct ipc_record) * GATEWAY_RECORDS_BATCH <= PIPE_BUF, "a batch must be written whole or not at all");

void recorder_add(struct gateway *gw, const struct ipc_record *record)
{
    struct gateway_recorder *recorder = &gw->recorder;
    if (recorder->pipe < 0)
        return;
    recorder->batch[recorder->n++] = *record;
    if (recorder->n == GATEWAY_RECORDS_BATCH)
        recorder_flush(gw);
}

void recorder_flush(struct gateway *gw)
{
    struct gateway_recorder *recorder = &gw->recorder;
    if (recorder->n == 0)
        return;
    size_t size = recorder->n * sizeof recorder->batch[0];
    if (recorder->pipe < 0 || write(recorder->pipe, recorder->batch, size) != (ssize_t)size)
        gw->metrics->records_dropped += recorder->n;
    recorder->n = 0;
}
