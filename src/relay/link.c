/* What connections and flows have in common: who may, how many, what is written down about them, and the new verdict at each declaration. */
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <time.h>
#include <unistd.h>

#include "relay/relay.h"

_Static_assert(sizeof(struct ipc_record) * RELAY_RECORDS_BATCH <= PIPE_BUF, "a batch must be written whole or not at all");

/* conntrack forgets a UDP flow after 30 s without an answer and 120 s with one, and a firewall that let it in forgets with it. */
const struct relay_limits relay_limits = {
    .links = 8192, .links_per_principal = 1024, .stream_idle_ms = 3600 * 1000, .stream_half_idle_ms = 600 * 1000,
    .flow_new_ms = 30 * 1000, .flow_idle_ms = 120 * 1000, .flow_drain_ms = 2 * 1000,
    .dial_ms = 15 * 1000, .redial_ms = 1000,
};

/* ---- records ---- */

static void flush_records(struct relay *relay)
{
    size_t size = relay->n_batch * sizeof relay->batch[0];
    if (size > 0 && (relay->records < 0 || write(relay->records, relay->batch, size) != (ssize_t)size))
        relay->metrics->records_dropped += relay->records < 0 ? 0 : relay->n_batch;
    relay->n_batch = 0;
}

static void round_over(struct io_loop *loop)
{
    flush_records(container_of(loop, struct relay, loop));
}

static void add_record(struct relay *relay, const struct ipc_record *record)
{
    if (relay->records < 0)
        return;
    relay->batch[relay->n_batch++] = *record;
    if (relay->n_batch == RELAY_RECORDS_BATCH)
        flush_records(relay);
}

/* SplitMix64: ids need only differ. */
static uint64_t next_random(struct relay *relay)
{
    uint64_t z = relay->random += 0x9e3779b97f4a7c15;
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9;
    z = (z ^ (z >> 27)) * 0x94d049bb133111eb;
    return z ^ (z >> 31);
}

static void record_begin(struct relay *relay, struct ipc_record *record, const struct address *client, const char *transport, const char *key)
{
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    *record = (struct ipc_record){
        .time_us = (uint64_t)now.tv_sec * 1000000 + (uint64_t)now.tv_nsec / 1000, .generation = relay->view.header->generation,
        .client = *client, .connect_us = UINT32_MAX, .first_byte_us = UINT32_MAX, .total_us = UINT32_MAX,
    };
    snprintf(record->id, sizeof record->id, "%016llx", (unsigned long long)next_random(relay));
    snprintf(record->method, sizeof record->method, "%s", strcmp(transport, "udp") == 0 ? "UDP" : "TCP");
    snprintf(record->host, sizeof record->host, "%s", key);
    str_copy(record->revision, sizeof record->revision, str_of(relay->view.header->revision));
}

static void record_principal(struct relay *relay, struct ipc_record *record, uint32_t principal)
{
    if (principal == IMAGE_NONE)
        return;
    const struct image_principal *p = image_principal(relay->view, principal);
    str_copy(record->principal, sizeof record->principal, image_str(relay->view, p->host));
    str_copy(record->segment, sizeof record->segment, image_str(relay->view, p->segment));
}

static void format_key(char key[static RELAY_KEY_SIZE], const char *transport, uint16_t port)
{
    snprintf(key, RELAY_KEY_SIZE, "%s/%u", transport, (unsigned)port);
}

static void note_refusal(struct relay *relay, enum ipc_record_denied why)
{
    if (why == IPC_DENIED_CAP)
        relay->metrics->connections_refused_cap++;
    else
        relay->metrics->connections_refused_nobody++;
}

void relay_record_refusal(struct relay *relay, const struct address *client, const char *transport, uint16_t port,
                          enum ipc_record_denied why)
{
    struct ipc_record record;
    char key[RELAY_KEY_SIZE];
    format_key(key, transport, port);
    record_begin(relay, &record, client, transport, key);
    record_principal(relay, &record, image_find_principal(relay->view, client));
    record.denied = (uint8_t)why;
    add_record(relay, &record);
}

/* ---- who may ---- */

