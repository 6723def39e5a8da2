/* Direct ports: TCP connections and UDP flows between those who may and a service in a namespace of this gateway. Bytes are moved, never
 * looked at. One process has them all; single-threaded.
 *
 *   listener.c   accepts TCP                          flow.c      a client's UDP flow: its socket comes from the porter
 *   stream.c     a TCP connection and its other side  dialer.c    asks the broker for the other side
 *   link.c       what both are: who, to what, by which rule, for how long; caps, records, the verdict at each new declaration
 *
 * A link's life:
 *
 *   begun ──link_admit──▶ ASKING ──the broker's socket──▶ OPEN ──end, error, idle, revoked──▶ link_end ──▶ recorded, freed
 *             │ nobody, no grant, too many       │ a flow's instance refuses: asked for anew (back to ASKING)
 *             └──▶ closed, recorded              └──▶ it can't be dialled: link_end */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/address.h"
#include "base/error.h"
#include "io/loop.h"
#include "ipc/message.h"
#include "ipc/metrics.h"
#include "policy/image.h"

enum {
    RELAY_BUFFER_SIZE = 252 * 1024,     /* read at once from who sends fast; at least a datagram's 64 KiB */
    RELAY_READ_MIN = 16 * 1024,         /* the first reading, and the next after the receiver took less */
    RELAY_HELD_MAX = 64 * 1024 * 1024,  /* what receivers did not take, of all streams: past it, readings are small */
    RELAY_READS_A_TURN = 4,
    RELAY_DATAGRAMS_A_TURN = 32,
    RELAY_FLOW_HELD_MAX = 8,            /* datagrams that wait for a flow's instance */
    RELAY_FLOW_HELD_BYTES = 128 * 1024, /* of them, in one flow */
    RELAY_RECORDS_BATCH = 8,            /* in one atomic write to the logger's pipe */
    RELAY_ACCEPTS_A_TURN = 8,
    RELAY_BUCKETS = 4096,               /* of the table of flows */
    RELAY_KEY_SIZE = 16,                /* "udp/30000" */
};

/* Caps and timers; tests have smaller ones. */
struct relay_limits {
    uint32_t links, links_per_principal;
    uint32_t stream_idle_ms, stream_half_idle_ms; /* nothing either way; the same once one side has ended */
    uint32_t flow_new_ms, flow_idle_ms;           /* the same of a flow whose instance never answered; that did: as conntrack has it */
    uint32_t flow_drain_ms;                       /* of any, while draining: a flow doesn't say when it is over */
    uint32_t dial_ms, redial_ms;                  /* for the broker, and the one that follows it when it dies; between two asks for a flow's instance */
};
extern const struct relay_limits relay_limits;

struct relay_dialer {
    int channel;                        /* to the broker; -1: between two */
    struct relay_link *first, *last;    /* who waits, oldest first */
    uint64_t last_id;
    uint32_t n_in_flight;
};

struct relay {
    struct io_loop loop;
    struct relay_limits limits;
    struct image view;                  /* of direct ports; replaced whole by relay_take_view */
    struct metrics_page *metrics;
    struct relay_dialer dialer;
    struct relay_listener *listeners;
    struct relay_link *links;
    uint32_t n_links;
    uint32_t *principal_links;          /* by principal of the view */
    struct relay_link *flows[RELAY_BUCKETS];
    size_t held;                        /* bytes that receivers did not take */
    int records;                        /* the logger's pipe; -1: none */
    uint32_t n_batch;
    struct ipc_record batch[RELAY_RECORDS_BATCH];
    bool draining;
    void (*drained)(struct relay *relay); /* called once, when draining and the last link is gone */
    uint64_t random;
    char *buffer;                       /* RELAY_BUFFER_SIZE; valid during one callback only */
};

/* view: mapped and attached, taken over (role_detach_image is the caller's, through what relay_take_view gives back). 0 or negative errno. */
int relay_init(struct relay *relay, struct image view, struct metrics_page *metrics) must_check;
void relay_deinit(struct relay *relay);
/* Decides by the new view from now on; links that lost their right are closed before it returns. *ret_old is no longer used. 0; -ENOMEM: nothing
 * changed. */
