/* The workers' channels: chains and ticket keys out, handshakes to sign in. A channel signs for its own surface only. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/log.h"
#include "roles/keeper.h"
#include "roles/keeper_secret.h"
#include "roles/role.h"
#include "tls/chains.h"
#include "tls/handshake_input.h"

enum { CHANNELS_MAX = 4096 };

static void channel_close(struct keeper *keeper, struct keeper_channel *channel)
{
    for (uint32_t i = 0; i < keeper->n_channels; i++) {
        if (keeper->channels[i] == channel) {
            keeper->channels[i] = keeper->channels[--keeper->n_channels];
            break;
        }
    }
    /* By name: as long as whoever gave it to us has it, too, our close alone leaves it in the set. */
    epoll_ctl(keeper->epoll, EPOLL_CTL_DEL, channel->fd, NULL);
    close(channel->fd);
    free(channel);
}

void keeper_channel_close_all(struct keeper *keeper)
{
    while (keeper->n_channels > 0)
        channel_close(keeper, keeper->channels[0]);
    free(keeper->channels);
    keeper->channels = NULL;
}

/* ---- what is pushed ---- */

/* The surface's chains as a sealed memfd, kept until they change. -1: there are none yet, or no memory. */
static int make_chains(struct keeper_surface *surface)
{
    struct buf block, pem;
    int fd = -1;

    if (surface->chains >= 0)
        return surface->chains;
    buf_init(&block, TLS_CHAINS_SIZE_MAX);
    surface->n_chains = 0;
    for (uint32_t i = 0; i < surface->n_certificates && surface->n_chains < TLS_CHAINS_MAX; i++) {
        const struct keeper_certificate *certificate = &surface->certificates[i];
        if (!certificate->pair.key)
            continue;
        buf_init(&pem, TLS_CHAIN_PEM_MAX);
        tls_pair_append_pem(&pem, &certificate->pair, false);
        if (pem.error)
            block.error = pem.error;
        tls_chains_append(&block, &(struct tls_chain){ .certificate = certificate->identity,
                                      .name = certificate->is_default ? STR_NONE : str_of(certificate->name), .pem = buf_str(&pem) });
        buf_deinit(&pem);
        surface->n_chains++;
    }
    bool has_default = surface->n_certificates > 0 && surface->certificates[0].pair.key;
    if (!block.error && has_default && (fd = memfd_create("chains", MFD_CLOEXEC | MFD_ALLOW_SEALING)) >= 0) {
        if (write(fd, block.ptr, block.len) != (ssize_t)block.len ||
            fcntl(fd, F_ADD_SEALS, F_SEAL_WRITE | F_SEAL_GROW | F_SEAL_SHRINK | F_SEAL_SEAL) < 0)
            close(TAKE_FD(fd));
    }
    surface->chains_size = block.len;
    buf_deinit(&block);
    return surface->chains = fd;
}

static int push_chains(struct keeper_channel *channel, struct keeper_surface *surface)
{
    struct ipc_certificates message = { .header = IPC_HEADER(IPC_KEEPER_CERTIFICATES, message) };
    int fd = make_chains(surface);
    if (fd < 0)
        return 0; /* pushed when there are some */
    message.size = surface->chains_size;
    message.n = surface->n_chains;
    return ipc_send(channel->fd, &message, &fd, 1);
}

static int push_tickets(struct keeper_channel *channel, const struct keeper_surface *surface)
{
    struct ipc_ticket_keys message = { .header = IPC_HEADER(IPC_KEEPER_TICKET_KEYS, message) };
    if (surface->n_tickets == 0)
        return 0;
    memcpy(message.keys, surface->tickets, surface->n_tickets * sizeof message.keys[0]);
    message.n = surface->n_tickets;
    int r = ipc_send_plain(channel->fd, &message);
    OPENSSL_cleanse(&message, sizeof message);
    return r;
}

static void wait_to_write(struct keeper *keeper, struct keeper_channel *channel, bool wait)
{
    struct epoll_event event = { .events = EPOLLIN | (wait ? (uint32_t)EPOLLOUT : 0), .data.ptr = channel };
    if (channel->waits_to_write != wait && epoll_ctl(keeper->epoll, EPOLL_CTL_MOD, channel->fd, &event) == 0)
        channel->waits_to_write = wait;
}

/* Sends what the channel still needs. False: it broke and is gone. */
static bool flush_pushes(struct keeper *keeper, struct keeper_channel *channel)
{
    struct keeper_surface *surface = keeper_find_surface(keeper, channel->surface);
    int r = 0;
    if (!surface)
        return true; /* withdrawn; the worker is about to end */
    if (channel->needs_tickets && (r = push_tickets(channel, surface)) == 0)
        channel->needs_tickets = false;
    if (r == 0 && channel->needs_chains && (r = push_chains(channel, surface)) == 0)
        channel->needs_chains = false;
    if (r < 0 && r != -EAGAIN) {
        channel_close(keeper, channel);
        return false;
    }
    wait_to_write(keeper, channel, r == -EAGAIN);
    return true;
}

static void push_to_all(struct keeper *keeper, struct keeper_surface *surface, bool chains, bool tickets)
{
    for (uint32_t i = 0; i < keeper->n_channels;) {
        struct keeper_channel *channel = keeper->channels[i];
        if (strcmp(channel->surface, surface->name) == 0) {
            channel->needs_chains |= chains;
            channel->needs_tickets |= tickets;
            if (!flush_pushes(keeper, channel))
                continue; /* another took its place */
        }
        i++;
    }
}

