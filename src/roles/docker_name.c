/* What runs by each name, and telling it: the broker its namespace, the parent its addresses, the board all of it. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/log.h"
#include "roles/docker.h"

/* ---- telling ---- */

static void settle(struct docker_name *name, int r, const char *whom)
{
    if (r == -EAGAIN) { /* it reads what came before; asked again when it may have */
        name->owes_broker = true;
        docker_name_want(name, DOCKER_AGAIN_MS);
    } else if (r < 0 && r != -EPIPE) {
        log_error("telling the %s of %s: %s", whom, name->reference, strerror(-r));
    }
}

static void tell_broker_gone(struct docker_name *name)
{
    struct docker *docker = name->docker;
    struct ipc_docker_gone gone = { .header = IPC_HEADER(IPC_DOCKER_GONE, gone), .number = name->number, .epoch = ++docker->epoch, .why = name->why };
    if (docker->broker.fd < 0 || !(name->flags & IMAGE_CONTAINER_DIALLED))
        return;
    name->owes_broker = false;
    settle(name, ipc_send(docker->broker.fd, &gone, NULL, 0), "broker");
}

static void tell_broker_namespace(struct docker_name *name, int space)
{
    struct docker *docker = name->docker;
    struct ipc_docker_namespace there = { .header = IPC_HEADER(IPC_DOCKER_NAMESPACE, there), .number = name->number, .epoch = ++docker->epoch };
    int fds[2] = { space, name->process.fd };
    if (docker->broker.fd < 0 || !(name->flags & IMAGE_CONTAINER_DIALLED)) {
        name->owes_broker = (name->flags & IMAGE_CONTAINER_DIALLED) != 0;
        return;
    }
    name->owes_broker = false;
    settle(name, ipc_send(docker->broker.fd, &there, fds, 2), "broker");
}

static bool tell_parent_guest(struct docker_name *name, const struct address *address, bool is_present)
{
    struct ipc_guest guest = { .header = IPC_HEADER(IPC_DOCKER_GUEST, guest), .container = name->number, .address = *address,
                               .is_present = is_present };
    int r = ipc_send(IPC_PARENT_FD, &guest, &name->process.fd, is_present);
    if (r < 0 && r != -EPIPE)
        log_warning("telling the parent where %s asks from: %s", name->reference, strerror(-r));
    return r == 0;
}

/* ---- addresses at which it asks ---- */

static bool has_address(const struct address *list, uint32_t n, const struct address *address)
{
    for (uint32_t i = 0; i < n; i++)
        if (address_equal(&list[i], address))
            return true;
    return false;
}

void docker_name_drop_guests(struct docker_name *name)
{
    while (name->n_guests > 0)
        tell_parent_guest(name, &name->guests[--name->n_guests], false);
}

static void set_guests(struct docker_name *name, const struct address *addresses, uint32_t n)
{
    if (!(name->flags & IMAGE_CONTAINER_GUEST))
        n = 0;
    for (uint32_t i = 0; i < name->n_guests;) {
        if (has_address(addresses, n, &name->guests[i])) {
            i++;
            continue;
        }
        tell_parent_guest(name, &name->guests[i], false);
        name->guests[i] = name->guests[--name->n_guests];
    }
    for (uint32_t i = 0; i < n && name->n_guests < DOCKER_GUEST_ADDRESSES; i++)
        if (!has_address(name->guests, name->n_guests, &addresses[i]) && tell_parent_guest(name, &addresses[i], true))
            name->guests[name->n_guests++] = addresses[i];
}

/* ---- one name ---- */

bool docker_name_is_alive(const struct docker_name *name)
{
    return name->state == DOCKER_NAME_RUNNING && docker_process_is_alive(name->process.fd);
}

void docker_name_want(struct docker_name *name, uint64_t after_ms)
{
    uint64_t due_ms = name->docker->loop.now_ms + after_ms;
    if (due_ms > name->due_ms)
        name->due_ms = due_ms;
    name->needs_look = true;
}