int relay_take_view(struct relay *relay, struct image view, struct image *ret_old) must_check;
/* What is dialled that way has ended, as the broker knows. */
void relay_target_ended(struct relay *relay, uint64_t identity);
/* No new connections and flows; drained is called when none are left. */
void relay_drain(struct relay *relay);

/* ---- listener.c ---- */

/* A listening TCP socket in a low descriptor (ipc/slots.h), taken over. 0 or negative errno. */
int relay_listener_add(struct relay *relay, int fd, const struct address *address, uint16_t port) must_check;
void relay_listener_remove(struct relay *relay, const struct address *address, uint16_t port);
void relay_listener_remove_all(struct relay *relay);

/* ---- links ---- */

enum relay_state { RELAY_ASKING, RELAY_OPEN, RELAY_OVER };

struct relay_link {
    struct relay *relay;
    struct relay_link *next, **link;    /* of relay->links */
    const struct relay_link_ops *ops;
    enum relay_state state;
    struct address client;
    uint16_t client_port;
    char key[RELAY_KEY_SIZE];           /* the service, as the view's names have it */
    uint32_t principal;                 /* of the current view */
    uint32_t target;
    uint64_t generation, identity;      /* of what is dialled */
    struct io_timer idle;
    struct io_grave grave;
    uint64_t started_us;                /* CLOCK_MONOTONIC */
    struct ipc_record record;
    /* with the broker */
    struct relay_link *next_dial, **link_dial;
    uint64_t dial_id;
    uint32_t dial_turn;                 /* which of the ways to a flow's instance, counted round */
    bool dial_sent;
};

struct relay_link_ops {
    void (*dialled)(struct relay_link *link, int fd);  /* takes the socket */
    void (*moved)(struct relay_link *link);            /* the current view dials its service otherwise; its access stays */
    void (*ended)(struct relay_link *link);            /* what it is connected to has ended; NULL: the connection says so itself */
    void (*drain)(struct relay_link *link);            /* no more begin; NULL: it ends when it does */
    void (*release)(struct relay_link *link);          /* closes and frees what is its own; the memory itself is freed by io_bury */
    void (*free)(struct io_grave *grave);
};

/* Whether the client may come to the port: counts it as its principal's, fills in who, what and the rule, and asks the broker. False: recorded
 * and counted; nothing of link is used any more. link has ops, relay, client and client_port. */
bool relay_link_admit(struct relay_link *link, const char *transport, uint16_t port) must_check;
/* Ends it: record, sockets, memory. why: "" for a regular end. */
void relay_link_end(struct relay_link *link, enum ipc_record_denied denied, const char *why);
/* It lived. */
static inline void relay_link_touch(struct relay_link *link, uint32_t idle_ms)
{
    io_timer_set(&link->relay->loop, &link->idle, idle_ms);
}
/* Bytes were moved, from the client or to it. */
void relay_link_count(struct relay_link *link, bool from_client, size_t n);
/* Notes how long the broker took. */
void relay_link_connected(struct relay_link *link);
/* Of somebody who never became a link. */
void relay_record_refusal(struct relay *relay, const struct address *client, const char *transport, uint16_t port,
                          enum ipc_record_denied why);

/* ---- dialer.c ---- */

/* Asks for the link's instance; ops->dialled or relay_link_end follows. */
void relay_dial(struct relay_link *link);
void relay_dial_cancel(struct relay_link *link);
void relay_dial_answered(struct relay *relay, uint64_t id, int fd, int status);
/* The channel is new (-1: it was lost). Asks that had no answer are sent again. */
void relay_dial_set_channel(struct relay *relay, int channel);
void relay_dial_send_pending(struct relay *relay);

/* ---- stream.c, flow.c ---- */

/* A connection that was accepted; fd is taken. */
void relay_stream_begin(struct relay *relay, int fd, const struct address *client, uint16_t client_port, uint16_t port);
/* What the porter passed on; fds as the message has them, taken. */
void relay_flow_begin(struct relay *relay, const struct ipc_flow *message, const int *fds);
void relay_flow_refused(struct relay *relay, const struct ipc_flow_refused *message);