void keeper_channel_push_chains(struct keeper *keeper, struct keeper_surface *surface)
{
    if (surface->chains >= 0)
        close(TAKE_FD(surface->chains));
    push_to_all(keeper, surface, true, false);
}

void keeper_channel_push_tickets(struct keeper *keeper, struct keeper_surface *surface)
{
    push_to_all(keeper, surface, false, true);
}

/* ---- channels come and go ---- */

int keeper_channel_add(struct keeper *keeper, const struct ipc_channel *message, int fd)
{
    struct keeper_channel *channel = NULL;
    if (keeper->n_channels == CHANNELS_MAX)
        goto fail;
    if (keeper->n_channels == keeper->max_channels) {
        uint32_t max = keeper->max_channels ? keeper->max_channels * 2 : 16;
        struct keeper_channel **more = realloc(keeper->channels, max * sizeof more[0]);
        if (!more)
            goto fail;
        keeper->channels = more;
        keeper->max_channels = max;
    }
    channel = calloc(1, sizeof *channel);
    if (!channel || fcntl(fd, F_SETFL, O_RDWR | O_NONBLOCK) < 0)
        goto fail;
    *channel = (struct keeper_channel){ .fd = fd, .worker = message->worker, .pid = message->pid, .needs_chains = true, .needs_tickets = true };
    str_copy(channel->surface, sizeof channel->surface, str_make(message->surface_name, strnlen(message->surface_name, sizeof message->surface_name)));
    struct epoll_event event = { .events = EPOLLIN, .data.ptr = channel };
    if (epoll_ctl(keeper->epoll, EPOLL_CTL_ADD, fd, &event) < 0)
        goto fail;
    keeper->channels[keeper->n_channels++] = channel;
    flush_pushes(keeper, channel);
    return 0;
fail:
    free(channel);
    close(fd);
    return -ENOMEM;
}

void keeper_channel_lost(struct keeper *keeper, const struct ipc_channel *message)
{
    for (uint32_t i = 0; i < keeper->n_channels; i++) {
        struct keeper_channel *channel = keeper->channels[i];
        if (channel->worker == message->worker && strncmp(channel->surface, message->surface_name, sizeof message->surface_name) == 0) {
            channel_close(keeper, channel);
            return;
        }
    }
}

/* ---- signing ---- */

static struct tls_pair *find_pair(struct keeper_surface *surface, uint64_t identity)
{
    for (uint32_t i = 0; surface && i < surface->n_certificates; i++) {
        struct keeper_certificate *certificate = &surface->certificates[i];
        if (certificate->pair.key && certificate->identity == identity)
            return &certificate->pair;
        if (certificate->previous.key && certificate->previous_identity == identity)
            return &certificate->previous;
    }
    return NULL;
}

static void report(const struct keeper_channel *channel, const char *what)
{
    log_error("worker %u of surface %s %s: its channel is ended", channel->worker, channel->surface, what);
    role_report_offence(channel->pid, what);
}

/* Answers one ask. False when it was one that no honest worker sends. */
static bool sign(struct keeper *keeper, struct keeper_channel *channel, const struct ipc_sign *question)
{
    struct ipc_sign_answer answer = { .header = IPC_HEADER(IPC_KEEPER_SIGN_ANSWER, answer), .id = question->id };
    enum tls_scheme scheme = (enum tls_scheme)question->scheme;
    const char *why = "";
    size_t length = 0;

    if (!tls_handshake_input_is_valid(scheme, question->input, question->length, &why)) {
        struct error what;
        error_set(&what, "asked to sign %s", why);
        report(channel, what.text);
        return false;
    }
    struct tls_pair *pair = find_pair(keeper_find_surface(keeper, channel->surface), question->certificate);
    /* Another surface's certificate and one that never was look the same from here: no key of this channel's. */
    answer.status = pair ? tls_pair_sign(pair, scheme, question->input, question->length, answer.signature, sizeof answer.signature, &length) : -ENOENT;
    answer.length = answer.status == 0 ? (uint32_t)length : 0;
    int r = ipc_send_plain(channel->fd, &answer);
    /* One ask, one answer: a worker whose channel is full didn't wait for its answers. */
    if (r < 0 && r != -EPIPE)
        report(channel, "did not wait for its answers");
    return r == 0 || r == -EPIPE;
}

void keeper_channel_on_event(struct keeper *keeper, struct keeper_channel *channel, uint32_t events)
{
    struct ipc_buffer buffer;
    int fds[IPC_FDS_MAX];
    size_t n_fds = 0;

    if ((events & EPOLLOUT) && !flush_pushes(keeper, channel))
        return;
    if (!(events & (EPOLLIN | EPOLLHUP | EPOLLERR)))
        return;
    /* One ask per turn: a worker that floods waits in line with the others. */
    int r = ipc_receive_from(channel->fd, IPC_ROLE_WORKER, IPC_ROLE_KEEPER, &buffer, fds, &n_fds);
    if (r == -EAGAIN)
        return;
    if (r == -EBADMSG)
        report(channel, "sent a malformed message");
    if (r < 0 || !sign(keeper, channel, (const struct ipc_sign *)&buffer))
        channel_close(keeper, channel);
}
