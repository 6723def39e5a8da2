/* The ring of records and its readers. */
#include "roles/logger_ring.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>

int logger_ring_init(struct logger_ring *ring)
{
    for (size_t i = 0; i < LOGGER_READERS_MAX; i++)
        ring->readers[i] = (struct logger_reader){ .fd = -1 };
    void *entries = mmap(NULL, LOGGER_RING * sizeof *ring->entries, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (entries == MAP_FAILED)
        return -errno;
    ring->entries = entries;
    return 0;
}

void logger_ring_add(struct logger_ring *ring, const struct ipc_record *record, uint32_t surface, uint32_t worker)
{
    struct logger_entry *entry = &ring->entries[ring->head++ % LOGGER_RING];
    entry->record = *record;
    entry->surface = surface;
    entry->worker = worker;
}

void logger_ring_name_surface(struct logger_ring *ring, uint32_t surface, const char *name)
{
    if (surface < ARRAY_SIZE(ring->surfaces))
        str_copy(ring->surfaces[surface], sizeof ring->surfaces[surface], str_of(name));
}

struct str logger_ring_surface(const struct logger_ring *ring, uint32_t surface)
{
    return surface < ARRAY_SIZE(ring->surfaces) ? str_of(ring->surfaces[surface]) : STR("");
}

/* Best effort: an empty socket takes it whole. */
static void reader_refuse(int fd, struct str why)
{
    ssize_t n = write(fd, why.ptr, why.len);
    (void)n;
}

struct logger_reader *logger_ring_accept(struct logger_ring *ring, int fd, int64_t now_ms)
{
    for (size_t i = 0; i < LOGGER_READERS_MAX; i++) {
        struct logger_reader *reader = &ring->readers[i];
        if (reader->fd >= 0)
            continue;
        char *buffer = malloc(LOGGER_READER_BUFFER);
        if (!buffer)
            return NULL;
        *reader = (struct logger_reader){ .fd = fd, .since_ms = now_ms, .buffer = buffer };
        ring->n_readers++;
        return reader;
    }
    reader_refuse(fd, STR("{\"error\":\"too many are reading the log already\"}\n"));
    return NULL;
}

static void reader_end(struct logger_ring *ring, struct logger_reader *reader)
{
    close(reader->fd);
    free(reader->buffer);
    *reader = (struct logger_reader){ .fd = -1 };
    ring->n_readers--;
}

static const struct logger_entry *entry_at(const struct logger_ring *ring, uint64_t n)
{
    return &ring->entries[n % LOGGER_RING];
}

static uint64_t oldest(const struct logger_ring *ring)
{
    return ring->head > LOGGER_RING ? ring->head - LOGGER_RING : 0;
}

static bool matches(const struct logger_ring *ring, const struct logger_reader *reader, const struct logger_entry *entry)
{
    return logger_filter_match(&reader->filter, &entry->record, logger_ring_surface(ring, entry->surface));
}

static bool reader_ask(const struct logger_ring *ring, struct logger_reader *reader, struct str line)
{
    uint64_t last = 0;
    bool follow = false;
    while (line.len > 0) {
        struct str word = str_split(&line, ' ');
        struct str value = word;
        struct str key = str_split(&value, '=');
        if (word.len == 0)
            continue;
        if (str_equal(key, STR("last"))) {
            if (!str_to_u64(value, LOGGER_RING, &last))
                return false;
        } else if (str_equal(key, STR("follow"))) {
            if (!str_equal(value, STR("1")))
                return false;
            follow = true;
        } else if (!logger_filter_set(&reader->filter, key, value)) {
            return false;
        }
    }
    reader->cursor = ring->head;
    reader->until = follow ? UINT64_MAX : ring->head;
    for (uint64_t at = ring->head; last > 0 && at > oldest(ring);)
        if (matches(ring, reader, entry_at(ring, --at))) {
            reader->cursor = at;
            last--;
        }
    reader->asked = true;
    reader->len = 0;
    return true;
}

static void reader_fill(const struct logger_ring *ring, struct logger_reader *reader)
{
    if (reader->cursor < oldest(ring)) {
        int n = snprintf(reader->buffer + reader->len, LOGGER_READER_BUFFER - reader->len, "{\"missed\":%llu}\n",
                         (unsigned long long)(oldest(ring) - reader->cursor));
        reader->len += (size_t)n;
        reader->cursor = oldest(ring);
    }
    uint64_t end = reader->until < ring->head ? reader->until : ring->head;
    for (; reader->cursor < end && LOGGER_READER_BUFFER - reader->len >= LOGGER_LINE_MAX; reader->cursor++) {
        const struct logger_entry *entry = entry_at(ring, reader->cursor);
        if (matches(ring, reader, entry))
            reader->len += logger_record_json(&entry->record, logger_ring_surface(ring, entry->surface), entry->worker,
                                              reader->buffer + reader->len);
    }
}

/* Until the reader is up to date (then: the end, or wait for more) or its socket is full. */
static void reader_write(struct logger_ring *ring, struct logger_reader *reader, int64_t now_ms)
{
    for (;;) {
        if (reader->sent == reader->len) {
            reader->sent = reader->len = 0;
            reader_fill(ring, reader);
            if (reader->len == 0) {
                reader->waits = false;
                if (reader->until != UINT64_MAX)
                    reader_end(ring, reader);
                return;
            }
        }
        ssize_t n = write(reader->fd, reader->buffer + reader->sent, reader->len - reader->sent);
        if (n < 0 && errno == EAGAIN) {
            if (!reader->waits)
                reader->since_ms = now_ms;
            reader->waits = true;
            return;
        }
        if (n < 0) {
            reader_end(ring, reader);
            return;
        }
        reader->sent += (size_t)n;
        reader->since_ms = now_ms;
    }
}

void logger_reader_ready(struct logger_ring *ring, struct logger_reader *reader, int64_t now_ms)
{
    if (reader->asked) {
        /* It has nothing more to say: more bytes end it like none. */
        char more;
        if (read(reader->fd, &more, 1) >= 0 || errno != EAGAIN)
            reader_end(ring, reader);
        else
            reader_write(ring, reader, now_ms);
        return;
    }
    ssize_t n = read(reader->fd, reader->buffer + reader->len, LOGGER_REQUEST_MAX - reader->len);
    if (n < 0 && errno == EAGAIN)
        return;
    if (n <= 0) {
        reader_end(ring, reader);
        return;
    }
    reader->len += (size_t)n;
    struct str got = str_make(reader->buffer, reader->len);
    size_t end = str_find_char(got, '\n');
    if (end == got.len && reader->len < LOGGER_REQUEST_MAX)
        return;
    if (end == got.len || !reader_ask(ring, reader, str_first(got, end))) {
        reader_refuse(reader->fd, STR("{\"error\":\"the request is not understood\"}\n"));
        reader_end(ring, reader);
    } else {
        reader_write(ring, reader, now_ms);
    }
}

void logger_ring_turn(struct logger_ring *ring, int64_t now_ms)
{
    if (ring->n_readers == 0)
        return;
    for (size_t i = 0; i < LOGGER_READERS_MAX; i++) {
        struct logger_reader *reader = &ring->readers[i];
        if (reader->fd < 0)
            continue;
        int64_t since_ms = now_ms - reader->since_ms;
        if (!reader->asked ? since_ms > LOGGER_REQUEST_MS : reader->waits && since_ms > LOGGER_STALL_MS)
            reader_end(ring, reader);
        else if (reader->asked && !reader->waits)
            reader_write(ring, reader, now_ms);
    }
}
