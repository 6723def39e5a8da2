/* The event loop of a single-threaded process: epoll, coarse timers, work put off to the end of a round.
 *
 * A round: wait; call each ready source; call what was put off with io_defer; fire some due timers (the others in the rounds that follow
 * at once); call the round hook; free the dead.
 * Sources are edge-triggered unless said otherwise: a handler reads until EAGAIN or remembers that it did not.
 * Objects that own a source or timer may be destroyed inside any callback: they go to io_bury and are freed when the round is over, so
 * that an event already fetched for them finds memory that says "closed". */
#pragma once

#include <stdbool.h>
#include <stdint.h>
#include <sys/epoll.h>

#include "base/macros.h"

struct io_loop;

struct io_source {
    int fd; /* -1: not watched; events for it are dropped */
    void (*ready)(struct io_source *source, uint32_t events);
};

struct io_timer {
    struct io_timer *next, **link; /* link NULL: not set */
    uint64_t due_ms;
    void (*fire)(struct io_timer *timer);
};

struct io_deferred {
    struct io_deferred *next;
    bool queued;
    void (*run)(struct io_deferred *deferred);
};

struct io_grave {
    struct io_grave *next;
    void (*release)(struct io_grave *grave);
};

enum { IO_TICK_MS = 32, IO_WHEEL_SLOTS = 1024 };

struct io_loop {
    int epoll_fd;
    uint64_t now_ms; /* CLOCK_MONOTONIC, taken once a round */
    uint64_t now_us; /* the same, taken before each source that is ready, and before what was put off */
    uint64_t tick;   /* the last one swept */
    struct io_timer *wheel[IO_WHEEL_SLOTS];
    uint64_t wheel_used[IO_WHEEL_SLOTS / 64];
    struct io_timer *due; /* swept, and not fired yet */
    uint32_t n_timers;
    struct io_deferred *deferred_first, **deferred_last;
    struct io_grave *graves;
    void (*round_over)(struct io_loop *loop); /* may be NULL */
    bool stopping;
};

/* 0 or a negative errno. */
int io_loop_init(struct io_loop *loop) must_check;
void io_loop_deinit(struct io_loop *loop);
/* Runs rounds until io_loop_stop. 0, or the negative errno of epoll_wait. */
int io_loop_run(struct io_loop *loop) must_check;
void io_loop_stop(struct io_loop *loop);

/* events as epoll's; EPOLLET, EPOLLEXCLUSIVE are the caller's choice. 0 or a negative errno. */
int io_watch(struct io_loop *loop, struct io_source *source, uint32_t events) must_check;
int io_rewatch(struct io_loop *loop, struct io_source *source, uint32_t events) must_check;
/* Stops watching without closing; the source's fd field is untouched. */
void io_unwatch(struct io_loop *loop, struct io_source *source);

/* Fires once, not before after_ms and at most two ticks later, but for a crowd of others that are due. Setting a set timer moves it;
 * moving it later costs nothing. */
void io_timer_set(struct io_loop *loop, struct io_timer *timer, uint64_t after_ms);
void io_timer_clear(struct io_loop *loop, struct io_timer *timer);
static inline bool io_timer_is_set(const struct io_timer *timer)
{
    return timer->link != NULL;
}

/* Runs it at the end of this round; without waiting for events where the round is over already. Queuing twice is once. */
void io_defer(struct io_loop *loop, struct io_deferred *deferred);
/* Takes it back. */
void io_undefer(struct io_loop *loop, struct io_deferred *deferred);
/* release is called when the round is over. */
void io_bury(struct io_loop *loop, struct io_grave *grave, void (*release)(struct io_grave *grave));

uint64_t io_now_us(void); /* CLOCK_MONOTONIC, read now */