static void let_go(struct docker_name *name)
{
    if (name->process.fd < 0)
        return;
    io_unwatch(&name->docker->loop, &name->process);
    close(TAKE_FD(name->process.fd));
}

/* How long until the next look at one that ends again and again; the first few ends cost nothing. */
static uint64_t wait_of(const struct docker_name *name)
{
    if (name->n_quick_ends < DOCKER_QUICK_ENDS_MAX)
        return 0;
    unsigned more = name->n_quick_ends - DOCKER_QUICK_ENDS_MAX, doublings = more < 6 ? more : 6;
    uint64_t wait_ms = (uint64_t)DOCKER_WAIT_FIRST_MS << doublings;
    return wait_ms < DOCKER_WAIT_MAX_MS ? wait_ms : DOCKER_WAIT_MAX_MS;
}

static void process_ended(struct io_source *source, uint32_t events)
{
    struct docker_name *name = container_of(source, struct docker_name, process);
    struct docker *docker = name->docker;
    (void)events;
    if (name->state != DOCKER_NAME_RUNNING || docker_name_is_alive(name))
        return;
    bool was_quick = docker->loop.now_ms - name->run_since_ms < DOCKER_STEADY_MS;
    name->n_quick_ends = was_quick ? name->n_quick_ends + 1 : 0;
    name->needs_look = false;
    docker_name_want(name, wait_of(name));
    docker_name_gone(name, DOCKER_NAME_ABSENT, IPC_DOCKER_ENDED, "it has ended");
    docker_look_next(docker);
}

void docker_name_run(struct docker_name *name, const struct docker_run *run, int process, int space, const struct address *addresses, uint32_t n)
{
    struct docker *docker = name->docker;
    cleanup_close int owned = space; /* until it returns */
    (void)owned;
    if (name->state == DOCKER_NAME_RUNNING)
        docker_name_drop_guests(name); /* what the one before had is told to be gone first */
    let_go(name);
    name->process = (struct io_source){ .fd = process, .ready = process_ended };
    int r = io_watch(&docker->loop, &name->process, EPOLLIN);
    if (r < 0) {
        close(TAKE_FD(name->process.fd));
        docker_name_gone(name, DOCKER_NAME_REFUSED, IPC_DOCKER_REFUSED, strerrordesc_np(-r));
        docker_name_want(name, DOCKER_PATIENCE_MS);
        return;
    }
    bool is_new = strcmp(name->run.id, run->id) != 0 || strcmp(name->run.started_at, run->started_at) != 0;
    name->state = DOCKER_NAME_RUNNING;
    name->run = *run;
    name->trouble[0] = '\0';
    if (is_new) {
        name->run_since_ms = docker->loop.now_ms;
        name->n_starts++;
    }
    if (space >= 0)
        tell_broker_namespace(name, space);
    set_guests(name, addresses, n);
    docker_show_name(name);
}

void docker_name_refresh(struct docker_name *name, const struct address *addresses, uint32_t n)
{
    set_guests(name, addresses, n);
    docker_show_name(name);
}

void docker_name_gone(struct docker_name *name, enum docker_name_state state, enum ipc_docker_gone_why why, const char *trouble)
{
    docker_name_drop_guests(name);
    let_go(name);
    if (state == DOCKER_NAME_REFUSED && strcmp(name->trouble, trouble) != 0)
        log_warning("container %s is not entered: %s", name->reference, trouble);
    bool is_news = name->state != state || name->why != why;
    name->state = state;
    name->why = why;
    name->is_paused = false;
    str_copy(name->trouble, sizeof name->trouble, str_of(trouble));
    if (is_news || name->owes_broker)
        tell_broker_gone(name);
    docker_show_name(name);
}

void docker_name_note(struct docker_name *name, const char *trouble)
{
    if (strcmp(name->trouble, trouble) != 0)
        log_warning("container %s: %s", name->reference, trouble);
    str_copy(name->trouble, sizeof name->trouble, str_of(trouble));
    docker_show_name(name);
}

