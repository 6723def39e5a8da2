/* Event loop: epoll rounds, a hashed timer wheel, deferred work, deferred frees. */
#include "io/loop.h"

#include <errno.h>
#include <time.h>

enum {
    EVENTS_A_ROUND = 256,
    TIMERS_A_ROUND = 8,
    LATE_TICKS = 1000 / IO_TICK_MS, /* timers that are later than this are ... */
    LATE_TIMERS_A_ROUND = 64,       /* ... so many a round: a flood in long rounds makes more than the few, and would put all off for ever */
};

uint64_t io_now_us(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000 + (uint64_t)t.tv_nsec / 1000;
}

int io_loop_init(struct io_loop *loop)
{
    int fd = epoll_create1(EPOLL_CLOEXEC);
    if (fd < 0)
        return -errno;
    *loop = (struct io_loop){ .epoll_fd = fd, .now_us = io_now_us() };
    loop->now_ms = loop->now_us / 1000;
    loop->tick = loop->now_ms / IO_TICK_MS;
    loop->deferred_last = &loop->deferred_first;
    return 0;
}

static void release_graves(struct io_loop *loop)
{
    while (loop->graves) {
        struct io_grave *grave = loop->graves;
        loop->graves = grave->next;
        grave->release(grave);
    }
}

void io_loop_deinit(struct io_loop *loop)
{
    release_graves(loop);
    if (loop->epoll_fd >= 0)
        close(loop->epoll_fd);
    loop->epoll_fd = -1;
}

void io_loop_stop(struct io_loop *loop)
{
    loop->stopping = true;
}

static int control(struct io_loop *loop, int op, struct io_source *source, uint32_t events)
{
    struct epoll_event event = { .events = events, .data = { .ptr = source } };
    return epoll_ctl(loop->epoll_fd, op, source->fd, &event) < 0 ? -errno : 0;
}

int io_watch(struct io_loop *loop, struct io_source *source, uint32_t events)
{
    return control(loop, EPOLL_CTL_ADD, source, events);
}

int io_rewatch(struct io_loop *loop, struct io_source *source, uint32_t events)
{
    return control(loop, EPOLL_CTL_MOD, source, events);
}

void io_unwatch(struct io_loop *loop, struct io_source *source)
{
    if (source->fd >= 0)
        epoll_ctl(loop->epoll_fd, EPOLL_CTL_DEL, source->fd, NULL);
}

/* ---- timers ---- */

static void wheel_insert(struct io_loop *loop, struct io_timer *timer)
{
    uint64_t tick = timer->due_ms / IO_TICK_MS + 1;
    if (tick <= loop->tick)
        tick = loop->tick + 1;
    uint32_t slot = tick % IO_WHEEL_SLOTS;
    timer->next = loop->wheel[slot];
    timer->link = &loop->wheel[slot];
    if (timer->next)
        timer->next->link = &timer->next;
    loop->wheel[slot] = timer;
    loop->wheel_used[slot / 64] |= 1ull << (slot % 64);
}

static void wheel_remove(struct io_timer *timer)
{
    *timer->link = timer->next;
    if (timer->next)
        timer->next->link = timer->link;
    timer->link = NULL;
    timer->next = NULL;
}

void io_timer_set(struct io_loop *loop, struct io_timer *timer, uint64_t after_ms)
{
    uint64_t due = loop->now_ms + after_ms;
    bool later = timer->link && due >= timer->due_ms;
    timer->due_ms = due;
    if (later)
        return; /* found too early when its old slot is swept, and put where it belongs then */
    if (timer->link)
        wheel_remove(timer);
    else
        loop->n_timers++;
    wheel_insert(loop, timer);
}

void io_timer_clear(struct io_loop *loop, struct io_timer *timer)
{
    if (!timer->link)
        return;
    wheel_remove(timer);
    loop->n_timers--;
}

/* What is due of the slot goes to loop->due; the rest is for a later turn of the wheel. */
static void collect_due(struct io_loop *loop, uint32_t slot)
{
    struct io_timer *pending = loop->wheel[slot];
    loop->wheel[slot] = NULL;
    loop->wheel_used[slot / 64] &= ~(1ull << (slot % 64));
    if (pending)
        pending->link = &pending;
    while (pending) {
        struct io_timer *timer = pending;
        wheel_remove(timer);
        if (timer->due_ms > loop->now_ms) {
            wheel_insert(loop, timer);
            continue;
        }
        timer->next = loop->due;
        timer->link = &loop->due;
        if (timer->next)
            timer->next->link = &timer->next;
        loop->due = timer;
    }
}