struct judgement {
    uint32_t principal, service, rule;
};

static enum ipc_record_denied judge(struct image view, const struct address *client, const char *key, struct judgement *ret)
{
    const struct image_name_slot *slot = image_find_name(view, str_of(key));
    *ret = (struct judgement){ .principal = image_find_principal(view, client), .service = slot ? slot->service : IMAGE_NONE, .rule = IMAGE_NONE };
    if (ret->principal == IMAGE_NONE)
        return IPC_DENIED_NOBODY;
    ret->rule = image_verdict(view, ret->principal, ret->service);
    return ret->rule == IMAGE_NONE || image_service(view, ret->service)->n_instances == 0 ? IPC_DENIED_NO_GRANT : IPC_DENIED_NOT;
}

static const struct image_instance *instance_of(struct image view, uint32_t service)
{
    return image_instance(view, image_service(view, service)->first_instance);
}

static void take_target(struct relay_link *link, struct image view, uint32_t service)
{
    const struct image_instance *instance = instance_of(view, service);
    link->target = instance->target;
    link->identity = instance->identity;
    link->generation = view.header->generation;
}

static void idle_over(struct io_timer *timer)
{
    struct relay_link *link = container_of(timer, struct relay_link, idle);
    bool is_new = link->state == RELAY_ASKING;
    relay_link_end(link, IPC_DENIED_NOT, is_new ? "the service can't be reached" : "idle");
}

bool relay_link_admit(struct relay_link *link, const char *transport, uint16_t port)
{
    struct relay *relay = link->relay;
    struct judgement j;
    format_key(link->key, transport, port);
    record_begin(relay, &link->record, &link->client, transport, link->key);
    enum ipc_record_denied denied = judge(relay->view, &link->client, link->key, &j);
    record_principal(relay, &link->record, j.principal);
    if (denied == IPC_DENIED_NOT &&
        (relay->n_links >= relay->limits.links || relay->principal_links[j.principal] >= relay->limits.links_per_principal))
        denied = IPC_DENIED_CAP;
    if (denied != IPC_DENIED_NOT) {
        note_refusal(relay, denied);
        link->record.denied = (uint8_t)denied;
        add_record(relay, &link->record);
        return false;
    }
    link->principal = j.principal;
    link->started_us = relay->loop.now_us;
    link->idle.fire = idle_over;
    link->dial_turn = 0;
    take_target(link, relay->view, j.service);
    str_copy(link->record.service, sizeof link->record.service, image_str(relay->view, image_service(relay->view, j.service)->name));
    str_copy(link->record.instance, sizeof link->record.instance, image_str(relay->view, instance_of(relay->view, j.service)->name));
    str_copy(link->record.rule, sizeof link->record.rule, image_str(relay->view, image_rule(relay->view, j.rule)->place));
    link->next = relay->links;
    link->link = &relay->links;
    if (link->next)
        link->next->link = &link->next;
    relay->links = link;
    relay->n_links++;
    relay->principal_links[j.principal]++;
    relay->metrics->connections_accepted++;
    relay->metrics->connections_open++;
    return true;
}

static uint32_t since(const struct relay_link *link)
{
    uint64_t us = link->relay->loop.now_us - link->started_us;
    return us < UINT32_MAX ? (uint32_t)us : UINT32_MAX - 1;
}

void relay_link_connected(struct relay_link *link)
{
    if (link->record.connect_us == UINT32_MAX)
        link->record.connect_us = since(link);
}

void relay_link_count(struct relay_link *link, bool from_client, size_t n)
{
    struct metrics_page *metrics = link->relay->metrics;
    if (from_client) {
        link->record.bytes_in += n;
        metrics->bytes_in += n;
        return;
    }
    if (link->record.first_byte_us == UINT32_MAX)
        link->record.first_byte_us = since(link);
    link->record.bytes_out += n;
    metrics->bytes_out += n;
}

static void note_drained(struct relay *relay)
{
    if (!relay->draining || relay->n_links > 0 || !relay->drained)
        return;
    void (*drained)(struct relay *) = relay->drained;
    relay->drained = NULL;
    drained(relay);
}

