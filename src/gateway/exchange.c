/* Exchanges: decide, find an instance, join both sides, record. */
#include "gateway/exchange.h"

#include <errno.h>
#include <stdio.h>

#include "gateway/answer.h"
#include "gateway/back_pool.h"
#include "gateway/recorder.h"

/* Exchanges come and go with every request; this many that are over are kept for the next ones. Where a sanitizer watches, none: it should
 * see whoever still uses one. */
enum { SPARES_MAX = IS_SANITIZED ? 0 : 64 };

/* ---- life ---- */

static struct exchange *exchange_new(struct gateway *gw, const struct exchange_asker *asker, const struct front_ops *ops, void *front)
{
    struct exchange *x = gw->spare_exchanges;
    if (x) {
        gw->spare_exchanges = x->next;
        gw->n_spare_exchanges--;
    } else {
        x = malloc(sizeof *x);
    }
    if (!x)
        return NULL;
    *x = (struct exchange){ .gw = gw };
    x->front_ops = ops;
    x->front = front;
    x->client = asker->address;
    x->reuse_allowed = !asker->first_on_connection;
    x->started_us = gw->loop.now_us;
    x->next = gw->exchanges;
    x->link = &gw->exchanges;
    if (x->next)
        x->next->link = &x->next;
    gw->exchanges = x;
    gw->metrics->requests_open++;
    return x;
}

static void exchange_release(struct io_grave *grave)
{
    struct exchange *x = container_of(grave, struct exchange, grave);
    struct gateway *gw = x->gw;
    if (gw->n_spare_exchanges == SPARES_MAX) {
        free(x);
        return;
    }
    x->next = gw->spare_exchanges;
    gw->spare_exchanges = x;
    gw->n_spare_exchanges++;
}

void exchange_free_spares(struct gateway *gw)
{
    while (gw->spare_exchanges) {
        struct exchange *x = gw->spare_exchanges;
        gw->spare_exchanges = x->next;
        free(x);
    }
    gw->n_spare_exchanges = 0;
}

static uint32_t since_us(const struct exchange *x)
{
    uint64_t us = x->gw->loop.now_us - x->started_us;
    return us >= UINT32_MAX ? UINT32_MAX - 1 : (uint32_t)us;
}

static void count_request(struct gateway *gw, const struct ipc_record *record)
{
    static const uint64_t bounds[] = METRICS_LATENCY_BOUNDS_US;
    struct metrics_page *m = gw->metrics;
    unsigned class = record->status / 100;
    m->requests_by_class[class < METRICS_STATUS_CLASSES ? class : 0]++;
    m->requests_denied += record->denied != IPC_DENIED_NOT;
    m->requests_http2 += record->http_version == 20;
    m->bytes_in += record->bytes_in;
    m->bytes_out += record->bytes_out;
    size_t bucket = 0;
    while (bucket < ARRAY_SIZE(bounds) && record->total_us > bounds[bucket])
        bucket++;
    m->latency_count[bucket]++;
    m->latency_sum_us += record->total_us;
}

/* Nobody is called after this; the record is written. */
static void exchange_over(struct exchange *x)
{
    struct gateway *gw = x->gw;
    if (x->state == EXCHANGE_OVER)
        return;
    if (x->state == EXCHANGE_TUNNEL)
        gw->metrics->tunnels_open--;
    x->state = EXCHANGE_OVER;
    x->front = NULL;
    x->back = NULL;
    *x->link = x->next;
    if (x->next)
        x->next->link = x->link;
    gw->metrics->requests_open--;
    io_timer_clear(&gw->loop, &x->timer);
    struct exchange_wait *wait = TAKE(x->wait);
    if (wait)
        wait->cancel(wait);
    spill_free(&x->request);
    x->record.total_us = since_us(x);
    count_request(gw, &x->record);
    recorder_add(gw, &x->record);
    io_bury(&gw->loop, &x->grave, exchange_release);
}

