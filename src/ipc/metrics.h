/* A worker's counters: one page it alone writes, mapped read-only by the watcher. Plain 64-bit stores; readers may see a request half counted. */
#pragma once

#include <stdint.h>

enum { METRICS_PAGE_SIZE = 4096, METRICS_STATUS_CLASSES = 6, METRICS_LATENCY_BUCKETS = 16 };

/* Upper bounds of the latency buckets, microseconds; the last is without bound. */
#define METRICS_LATENCY_BOUNDS_US                                                                                      \
    { 100, 250, 500, 1000, 2500, 5000, 10000, 25000, 50000, 100000, 250000, 500000, 1000000, 5000000, 30000000 }

struct metrics_page {
    uint64_t connections_accepted, connections_open, connections_refused_nobody, connections_refused_cap;
    uint64_t handshakes, handshakes_resumed, handshakes_failed;
    uint64_t requests_by_class[METRICS_STATUS_CLASSES]; /* index status / 100; 0: closed without an answer */
    uint64_t requests_open, requests_denied, requests_http2;
    uint64_t bytes_in, bytes_out;
    uint64_t dials, dials_failed, reuses;
    uint64_t tunnels_open, streams_revoked;
    uint64_t records_dropped;
    uint64_t latency_count[METRICS_LATENCY_BUCKETS], latency_sum_us;
    uint64_t flows_open, datagrams_in, datagrams_out, datagrams_dropped, datagrams_refused; /* UDP of direct ports */
    uint64_t generation;
};
