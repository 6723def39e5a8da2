/* A worker's gateway: everything one process shares between its connections. One per worker; single-threaded.
 *
 * A request's way, a file per step: listener.c accepts and knows the principal; client.c does TLS; front_h1.c and front_h2.c speak with the
 * client; exchange.c decides and joins the two sides; dialer.c asks the broker; back_pool.c keeps instance connections; back_h1.c and back_h2.c
 * speak with the instance; recorder.c writes what happened. */
#pragma once

#include <openssl/ssl.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/address.h"
#include "gateway/guests.h"
#include "http/head.h"
#include "io/loop.h"
#include "ipc/message.h"
#include "ipc/metrics.h"
#include "policy/image.h"

struct client;
struct exchange;
struct transport;
struct tls_client;
struct tls_context;
struct h2_shared;
struct back_groups;

enum {
    GATEWAY_PLAIN_SIZE = 63 * 1024,         /* one reading's plaintext: with its framing it fits one segment of 64 KiB, where a few bytes more cost two */
    /* The same for a receiver that takes all of it at once: a quarter of the system calls, acknowledgements and wakes. */
    GATEWAY_BULK_SIZE = 4 * GATEWAY_PLAIN_SIZE,
    GATEWAY_READS_A_TURN = 8,               /* of GATEWAY_PLAIN_SIZE; then others have theirs */
    GATEWAY_HEAD_SIZE = 40 * 1024,          /* a head as we send it: the largest we accept, and what we add */
    GATEWAY_RECORDS_BATCH = 8,              /* records in one atomic write to the logger's pipe */
    GATEWAY_ACCEPTS_A_ROUND = 4,
    GATEWAY_CONNECTIONS_PER_PRINCIPAL = 4096, /* default cap, per worker */
};

/* Timers (milliseconds). Idle timers only: no whole-message timer ends a body. */
enum {
    GATEWAY_HANDSHAKE_MS = 10000,
    GATEWAY_HEAD_MS = 10000,         /* from a head's first byte to its last */
    GATEWAY_IDLE_H1_MS = 75000,
    GATEWAY_IDLE_H2_MS = 300000,
    GATEWAY_BODY_IDLE_MS = 60000,    /* a client that is sending, and stops */
    GATEWAY_STALL_MS = 60000,        /* a client that is to read, and doesn't */
    GATEWAY_STALL_LOOK_MS = 15000,   /* then: in this time the kernel's queue to it must shrink (transport_was_read) */
    GATEWAY_LINGER_MS = 2000,
    GATEWAY_FIRST_BYTE_MS = 300000,  /* an instance's answer */
    GATEWAY_BACK_IDLE_MS = 30000,
    GATEWAY_REFUSED_PAUSE_MS = 100,  /* accepting rests when descriptors run out */
};

struct gateway_dialer {
    int channel;                     /* to the broker; -1: between two */
    struct dial *first, *last;       /* asked or to be asked, oldest first */
    uint64_t last_id;
    uint32_t n_dials, n_in_flight;
};

struct gateway_recorder {
    int pipe;                        /* to the logger; -1: none */
    uint32_t n;
    struct ipc_record batch[GATEWAY_RECORDS_BATCH];
};

struct gateway {
    struct io_loop loop;

    struct image view;               /* current; replaced whole by gateway_take_view */
    void *view_map;
    size_t view_size;
    uint32_t worker;

    struct tls_context *tls;         /* current; NULL until the keeper's certificates came: nothing is accepted */
    struct tls_client **client_tls;  /* towards instances, by service of the current view; made when first needed */

    struct metrics_page *metrics;
    struct listener *listeners;
    struct client *clients;          /* every one that is open */
    struct exchange *exchanges;      /* every one that is not over */
    struct exchange *spare_exchanges; /* memory for the next ones */
    uint32_t n_spare_exchanges;
    uint32_t n_clients;
    uint32_t *principal_connections; /* by principal of the current view */
    struct guests guests;            /* addresses of containers that ask */
    bool draining;
    void (*drained)(struct gateway *gw); /* called once, when draining and the last client is gone */

    struct gateway_dialer dialer;
    struct gateway_recorder recorder;
    struct back_groups *groups;

    /* Scratches (see transport.h) and what is valid during one callback only. */
    struct transport *rx_owner, *tx_owner;
    size_t rx_start, rx_end, rx_room, tx_len;
    char *rx_scratch, *tx_scratch;   /* TRANSPORT_SCRATCH, TRANSPORT_GATHER */
    char *plain_in, *plain_back;     /* GATEWAY_BULK_SIZE each: read from clients, from instances */
    char *head_out;                  /* GATEWAY_HEAD_SIZE */
    struct http_head head_in, head_back;

    size_t tx_held;                  /* memory of all that sockets did not take */
    struct transport *patient;       /* see patience.h */
    struct io_timer patience;

    struct h2_shared *h2;            /* HTTP/2's scratches (h2_session.h) */

    struct client *held_by;          /* whose response head waits in head_held for the body's first piece */
    char *head_held;                 /* GATEWAY_HEAD_SIZE */
    size_t head_held_len;

    char date[32];                   /* IMF-fixdate of date_s */
    int64_t date_s;
    uint8_t random[512];
    size_t random_left;
};

/* view: mapped and attached, taken over (unmapped when replaced). 0 or a negative errno. */
int gateway_init(struct gateway *gw, struct image view, void *map, size_t size, struct metrics_page *metrics, uint32_t worker) must_check;
void gateway_deinit(struct gateway *gw);
/* Decides by the new view from now on; connections and exchanges that lost their right are closed before it returns. 0; -ENOMEM: nothing changed. */
int gateway_take_view(struct gateway *gw, struct image view, void *map, size_t size) must_check;
/* Who asks from that address: a declared host, a container that has it now, or a segment at large; IMAGE_NONE: nobody. A container's
 * address is never lent a segment's rights. */
uint32_t gateway_find_principal(const struct gateway *gw, const struct address *address);
/* The container has that address from now on, or no longer: connections from there are judged again before it returns. */
void gateway_take_guest(struct gateway *gw, const struct address *address, uint64_t container, bool is_present);
/* New handshakes use it; takes the reference. */
void gateway_take_tls(struct gateway *gw, struct tls_context *tls);
/* No new connections; idle ones close; drained is called when none are left. */
void gateway_drain(struct gateway *gw);
/* Calls drained if it is due. */
void gateway_note_drained(struct gateway *gw);

/* What a reading of n bytes counts of GATEWAY_READS_A_TURN. */
static inline unsigned gateway_reading_cost(size_t n)
{
    return n <= GATEWAY_PLAIN_SIZE ? 1 : (unsigned)((n + GATEWAY_PLAIN_SIZE - 1) / GATEWAY_PLAIN_SIZE);
}

static inline const struct image_surface *gateway_surface(const struct gateway *gw)
{
    return image_surface(gw->view, 0);
}

/* A TLS connection towards a service of the current view (protocol https). 0; -EINVAL: what it must verify can't be read; -ENOMEM. */
int gateway_client_ssl(struct gateway *gw, uint32_t service, SSL **ret) must_check;
/* 16 random hex digits and a NUL. */
void gateway_random_id(struct gateway *gw, char id[static 17]);
/* CLOCK_REALTIME. */
uint64_t gateway_wall_us(void);
/* The Date of now (RFC 9110 section 5.6.7). */
struct str gateway_date(struct gateway *gw);
