/* A connected stream, plain or TLS, with the buffers of its connection: what every client and instance connection is built on.
 *
 * Ciphertext passes through scratch areas of the whole worker, so that an idle connection owns no buffer: what arrives is read into
 * one, what leaves is gathered in the other and written once. Each scratch has one owner at a time; when another transport needs it,
 * the owner's left-overs move into a spill of its own. */
#pragma once

#include <openssl/ssl.h>
#include <stdbool.h>
#include <sys/types.h>

#include "base/str.h"
#include "gateway/patience.h"
#include "gateway/spill.h"
#include "io/loop.h"

struct gateway;

enum {
    TRANSPORT_SCRATCH = 256 * 1024,
    TRANSPORT_READ_MIN = 64 * 1024,  /* of ciphertext at once; more only where more plaintext is wanted */
    TRANSPORT_FLUSH = 64 * 1024,     /* enough gathered for one write; of a fluent transport: */
    TRANSPORT_FLUSH_FLUENT = 250 * 1024,
    TRANSPORT_GATHER = 384 * 1024,
    TRANSPORT_HELD_FLUENT = 16 << 20, /* a worker whose connections hold more than this in all hands nobody large pieces */
    TRANSPORT_PARTS_MAX = 3,
    TRANSPORT_SPILL_MAX = 1 << 20,   /* a peer that doesn't read: its writers have paused long before */
};

struct transport {
    struct io_source io;
    struct gateway *gw;
    SSL *ssl;            /* owned; NULL: plain */
    struct spill *tx;    /* bytes the socket did not take */
    struct spill *rx;    /* ciphertext not yet decrypted */
    bool readable;       /* the socket may have more: set by an event, cleared by EAGAIN or a short read */
    bool writable;       /* the socket may take more: cleared by EAGAIN, set by an event */
    bool watches_room;   /* such events come: once it took less than all */
    bool hangup;         /* the peer has shut down its side, or worse: read on to the end */
    bool reset;          /* it is worse: what is written reaches nobody */
    bool ended;          /* read returned 0 */
    bool cut_short;      /* TLS, and it ended without saying so: what came before may not have been all (RFC 9112 section 9.8) */
    bool failed;         /* no further I/O makes sense */
    uint32_t unread;     /* bytes in the kernel's queue at the last look; UINT32_MAX: none since the socket took something */
    uint8_t n_taken;     /* large writes, one after the other, that the socket took whole */
    struct patience patience;
};

/* Takes the descriptor and the SSL object (may be NULL); watches it edge-triggered. 0 or a negative errno (descriptor and SSL freed). */
int transport_init(struct transport *t, struct gateway *gw, int fd, SSL *ssl, void (*ready)(struct io_source *, uint32_t)) must_check;
/* Closes and frees what it owns; the struct stays. Twice is fine. */
void transport_close(struct transport *t);
static inline bool transport_is_open(const struct transport *t)
{
    return t->io.fd >= 0;
}

/* Notes what an event says. */
void transport_note_events(struct transport *t, uint32_t events);
/* 0: TLS is up; -EAGAIN: in progress; other negative: failed. */
int transport_handshake(struct transport *t) must_check;
/* Up to n bytes of plaintext: > 0; 0 at the end; -EAGAIN; other negative errno: failed. */
ssize_t transport_read(struct transport *t, void *buffer, size_t n) must_check;
/* Whether a read could do better than EAGAIN: in the socket, as ciphertext at hand, or decrypted already. */
bool transport_has_input(const struct transport *t);
/* As transport_read, again and again until the buffer is full (or nearly) or there is nothing more now; what was read wins over an end or an error,
 * which the next call reports. */
ssize_t transport_read_full(struct transport *t, void *buffer, size_t n) must_check;
/* Takes all of it: gathered, written, or spilled. 0 or a negative errno (failed). */
int transport_write(struct transport *t, struct str bytes) must_check;
/* The same for up to TRANSPORT_PARTS_MAX pieces that follow each other. */
int transport_write_parts(struct transport *t, const struct str *parts, unsigned n) must_check;
/* Writes out what was gathered. 0: all is with the kernel; 1: some is spilled and EPOLLOUT will come; negative errno: failed. */
int transport_flush(struct transport *t);
static inline bool transport_is_congested(const struct transport *t)
{
    return t->tx != NULL;
}
/* The socket took the last large writes whole: it may well take a larger one, of which otherwise the rest would have to be held. */
bool transport_is_fluent(const struct transport *t);
/* So much was gathered that it should be flushed. */
bool transport_has_gathered(const struct transport *t);
/* Whether the peer may be reading, slowly, although the socket takes nothing more: the kernel says so only when a third of its queue, which
 * can be megabytes, is gone. True at the first look since the socket took something, and whenever the queue shrank since the last. */
bool transport_was_read(struct transport *t);
/* Tells the peer that nothing follows (close_notify where TLS, then FIN); reading may go on. */
void transport_shutdown(struct transport *t);

/* At the end of a round: nobody owns the scratches. */
void transport_release_scratches(struct gateway *gw);
