/* What the docker role shares through the parent: the page of hints, the board, and guests, whose ends the parent sees for itself. */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/log.h"
#include "roles/docker_board.h"
#include "roles/parent.h"

/* Of one size for ever: whoever maps it is never cut off by the other side. */
static int new_page(const char *name, size_t size)
{
    cleanup_close int fd = memfd_create(name, MFD_CLOEXEC | MFD_ALLOW_SEALING);
    if (fd < 0)
        return -errno;
    if (ftruncate(fd, (off_t)size) < 0 || fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL) < 0)
        return -errno;
    return TAKE_FD(fd);
}

int docker_prepare(struct parent *parent)
{
    struct parent_docker *docker = &parent->docker;
    int r = 0;
    if (docker->hints < 0 && (r = new_page("postern-hints", IPC_HINTS_SIZE)) >= 0)
        docker->hints = r;
    if (r >= 0 && docker->hint_event < 0) {
        docker->hint_event = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
        r = docker->hint_event < 0 ? -errno : 0;
    }
    if (r >= 0 && docker->board < 0 && (r = new_page("postern-board", DOCKER_BOARD_SIZE)) >= 0)
        docker->board = r;
    return r < 0 ? r : 0;
}

void docker_tell_hints(struct parent *parent, struct child *child)
{
    struct ipc_hints hints = { .header = IPC_HEADER(IPC_PARENT_HINTS, hints) };
    int fds[2] = { parent->docker.hints, parent->docker.hint_event };
    if (parent->docker.hints >= 0)
        child_send(parent, child, &hints, fds, 2);
}

void docker_tell_board(struct parent *parent, struct child *watcher)
{
    struct ipc_board board = { .header = IPC_HEADER(IPC_PARENT_BOARD, board) };
    if (parent->docker.board >= 0)
        child_send(parent, watcher, &board, &parent->docker.board, 1);
}

/* ---- guests ---- */

static void tell_worker(struct parent *parent, struct child *worker, const struct parent_guest *guest, bool is_present)
{
    struct ipc_guest message = { .header = IPC_HEADER(IPC_PARENT_GUEST, message), .container = guest->container, .address = guest->address,
                                 .is_present = is_present };
    child_send(parent, worker, &message, NULL, 0);
}

static void tell_workers(struct parent *parent, const struct parent_guest *guest, bool is_present)
{
    for (struct child *child = parent->children; child; child = child->next)
        if (child->role == IPC_ROLE_WORKER)
            tell_worker(parent, child, guest, is_present);
}

void docker_tell_guests(struct parent *parent, struct child *worker)
{
    for (struct parent_guest *guest = parent->docker.guests; guest; guest = guest->next)
        tell_worker(parent, worker, guest, true);
}

static void guest_end(struct parent *parent, struct parent_guest **link)
{
    struct parent_guest *guest = *link;
    tell_workers(parent, guest, false);
    *link = guest->next;
    parent->docker.n_guests--;
    /* By name: the docker role has the same open file, so that our close alone would leave it in the set. */
    epoll_ctl(parent->epoll, EPOLL_CTL_DEL, guest->process, NULL);
    close(guest->process);
    free(guest);
}

static bool process_has_ended(int process)
{
    struct pollfd p = { .fd = process, .events = POLLIN };
    return poll(&p, 1, 0) != 0;
}

void docker_end_guests(struct parent *parent)
{
    for (struct parent_guest **link = &parent->docker.guests; *link;)
        if (process_has_ended((*link)->process))
            guest_end(parent, link);
        else
            link = &(*link)->next;
}

static struct parent_guest **find_guest(struct parent *parent, const struct address *address)
{
    struct parent_guest **link = &parent->docker.guests;
    while (*link && !address_equal(&(*link)->address, address))
        link = &(*link)->next;
    return link;
}

