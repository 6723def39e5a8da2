/* A worker's gateway: what all connections share, and the three changes that reach all of them: declaration, certificates, draining. */
#include "gateway/gateway.h"

#include <errno.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <time.h>

#include "gateway/back_pool.h"
#include "gateway/client.h"
#include "gateway/dialer.h"
#include "gateway/exchange.h"
#include "gateway/h2_session.h"
#include "gateway/recorder.h"
#include "tls/client.h"
#include "tls/context.h"

static void round_over(struct io_loop *loop)
{
    struct gateway *gw = container_of(loop, struct gateway, loop);
    transport_release_scratches(gw);
    recorder_flush(gw);
}

static int scratches_init(struct gateway *gw)
{
    gw->rx_scratch = malloc(TRANSPORT_SCRATCH);
    gw->tx_scratch = malloc(TRANSPORT_GATHER);
    gw->plain_in = malloc(GATEWAY_BULK_SIZE);
    gw->plain_back = malloc(GATEWAY_BULK_SIZE);
    gw->head_out = malloc(GATEWAY_HEAD_SIZE);
    gw->head_held = malloc(GATEWAY_HEAD_SIZE);
    gw->h2 = h2_shared_new();
    return gw->rx_scratch && gw->tx_scratch && gw->plain_in && gw->plain_back && gw->head_out && gw->head_held && gw->h2 ? 0 : -ENOMEM;
}

int gateway_init(struct gateway *gw, struct image view, void *map, size_t size, struct metrics_page *metrics, uint32_t worker)
{
    *gw = (struct gateway){ .view = view, .view_map = map, .view_size = size, .metrics = metrics, .worker = worker,
                            .dialer = { .channel = -1 }, .recorder = { .pipe = -1 } };
    int r = io_loop_init(&gw->loop);
    if (r < 0)
        return r;
    gw->loop.round_over = round_over;
    gw->principal_connections = calloc(image_count(view, IMAGE_PRINCIPALS) + 1, sizeof(uint32_t));
    gw->client_tls = calloc(image_count(view, IMAGE_SERVICES) + 1, sizeof(struct tls_client *));
    if (!gw->principal_connections || !gw->client_tls)
        return -ENOMEM;
    metrics->generation = view.header->generation;
    gateway_date(gw); /* libc reads its time zone file at the first use, which a confined worker may not */
    r = scratches_init(gw);
    return r < 0 ? r : back_groups_init(gw);
}

static void free_client_tls(struct gateway *gw)
{
    for (uint32_t i = 0; i < image_count(gw->view, IMAGE_SERVICES); i++)
        tls_client_free(gw->client_tls[i]);
    free(TAKE(gw->client_tls));
}

void gateway_deinit(struct gateway *gw)
{
    gw->drained = NULL;
    listener_remove_all(gw);
    while (gw->clients)
        client_close(gw->clients, "the gateway stopped");
    if (gw->groups)
        back_groups_deinit(gw);
    transport_release_scratches(gw);
    recorder_flush(gw);
    free_client_tls(gw);
    gw->tls = tls_context_unref(gw->tls);
    io_loop_deinit(&gw->loop);
    exchange_free_spares(gw);
    free(gw->principal_connections);
    guests_deinit(&gw->guests);
    free(gw->rx_scratch);
    free(gw->tx_scratch);
    free(gw->plain_in);
    free(gw->plain_back);
    free(gw->head_out);
    free(gw->head_held);
    free(gw->h2);
    munmap(gw->view_map, gw->view_size);
}

/* ---- a new declaration ---- */

/* Indexes of the old view mean nothing in the new one, whose counts start at 0. */
static void forget_principals(struct gateway *gw)
{
    for (struct client *client = gw->clients; client; client = client->next)
        client->principal = IMAGE_NONE;
}

uint32_t gateway_find_principal(const struct gateway *gw, const struct address *address)
{
    uint64_t container = guests_find(&gw->guests, address);
    if (container && image_find_declared(gw->view, address) == IMAGE_NONE)
        return image_find_guest(gw->view, container);
    return image_find_principal(gw->view, address);
}

static void recount_clients(struct gateway *gw)
{
    struct client *next;
    for (struct client *client = gw->clients; client; client = next) {
        next = client->next;
        client->principal = gateway_find_principal(gw, &client->address);
        if (client->principal == IMAGE_NONE)
            client_close(client, "no longer a guest of this surface");
        else
            gw->principal_connections[client->principal]++;
    }
}

static void judge_clients_at(struct gateway *gw, const struct address *address)
{
    uint32_t principal = gateway_find_principal(gw, address);
    struct client *next;
    for (struct client *client = gw->clients; client; client = next) {
        next = client->next;
        if (!address_equal(&client->address, address) || client->principal == principal)
            continue;
        if (client->principal != IMAGE_NONE)
            gw->principal_connections[client->principal]--;
        client->principal = principal;
        if (principal == IMAGE_NONE)
            client_close(client, "the container that asked is gone");
        else
            gw->principal_connections[principal]++;
    }
}

