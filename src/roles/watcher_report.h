/* The watcher's two answers: the status, in JSON, and the metrics, in Prometheus' text format 0.0.4. Both at most WATCHER_REPORT_MAX bytes. */
#pragma once

#include <stdint.h>

#include "base/buf.h"
#include "roles/watcher_state.h"

enum { WATCHER_REPORT_MAX = 4 * 1024 * 1024 };

void watcher_report_status(struct watcher_state *state, int64_t now_ms, struct buf *out);
/* Members "engine", "containers" and "offers" of the status, each after a comma; nothing where no container is declared. */
void watcher_report_board(const struct watcher_state *state, struct buf *out);
/* docs/metrics.md lists what is in it. */
void watcher_report_metrics(struct watcher_state *state, int64_t now_ms, struct buf *out);
