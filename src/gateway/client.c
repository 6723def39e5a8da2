/* Client connections: TLS up, protocol chosen, one timer, and the ways to end. */
#include "gateway/client.h"

#include <errno.h>
#include <sys/socket.h>

#include "tls/context.h"

static void client_release(struct io_grave *grave)
{
    free(container_of(grave, struct client, grave));
}

/* Out of the lists and the counts; freed when the round is over. */
static void client_forget(struct client *client)
{
    struct gateway *gw = client->gw;
    client->state = CLIENT_CLOSED;
    *client->link = client->next;
    if (client->next)
        client->next->link = client->link;
    if (client->principal != IMAGE_NONE)
        gw->principal_connections[client->principal]--;
    gw->n_clients--;
    gw->metrics->connections_open--;
    if (gw->held_by == client)
        gw->held_by = NULL;
    io_timer_clear(&gw->loop, &client->timer);
    io_undefer(&gw->loop, &client->again);
    transport_close(&client->t);
    io_bury(&gw->loop, &client->grave, client_release);
    listener_resume_all(gw);
    gateway_note_drained(gw);
}

static void stop_front(struct client *client, const char *reason)
{
    if (client->state == CLIENT_H1)
        front_h1_stop(client, reason);
    else if (client->state == CLIENT_H2)
        front_h2_stop(client, reason);
}

void client_close(struct client *client, const char *reason)
{
    if (client->state == CLIENT_CLOSED)
        return;
    stop_front(client, reason);
    if (client->state == CLIENT_CLOSED)
        return;
    client_forget(client);
}

void client_linger(struct client *client)
{
    if (client->state == CLIENT_CLOSED || client->state == CLIENT_LINGER)
        return;
    stop_front(client, NULL);
    client->state = CLIENT_LINGER;
    transport_shutdown(&client->t);
    if (client->t.failed || client->t.ended) {
        client_forget(client);
        return;
    }
    io_timer_set(&client->gw->loop, &client->timer, transport_is_congested(&client->t) ? GATEWAY_STALL_MS : GATEWAY_LINGER_MS);
}

/* What still comes is thrown away; when the last of ours is out, the peer's end (or the timer) ends it. */
static void linger_input(struct client *client)
{
    char *plain = client->gw->plain_in;
    ssize_t n = 1;
    for (int turn = 0; turn < 16 && n > 0; turn++)
        n = transport_read(&client->t, plain, GATEWAY_PLAIN_SIZE);
    if (n > 0)
        io_defer(&client->gw->loop, &client->again); /* closing over unread input would reset the connection, and lose the answer */
    else if (n != -EAGAIN)
        client_forget(client);
}

static void choose_protocol(struct client *client)
{
    struct metrics_page *m = client->gw->metrics;
    m->handshakes++;
    m->handshakes_resumed += SSL_session_reused(client->t.ssl) == 1;
    if (tls_peer_alpn(client->t.ssl) == TLS_ALPN_HTTP2) {
        client->state = CLIENT_H2;
        if (front_h2_start(client) < 0)
            client_close(client, "no memory");
        else if (client->gw->draining) /* its handshake was under way when that began */
            front_h2_drain(client);
        return;
    }
    client->state = CLIENT_H1;
    front_h1_start(client);
}

static void handshake_step(struct client *client)
{
    int r = transport_handshake(&client->t);
    if (r == 0)
        choose_protocol(client);
    if (client->state != CLIENT_H2) /* whose first words go with the session ticket */
        transport_flush(&client->t);
    if (r < 0 && r != -EAGAIN) {
        client->gw->metrics->handshakes_failed++;
        client_close(client, NULL);
    }
}