static int add_guest(struct parent *parent, const struct ipc_guest *message, int process)
{
    struct parent_docker *docker = &parent->docker;
    if (docker->n_guests == PARENT_GUESTS_MAX)
        return -ENOSPC;
    struct parent_guest *guest = calloc(1, sizeof *guest);
    struct epoll_event event = { .events = EPOLLIN, .data.ptr = docker };
    if (!guest || epoll_ctl(parent->epoll, EPOLL_CTL_ADD, process, &event) < 0) {
        int r = guest ? -errno : -ENOMEM;
        free(guest);
        return r;
    }
    *guest = (struct parent_guest){ .next = docker->guests, .container = message->container, .address = message->address, .process = process,
                                    .is_told = true };
    docker->guests = guest;
    docker->n_guests++;
    tell_workers(parent, guest, true);
    return 0;
}

/* An address is one container's at a time: whoever had it is told to have lost it, before anybody else is told to have it. */
void docker_on_guest(struct parent *parent, const struct ipc_guest *message, int process)
{
    cleanup_close int owned = process;
    struct parent_guest **link = find_guest(parent, &message->address);
    bool is_same = *link && (*link)->container == message->container;
    if (is_same && message->is_present && !process_has_ended((*link)->process)) {
        (*link)->is_told = true; /* a new docker role tells what its predecessor did */
        return;
    }
    if (*link && (is_same || message->is_present))
        guest_end(parent, link);
    if (!message->is_present || process_has_ended(owned))
        return;
    int r = add_guest(parent, message, owned);
    if (r == 0)
        (void)TAKE_FD(owned);
    else
        log_error("a container that asks stays nobody: %s", strerror(-r));
}

void docker_on_start(struct parent *parent)
{
    for (struct parent_guest *guest = parent->docker.guests; guest; guest = guest->next)
        guest->is_told = false;
}

void docker_on_guests_told(struct parent *parent)
{
    for (struct parent_guest **link = &parent->docker.guests; *link;)
        if ((*link)->is_told)
            link = &(*link)->next;
        else
            guest_end(parent, link);
}

/* ---- offers ---- */

static bool is_sound(const struct ipc_docker_offers *message, int fd)
{
    const int wanted = F_SEAL_WRITE | F_SEAL_GROW | F_SEAL_SHRINK;
    return (fcntl(fd, F_GET_SEALS) & wanted) == wanted && lseek(fd, 0, SEEK_END) == (off_t)(message->n * sizeof(struct ipc_offer));
}

void docker_on_offers(struct parent *parent, const struct ipc_docker_offers *message, int fd)
{
    struct parent_docker *docker = &parent->docker;
    if (!is_sound(message, fd)) {
        close(fd);
        struct child *role = child_find(parent, IPC_ROLE_DOCKER);
        if (role)
            child_kill(role, "what it says is offered is no such list");
        return;
    }
    bool is_nothing = docker->n_offers == 0 && message->n == 0;
    if (docker->offers.fd >= 0)
        close(docker->offers.fd);
    docker->offers = (struct parent_block){ fd, message->n * sizeof(struct ipc_offer) };
    docker->n_offers = message->n;
    if (!is_nothing)
        reload_ask_for_offers(parent);
}

void docker_tell_offers(struct parent *parent, struct child *docker)
{
    struct ipc_docker_offers message = { .header = IPC_HEADER(IPC_DOCKER_OFFERS, message), .n = parent->docker.n_offers };
    if (parent->docker.n_offers > 0 && lseek(parent->docker.offers.fd, 0, SEEK_SET) == 0)
        child_send(parent, docker, &message, &parent->docker.offers.fd, 1);
}

void docker_stop(struct parent *parent)
{
    parent->docker.n_offers = 0;
    static const struct docker_board_head nothing;
    if (parent->docker.board >= 0 && pwrite(parent->docker.board, &nothing, sizeof nothing, 0) < 0)
        log_warning("the board of containers still shows what was: %s", strerror(errno));
    while (parent->docker.guests)
        guest_end(parent, &parent->docker.guests);
}
