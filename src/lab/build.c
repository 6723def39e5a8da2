/* Mounts, namespaces and links. The mesh is a bridge whose ports can't talk to each other but only to the bridge's own namespace, which
 * routes between them: so every packet passes one forward hook, as it passes the coordinator's filter in a real mesh, and a kernel
 * needs no connection tracking for bridges. The LAN is a plain bridge in a namespace of its own. */
#include "lab/build.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

#include "lab/netlink.h"
#include "lab/nft.h"
#include "lab/space.h"

#define MESH_LINK NFT_MESH_INTERFACE
#define LAN_LINK  "lan0"
#define LAN_NET   SPACE_ROOT "/lan"

/* The router of the mesh, as its hosts see it: link-local, so that it can be nobody's address. */
static const struct address mesh_router[2] = {
    { { [10] = 0xff, [11] = 0xff, [12] = 169, [13] = 254, [14] = 77, [15] = 1 } },
    { { [0] = 0xfe, [1] = 0x80, [15] = 1 } },
};

static int failed(struct error *err, const char *what, int r)
{
    if (r == -EOPNOTSUPP)
        error_set(err, "%s: this kernel lacks bridges or veth pairs; as root: modprobe -a bridge veth", what);
    else if (r == -EROFS)
        error_set(err, "%s: /proc/sys is read-only here, as in most containers; start the container with its own user namespace, or privileged", what);
    else
        error_set(err, "%s: %s", what, strerror(-r));
    return r;
}

/* mkdir -p, of everything below the tmpfs that /run is here. */
static int make_directories(const char *path)
{
    char walk[PATH_MAX];
    size_t length = str_copy(walk, sizeof(walk), str_of(path));
    for (size_t i = 1; i <= length; i++) {
        if (walk[i] != '/' && walk[i] != '\0')
            continue;
        char kept = walk[i];
        walk[i] = '\0';
        if (mkdir(walk, 0755) < 0 && errno != EEXIST)
            return -errno;
        walk[i] = kept;
    }
    return 0;
}

int build_file(const char *path, struct str text, struct error *err)
{
    char temporary[PATH_MAX];
    int n = snprintf(temporary, sizeof(temporary), "%s.new", path);
    if (n < 0 || n >= PATH_MAX)
        return failed(err, path, -ENAMETOOLONG);
    cleanup_close int fd = open(temporary, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
    if (fd < 0)
        return failed(err, path, -errno);
    for (size_t done = 0; done < text.len;) {
        ssize_t written = write(fd, text.ptr + done, text.len - done);
        if (written < 0)
            return failed(err, path, -errno);
        done += (size_t)written;
    }
    return rename(temporary, path) < 0 ? failed(err, path, -errno) : 0;
}

/* A declared log file below /var/log is the lab's, not the machine's. */
static int hide_logs(const struct model *model)
{
    char path[PATH_MAX];
    if (model->log_to != MODEL_LOG_FILE || !str_starts_with(model->log_file, STR("/var/log/")))
        return 0;
    if (mount("postern-lab", "/var/log", "tmpfs", MS_NOSUID | MS_NODEV, "mode=755,size=512m") < 0)
        return errno == ENOENT ? 0 : -errno;
    size_t length = str_copy(path, sizeof(path), model->log_file);
    while (path[length] != '/')
        length--;
    path[length] = '\0';
    return make_directories(path);
}

int build_mounts(const struct model *model, struct error *err)
{
    if (mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0)
        return failed(err, "can't detach from the machine's mounts", -errno);
    /* Where /proc can't be mounted anew (inside many containers) the old one serves: /proc/self is right in it, other numbers aren't. */
    (void)!mount("proc", "/proc", "proc", MS_NOSUID | MS_NODEV | MS_NOEXEC, NULL);
    if (mount("postern-lab", "/run", "tmpfs", MS_NOSUID | MS_NODEV, "mode=755,size=512m") < 0)
        return failed(err, "can't mount a tmpfs over /run", -errno);
    int r = make_directories(SPACE_HOSTS);
    if (r == 0)
        r = make_directories(SPACE_ROOT "/etc");
    if (r == 0)
        r = hide_logs(model);
    return r < 0 ? failed(err, SPACE_ROOT, r) : 0;
}

static int set_sysctl(const char *name, const char *value)
{
    char path[PATH_MAX];
    snprintf(path, sizeof(path), "/proc/sys/net/%s", name);
    cleanup_close int fd = open(path, O_WRONLY | O_CLOEXEC);
    if (fd < 0)
        return -errno;
    return write(fd, value, strlen(value)) < 0 ? -errno : 0;
}

/* A new network namespace, kept by a mount at path, with its loopback up; the caller is in it afterwards. */
static int make_namespace(const char *path)
{
    char directory[PATH_MAX];
    size_t length = str_copy(directory, sizeof(directory), str_of(path));
    while (length && directory[length] != '/')
        length--;
    directory[length] = '\0';
    int r = make_directories(directory);
    if (r < 0)
        return r;
    cleanup_close int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0444);
    if (fd < 0)
        return -errno;
    if (unshare(CLONE_NEWNET) < 0 || mount("/proc/self/ns/net", path, NULL, MS_BIND, NULL) < 0)
        return -errno;
    cleanup_close int netlink = netlink_open();
    if (netlink < 0)
        return netlink;
    /* Addresses are declared, never in conflict: usable at once. No router on these links is to be believed, least of all the mesh's,
     * which says to everyone that there is a shorter way to its neighbour (for IPv6 it can't be told not to). */
    static const char *const settings[][2] = {
        { "ipv6/conf/default/accept_dad", "0" },
        { "ipv6/conf/default/accept_ra", "0" },
        { "ipv6/conf/default/accept_redirects", "0" },
        { "ipv4/conf/all/accept_redirects", "0" },
        { "ipv4/conf/default/accept_redirects", "0" },
    };
    for (size_t i = 0; i < ARRAY_SIZE(settings); i++) {
        r = set_sysctl(settings[i][0], settings[i][1]);
        if (r < 0 && r != -ENOENT)
            return r;
    }
    return netlink_set_up(netlink, "lo");
}

