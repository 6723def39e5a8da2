/* Services that containers offer by label: listed when one that offers starts, told to the parent when what is offered changed.
 *
 * An offer outlives its container for half a minute: a container that is recreated keeps its name, and one that ends again and again changes
 * nothing. Whoever offered a name first holds it; the order is kept over the end of this process by the parent, which gives it back. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/log.h"
#include "docker/container.h"
#include "roles/docker.h"

enum {
    ARENA_MAX = 256 << 20,
    FIRST_MS = 250,             /* from the event to the list: whatever else starts with it is listed, too */
    GAP_MAX_MS = 10000,         /* between two lists that brought nothing new */
    KEPT_MS = 30000,
};

static const char offers_path[] = "/containers/json?filters=%7B%22label%22%3A%5B%22postern.service%22%5D%7D";

/* ---- what is offered ---- */

static struct docker_offer *find(struct docker_offers *offers, const struct ipc_offer *wanted)
{
    for (uint32_t i = 0; i < offers->n; i++)
        if (strcmp(offers->items[i].told.name, wanted->name) == 0 && strcmp(offers->items[i].told.reference, wanted->reference) == 0)
            return &offers->items[i];
    return NULL;
}

/* A port or protocol that is none is told as none: the compiler says so. */
static struct ipc_offer offer_of(const struct docker_container *container)
{
    struct ipc_offer offer = { .protocol = IPC_OFFER_HTTP };
    struct str protocol = docker_container_label(container, STR("postern.protocol"));
    uint64_t port = 0;
    if (!str_to_u64(docker_container_label(container, STR("postern.port")), UINT16_MAX, &port))
        port = 0;
    offer.port = (uint16_t)port;
    if (str_equal(protocol, STR("h2c")))
        offer.protocol = IPC_OFFER_H2C;
    else if (protocol.len > 0 && !str_equal(protocol, STR("http")))
        offer.protocol = IPC_OFFER_UNKNOWN;
    str_copy(offer.name, sizeof offer.name, docker_container_label(container, STR("postern.service")));
    if (container->project.len && container->service.len && !container->is_oneoff)
        snprintf(offer.reference, sizeof offer.reference, "%.*s/%.*s", STR_ARG(container->project), STR_ARG(container->service));
    else
        str_copy(offer.reference, sizeof offer.reference, container->name);
    return offer;
}

static bool put(struct docker_offers *offers, const struct docker_container *container)
{
    struct ipc_offer wanted = offer_of(container);
    struct docker_offer *offer = find(offers, &wanted);
    bool is_change = !offer || offer->told.port != wanted.port || offer->told.protocol != wanted.protocol;
    if (!offer && offers->n == IPC_OFFERS_MAX)
        return false;
    if (!offer)
        offer = &offers->items[offers->n++];
    *offer = (struct docker_offer){ .told = wanted, .is_listed = true };
    str_copy(offer->id, sizeof offer->id, container->id);
    return is_change;
}

/* Forgets what nobody has offered for long; returns when the next one is due, or UINT64_MAX. */
static uint64_t forget(struct docker *docker, bool *is_change)
{
    struct docker_offers *offers = &docker->offers;
    uint64_t now_ms = docker->loop.now_ms, next_ms = UINT64_MAX;
    uint32_t n = 0;
    for (uint32_t i = 0; i < offers->n; i++) {
        struct docker_offer *offer = &offers->items[i];
        if (offer->is_listed)
            offer->gone_ms = 0;
        else if (offer->gone_ms == 0)
            offer->gone_ms = now_ms;
        if (offer->gone_ms && now_ms >= offer->gone_ms + KEPT_MS) {
            *is_change = true;
            continue;
        }
        if (offer->gone_ms && offer->gone_ms + KEPT_MS < next_ms)
            next_ms = offer->gone_ms + KEPT_MS;
        if (n != i)
            offers->items[n] = *offer;
        n++;
    }
    offers->n = n;
    return next_ms;
}

/* ---- telling ---- */

static int send_sealed(const struct docker_offers *offers)
{
    cleanup_close int fd = memfd_create("postern-offers", MFD_CLOEXEC | MFD_ALLOW_SEALING);
    struct ipc_docker_offers message = { .header = IPC_HEADER(IPC_DOCKER_OFFERS, message), .n = offers->n };
    if (fd < 0)
        return -errno;
    for (uint32_t i = 0; i < offers->n; i++)
        if (write(fd, &offers->items[i].told, sizeof offers->items[i].told) != (ssize_t)sizeof offers->items[i].told)
            return -EIO;
    if (fcntl(fd, F_ADD_SEALS, F_SEAL_WRITE | F_SEAL_GROW | F_SEAL_SHRINK | F_SEAL_SEAL) < 0)
        return -errno;
    return ipc_send(IPC_PARENT_FD, &message, &fd, 1);
}

