/* Receiving, judging, and making a connected socket without a moment in which it could receive anybody else's datagrams. */
#include "roles/porter_door.h"

#include <errno.h>
#include <linux/filter.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/log.h"

enum { FIRST_UNPRIVILEGED_PORT = 1024, KEY_SIZE = 16, TELL_MS = 1000 };

struct porter_door {
    struct io_source io;
    struct porter_door *next;
    struct porter *porter;
    struct address address;
    uint16_t port;
    char key[KEY_SIZE];               /* "udp/30000" */
    struct io_grave grave;
};

/* A datagram, and from where. */
struct caller {
    struct porter_door *door;
    struct address client;
    uint16_t port;
    struct sockaddr_storage from;
    socklen_t from_length;
};

/* ---- bounds ---- */

/* So many at once, and a second's share each second. */
static bool take_allowance(struct porter_allowance *a, uint64_t now_ms, uint32_t burst, uint32_t per_second)
{
    uint64_t regained = (now_ms - a->at_ms) * per_second / 1000;
    if (regained > 0) {
        a->used = regained < a->used ? a->used - (uint32_t)regained : 0;
        a->at_ms = now_ms;
    }
    if (a->used >= burst)
        return false;
    a->used++;
    return true;
}

static struct porter_recent *recent_slot(struct porter_recent *table, const struct caller *caller)
{
    uint64_t h = address_hash(&caller->client) * 31 + address_hash(&caller->door->address);
    h += ((uint64_t)caller->port << 16 | caller->door->port) * 0x9e3779b97f4a7c15;
    return &table[(h >> 32 ^ h) % PORTER_RECENT];
}

static bool is_recent(const struct porter_recent *slot, const struct caller *caller, uint64_t now_ms, uint64_t within_ms)
{
    return slot->at_ms && now_ms - slot->at_ms < within_ms && slot->client_port == caller->port && slot->port == caller->door->port &&
           address_equal(&slot->client, &caller->client) && address_equal(&slot->address, &caller->door->address);
}

static void remember(struct porter_recent *slot, const struct caller *caller, uint64_t now_ms)
{
    *slot = (struct porter_recent){ caller->client, caller->door->address, caller->port, caller->door->port, now_ms };
}

/* ---- who gets nothing ---- */

static void tell_refused(struct porter *porter, const struct caller *caller, enum ipc_record_denied why)
{
    struct ipc_flow_refused message = { .header = IPC_HEADER(IPC_PORTER_REFUSED, message), .why = why, .n = porter->n_refused };
    if (caller) {
        message.client = caller->client;
        message.client_port = caller->port;
        message.port = caller->door->port;
    }
    if (porter->n_refused > 0 && ipc_send_plain(porter->relay, &message) == 0)
        porter->n_refused = 0;
}

static void tell_due(struct io_timer *timer)
{
    tell_refused(container_of(timer, struct porter, tell), NULL, IPC_DENIED_NOT);
}

static void refuse(struct porter *porter, const struct caller *caller, enum ipc_record_denied why)
{
    uint64_t now_ms = porter->loop.now_ms;
    struct porter_recent *slot = recent_slot(porter->refusals, caller);
    porter->n_refused++;
    if (!is_recent(slot, caller, now_ms, PORTER_REFUSED_AGAIN_MS) &&
        take_allowance(&porter->written, now_ms, PORTER_REFUSED_PER_SECOND, PORTER_REFUSED_PER_SECOND)) {
        remember(slot, caller, now_ms);
        tell_refused(porter, caller, why);
    }
    if (!io_timer_is_set(&porter->tell))
        io_timer_set(&porter->loop, &porter->tell, TELL_MS);
}

static enum ipc_record_denied judge(const struct porter *porter, const struct caller *caller, uint32_t *ret_principal)
{
    const struct image_name_slot *slot = image_find_name(porter->view, str_of(caller->door->key));
    *ret_principal = image_find_principal(porter->view, &caller->client);
    if (*ret_principal == IMAGE_NONE)
        return IPC_DENIED_NOBODY;
    return image_verdict(porter->view, *ret_principal, slot ? slot->service : IMAGE_NONE) == IMAGE_NONE ? IPC_DENIED_NO_GRANT : IPC_DENIED_NOT;
}

/* ---- sockets ---- */

