/* What the docker role shows, written out: its board is read while it may be written, so each part is copied until a copy is whole. */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "roles/watcher_report.h"

enum { TRIES = 16 };

int watcher_take_board(struct watcher_state *state, int fd)
{
    int seals = fcntl(fd, F_GET_SEALS);
    if (seals < 0 || !(seals & F_SEAL_SHRINK) || lseek(fd, 0, SEEK_END) < DOCKER_BOARD_SIZE)
        return -EINVAL; /* reading it could end us */
    void *board = mmap(NULL, DOCKER_BOARD_SIZE, PROT_READ, MAP_SHARED, fd, 0);
    if (board == MAP_FAILED)
        return -errno;
    if (state->board)
        munmap((void *)(uintptr_t)state->board, DOCKER_BOARD_SIZE);
    state->board = board;
    return 0;
}

/* A part begins with its stamp, which is odd while it is written. False: it never held still. */
static bool copy_part(void *to, const void *part, size_t size)
{
    for (unsigned i = 0; i < TRIES; i++) {
        uint32_t before = __atomic_load_n((const uint32_t *)part, __ATOMIC_ACQUIRE);
        memcpy(to, part, size);
        __atomic_thread_fence(__ATOMIC_ACQUIRE);
        if (before % 2 == 0 && __atomic_load_n((const uint32_t *)part, __ATOMIC_RELAXED) == before)
            return true;
    }
    return false;
}

static void put_text(struct buf *out, const char *key, const char *text, size_t size)
{
    buf_printf(out, ",\"%s\":", key);
    buf_append_json(out, str_make(text, strnlen(text, size)));
}
#define PUT_TEXT(out, key, field) put_text((out), (key), (field), sizeof(field))

static const char *word(const char *const words[], size_t n, uint32_t value)
{
    return value < n ? words[value] : "unknown";
}

static void put_container(struct buf *out, const struct docker_board_container *container)
{
    static const char *const words[] = { "", "looking", "running", "paused", "absent", "refused", "waiting" };
    buf_printf(out, "{\"status\":\"%s\"", word(words, ARRAY_SIZE(words), container->status));
    PUT_TEXT(out, "container", container->reference);
    PUT_TEXT(out, "id", container->id);
    PUT_TEXT(out, "trouble", container->trouble);
    buf_printf(out, ",\"since\":%llu,\"starts\":%u,\"replicas\":%u,\"wait_ms\":%u}", (unsigned long long)container->since, container->n_starts,
               container->n_replicas, container->wait_ms);
}

static void put_offers(const struct watcher_state *state, struct buf *out)
{
    uint32_t n = state->plan.header ? image_count(state->plan, IMAGE_OFFERS) : 0;
    buf_append(out, STR(",\"offers\":["));
    for (uint32_t i = 0; i < n; i++) {
        const struct image_offer *offer = image_offer(state->plan, i);
        buf_printf(out, "%s{\"taken\":%s,\"port\":%u,\"service\":", i ? "," : "", offer->why.length ? "false" : "true", offer->port);
        buf_append_json(out, image_str(state->plan, offer->name));
        buf_append(out, STR(",\"container\":"));
        buf_append_json(out, image_str(state->plan, offer->reference));
        buf_append(out, STR(",\"trouble\":"));
        buf_append_json(out, image_str(state->plan, offer->why));
        buf_append_char(out, '}');
    }
    buf_append_char(out, ']');
}

void watcher_report_board(const struct watcher_state *state, struct buf *out)
{
    static const char *const engines[] = { "unknown", "there", "away" };
    struct docker_board_head head;
    const char *separator = "";
    if (!state->board || !copy_part(&head, &state->board->head, sizeof head) || head.engine == DOCKER_BOARD_ENGINE_UNKNOWN)
        return;
    buf_printf(out, ",\"engine\":{\"status\":\"%s\"", word(engines, ARRAY_SIZE(engines), head.engine));
    PUT_TEXT(out, "socket", head.socket);
    PUT_TEXT(out, "version", head.version);
    PUT_TEXT(out, "trouble", head.trouble);
    buf_printf(out, ",\"since\":%llu,\"reconnects\":%u,\"containers\":%u}", (unsigned long long)head.since, head.n_reconnects,
               head.n_containers);
    buf_append(out, STR(",\"containers\":["));
    for (uint32_t i = 0; i < head.n_containers && i < DOCKER_BOARD_CONTAINERS; i++) {
        struct docker_board_container container;
        if (!copy_part(&container, &state->board->containers[i], sizeof container) || container.status == DOCKER_BOARD_EMPTY)
            continue;
        buf_append(out, str_of(separator));
        put_container(out, &container);
        separator = ",";
    }
    buf_append_char(out, ']');
    put_offers(state, out);
}