static void client_input(struct client *client)
{
    switch (client->state) {
    case CLIENT_HANDSHAKE:
        handshake_step(client);
        if (client->state == CLIENT_H1 || client->state == CLIENT_H2)
            client_input(client);
        break;
    case CLIENT_H1:
        front_h1_input(client);
        break;
    case CLIENT_H2:
        front_h2_input(client);
        break;
    case CLIENT_LINGER:
        linger_input(client);
        break;
    default:
        break;
    }
}

static void client_drained(struct client *client)
{
    switch (client->state) {
    case CLIENT_H1:
        front_h1_drained(client);
        break;
    case CLIENT_H2:
        front_h2_drained(client);
        break;
    case CLIENT_LINGER:
        shutdown(client->t.io.fd, SHUT_WR);
        io_timer_clear(&client->gw->loop, &client->timer);
        io_timer_set(&client->gw->loop, &client->timer, GATEWAY_LINGER_MS);
        break;
    default:
        break;
    }
}

/* Slowly, but it reads: no stall. */
static void client_reads_on(struct client *client)
{
    if (client->state == CLIENT_LINGER || (client->state == CLIENT_H1 && front_h1_waits_for_reader(client)))
        io_timer_set(&client->gw->loop, &client->timer, GATEWAY_STALL_MS);
}

static void client_ready(struct io_source *source, uint32_t events)
{
    struct client *client = container_of(container_of(source, struct transport, io), struct client, t);
    transport_note_events(&client->t, events);
    if ((events & EPOLLOUT) && transport_is_congested(&client->t)) {
        size_t before = spill_len(client->t.tx);
        int r = transport_flush(&client->t);
        if (r < 0) {
            client_close(client, "the client reset the connection");
            return;
        }
        if (r == 0)
            client_drained(client);
        else if (spill_len(client->t.tx) < before)
            client_reads_on(client);
    }
    if (client->t.readable && client->state != CLIENT_CLOSED)
        client_input(client);
}

static void client_again(struct io_deferred *deferred)
{
    struct client *client = container_of(deferred, struct client, again);
    if (client->state != CLIENT_CLOSED)
        client_input(client);
}

static void client_timeout(struct io_timer *timer)
{
    struct client *client = container_of(timer, struct client, timer);
    switch (client->state) {
    case CLIENT_H1:
        front_h1_timeout(client);
        break;
    case CLIENT_H2:
        front_h2_timeout(client);
        break;
    case CLIENT_LINGER:
        if (transport_is_congested(&client->t) && transport_was_read(&client->t)) {
            io_timer_set(&client->gw->loop, timer, GATEWAY_STALL_LOOK_MS);
            return;
        }
        __attribute__((fallthrough));
    default:
        client_close(client, NULL);
    }
}

void client_accept(struct gateway *gw, int fd, const struct address *address, uint32_t principal, SSL *ssl, uint16_t redirect_to)
{
    struct client *client = calloc(1, sizeof *client);
    if (!client) {
        close(fd);
        SSL_free(ssl);
        return;
    }
    if (transport_init(&client->t, gw, fd, ssl, client_ready) < 0) {
        free(client);
        return;
    }
    client->gw = gw;
    client->address = *address;
    client->principal = principal;
    client->redirect_to = redirect_to;
    client->timer.fire = client_timeout;
    client->again.run = client_again;
    client->next = gw->clients;
    client->link = &gw->clients;
    if (client->next)
        client->next->link = &client->next;
    gw->clients = client;
    gw->n_clients++;
    gw->principal_connections[principal]++;
    gw->metrics->connections_accepted++;
    gw->metrics->connections_open++;
    if (ssl) {
        client->state = CLIENT_HANDSHAKE;
        io_timer_set(&gw->loop, &client->timer, GATEWAY_HANDSHAKE_MS);
    } else {
        client->state = CLIENT_H1;
        front_h1_start(client);
    }
}

struct exchange_asker client_asker(struct client *client)
{
    return (struct exchange_asker){ .address = client->address,
                                    .principal = client->principal,
                                    .first_on_connection = client->n_requests++ == 0 };
}
