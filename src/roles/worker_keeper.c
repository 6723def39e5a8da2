/* A worker's side of its channel to the keeper. */
#include "roles/worker_keeper.h"

#include <assert.h>
#include <errno.h>
#include <openssl/crypto.h>
#include <poll.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#include "base/log.h"
#include "roles/role.h"

enum { SAY_EVERY_MS = 10000 };

static_assert((int)TLS_SCHEME_ECDSA_SHA256 == (int)IPC_SIGN_ECDSA_SHA256 && (int)TLS_SCHEME_ECDSA_SHA384 == (int)IPC_SIGN_ECDSA_SHA384 &&
                  (int)TLS_SCHEME_RSA_PSS_SHA256 == (int)IPC_SIGN_RSA_PSS_SHA256 && (int)TLS_SCHEME_RSA_PSS_SHA384 == (int)IPC_SIGN_RSA_PSS_SHA384 &&
                  (int)TLS_SCHEME_RSA_PKCS1_SHA256 == (int)IPC_SIGN_RSA_PKCS1_SHA256,
              "schemes are numbered alike");
static_assert(sizeof(struct tls_ticket_key) == sizeof(((struct ipc_ticket_keys *)0)->keys[0]) && (int)TLS_TICKET_KEYS_MAX == (int)IPC_TICKET_KEYS,
              "ticket keys are laid out alike");

void worker_keeper_init(struct worker_keeper *keeper, int channel, const struct worker_keeper_hooks *hooks)
{
    *keeper = (struct worker_keeper){ .channel = channel, .hooks = *hooks };
}

void worker_keeper_set_channel(struct worker_keeper *keeper, int channel)
{
    keeper->channel = channel;
}