void docker_names_tell_broker(struct docker *docker)
{
    for (uint32_t i = 0; i < docker->n_names; i++) {
        struct docker_name *name = docker->names[i];
        if (name->state == DOCKER_NAME_RUNNING) {
            name->owes_broker = true; /* its namespace isn't held: it is looked at again, and verified */
            docker_name_want(name, 0);
        } else if (name->state != DOCKER_NAME_UNKNOWN) {
            tell_broker_gone(name);
        }
    }
    docker_look_next(docker);
}

/* ---- all of them ---- */

static void name_release(struct io_grave *grave)
{
    struct docker_name *name = container_of(grave, struct docker_name, grave);
    free(name->reference);
    free(name);
}

static void name_free(struct docker_name *name)
{
    struct docker *docker = name->docker;
    if (docker->look.name == name)
        docker_look_abort(docker);
    docker_name_drop_guests(name);
    let_go(name);
    io_bury(&docker->loop, &name->grave, name_release);
}

static struct docker_name *name_new(struct docker *docker, struct image block, const struct image_container *container)
{
    struct docker_name *name = calloc(1, sizeof *name);
    struct str reference = image_str(block, container->reference);
    if (!name)
        return NULL;
    name->reference = strndup(reference.ptr, reference.len);
    if (!name->reference) {
        free(name);
        return NULL;
    }
    name->docker = docker;
    name->number = container->number;
    name->process.fd = -1;
    return name;
}

/* Both lists are in the order of their numbers. */
int docker_names_take(struct docker *docker, struct image block)
{
    uint32_t n = image_count(block, IMAGE_CONTAINERS), old = 0;
    struct docker_name **names = calloc(n + 1, sizeof(struct docker_name *));
    struct docker_name **fresh = calloc(n + 1, sizeof(struct docker_name *));
    int r = names && fresh ? 0 : -ENOMEM;
    for (uint32_t i = 0; r == 0 && i < n; i++) {
        const struct image_container *container = image_container(block, i);
        while (old < docker->n_names && docker->names[old]->number < container->number)
            old++;
        if (old < docker->n_names && docker->names[old]->number == container->number)
            names[i] = docker->names[old];
        else if (!(names[i] = fresh[i] = name_new(docker, block, container)))
            r = -ENOMEM;
    }
    for (uint32_t i = 0; r < 0 && fresh && i < n; i++)
        if (fresh[i])
            name_release(&fresh[i]->grave);
    free(fresh);
    if (r < 0) {
        free(names);
        return r;
    }
    struct docker_name **before = docker->names;
    uint32_t n_before = docker->n_names;
    docker->names = names;
    docker->n_names = n;
    for (uint32_t i = 0, j = 0; i < n_before; i++) {
        while (j < n && names[j]->number < before[i]->number)
            j++;
        if (j == n || names[j] != before[i])
            name_free(before[i]);
    }
    free(before);
    for (uint32_t i = 0; i < n; i++) {
        uint32_t flags = image_container(block, i)->flags;
        names[i]->place = i;
        if (names[i]->flags != flags && names[i]->state == DOCKER_NAME_RUNNING) {
            names[i]->owes_broker = true;
            docker_name_want(names[i], 0);
        }
        names[i]->flags = flags;
        if (names[i]->state == DOCKER_NAME_UNKNOWN)
            docker_name_want(names[i], 0);
        docker_show_name(names[i]);
    }
    docker_show_count(docker);
    return 0;
}

struct docker_name *docker_name_find(const struct docker *docker, struct str reference)
{
    uint64_t number = image_container_number(reference);
    uint32_t first = 0, end = docker->n_names;
    while (first < end) {
        uint32_t middle = first + (end - first) / 2;
        if (docker->names[middle]->number < number)
            first = middle + 1;
        else
            end = middle;
    }
    struct docker_name *name = first < docker->n_names ? docker->names[first] : NULL;
    return name && name->number == number && str_equal(str_of(name->reference), reference) ? name : NULL;
}