static int host_path(char path[static PATH_MAX], struct str host, const char *below)
{
    int n = snprintf(path, PATH_MAX, SPACE_HOSTS "/%.*s%s%s", STR_ARG(host), below[0] ? "/" : "", below);
    return n > 0 && n < PATH_MAX ? 0 : -ENAMETOOLONG;
}

/* A cable from a port in the current namespace to link in the namespace at net. */
static int plug(int netlink, const char *port, const char *bridge, bool isolated, const char *link, const char *net)
{
    cleanup_close int far = open(net, O_RDONLY | O_CLOEXEC);
    int r = far < 0 ? -errno : netlink_add_veth(netlink, port, link, far);
    if (r == 0)
        r = netlink_join_bridge(netlink, port, bridge, isolated);
    return r < 0 ? r : netlink_set_up(netlink, port);
}

/* In the host's namespace: its addresses, and a route by way of the mesh's router to everybody else's. */
static int address_mesh_link(const struct model *model, uint32_t host, int netlink)
{
    const struct model_prefixes *own = &model->hosts[host].addresses;
    int r = netlink_set_up(netlink, MESH_LINK);
    bool has[2] = { false, false };
    for (uint32_t i = 0; i < own->n && r == 0; i++) {
        has[address_is_v4(&own->items[i].address) ? 0 : 1] = true;
        r = netlink_add_address(netlink, MESH_LINK, &own->items[i].address, 128);
    }
    for (uint32_t i = 0; i < model->n_hosts && r == 0; i++) {
        const struct model_prefixes *far = &model->hosts[i].addresses;
        for (uint32_t k = 0; i != host && k < far->n && r == 0; k++) {
            unsigned family = address_is_v4(&far->items[k].address) ? 0 : 1;
            if (has[family])
                r = netlink_add_route(netlink, MESH_LINK, &far->items[k], &mesh_router[family]);
        }
    }
    return r;
}

static int address_lan_link(int netlink, const struct address_prefix *lan, uint32_t n)
{
    int r = netlink_set_up(netlink, LAN_LINK);
    for (uint32_t i = 0; i < n && r == 0; i++)
        if (world_is_lan_address(&lan[i]))
            r = netlink_add_address(netlink, LAN_LINK, &lan[i].address, world_lan_bits(&lan[i].address));
    return r;
}

