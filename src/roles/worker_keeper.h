/* A worker's side of its channel to the keeper: signatures asked for in the middle of a handshake, certificates and ticket keys pushed to it. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/error.h"
#include "base/macros.h"
#include "base/str.h"
#include "ipc/message.h"
#include "tls/context.h"

enum { WORKER_KEEPER_TIMEOUT_MS = 2000 };

struct worker_keeper_hooks {
    /* The channel broke: wait at most timeout_ms for the parent to bring another. The new descriptor (the hook's owner closes the old
     * one), or a negative errno. */
    int (*renew)(void *context, int timeout_ms);
    /* What the keeper pushed: IPC_KEEPER_CERTIFICATES or IPC_KEEPER_TICKET_KEYS, size and type checked. May come while a signature is
     * waited for. The hook owns the descriptors. */
    void (*pushed)(void *context, const struct ipc_header *message, int fds[], size_t n_fds);
    void *context;
};

struct worker_keeper {
    int channel;      /* borrowed; -1: none yet */
    uint64_t last_id;
    int64_t said_ms;  /* when a failure was last logged */
    struct worker_keeper_hooks hooks;
};

void worker_keeper_init(struct worker_keeper *keeper, int channel, const struct worker_keeper_hooks *hooks);
/* The parent brought a channel outside of a signature. */
void worker_keeper_set_channel(struct worker_keeper *keeper, int channel);

/* A tls_sign_function; context is the struct worker_keeper. Blocks until the answer is there, WORKER_KEEPER_TIMEOUT_MS at the most: the
 * keeper answers in microseconds. When it dies meanwhile, the same is asked again on the new channel.
 * 0; -ETIMEDOUT; -EMSGSIZE: the input is no handshake's; else what the keeper or the renew hook answered. */
int worker_keeper_sign(void *context, uint64_t certificate, enum tls_scheme scheme, const uint8_t *input, size_t length, uint8_t *signature,
                       size_t size, size_t *ret_length) must_check;

/* Takes everything that waits on the channel, for the event loop. 0; -EPIPE: the keeper is gone, a new channel will come; -EBADMSG. */
int worker_keeper_receive(struct worker_keeper *keeper) must_check;

/* The surface's context from pushed certificates; chains is their descriptor (borrowed). As tls_context_new. */
int worker_keeper_context(const struct ipc_certificates *message, int chains, struct tls_provider *provider, struct tls_ticket_keys *tickets,
                          struct str surface, struct tls_context **ret, struct error *err) must_check;
/* Pushed ticket keys put in force; false: there are none in it. */
bool worker_keeper_tickets(const struct ipc_ticket_keys *message, struct tls_ticket_keys *tickets) must_check;