void relay_link_end(struct relay_link *link, enum ipc_record_denied denied, const char *why)
{
    struct relay *relay = link->relay;
    if (link->state == RELAY_OVER)
        return;
    link->state = RELAY_OVER;
    relay_dial_cancel(link);
    io_timer_clear(&relay->loop, &link->idle);
    link->record.total_us = since(link);
    link->record.denied = (uint8_t)denied;
    str_copy(link->record.reason, sizeof link->record.reason, str_of(why));
    add_record(relay, &link->record);
    *link->link = link->next;
    if (link->next)
        link->next->link = link->link;
    relay->n_links--;
    relay->principal_links[link->principal]--;
    relay->metrics->connections_open--;
    if (denied == IPC_DENIED_REVOKED)
        relay->metrics->streams_revoked++;
    link->ops->release(link);
    io_bury(&relay->loop, &link->grave, link->ops->free);
    note_drained(relay);
}

/* ---- the whole ---- */

int relay_init(struct relay *relay, struct image view, struct metrics_page *metrics)
{
    *relay = (struct relay){ .limits = relay_limits, .view = view, .metrics = metrics, .records = -1, .dialer = { .channel = -1 } };
    int r = io_loop_init(&relay->loop);
    if (r < 0)
        return r;
    relay->loop.round_over = round_over;
    relay->principal_links = calloc((size_t)image_count(view, IMAGE_PRINCIPALS) + 1, sizeof *relay->principal_links);
    relay->buffer = malloc(RELAY_BUFFER_SIZE);
    if (getrandom(&relay->random, sizeof relay->random, 0) != (ssize_t)sizeof relay->random)
        relay->random = relay->loop.now_us;
    metrics->generation = view.header->generation;
    return relay->principal_links && relay->buffer ? 0 : -ENOMEM;
}

void relay_deinit(struct relay *relay)
{
    relay->drained = NULL;
    relay_listener_remove_all(relay);
    while (relay->links)
        relay_link_end(relay->links, IPC_DENIED_NOT, "the gateway ends");
    flush_records(relay);
    io_loop_deinit(&relay->loop);
    free(relay->principal_links);
    free(relay->buffer);
}

/* False: it has lost its right. A port that means another service now is a right to that one, not to what the link is connected with. */
static bool judge_again(struct relay_link *link, uint32_t *principal_links)
{
    struct image view = link->relay->view;
    struct judgement j;
    if (judge(view, &link->client, link->key, &j) != IPC_DENIED_NOT ||
        !str_equal(str_first(image_str(view, image_service(view, j.service)->name), sizeof link->record.service - 1), str_of(link->record.service)))
        return false;
    link->principal = j.principal;
    principal_links[j.principal]++;
    uint64_t identity = link->identity;
    if (link->state == RELAY_OPEN && instance_of(view, j.service)->identity == identity)
        return true;
    take_target(link, view, j.service);
    if (link->identity != identity)
        link->ops->moved(link);
    return true;
}

int relay_take_view(struct relay *relay, struct image view, struct image *ret_old)
{
    uint32_t *principal_links = calloc((size_t)image_count(view, IMAGE_PRINCIPALS) + 1, sizeof *principal_links);
    if (!principal_links)
        return -ENOMEM;
    *ret_old = relay->view;
    relay->view = view;
    relay->metrics->generation = view.header->generation;
    for (struct relay_link *link = relay->links, *next; link; link = next) {
        next = link->next;
        if (!judge_again(link, principal_links))
            relay_link_end(link, IPC_DENIED_REVOKED, "the grant was taken away");
    }
    free(relay->principal_links);
    relay->principal_links = principal_links;
    return 0;
}

void relay_target_ended(struct relay *relay, uint64_t identity)
{
    for (struct relay_link *link = relay->links; link; link = link->next)
        if (link->identity == identity && link->ops->ended)
            link->ops->ended(link);
}

void relay_drain(struct relay *relay)
{
    relay_listener_remove_all(relay);
    relay->draining = true;
    for (struct relay_link *link = relay->links; link; link = link->next)
        if (link->ops->drain)
            link->ops->drain(link);
    note_drained(relay);
}