static void drop_back(struct exchange *x)
{
    void *back = TAKE(x->back);
    if (back)
        x->back_ops->cancel(back);
}

/* The client can't get a whole response: it is told by breaking off. */
static void break_front(struct exchange *x)
{
    void *front = TAKE(x->front);
    const struct front_ops *ops = x->front_ops;
    exchange_over(x);
    ops->abort(front);
}

static void answer(struct exchange *x, unsigned status, const char *reason, unsigned retry_after_s)
{
    void *front = TAKE(x->front);
    const struct front_ops *ops = x->front_ops;
    x->record.status = (uint16_t)status;
    x->record.first_byte_us = since_us(x);
    if (reason)
        str_copy(x->record.reason, sizeof x->record.reason, str_of(reason));
    char id[sizeof x->record.id];
    memcpy(id, x->record.id, sizeof id);
    bool is_head = x->is_head;
    struct gateway *gw = x->gw;
    exchange_over(x);
    answer_send(gw, ops, front, status, id, is_head, retry_after_s);
}

/* ---- deciding ---- */

static void record_begin(struct gateway *gw, struct ipc_record *record, const struct exchange_asker *asker)
{
    record->time_us = gateway_wall_us();
    record->generation = gw->view.header->generation;
    record->client = asker->address;
    record->connect_us = record->first_byte_us = UINT32_MAX;
    gateway_random_id(gw, record->id);
    str_copy(record->revision, sizeof record->revision, str_of(gw->view.header->revision));
    if (asker->principal == IMAGE_NONE)
        return;
    const struct image_principal *principal = image_principal(gw->view, asker->principal);
    str_copy(record->principal, sizeof record->principal, image_str(gw->view, principal->host));
    str_copy(record->segment, sizeof record->segment, image_str(gw->view, principal->segment));
}

static void record_request(struct ipc_record *record, const struct http_head *head, struct str host)
{
    record->http_version = head->version;
    str_copy(record->method, sizeof record->method, head->method);
    str_copy(record->host, sizeof record->host, host);
}

/* The service and the rule that lets principal reach it by that host name. Both the unknown and the denied name walk the same steps:
 * what differs between them is never visible in the time to the answer. */
static uint32_t decide(struct image view, uint32_t principal, struct str host, struct image_name_slot *ret_slot, bool *ret_known)
{
    const struct image_name_slot *slot = image_find_name(view, host);
    *ret_known = slot != NULL;
    *ret_slot = slot ? *slot : (struct image_name_slot){ .service = 0, .instance = IMAGE_NONE };
    uint32_t rule = image_count(view, IMAGE_SERVICES) ? image_verdict(view, principal, ret_slot->service) : IMAGE_NONE;
    return slot ? rule : IMAGE_NONE;
}

static void add_candidate(struct exchange *x, uint32_t index)
{
    const struct image_instance *instance = image_instance(x->gw->view, index);
    struct exchange_candidate *c = &x->candidates[x->n_candidates++];
    c->identity = instance->identity;
    c->generation = x->gw->view.header->generation;
    c->target = instance->target;
    str_copy(c->name, sizeof c->name, image_str(x->gw->view, instance->name));
}

/* Healthy ones in the declared order (nearest first), then those that failed lately: they are tried when nothing better is left. */
static void list_candidates(struct exchange *x, const struct image_name_slot *slot)
{
    const struct image_service *service = image_service(x->gw->view, slot->service);
    if (slot->instance != IMAGE_NONE) {
        add_candidate(x, slot->instance);
        return;
    }
    for (int down = 0; down <= 1; down++) {
        for (uint32_t i = 0; i < service->n_instances && x->n_candidates < EXCHANGE_CANDIDATES; i++) {
            uint32_t index = service->first_instance + i;
            struct back_group *group = back_group_get(x->gw, image_instance(x->gw->view, index)->identity);
            if (group && back_group_is_down(x->gw, group) == (down == 1))
                add_candidate(x, index);
        }
    }
}