static int set_number(int fd, int level, int option)
{
    const int one = 1;
    return setsockopt(fd, level, option, &one, sizeof one) < 0 ? -errno : 0;
}

/* Between bind and connect it would be one more listener, and who sends at that moment would be taken for the one that it is connected to
 * next: until then it takes nothing. */
static int connect_deaf(int fd, const struct caller *caller)
{
    struct sock_filter nothing[] = { BPF_STMT(BPF_RET | BPF_K, 0) };
    const struct sock_fprog filter = { ARRAY_SIZE(nothing), nothing };
    struct sockaddr_storage own;
    socklen_t own_length = address_to_sockaddr(&caller->door->address, caller->door->port, &own);
    if (setsockopt(fd, SOL_SOCKET, SO_ATTACH_FILTER, &filter, sizeof filter) < 0 || bind(fd, (const struct sockaddr *)&own, own_length) < 0 ||
        connect(fd, (const struct sockaddr *)&caller->from, caller->from_length) < 0)
        return -errno;
    return set_number(fd, SOL_SOCKET, SO_DETACH_FILTER);
}

/* From the listener's address and port to the caller's. */
static int make_socket(const struct caller *caller)
{
    bool v4 = address_is_v4(&caller->door->address);
    cleanup_close int fd = socket(v4 ? AF_INET : AF_INET6, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    int r = fd < 0 ? -errno : set_number(fd, SOL_SOCKET, SO_REUSEPORT);
    if (r == 0)
        r = v4 ? set_number(fd, IPPROTO_IP, IP_FREEBIND) : set_number(fd, IPPROTO_IPV6, IPV6_FREEBIND);
    if (r == 0 && !v4)
        r = set_number(fd, IPPROTO_IPV6, IPV6_V6ONLY);
    if (r == 0)
        r = connect_deaf(fd, caller);
    return r < 0 ? r : TAKE_FD(fd);
}

/* Memory with the datagram: a message has no room for one that came in fragments. By a mapping, since we write to no such descriptor. */
static int make_memory(const char *data, size_t len)
{
    cleanup_close int fd = memfd_create("postern-datagram", MFD_CLOEXEC);
    if (fd < 0 || ftruncate(fd, (off_t)len) < 0)
        return -errno;
    void *map = mmap(NULL, len, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    if (map == MAP_FAILED)
        return -errno;
    memcpy(map, data, len);
    munmap(map, len);
    return TAKE_FD(fd);
}

/* ---- passing on ---- */

/* socket -1: it belongs to a flow that was told. The descriptors stay ours. 0 or negative errno. */
static int pass_on(struct porter *porter, const struct caller *caller, int socket, const char *data, size_t len)
{
    struct ipc_flow message = {
        .header = IPC_HEADER(IPC_PORTER_FLOW, message), .client = caller->client, .address = caller->door->address, .client_port = caller->port,
        .port = caller->door->port, .length = (uint16_t)len, .is_new = socket >= 0, .is_long = len > IPC_DATAGRAM_MAX,
    };
    cleanup_close int memory = -1;
    int fds[2];
    size_t n_fds = 0;
    if (socket >= 0)
        fds[n_fds++] = socket;
    if (message.is_long) {
        memory = make_memory(data, len);
        if (memory < 0)
            return memory;
        fds[n_fds++] = memory;
    } else {
        memcpy(message.data, data, len);
    }
    return ipc_send(porter->relay, &message, fds, n_fds);
}

/* At most once a second: who sends decides how often it happens. */
static void say_trouble(struct porter *porter, const struct caller *caller, int r)
{
    if (porter->said_ms && porter->loop.now_ms - porter->said_ms < TELL_MS)
        return;
    porter->said_ms = porter->loop.now_ms;
    log_warning("no socket for a flow to %s: %s", caller->door->key, strerror(-r));
}

static void take_datagram(struct porter *porter, const struct caller *caller, const char *data, size_t len)
{
    uint32_t principal;
    uint64_t now_ms = porter->loop.now_ms;
    enum ipc_record_denied denied = judge(porter, caller, &principal);
    if (denied != IPC_DENIED_NOT) {
        refuse(porter, caller, denied);
        return;
    }
    struct porter_recent *slot = recent_slot(porter->flows, caller);
    if (is_recent(slot, caller, now_ms, PORTER_RECENT_MS)) {
        (void)!pass_on(porter, caller, -1, data, len);
        return;
    }
    if (!take_allowance(&porter->allowances[principal], now_ms, PORTER_FLOWS_BURST, PORTER_FLOWS_PER_SECOND)) {
        refuse(porter, caller, IPC_DENIED_CAP);
        return;
    }
    cleanup_close int fd = make_socket(caller);
    int r = fd < 0 ? fd : pass_on(porter, caller, fd, data, len);
    if (r == 0)
        remember(slot, caller, now_ms);
    else if (r != -EAGAIN && r != -EPIPE)
        say_trouble(porter, caller, r);
}

static void door_ready(struct io_source *source, uint32_t events)
{
    struct porter_door *door = container_of(source, struct porter_door, io);
    struct porter *porter = door->porter;
    (void)events;
    for (unsigned i = 0; i < PORTER_DATAGRAMS_A_TURN; i++) {
        struct caller caller = { .door = door, .from_length = sizeof caller.from };
        ssize_t n = recvfrom(source->fd, porter->buffer, sizeof porter->buffer, 0, (struct sockaddr *)&caller.from, &caller.from_length);
        if (n < 0 && errno != EINTR)
            return;
        if (n < 0 || !address_from_sockaddr((const struct sockaddr *)&caller.from, &caller.client))
            continue;
        caller.port = address_sockaddr_port((const struct sockaddr *)&caller.from);
        if (caller.port != 0) /* nobody can be answered there */
            take_datagram(porter, &caller, porter->buffer, (size_t)n);
    }
}

/* ---- doors and views ---- */

int porter_door_add(struct porter *porter, int fd, const struct address *address, uint16_t port)
{
    struct porter_door *door = calloc(1, sizeof *door);
    if (!door)
        return -ENOMEM;
    *door = (struct porter_door){ .io = { .fd = fd, .ready = door_ready }, .porter = porter, .address = *address, .port = port,
                                  .next = porter->doors };
    snprintf(door->key, sizeof door->key, "udp/%u", (unsigned)port);
    int r = io_watch(&porter->loop, &door->io, EPOLLIN); /* by level: what a turn leaves is there at the next */
    if (r < 0) {
        free(door);
        return r;
    }
    porter->doors = door;
    return 0;
}

static void door_release(struct io_grave *grave)
{
    free(container_of(grave, struct porter_door, grave));
}

void porter_door_remove(struct porter *porter, const struct address *address, uint16_t port)
{
    for (struct porter_door **at = &porter->doors; *at; at = &(*at)->next) {
        struct porter_door *door = *at;
        if (door->port != port || !address_equal(&door->address, address))
            continue;
        *at = door->next;
        io_unwatch(&porter->loop, &door->io);
        close(door->io.fd);
        door->io.fd = -1;
        io_bury(&porter->loop, &door->grave, door_release);
        return;
    }
}

static struct porter_allowance *allowances_for(struct image view)
{
    return calloc((size_t)image_count(view, IMAGE_PRINCIPALS) + 1, sizeof(struct porter_allowance));
}

int porter_init(struct porter *porter, struct image view, int relay)
{
    int r = io_loop_init(&porter->loop);
    if (r < 0)
        return r;
    porter->view = view;
    porter->relay = relay;
    porter->tell.fire = tell_due;
    porter->allowances = allowances_for(view);
    return porter->allowances ? 0 : -ENOMEM;
}

int porter_take_view(struct porter *porter, struct image view, struct image *ret_old)
{
    struct porter_allowance *allowances = allowances_for(view);
    if (!allowances)
        return -ENOMEM;
    free(porter->allowances);
    porter->allowances = allowances;
    *ret_old = porter->view;
    porter->view = view;
    return 0;
}

bool porter_needs_low_ports(struct image view)
{
    const struct image_name_slot *slots = image_section(view, IMAGE_NAMES);
    for (uint32_t i = 0; i < image_count(view, IMAGE_NAMES); i++) {
        struct str rest = image_str(view, slots[i].name), transport = str_split(&rest, '/');
        uint64_t port;
        if (str_equal(transport, STR("udp")) && str_to_u64(rest, UINT16_MAX, &port) && port < FIRST_UNPRIVILEGED_PORT)
            return true;
    }
    return false;
}
