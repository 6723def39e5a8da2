/* The last few thousand records, and those who read them as they come: postern log, over RUNDIR/log.sock.
 *
 * A reader sends one line, "last=N [follow=1] [from=..] [to=..] [surface=..] [denied=1] [status=5xx] [id=..]", and gets JSON lines: the
 * newest N that match, and, with follow, each that comes later; then the end. It reads at its own pace from the ring: who is too slow misses
 * some and is told how many ({"missed":N}), who takes nothing at all for half a minute is dropped. Nobody makes the logger wait or grow. A request
 * that is none, or one reader too many, gets {"error":"..."}. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/macros.h"
#include "policy/image.h"
#include "roles/logger_record.h"

enum {
    LOGGER_RING = 4096,
    LOGGER_READERS_MAX = 16,
    LOGGER_READER_BUFFER = 64 * 1024,
    LOGGER_REQUEST_MAX = 512,
    LOGGER_REQUEST_MS = 5000,
    LOGGER_STALL_MS = 30000,
};

struct logger_reader {
    int fd;                     /* -1: free */
    bool asked;                 /* its request line is in */
    bool waits;                 /* for room to write: epoll tells */
    uint64_t cursor, until;     /* the next record it gets; the first it doesn't (with follow: UINT64_MAX) */
    int64_t since_ms;           /* connected, or last took something */
    struct logger_filter filter;
    size_t len, sent;           /* of buffer */
    char *buffer;               /* LOGGER_READER_BUFFER; first the request, then lines */
};

struct logger_ring {
    struct logger_entry *entries; /* LOGGER_RING of them, in pages that are touched as they fill */
    uint64_t head;                /* records so far; entry of record n is n % LOGGER_RING */
    char surfaces[IMAGE_VIEWS_MAX][IPC_NAME_MAX];
    unsigned n_readers;
    struct logger_reader readers[LOGGER_READERS_MAX];
};

int logger_ring_init(struct logger_ring *ring) must_check;
void logger_ring_add(struct logger_ring *ring, const struct ipc_record *record, uint32_t surface, uint32_t worker);
void logger_ring_name_surface(struct logger_ring *ring, uint32_t surface, const char *name);
/* Its name, or "" while nobody told it. */
struct str logger_ring_surface(const struct logger_ring *ring, uint32_t surface);

/* Takes a connection (already accepted, non-blocking). NULL when there are too many or memory is short: the descriptor stays the caller's. */
struct logger_reader *logger_ring_accept(struct logger_ring *ring, int fd, int64_t now_ms) must_check;
/* Reads its request or notices that it left, and writes what it may have; it may be over and closed then. */
void logger_reader_ready(struct logger_ring *ring, struct logger_reader *reader, int64_t now_ms);
/* After records came, and once a second: writes to all that follow, drops those that stall. */
void logger_ring_turn(struct logger_ring *ring, int64_t now_ms);