static void first_byte_late(struct io_timer *timer)
{
    struct exchange *x = container_of(timer, struct exchange, timer);
    drop_back(x);
    answer(x, 504, "the instance did not answer in time", 0);
}

static bool permit(struct exchange *x, uint32_t principal, struct str host, struct image_name_slot *ret_slot)
{
    struct gateway *gw = x->gw;
    bool known;
    uint32_t rule = decide(gw->view, principal, host, ret_slot, &known);
    if (rule == IMAGE_NONE) {
        x->record.denied = known ? IPC_DENIED_NO_GRANT : IPC_DENIED_NO_SUCH_NAME;
        return false;
    }
    str_copy(x->record.rule, sizeof x->record.rule, image_str(gw->view, image_rule(gw->view, rule)->place));
    str_copy(x->record.service, sizeof x->record.service, image_str(gw->view, image_service(gw->view, ret_slot->service)->name));
    return true;
}

struct exchange *exchange_begin(struct gateway *gw, const struct exchange_asker *asker, const struct http_head *head, bool has_body,
                                const struct front_ops *ops, void *front)
{
    struct exchange *x = exchange_new(gw, asker, ops, front);
    if (!x)
        return NULL;
    record_begin(gw, &x->record, asker);
    x->is_head = head->is_head;
    x->upgrade = head->upgrade;
    x->extended_connect = head->version == 20 && head->websocket;
    x->request_done = !has_body;

    char name[sizeof x->host];
    struct str host;
    if (!http_authority_host(head->authority, name, &host)) {
        record_request(&x->record, head, STR_NONE);
        x->record.denied = IPC_DENIED_BAD_REQUEST;
        answer(x, 400, http_violation_text(HTTP_BAD_HOST), 0);
        return x;
    }
    str_copy(x->host, sizeof x->host, host);
    record_request(&x->record, head, host);
    struct image_name_slot slot;
    if (!permit(x, asker->principal, host, &slot)) {
        answer(x, 404, NULL, 0);
        return x;
    }
    x->service = slot.service;
    x->protocol = (uint8_t)image_service(gw->view, slot.service)->protocol;
    list_candidates(x, &slot);
    if (x->n_candidates == 0 || back_pack_request(x, head, image_principal(gw->view, asker->principal), has_body) < 0) {
        answer(x, 503, "no memory", 1);
        return x;
    }
    x->timer.fire = first_byte_late;
    back_acquire(x);
    return x;
}

void exchange_refuse(struct gateway *gw, const struct exchange_asker *asker, unsigned status, const char *reason, const struct front_ops *ops,
                     void *front)
{
    struct ipc_record record = { 0 };
    record_begin(gw, &record, asker);
    record.status = (uint16_t)status;
    record.denied = IPC_DENIED_BAD_REQUEST;
    str_copy(record.reason, sizeof record.reason, str_of(reason));
    count_request(gw, &record);
    recorder_add(gw, &record);
    answer_send(gw, ops, front, status, record.id, false, 0);
}

void exchange_record_refusal(struct gateway *gw, const struct address *address, uint32_t principal, enum ipc_record_denied why)
{
    struct exchange_asker asker = { .address = *address, .principal = principal };
    struct ipc_record record = { 0 };
    record_begin(gw, &record, &asker);
    record.denied = (uint8_t)why;
    recorder_add(gw, &record);
}

/* ---- the request's side ---- */

bool exchange_takes_body(const struct exchange *x)
{
    /* What follows an upgrade is for the tunnel and for nothing else: after any other answer the instance would read it as a request. */
    return x->back && !x->back_congested && (!x->upgrade || x->state == EXCHANGE_TUNNEL);
}

size_t exchange_request_piece(const struct exchange *x)
{
    return x->back_ops->is_fluent(x->back) ? GATEWAY_BULK_SIZE : GATEWAY_PLAIN_SIZE;
}