static void tell(struct docker *docker)
{
    int r = send_sealed(&docker->offers);
    docker->offers.is_owed = r < 0;
    if (r < 0 && r != -EPIPE)
        log_error("telling the parent what containers offer: %s", strerrordesc_np(-r));
}

/* ---- listing ---- */

static void plan(struct docker *docker, uint64_t at_ms)
{
    struct docker_offers *offers = &docker->offers;
    uint64_t now_ms = docker->loop.now_ms;
    if (at_ms != UINT64_MAX && (!io_timer_is_set(&offers->timer) || at_ms < offers->at_ms)) {
        offers->at_ms = at_ms;
        io_timer_set(&docker->loop, &offers->timer, at_ms > now_ms ? at_ms - now_ms : 0);
    }
}

static void list_done(struct docker_question *question, int r, const struct docker_response *response, const struct error *err)
{
    struct docker *docker = container_of(question, struct docker, offers.question);
    struct docker_offers *offers = &docker->offers;
    struct docker_containers list;
    struct arena arena;
    struct error trouble = { "" };
    if (r < 0) {
        docker_engine_lost(docker, err);
        return;
    }
    offers->listed_ms = docker->loop.now_ms;
    arena_init(&arena, ARENA_MAX);
    r = response->status == 200 ? docker_containers_parse(buf_str(&response->body), &arena, &list, &trouble) : -EIO;
    if (r == 0) {
        bool is_change = offers->is_owed || !offers->is_told;
        for (uint32_t i = 0; i < offers->n; i++)
            offers->items[i].is_listed = false;
        for (uint32_t i = list.n; i > 0; i--) /* the oldest first: it was there first */
            if (list.items[i - 1].is_running)
                is_change = put(offers, &list.items[i - 1]) || is_change;
        uint64_t next_ms = forget(docker, &is_change);
        offers->gap_ms = is_change ? FIRST_MS : 2 * offers->gap_ms < GAP_MAX_MS ? 2 * offers->gap_ms : GAP_MAX_MS;
        offers->is_told = true;
        plan(docker, next_ms);
        if (is_change)
            tell(docker);
    } else if (trouble.text[0]) {
        log_warning("what containers offer: %s", trouble.text);
    }
    arena_deinit(&arena);
}

static void list_now(struct io_timer *timer)
{
    struct docker *docker = container_of(timer, struct docker, offers.timer);
    struct docker_offers *offers = &docker->offers;
    if (!docker->wants_offers || !docker->engine.is_there || offers->question.is_asked)
        return;
    offers->question.done = list_done;
    if (docker_connection_ask(&docker->engine.lists, &offers->question, offers_path) < 0)
        log_error("what containers offer can't be asked");
}

void docker_offers_look(struct docker *docker)
{
    struct docker_offers *offers = &docker->offers;
    if (!docker->wants_offers)
        return;
    uint64_t soon_ms = docker->loop.now_ms + FIRST_MS, spaced_ms = offers->listed_ms ? offers->listed_ms + offers->gap_ms : 0;
    plan(docker, soon_ms > spaced_ms ? soon_ms : spaced_ms);
}

void docker_offers_on_event(struct docker *docker, const struct docker_event *event)
{
    struct docker_offers *offers = &docker->offers;
    if (!docker->wants_offers || event->type != DOCKER_EVENT_CONTAINER || event->offered.len == 0)
        return;
    bool is_end = event->action == DOCKER_ACTION_DIE || event->action == DOCKER_ACTION_DESTROY;
    if (!is_end && event->action != DOCKER_ACTION_START && event->action != DOCKER_ACTION_RENAME)
        return;
    for (uint32_t i = 0; i < offers->n; i++)
        if (str_equal(str_of(offers->items[i].id), event->id) && event->action != DOCKER_ACTION_RENAME) {
            if (is_end) /* whether it comes back is seen when it need not be kept any longer */
                plan(docker, docker->loop.now_ms + KEPT_MS);
            return; /* the same container with the same labels: nothing new */
        }
    if (!is_end)
        docker_offers_look(docker);
}

/* ---- from the start ---- */

void docker_offers_init(struct docker *docker)
{
    docker->offers.timer.fire = list_now;
    docker->offers.gap_ms = FIRST_MS;
}

/* Those of a predecessor, in their order: whoever held a name holds it on. */
void docker_offers_take(struct docker *docker, const struct ipc_docker_offers *message, int fd)
{
    struct docker_offers *offers = &docker->offers;
    if (offers->n > 0 || offers->is_told)
        return;
    for (uint32_t i = 0; i < message->n && i < IPC_OFFERS_MAX; i++) {
        struct docker_offer *offer = &offers->items[offers->n];
        if (read(fd, &offer->told, sizeof offer->told) != (ssize_t)sizeof offer->told)
            break;
        offer->told.name[sizeof offer->told.name - 1] = offer->told.reference[sizeof offer->told.reference - 1] = '\0';
        offers->n++;
    }
}
