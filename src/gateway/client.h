/* A client's connection: TLS, then HTTP/1 or HTTP/2 by ALPN; counted against its principal; closed by one timer. */
#pragma once

#include "gateway/exchange.h"
#include "gateway/transport.h"
#include "http/h1.h"

enum client_state { CLIENT_HANDSHAKE, CLIENT_H1, CLIENT_H2, CLIENT_LINGER, CLIENT_CLOSED };

struct front_h1 {
    struct exchange *x;              /* the request in progress */
    struct spill *in;                /* plaintext not yet consumed */
    size_t scanned;                  /* of the head's end, in what is held */
    uint64_t body_left;
    struct http1_chunked chunked;
    uint8_t framing;                 /* of the request body */
    uint8_t state;                   /* enum front_state, front_h1.c */
    bool response_done;              /* the whole response was written */
    bool chunk_out;                  /* response body goes out chunked */
    bool close_after;                /* no other request on this connection */
    bool client_1_0, is_head;
};

struct client {
    struct transport t;
    struct io_timer timer;
    struct io_deferred again;        /* input to look at, outside of anybody's callback */
    struct io_grave grave;
    struct client *next, **link;     /* in gw->clients */
    struct gateway *gw;
    struct address address;
    uint32_t principal;              /* in gw->view */
    uint32_t n_requests;
    uint8_t state;                   /* enum client_state */
    uint8_t timer_reason;            /* front's own */
    uint16_t redirect_to;            /* plain HTTP that only redirects to this port; 0: a surface's own listener */
    struct front_h1 h1;
    struct front_h2 *h2;             /* CLIENT_H2 */
};

/* Takes the accepted descriptor. ssl NULL: a redirecting listener's. Closes it again when that fails. */
void client_accept(struct gateway *gw, int fd, const struct address *address, uint32_t principal, SSL *ssl, uint16_t redirect_to);
/* Ends the connection now; its exchanges are told first (by the front). Twice is fine. */
void client_close(struct client *client, const char *reason);
/* Sends what is pending, says goodbye, and reads for a moment what still comes, so that the last answer isn't lost to a reset. */
void client_linger(struct client *client);
/* The asker of a request on this connection; counts it. */
struct exchange_asker client_asker(struct client *client);

/* ---- fronts; each handles its own state of client ---- */
void front_h1_start(struct client *client);
void front_h1_input(struct client *client);          /* bytes may be readable, or held ones may go on */
void front_h1_drained(struct client *client);        /* congestion is over */
void front_h1_timeout(struct client *client);
void front_h1_stop(struct client *client, const char *reason); /* the connection goes: tell the exchange, free */
bool front_h1_is_idle(const struct client *client);
bool front_h1_waits_for_reader(const struct client *client); /* its timer is for a client that doesn't read */
void front_h1_drain(struct client *client);          /* close once idle */

int front_h2_start(struct client *client) must_check;
void front_h2_input(struct client *client);
void front_h2_drained(struct client *client);
void front_h2_timeout(struct client *client);
void front_h2_stop(struct client *client, const char *reason);
void front_h2_drain(struct client *client);

/* ---- listeners ---- */
struct listener;
/* Takes the listening socket. redirect_to 0: TLS. */
int listener_add(struct gateway *gw, int fd, const struct address *address, uint16_t port, uint16_t redirect_to) must_check;
/* Stops listening on that address and port; no such listener is fine. */
void listener_remove(struct gateway *gw, const struct address *address, uint16_t port);
void listener_remove_all(struct gateway *gw);
/* Certificates came, or descriptors are free again: accept. */
void listener_resume_all(struct gateway *gw);