/* The instance owes its answer from the last of the request on. */
static void request_goes_on(struct exchange *x)
{
    if (io_timer_is_set(&x->timer))
        io_timer_set(&x->gw->loop, &x->timer, GATEWAY_FIRST_BYTE_MS);
}

void exchange_request_body(struct exchange *x, struct str piece, bool end)
{
    x->record.bytes_in += piece.len;
    if (end)
        x->request_done = true;
    request_goes_on(x);
    if (!x->back_ops->body(x->back, piece, end) && x->state != EXCHANGE_OVER)
        x->back_congested = true;
}

void exchange_request_trailers(struct exchange *x, const struct http_head *trailers)
{
    x->request_done = true;
    request_goes_on(x);
    x->back_ops->trailers(x->back, trailers);
}

void exchange_front_writable(struct exchange *x)
{
    if (!x->front_congested)
        return;
    x->front_congested = false;
    if (x->back)
        x->back_ops->resume(x->back);
}

void exchange_client_gone(struct exchange *x, const char *reason)
{
    if (x->state == EXCHANGE_OVER)
        return;
    x->front = NULL;
    if (reason && x->state != EXCHANGE_TUNNEL)
        str_copy(x->record.reason, sizeof x->record.reason, str_of(reason));
    drop_back(x);
    exchange_over(x);
}

/* ---- the instance's side ---- */

void exchange_back_ready(struct exchange *x, const struct back_ops *ops, void *back)
{
    struct exchange_candidate *c = &x->candidates[x->candidate];
    x->back_ops = ops;
    x->back = back;
    x->state = EXCHANGE_SENDING;
    x->record.connect_us = since_us(x);
    memcpy(x->record.instance, c->name, sizeof x->record.instance);
    int r = ops->start(back, x);
    if (r < 0) {
        drop_back(x);
        x->state = EXCHANGE_DIALLING;
        if (x->reuse_allowed) { /* a kept connection that its instance has closed meanwhile: a fresh one tells more */
            x->reuse_allowed = false;
            back_acquire(x);
        } else {
            exchange_back_failed(x, r);
        }
        return;
    }
    spill_free(&x->request);
    io_timer_set(&x->gw->loop, &x->timer, GATEWAY_FIRST_BYTE_MS);
    if (!x->request_done || x->upgrade || x->extended_connect)
        x->front_ops->resume(x->front);
}

static void answer_unreachable(struct exchange *x, int status)
{
    memcpy(x->record.instance, x->candidates[x->n_candidates - 1].name, sizeof x->record.instance);
    switch (status) {
    case -ENOENT:
        answer(x, 503, "the instance isn't there yet", 2);
        break;
    case -EAGAIN:
        answer(x, 503, "too many connections are being opened", 1);
        break;
    case -ESTALE:
        answer(x, 503, "the declaration changed twice meanwhile", 1);
        break;
    case -ETIMEDOUT:
        answer(x, 504, "the instance did not take the connection", 0);
        break;
    default:
        answer(x, 502, "the instance refused the connection", 0);
    }
}

void exchange_back_failed(struct exchange *x, int status)
{
    struct back_group *group = back_group_get(x->gw, x->candidates[x->candidate].identity);
    if (group && status != -EAGAIN)
        back_group_note_failure(x->gw, group);
    exchange_back_missed(x, status);
}

void exchange_back_missed(struct exchange *x, int status)
{
    if (x->candidate + 1 < x->n_candidates) {
        x->candidate++;
        back_acquire(x);
        return;
    }
    answer_unreachable(x, status);
}

void exchange_back_refused(struct exchange *x, struct spill *request)
{
    if (x->refused || x->response_started) {
        spill_free(&request);
        exchange_back_broken(x, "the instance refused the request");
        return;
    }
    x->refused = true;
    x->request = request;
    x->back = NULL;
    x->state = EXCHANGE_DIALLING;
    io_timer_clear(&x->gw->loop, &x->timer);
    back_acquire(x);
}