void gateway_take_guest(struct gateway *gw, const struct address *address, uint64_t container, bool is_present)
{
    uint64_t before = guests_find(&gw->guests, address);
    if (!is_present)
        (void)guests_remove(&gw->guests, address, container);
    else if (guests_put(&gw->guests, address, container) < 0)
        (void)guests_remove(&gw->guests, address, before);
    if (guests_find(&gw->guests, address) == before)
        return;
    struct exchange *next;
    for (struct exchange *x = gw->exchanges; x; x = next) {
        next = x->next;
        if (address_equal(&x->client, address))
            exchange_judge_again(x);
    }
    judge_clients_at(gw, address);
}

int gateway_take_view(struct gateway *gw, struct image view, void *map, size_t size)
{
    uint32_t *counts = calloc(image_count(view, IMAGE_PRINCIPALS) + 1, sizeof *counts);
    struct tls_client **client_tls = calloc(image_count(view, IMAGE_SERVICES) + 1, sizeof *client_tls);
    if (!counts || !client_tls) {
        free(counts);
        free(client_tls);
        return -ENOMEM;
    }
    void *old_map = gw->view_map;
    size_t old_size = gw->view_size;
    free_client_tls(gw);
    free(gw->principal_connections);
    gw->view = view;
    gw->view_map = map;
    gw->view_size = size;
    gw->principal_connections = counts;
    gw->client_tls = client_tls;
    gw->metrics->generation = view.header->generation;
    forget_principals(gw);
    struct exchange *next;
    for (struct exchange *x = gw->exchanges; x; x = next) {
        next = x->next;
        exchange_judge_again(x);
    }
    recount_clients(gw);
    back_groups_prune(gw);
    munmap(old_map, old_size);
    return 0;
}

void gateway_take_tls(struct gateway *gw, struct tls_context *tls)
{
    tls_context_unref(gw->tls);
    gw->tls = tls;
    listener_resume_all(gw);
}

void gateway_note_drained(struct gateway *gw)
{
    void (*drained)(struct gateway *gw) = gw->draining && gw->n_clients == 0 ? TAKE(gw->drained) : NULL;
    if (drained)
        drained(gw);
}

void gateway_drain(struct gateway *gw)
{
    if (gw->draining)
        return;
    gw->draining = true;
    listener_remove_all(gw);
    struct client *next;
    for (struct client *client = gw->clients; client; client = next) {
        next = client->next;
        if (client->state == CLIENT_H1)
            front_h1_drain(client);
        else if (client->state == CLIENT_H2)
            front_h2_drain(client);
    }
    gateway_note_drained(gw);
}

/* ---- towards instances over TLS ---- */

int gateway_client_ssl(struct gateway *gw, uint32_t service, SSL **ret)
{
    const struct image_service *s = image_service(gw->view, service);
    if (!gw->client_tls[service]) {
        struct str ca = str_make((const char *)image_section(gw->view, IMAGE_BLOBS) + s->tls_ca_offset, s->tls_ca_length);
        int r = tls_client_new(NULL, ca, image_str(gw->view, s->tls_pin), s->flags & IMAGE_SERVICE_TLS_INSECURE, &gw->client_tls[service], NULL);
        if (r < 0)
            return r;
    }
    SSL *ssl = tls_client_ssl(gw->client_tls[service], image_str(gw->view, s->tls_name));
    if (!ssl)
        return -ENOMEM;
    SSL_set_connect_state(ssl);
    *ret = ssl;
    return 0;
}

/* ---- small things of one process ---- */

void gateway_random_id(struct gateway *gw, char id[static 17])
{
    static const char digits[] = "0123456789abcdef";
    if (gw->random_left < 8) {
        for (size_t have = 0; have < sizeof gw->random;) {
            ssize_t n = getrandom(gw->random + have, sizeof gw->random - have, 0); /* may fall short where a signal comes */
            if (n < 0 && errno != EINTR)
                abort(); /* no kernel without it runs this: TLS needed it already */
            have += n > 0 ? (size_t)n : 0;
        }
        gw->random_left = sizeof gw->random;
    }
    const uint8_t *bytes = gw->random + sizeof gw->random - gw->random_left;
    gw->random_left -= 8;
    for (int i = 0; i < 8; i++) {
        id[2 * i] = digits[bytes[i] >> 4];
        id[2 * i + 1] = digits[bytes[i] & 15];
    }
    id[16] = '\0';
}

uint64_t gateway_wall_us(void)
{
    struct timespec t;
    clock_gettime(CLOCK_REALTIME, &t);
    return (uint64_t)t.tv_sec * 1000000 + (uint64_t)t.tv_nsec / 1000;
}

struct str gateway_date(struct gateway *gw)
{
    static const char days[7][4] = { "Sun", "Mon", "Tue", "Wed", "Thu", "Fri", "Sat" };
    static const char months[12][4] = { "Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec" };
    time_t now = (time_t)(gateway_wall_us() / 1000000);
    struct tm tm;
    if (now != gw->date_s && gmtime_r(&now, &tm)) {
        snprintf(gw->date, sizeof gw->date, "%s, %02d %s %d %02d:%02d:%02d GMT", days[tm.tm_wday], tm.tm_mday, months[tm.tm_mon],
                 tm.tm_year + 1900, tm.tm_hour, tm.tm_min, tm.tm_sec);
        gw->date_s = now;
    }
    return str_of(gw->date);
}