static int build_mesh(int netlink)
{
    static const char *const settings[][2] = {
        { "ipv4/ip_forward", "1" },
        { "ipv6/conf/all/forwarding", "1" },
        /* Hosts must not be told that they could talk past the router. */
        { "ipv4/conf/all/send_redirects", "0" },
        { "ipv4/conf/default/send_redirects", "0" },
        { "ipv4/conf/all/rp_filter", "0" },
        { "ipv4/conf/default/rp_filter", "0" },
        /* Each refusal is told, however many there are: who is refused must not have to wait to learn it. */
        { "ipv4/icmp_ratemask", "0" },
        { "ipv6/icmp/ratelimit", "0" },
    };
    (void)!set_sysctl("ipv6/conf/default/accept_dad", "0");
    for (size_t i = 0; i < ARRAY_SIZE(settings); i++) {
        int r = set_sysctl(settings[i][0], settings[i][1]);
        if (r < 0)
            return r;
    }
    int r = netlink_set_up(netlink, "lo");
    if (r == 0)
        r = netlink_add_bridge(netlink, "mesh");
    if (r == 0)
        r = netlink_set_up(netlink, "mesh");
    for (size_t i = 0; i < ARRAY_SIZE(mesh_router) && r == 0; i++)
        r = netlink_add_address(netlink, "mesh", &mesh_router[i], 128);
    return r;
}

/* One host: its namespace, its cables, its addresses. near: netlink and namespace of the mesh; lan_netlink: of the LAN. */
static int build_host(const struct model *model, uint32_t host, int mesh_netlink, int lan_netlink, int mesh, int lan)
{
    const struct model_host *h = &model->hosts[host];
    char net[PATH_MAX], port[16];
    int r = host_path(net, h->name.text, "net");
    if (r == 0)
        r = make_namespace(net);
    if (r < 0)
        return r;
    cleanup_close int own = open(net, O_RDONLY | O_CLOEXEC);
    if (own < 0)
        return -errno;
    cleanup_close int netlink = netlink_open();
    r = netlink < 0 ? netlink : setns(mesh, CLONE_NEWNET) < 0 ? -errno : 0;
    snprintf(port, sizeof(port), "m%u", host);
    if (r == 0)
        r = plug(mesh_netlink, port, "mesh", true, MESH_LINK, net);
    for (uint32_t i = 0; i < h->addresses.n && r == 0; i++)
        r = netlink_add_route(mesh_netlink, "mesh", &h->addresses.items[i], NULL);
    if (r == 0 && world_has_lan(h)) {
        snprintf(port, sizeof(port), "l%u", host);
        r = setns(lan, CLONE_NEWNET) < 0 ? -errno : plug(lan_netlink, port, "lan", false, LAN_LINK, net);
    }
    if (r == 0)
        r = setns(own, CLONE_NEWNET) < 0 ? -errno : address_mesh_link(model, host, netlink);
    if (r == 0 && world_has_lan(h))
        r = address_lan_link(netlink, h->lan.items, h->lan.n);
    return r;
}

/* The neighbour tries mesh addresses by way of their hosts' LAN addresses: a kernel takes in what is for any address of its own. */
static int route_round(const struct world *world, int netlink)
{
    int r = 0;
    for (uint32_t i = 0; i < world->model->n_hosts; i++) {
        const struct model_host *host = &world->model->hosts[i];
        for (uint32_t k = 0; k < host->addresses.n && r == 0; k++)
            for (uint32_t l = 0; l < host->lan.n; l++)
                if (world_is_lan_address(&host->lan.items[l]) &&
                    address_is_v4(&host->lan.items[l].address) == address_is_v4(&host->addresses.items[k].address)) {
                    r = netlink_add_route(netlink, LAN_LINK, &host->addresses.items[k], &host->lan.items[l].address);
                    break;
                }
    }
    return r;
}

static int build_guest(const struct world *world, int lan_netlink, int lan)
{
    char net[PATH_MAX];
    int r = host_path(net, world->guest, "net");
    if (r == 0)
        r = make_namespace(net);
    if (r < 0)
        return r;
    cleanup_close int own = open(net, O_RDONLY | O_CLOEXEC);
    if (own < 0)
        return -errno;
    cleanup_close int netlink = netlink_open();
    r = netlink < 0 ? netlink : setns(lan, CLONE_NEWNET) < 0 ? -errno : plug(lan_netlink, "lguest", "lan", false, LAN_LINK, net);
    if (r == 0)
        r = setns(own, CLONE_NEWNET) < 0 ? -errno : address_lan_link(netlink, world->guest_lan, world->n_guest_lan);
    return r < 0 ? r : route_round(world, netlink);
}