void exchange_back_writable(struct exchange *x)
{
    if (!x->back_congested)
        return;
    x->back_congested = false;
    if (x->front)
        x->front_ops->resume(x->front);
}

/* Both ends are done once the response is; what was left of the request isn't wanted. */
static void response_ended(struct exchange *x)
{
    if (!x->request_done)
        drop_back(x);
    exchange_over(x);
}

static void begin_tunnel(struct exchange *x)
{
    x->state = EXCHANGE_TUNNEL;
    x->gw->metrics->tunnels_open++;
    if (x->front)
        x->front_ops->resume(x->front);
}

static void pass_interim(struct exchange *x, const struct http_head *head)
{
    if (++x->n_interims > EXCHANGE_INTERIMS_MAX) {
        drop_back(x);
        answer(x, 502, "the instance sent too many interim responses", 0);
        return;
    }
    x->front_ops->head(x->front, head, false);
}

void exchange_response_head(struct exchange *x, const struct http_head *head, bool end)
{
    if (head->status < 200 && head->status != 101) {
        pass_interim(x, head);
        return;
    }
    bool tunnel = head->status == 101 ? x->upgrade || x->extended_connect : false;
    if (head->status == 101 && !tunnel) {
        drop_back(x);
        answer(x, 502, "the instance switched protocols unasked", 0);
        return;
    }
    io_timer_clear(&x->gw->loop, &x->timer);
    x->state = EXCHANGE_RESPONDING;
    x->response_started = true;
    x->record.status = head->status;
    x->record.first_byte_us = since_us(x);
    x->front_ops->head(x->front, head, end);
    if (x->state == EXCHANGE_OVER)
        return;
    if (tunnel)
        begin_tunnel(x);
    else if (end)
        response_ended(x);
}

size_t exchange_response_piece(const struct exchange *x)
{
    return x->front_ops->is_fluent(x->front) ? GATEWAY_BULK_SIZE : GATEWAY_PLAIN_SIZE;
}

bool exchange_response_body(struct exchange *x, struct str piece, bool end)
{
    x->record.bytes_out += piece.len;
    bool more = x->front_ops->body(x->front, piece, end);
    if (x->state == EXCHANGE_OVER)
        return true;
    if (end)
        response_ended(x);
    else
        x->front_congested = !more;
    return more;
}

void exchange_response_trailers(struct exchange *x, const struct http_head *trailers)
{
    x->front_ops->trailers(x->front, trailers);
    if (x->state != EXCHANGE_OVER)
        response_ended(x);
}

void exchange_response_flush(struct exchange *x)
{
    if (x && x->front && x->state != EXCHANGE_OVER)
        x->front_ops->flush(x->front);
}

void exchange_back_broken(struct exchange *x, const char *reason)
{
    if (x->state == EXCHANGE_OVER)
        return;
    x->back = NULL;
    if (x->state == EXCHANGE_TUNNEL) {
        break_front(x);
        return;
    }
    if (!x->response_started) {
        answer(x, 502, reason, 0);
        return;
    }
    str_copy(x->record.reason, sizeof x->record.reason, str_of(reason));
    break_front(x);
}

/* ---- change of the declaration ---- */

void exchange_judge_again(struct exchange *x)
{
    struct image_name_slot slot;
    bool known;
    uint32_t principal = gateway_find_principal(x->gw, &x->client);
    if (principal != IMAGE_NONE && decide(x->gw->view, principal, str_of(x->host), &slot, &known) != IMAGE_NONE) {
        x->service = slot.service;
        if (image_service(x->gw->view, slot.service)->protocol != x->protocol) { /* what is under way may succeed; nothing is tried anew */
            x->n_candidates = x->candidate + 1;
            x->reuse_allowed = false;
        }
        return;
    }
    x->record.denied = IPC_DENIED_REVOKED;
    str_copy(x->record.reason, sizeof x->record.reason, STR("the grant was taken away"));
    x->gw->metrics->streams_revoked++;
    drop_back(x);
    break_front(x);
}