static int64_t now_ms(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

static void close_all(const int fds[], size_t n)
{
    for (size_t i = 0; i < n; i++)
        close(fds[i]);
}

/* One message. 0: a push, handled; 1: an answer, in *ret_answer; or -EAGAIN, -EPIPE, -EBADMSG. */
static int take_one(struct worker_keeper *keeper, struct ipc_sign_answer *ret_answer)
{
    _Alignas(8) uint8_t buffer[IPC_MESSAGE_MAX];
    const struct ipc_header *header = (const struct ipc_header *)buffer;
    int fds[IPC_FDS_MAX];
    size_t n_fds = 0;
    int r = ipc_receive(keeper->channel, buffer, sizeof buffer, fds, &n_fds);

    if (r < 0)
        return r;
    switch (ipc_may_send(IPC_ROLE_KEEPER, IPC_ROLE_WORKER, header->type) ? header->type : 0) {
    case IPC_KEEPER_SIGN_ANSWER:
        close_all(fds, n_fds);
        memcpy(ret_answer, buffer, sizeof *ret_answer);
        return 1;
    case IPC_KEEPER_CERTIFICATES:
    case IPC_KEEPER_TICKET_KEYS:
        keeper->hooks.pushed(keeper->hooks.context, header, fds, n_fds);
        OPENSSL_cleanse(buffer, sizeof buffer);
        return 0;
    default:
        close_all(fds, n_fds);
        return -EBADMSG;
    }
}

int worker_keeper_receive(struct worker_keeper *keeper)
{
    for (;;) {
        struct ipc_sign_answer late; /* to an ask that was given up */
        int r = take_one(keeper, &late);
        if (r < 0)
            return r == -EAGAIN ? 0 : r;
    }
}

static int wait_for(int fd, short events, int64_t deadline)
{
    for (;;) {
        struct pollfd one = { .fd = fd, .events = events };
        int64_t left = deadline - now_ms();
        int r = left > 0 ? poll(&one, 1, (int)left) : 0;
        if (r > 0)
            return 0;
        if (r == 0)
            return -ETIMEDOUT;
        if (errno != EINTR)
            return -errno;
    }
}

/* Asks on the present channel and waits for the answer. -EPIPE when the channel broke before one came. */
static int ask(struct worker_keeper *keeper, const struct ipc_sign *question, struct ipc_sign_answer *ret_answer, int64_t deadline)
{
    int r;
    while ((r = ipc_send_plain(keeper->channel, question)) == -EAGAIN)
        if ((r = wait_for(keeper->channel, POLLOUT, deadline)) < 0)
            return r;
    /* Looks before it waits: on a busy core the keeper has often run, and answered, before our write returned. */
    while (r >= 0) {
        while ((r = take_one(keeper, ret_answer)) >= 0)
            if (r == 1 && ret_answer->id == question->id)
                return 0;
        if (r == -EAGAIN)
            r = wait_for(keeper->channel, POLLIN, deadline);
    }
    return r == -ECONNRESET || r == -ENOTCONN || r == -ECONNREFUSED ? -EPIPE : r;
}

/* Every handshake fails when the keeper does: said once, and again after a while. */
static void say_failure(struct worker_keeper *keeper, int r)
{
    int64_t now = now_ms();
    if (keeper->said_ms && now - keeper->said_ms < SAY_EVERY_MS)
        return;
    keeper->said_ms = now;
    log_warning("a handshake failed because the keeper did not sign it: %s", strerror(-r));
}

static int sign(struct worker_keeper *keeper, uint64_t certificate, enum tls_scheme scheme, const uint8_t *input, size_t length, uint8_t *signature,
                size_t size, size_t *ret_length)
{
    struct ipc_sign question = { .header = IPC_HEADER(IPC_KEEPER_SIGN, question) };
    struct ipc_sign_answer answer = { .status = -EPIPE };
    int64_t deadline = now_ms() + WORKER_KEEPER_TIMEOUT_MS;
    int r;

    if (length > sizeof question.input)
        return -EMSGSIZE;
    question.id = ++keeper->last_id;
    question.certificate = certificate;
    question.scheme = (uint32_t)scheme;
    question.length = (uint32_t)length;
    memcpy(question.input, input, length);
    for (;;) {
        r = keeper->channel >= 0 ? ask(keeper, &question, &answer, deadline) : -EPIPE;
        if (r != -EPIPE)
            break;
        int64_t left = deadline - now_ms();
        if (left <= 0)
            return -ETIMEDOUT;
        int channel = keeper->hooks.renew(keeper->hooks.context, (int)left);
        if (channel < 0)
            return channel;
        keeper->channel = channel;
    }
    if (r < 0)
        return r;
    if (answer.status != 0)
        return answer.status < 0 ? answer.status : -EBADMSG;
    if (answer.length == 0 || answer.length > sizeof answer.signature || answer.length > size)
        return -EBADMSG;
    memcpy(signature, answer.signature, answer.length);
    *ret_length = answer.length;
    return 0;
}

int worker_keeper_sign(void *context, uint64_t certificate, enum tls_scheme scheme, const uint8_t *input, size_t length, uint8_t *signature,
                       size_t size, size_t *ret_length)
{
    int r = sign(context, certificate, scheme, input, length, signature, size, ret_length);
    if (r < 0)
        say_failure(context, r);
    return r;
}

int worker_keeper_context(const struct ipc_certificates *message, int chains, struct tls_provider *provider, struct tls_ticket_keys *tickets,
                          struct str surface, struct tls_context **ret, struct error *err)
{
    cleanup_free struct tls_chain *entries = NULL;
    const void *block;
    int r;

    if (message->size > TLS_CHAINS_SIZE_MAX || message->n == 0 || message->n > TLS_CHAINS_MAX ||
        role_map_block(chains, message->size, &block) < 0) {
        error_set(err, "the keeper's certificates have the wrong size or are not sealed");
        return -EBADMSG;
    }
    entries = calloc(message->n, sizeof entries[0]);
    if (!entries) {
        role_unmap_block(block, message->size);
        return -ENOMEM;
    }
    r = tls_chains_decode(block, message->size, message->n, entries);
    if (r < 0)
        error_set(err, "the keeper's certificates are malformed");
    else
        r = tls_context_new(provider, tickets, surface, entries, message->n, ret, err);
    role_unmap_block(block, message->size);
    return r;
}

bool worker_keeper_tickets(const struct ipc_ticket_keys *message, struct tls_ticket_keys *tickets)
{
    struct tls_ticket_key keys[TLS_TICKET_KEYS_MAX];
    if (message->n == 0 || message->n > TLS_TICKET_KEYS_MAX)
        return false;
    memcpy(keys, message->keys, sizeof keys);
    tls_ticket_keys_set(tickets, keys, message->n);
    OPENSSL_cleanse(keys, sizeof keys);
    return true;
}
