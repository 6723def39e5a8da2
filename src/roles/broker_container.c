/* The table of containers: who is there, in which namespace, until when. */
#include "roles/broker_container.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/mman.h>

#include "ipc/message.h"

void broker_containers_init(struct broker_containers *containers, int epoll)
{
    *containers = (struct broker_containers){ .epoll = epoll, .hint_event = -1 };
}

/* ---- the table ---- */

static struct broker_container **slot_of(const struct broker_containers *containers, uint64_t number)
{
    uint32_t at = (uint32_t)number & (containers->n_slots - 1);
    while (containers->slots[at] && containers->slots[at]->number != number)
        at = (at + 1) & (containers->n_slots - 1);
    return &containers->slots[at];
}

struct broker_container *broker_container_find(const struct broker_containers *containers, uint64_t number)
{
    return containers->n_slots ? *slot_of(containers, number) : NULL;
}

static void let_go(const struct broker_containers *containers, struct broker_container *container)
{
    if (container->state != CONTAINER_HERE)
        return;
    close(TAKE_FD(container->space.fd));
    /* By name: the docker role has the same open file, so that our close alone would leave it in the set. */
    epoll_ctl(containers->epoll, EPOLL_CTL_DEL, container->process, NULL);
    close(TAKE_FD(container->process));
    container->state = CONTAINER_UNKNOWN;
}

/* Into a table of n_slots: those that are wanted move over, the others go. */
static int rebuild(struct broker_containers *containers, uint32_t n_slots)
{
    struct broker_container **slots = calloc(n_slots, sizeof *slots);
    if (!slots)
        return -ENOMEM;
    struct broker_containers old = *containers;
    containers->slots = slots;
    containers->n_slots = n_slots;
    containers->n = 0;
    for (uint32_t i = 0; i < old.n_slots; i++) {
        struct broker_container *container = old.slots[i];
        if (container && container->is_wanted) {
            *slot_of(containers, container->number) = container;
            containers->n++;
        } else if (container) {
            let_go(containers, container);
            container->next = containers->freed;
            containers->freed = container;
        }
    }
    free(old.slots);
    return 0;
}

static int want(struct broker_containers *containers, uint64_t number)
{
    if (2 * (containers->n + 1) > containers->n_slots) {
        for (uint32_t i = 0; i < containers->n_slots; i++)
            if (containers->slots[i])
                containers->slots[i]->is_wanted = true; /* the sweep comes last */
        int r = rebuild(containers, containers->n_slots ? 2 * containers->n_slots : 16);
        if (r)
            return r;
    }
    struct broker_container **slot = slot_of(containers, number);
    if (!*slot) {
        *slot = calloc(1, sizeof **slot);
        if (!*slot)
            return -ENOMEM;
        **slot = (struct broker_container){ .watch = { BROKER_WATCH_CONTAINER }, .number = number, .process = -1, .space.fd = -1 };
        containers->n++;
    }
    return 0;
}

static void mark_wanted(const struct broker_containers *containers, const struct broker_table *table)
{
    for (uint32_t i = 0; i < containers->n_slots; i++)
        if (containers->slots[i])
            containers->slots[i]->is_wanted = false;
    for (size_t i = 0; i < ARRAY_SIZE(table->held); i++)
        for (uint32_t j = 0; table->held[i].generation && j < image_count(table->held[i].image, IMAGE_TARGETS); j++) {
            struct broker_container *container = broker_container_find(containers, image_target(table->held[i].image, j)->container);
            if (container)
                container->is_wanted = true;
        }
}

int broker_containers_follow(struct broker_containers *containers, const struct broker_table *table)
{
    for (size_t i = 0; i < ARRAY_SIZE(table->held); i++)
        for (uint32_t j = 0; table->held[i].generation && j < image_count(table->held[i].image, IMAGE_TARGETS); j++) {
            const struct image_target *target = image_target(table->held[i].image, j);
            int r = target->kind == IMAGE_TARGET_CONTAINER ? want(containers, target->container) : 0;
            if (r)
                return r;
        }
    if (containers->n == 0)
        return 0;
    mark_wanted(containers, table);
    return rebuild(containers, containers->n_slots);
}