/* A container's namespace has its loopback and nothing else; an address that the service is declared to be dialled at is put there. */
static int build_container(const struct world *world, const struct world_instance *instance)
{
    char path[PATH_MAX], below[PATH_MAX];
    str_copy(below, sizeof(below), instance->path);
    int r = host_path(path, world->model->hosts[instance->host].name.text, below);
    if (r < 0 || access(path, F_OK) == 0)
        return r; /* several services of one container */
    r = make_namespace(path);
    if (r < 0)
        return r;
    cleanup_close int netlink = netlink_open();
    if (netlink < 0)
        return netlink;
    for (uint32_t i = 0; i < instance->n_listen && r == 0; i++)
        if (!address_is_loopback(&instance->listen[i]))
            r = netlink_add_address(netlink, "lo", &instance->listen[i], 128);
    return r;
}

/* The directory of a unix socket, in its host's /run. */
static int build_socket_directory(const struct world *world, const struct world_instance *instance)
{
    char path[PATH_MAX], below[PATH_MAX];
    size_t length = str_copy(below, sizeof(below), world_below_run(instance->path));
    while (length && below[length] != '/')
        length--;
    below[length] = '\0';
    int r = host_path(path, world->model->hosts[instance->host].name.text, below);
    return r < 0 ? r : make_directories(path);
}

static int build_place(const struct world *world, const struct world_instance *instance)
{
    if (instance->unserved.len)
        return 0;
    switch (instance->place) {
    case WORLD_HOST: return 0;
    case WORLD_NAMESPACE: return build_container(world, instance);
    case WORLD_UNIX: return build_socket_directory(world, instance);
    }
    return -EINVAL;
}

int build_networks(const struct world *world, struct error *err)
{
    const struct model *model = world->model;
    cleanup_close int mesh = open("/proc/self/ns/net", O_RDONLY | O_CLOEXEC);
    cleanup_close int mesh_netlink = netlink_open();
    int r = mesh < 0 ? -errno : mesh_netlink < 0 ? mesh_netlink : build_mesh(mesh_netlink);
    if (r < 0)
        return failed(err, "can't make the mesh", r);
    r = make_namespace(LAN_NET);
    cleanup_close int lan_netlink = r == 0 ? netlink_open() : -1;
    cleanup_close int lan = open(LAN_NET, O_RDONLY | O_CLOEXEC);
    if (r == 0)
        r = lan_netlink < 0 ? lan_netlink : lan < 0 ? -errno : netlink_add_bridge(lan_netlink, "lan");
    if (r == 0)
        r = netlink_set_up(lan_netlink, "lan");
    if (r < 0)
        return failed(err, "can't make the LAN", r);

    for (uint32_t i = 0; i < model->n_hosts; i++) {
        r = build_host(model, i, mesh_netlink, lan_netlink, mesh, lan);
        if (r < 0) {
            (void)failed(err, "can't be made", r);
            error_wrap(err, "host %.*s", STR_ARG(model->hosts[i].name.text));
            return r;
        }
    }
    r = world->guest.len ? build_guest(world, lan_netlink, lan) : 0;
    if (r < 0)
        return failed(err, "can't make the neighbour on the LAN", r);
    for (uint32_t i = 0; i < world->n_instances; i++) {
        const struct world_instance *instance = &world->instances[i];
        r = build_place(world, instance);
        if (r < 0) {
            error_set(err, "can't make the place of %.*s: %s", STR_ARG(instance->name), strerror(-r));
            return r;
        }
    }
    if (setns(mesh, CLONE_NEWNET) < 0)
        return failed(err, "can't return to the mesh", -errno);
    return 0;
}

int build_rules(const struct world *world, struct error *err)
{
    const struct model *model = world->model;
    cleanup_close int mesh = open("/proc/self/ns/net", O_RDONLY | O_CLOEXEC);
    if (mesh < 0)
        return failed(err, "can't apply the mesh's rules", -errno);
    int r = nft_apply_mesh(model, err);
    for (uint32_t i = 0; i < model->n_hosts && r == 0; i++) {
        char net[PATH_MAX];
        if (model->hosts[i].os != MODEL_OS_LINUX)
            continue;
        r = host_path(net, model->hosts[i].name.text, "net");
        cleanup_close int own = r == 0 ? open(net, O_RDONLY | O_CLOEXEC) : -1;
        if (own < 0 || setns(own, CLONE_NEWNET) < 0)
            r = failed(err, net, -errno);
        if (r == 0)
            r = nft_apply_host(model, i, err);
        if (r < 0)
            error_wrap(err, "rules of %.*s", STR_ARG(model->hosts[i].name.text));
    }
    if (setns(mesh, CLONE_NEWNET) < 0 && r == 0)
        r = failed(err, "can't return to the mesh", -errno);
    return r;
}