static unsigned timers_a_round(const struct io_loop *loop)
{
    return loop->now_ms / IO_TICK_MS > loop->tick + LATE_TICKS ? LATE_TIMERS_A_ROUND : TIMERS_A_ROUND;
}

/* Tick by tick, and no more than a few: thousands that are due at once, as after a flood of connections, hold nobody up. */
static void fire_timers(struct io_loop *loop)
{
    uint64_t now = loop->now_ms / IO_TICK_MS;
    if (now > loop->tick + IO_WHEEL_SLOTS)
        loop->tick = now - IO_WHEEL_SLOTS;
    for (unsigned n = 0; n < timers_a_round(loop);) {
        struct io_timer *timer = loop->due;
        if (!timer && loop->tick >= now)
            return;
        if (!timer) {
            loop->tick++;
            collect_due(loop, loop->tick % IO_WHEEL_SLOTS);
            continue;
        }
        wheel_remove(timer);
        if (timer->due_ms > loop->now_ms) { /* put off since it was collected */
            wheel_insert(loop, timer);
            continue;
        }
        loop->n_timers--;
        n++;
        timer->fire(timer);
    }
}

/* Milliseconds until the next slot with a timer in it (-1: none). Slots are only a hint: a timer may be due turns later. */
static int wait_ms(const struct io_loop *loop)
{
    if (loop->deferred_first || loop->due)
        return 0;
    if (loop->n_timers == 0)
        return -1;
    for (uint32_t ahead = 1; ahead <= IO_WHEEL_SLOTS; ahead++) {
        uint32_t slot = (uint32_t)((loop->tick + ahead) % IO_WHEEL_SLOTS);
        if (slot % 64 == 0 && loop->wheel_used[slot / 64] == 0) {
            ahead += 63;
            continue;
        }
        if (loop->wheel[slot]) {
            uint64_t at = (loop->tick + ahead) * IO_TICK_MS;
            return at > loop->now_ms ? (int)(at - loop->now_ms) : 0;
        }
    }
    return IO_TICK_MS * IO_WHEEL_SLOTS;
}

/* ---- deferred work ---- */

void io_defer(struct io_loop *loop, struct io_deferred *deferred)
{
    if (deferred->queued)
        return;
    deferred->queued = true;
    deferred->next = NULL;
    *loop->deferred_last = deferred;
    loop->deferred_last = &deferred->next;
}

void io_undefer(struct io_loop *loop, struct io_deferred *deferred)
{
    if (!deferred->queued)
        return;
    struct io_deferred **at = &loop->deferred_first;
    while (*at != deferred)
        at = &(*at)->next;
    *at = deferred->next;
    if (loop->deferred_last == &deferred->next)
        loop->deferred_last = at;
    deferred->queued = false;
}

/* One at a time off the front, up to the one that is last now: each may add, and may take back others. */
static void run_deferred(struct io_loop *loop)
{
    struct io_deferred end = { 0 };
    for (io_defer(loop, &end); end.queued;) {
        struct io_deferred *deferred = loop->deferred_first;
        loop->deferred_first = deferred->next; /* NOLINT(clang-analyzer-core.NullDereference): end, at least, is queued */
        if (!loop->deferred_first)
            loop->deferred_last = &loop->deferred_first;
        deferred->queued = false;
        if (deferred != &end)
            deferred->run(deferred);
    }
}

void io_bury(struct io_loop *loop, struct io_grave *grave, void (*release)(struct io_grave *grave))
{
    grave->release = release;
    grave->next = loop->graves;
    loop->graves = grave;
}

/* ---- rounds ---- */

int io_loop_run(struct io_loop *loop)
{
    struct epoll_event events[EVENTS_A_ROUND];
    while (!loop->stopping) {
        int n = epoll_wait(loop->epoll_fd, events, EVENTS_A_ROUND, wait_ms(loop));
        if (n < 0 && errno != EINTR)
            return -errno;
        loop->now_us = io_now_us();
        loop->now_ms = loop->now_us / 1000;
        for (int i = 0; i < n; i++) {
            struct io_source *source = events[i].data.ptr;
            if (source->fd < 0)
                continue;
            if (i)
                loop->now_us = io_now_us();
            source->ready(source, events[i].events);
        }
        if (n > 0 && loop->deferred_first)
            loop->now_us = io_now_us();
        run_deferred(loop);
        fire_timers(loop);
        if (loop->round_over)
            loop->round_over(loop);
        release_graves(loop);
    }
    return 0;
}