void broker_containers_bury(struct broker_containers *containers)
{
    while (containers->freed) {
        struct broker_container *container = containers->freed;
        containers->freed = container->next;
        free(container);
    }
}

/* ---- hints ---- */

int broker_containers_take_hints(struct broker_containers *containers, int page, int event)
{
    cleanup_close int owned_page = page, owned_event = event;
    int seals = fcntl(owned_page, F_GET_SEALS);
    if (seals < 0 || !(seals & F_SEAL_SHRINK) || lseek(owned_page, 0, SEEK_END) < IPC_HINTS_SIZE)
        return -EINVAL; /* writing to it could end us */
    void *hints = mmap(NULL, IPC_HINTS_SIZE, PROT_READ | PROT_WRITE, MAP_SHARED, owned_page, 0);
    if (hints == MAP_FAILED)
        return -errno;
    if (containers->hints)
        munmap(containers->hints, IPC_HINTS_SIZE);
    if (containers->hint_event >= 0)
        close(containers->hint_event);
    containers->hints = hints;
    containers->hint_event = TAKE_FD(owned_event);
    return 0;
}

void broker_container_hint(const struct broker_containers *containers, const struct broker_container *container)
{
    const uint64_t one = 1;
    if (containers->hints && !__atomic_exchange_n(&containers->hints[container->number % IPC_HINTS_SIZE], 1, __ATOMIC_SEQ_CST))
        (void)!write(containers->hint_event, &one, sizeof one); /* full: it is to look anyway */
}

/* ---- coming and going ---- */

bool broker_container_is_alive(const struct broker_container *container)
{
    struct pollfd p = { .fd = container->process, .events = POLLIN };
    return container->state == CONTAINER_HERE && poll(&p, 1, 0) == 0;
}

void broker_container_leave(const struct broker_containers *containers, struct broker_container *container, bool patient, int64_t now_ms)
{
    bool was_gone = container->state == CONTAINER_GONE;
    let_go(containers, container);
    container->state = CONTAINER_GONE;
    if (!was_gone) /* who waits already does so from the end on, whatever the engine has found out since */
        container->patient_until_ms = patient ? now_ms + CONTAINER_PATIENCE_MS : now_ms;
}

int broker_container_arrive(const struct broker_containers *containers, struct broker_container *container, uint64_t epoch, int space, int process,
                            const struct broker_netns *netns, int64_t now_ms, struct error *err)
{
    cleanup_close int owned_space = space, owned_process = process;
    struct stat st = { 0 };
    bool is_start = container->state == CONTAINER_GONE || (container->state == CONTAINER_HERE && !broker_container_is_alive(container));
    int r = broker_netns_check(netns, space, "what the docker role gave", &st, err);
    let_go(containers, container);
    if (r) {
        broker_container_leave(containers, container, false, now_ms);
        return r;
    }
    container->space = (struct broker_netns_entry){ .fd = TAKE_FD(owned_space), .dev = st.st_dev, .ino = st.st_ino };
    container->process = TAKE_FD(owned_process);
    container->state = CONTAINER_HERE;
    container->epoch = epoch;
    container->patient_until_ms = is_start ? now_ms + CONTAINER_PATIENCE_MS : now_ms;
    struct epoll_event event = { .events = EPOLLIN, .data.ptr = &container->watch };
    if (epoll_ctl(containers->epoll, EPOLL_CTL_ADD, container->process, &event))
        r = -errno;
    else if (!broker_container_is_alive(container))
        r = -ESRCH;
    if (r)
        broker_container_leave(containers, container, r == -ESRCH, now_ms);
    return r;
}
