/* The stand-in service: answers with its name, its host and the request it saw, and misbehaves on demand. Types its parts share. */
#pragma once

#include <openssl/evp.h>
#include <openssl/ssl.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/address.h"
#include "base/buf.h"
#include "base/str.h"

enum {
    STANDIN_IN_MAX = 2 << 20,     /* one WebSocket frame, or one head */
    STANDIN_OUT_HIGH = 256 << 10, /* no more is produced while this much waits to be sent */
    STANDIN_OUT_MAX = 4 << 20,
    STANDIN_FIELDS_MAX = 256,
    STANDIN_HEAD_MAX = 256 << 10,
};

struct connection;

/* What is spoken on a connection. Each may return a negative errno: the connection is closed. */
struct protocol {
    const char *name;
    int (*start)(struct connection *connection);
    /* Takes what it can use from connection->in. connection->eof: no more will come. */
    int (*data)(struct connection *connection);
    /* Appends to connection->out while that is below STANDIN_OUT_HIGH; sets connection->wake_ms when it waits for time to pass. */
    int (*pump)(struct connection *connection);
    void (*stop)(struct connection *connection);
};

extern const struct protocol protocol_http1, protocol_http2, protocol_tcp_echo;

struct standin {
    struct str name, host;
    int epoll;
    SSL_CTX *tls;
    struct connection *connections;
    uint64_t now_ms;   /* CLOCK_MONOTONIC, once per turn of the loop */
    uint64_t next_wake_ms; /* no connection is due before; 0: none waits */
    uint64_t n_accepted;
};

struct connection {
    struct standin *standin;
    int fd;
    SSL *tls;
    const struct protocol *protocol;
    void *state;
    struct buf in, out;
    struct address peer;
    uint16_t peer_port;
    bool eof;         /* the peer has sent its last byte */
    bool finish;      /* close once out is empty */
    bool reset;       /* close with RST, at once */
    bool pause;       /* read nothing more for now */
    uint32_t interest;
    uint64_t wake_ms; /* 0: no timer */
    uint64_t number, n_requests;
    struct connection *next, **link;
};

struct request_field {
    struct str name, value;
};

struct request {
    struct buf head;              /* owns what the slices below point into */
    struct str method, target, path, query, authority;
    struct request_field fields[STANDIN_FIELDS_MAX];
    uint32_t n_fields;
    bool is_head;
    uint64_t body_length;
    EVP_MD_CTX *digest;           /* SHA-256 of the body; NULL when the route does not ask for it */
    struct buf trailers;          /* JSON members, comma separated */
};

enum body_kind { BODY_NONE, BODY_TEXT, BODY_BYTES, BODY_EVENTS, BODY_ECHO };

struct answer {
    unsigned status;
    struct buf fields, trailers;  /* "Name: value\r\n" lines */
    struct buf early;             /* the same, of a 103 before it; empty: none */
    enum body_kind body;
    bool has_length;
    uint64_t length;
    struct buf text;              /* TEXT; ECHO: what came and was not yet sent */
    uint64_t text_sent;
    uint64_t offset, left;        /* BYTES */
    uint64_t n_left, sequence, interval_ms, pad; /* EVENTS */
    uint64_t not_before_ms;       /* of the head, then of the next piece */
    bool echo_end;                /* the request's body has ended */
    bool close;                   /* the connection ends with this answer */
};

/* ---- request.c: what was asked ---- */

void request_init(struct request *request);
void request_deinit(struct request *request);
/* Sets path and query from target. */
void request_split_target(struct request *request);
struct str request_field(const struct request *request, struct str name);
void request_body(struct request *request, struct str data);
/* A query parameter: as a number, fallback when missing or out of range; as percent-decoded text, false when missing. */
uint64_t request_number(const struct request *request, const char *name, uint64_t fallback, uint64_t max);
bool request_text(const struct request *request, const char *name, struct buf *out);

/* ---- answer.c: the routes ---- */

void answer_init(struct answer *answer);
void answer_deinit(struct answer *answer);
/* Whether the answer may only be made once the request's body has been read. */
bool answer_needs_body(const struct request *request);
/* Whether the body's digest goes into the answer. */
bool answer_needs_digest(const struct request *request);
int answer_make(struct answer *answer, struct connection *connection, struct request *request);
/* Up to size bytes of the body into data. Returns how many; 0 with *ret_end set, or with *ret_wake_ms set (UINT64_MAX: until more is pushed). */
size_t answer_pull(struct answer *answer, char *data, size_t size, uint64_t now_ms, bool *ret_end, uint64_t *ret_wake_ms);
const char *answer_reason(unsigned status);

/* ---- connection.c ---- */

/* Takes fd over. tls: speak TLS first. 0 or negative errno (fd closed). */
int connection_open(struct standin *standin, int fd, const struct protocol *protocol, bool tls);
/* Hands the connection, with what is left in its buffers, to another protocol; the old one's stop has been called. */
int connection_switch(struct connection *connection, const struct protocol *protocol);
void connection_run(struct connection *connection, uint32_t events);
/* Runs those whose time has come; returns milliseconds to the next one, or -1. */
int connection_run_timers(struct standin *standin);
void connection_close_all(struct standin *standin);

/* ---- evil.c, websocket.c: connections that HTTP/1 hands over ---- */

/* Whether path is a misbehaviour that exists; then connection is handed to it (0 or negative errno in *ret_result). */
bool evil_take(struct connection *connection, const struct request *request, int *ret_result);
/* Answers the handshake (RFC 6455 section 4.2.2) and echoes every message from then on. -EPROTO when it is none. */
int websocket_take(struct connection *connection, const struct request *request);

/* ---- certificate.c ---- */

/* A server context from PEM files, or with a key and certificate of its own (CN and SAN: name) when certificate_file is NULL; then the
 * certificate is written to certificate_out when that is not NULL. NULL after a message. */
SSL_CTX *certificate_context(const char *certificate_file, const char *key_file, const char *name, const char *certificate_out);
