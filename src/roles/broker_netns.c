/* Opening, checking, entering and leaving network namespaces; what addresses they have, by rtnetlink. */
#include "roles/broker_netns.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <linux/nsfs.h>
#include <linux/rtnetlink.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/vfs.h>

enum {
    LOOPBACK_INDEX = 1,     /* the kernel makes lo first in every namespace */
    ADDRESS_ORIGIN = 0x70,  /* IFA_PROTO of the addresses we put there, so that we take away no others */
};

int broker_netns_init(struct broker_netns *netns)
{
    netns->n_held = 0;
    for (size_t i = 0; i < BROKER_NETNS_CACHE; i++)
        netns->named[i].entry.fd = -1;
    struct stat st;
    netns->home = open("/proc/thread-self/ns/net", O_RDONLY | O_CLOEXEC);
    if (netns->home < 0)
        return -errno;
    if (fstat(netns->home, &st)) {
        int r = -errno;
        close(TAKE_FD(netns->home));
        return r;
    }
    netns->home_dev = st.st_dev;
    netns->home_ino = st.st_ino;
    return 0;
}

static void entry_drop(struct broker_netns *netns, struct broker_netns_entry *entry)
{
    if (entry->fd < 0)
        return;
    close(TAKE_FD(entry->fd));
    netns->n_held--;
}

int broker_netns_expire(struct broker_netns *netns, int64_t now_ms)
{
    if (netns->n_held == 0)
        return -1;
    int64_t next_ms = -1;
    for (size_t i = 0; i < BROKER_NETNS_CACHE; i++) {
        struct broker_netns_entry *entry = &netns->named[i].entry;
        if (entry->fd < 0)
            continue;
        int64_t left_ms = entry->opened_ms + BROKER_NETNS_HELD_MS - now_ms;
        if (left_ms <= 0)
            entry_drop(netns, entry);
        else if (next_ms < 0 || left_ms < next_ms)
            next_ms = left_ms;
    }
    return (int)next_ms;
}

int broker_netns_check(const struct broker_netns *netns, int fd, const char *name, struct stat *ret_st, struct error *err)
{
    struct statfs fs;
    struct stat st;
    if (fstatfs(fd, &fs) || fstat(fd, &st))
        return -errno;
    if (fs.f_type != NSFS_MAGIC || ioctl(fd, NS_GET_NSTYPE) != CLONE_NEWNET) {
        error_set(err, "%s is %s", name, fs.f_type == NSFS_MAGIC ? "a namespace, but not a network namespace" : "not a network namespace");
        return -EACCES;
    }
    if (st.st_dev == netns->home_dev && st.st_ino == netns->home_ino) {
        error_set(err, "%s is the gateway's own network namespace; a service on the host is declared with host: and port:", name);
        return -EACCES;
    }
    *ret_st = st;
    return 0;
}

/* Opens what the path names, through an O_PATH descriptor first: opening a device or a pipe would already do something to it. */
static int namespace_open(const struct broker_netns *netns, const char *path, struct stat *ret_st, struct error *err)
{
    cleanup_close int look = open(path, O_PATH | O_CLOEXEC);
    if (look < 0) {
        int r = -errno;
        error_set(err, "%s can't be opened: %s", path, strerror(-r));
        return r;
    }
    struct statfs fs;
    if (fstatfs(look, &fs))
        return -errno;
    if (fs.f_type != NSFS_MAGIC) {
        error_set(err, "%s is not a network namespace", path);
        return -EACCES;
    }
    char again[sizeof "/proc/self/fd/" + 12];
    snprintf(again, sizeof again, "/proc/self/fd/%d", look);
    cleanup_close int fd = open(again, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (fd < 0) {
        int r = -errno;
        error_set(err, "%s can't be opened: %s; the broker reads namespaces beneath /run, and in the directories that the declaration named "
                       "when postern started: restart postern to add one",
                  path, strerror(-r));
        return r;
    }
    int r = broker_netns_check(netns, fd, path, ret_st, err);
    return r ? r : TAKE_FD(fd);
}

int broker_netns_open(struct broker_netns *netns, struct str path, int64_t now_ms, struct broker_netns_entry **ret, struct error *err)
{
    if (path.len == 0 || path.len >= BROKER_NETNS_PATH_MAX || memchr(path.ptr, 0, path.len))
        return -ENAMETOOLONG;

    struct broker_netns_named *slot = &netns->named[0], *found = NULL;
    for (size_t i = 0; i < BROKER_NETNS_CACHE && !found; i++) {
        struct broker_netns_named *named = &netns->named[i];
        if (named->entry.fd >= 0 && str_equal(str_of(named->path), path))
            found = named;
        else if (slot->entry.fd >= 0 && (named->entry.fd < 0 || named->entry.opened_ms < slot->entry.opened_ms))
            slot = named;
    }
    if (found) {
        /* The held descriptor pins its inode number: equal means the same namespace. Once a millisecond tells as much as at each use. */
        struct broker_netns_entry *entry = &found->entry;
        struct stat st;
        if (entry->checked_ms == now_ms) {
            *ret = entry;
            return 0;
        }
        int r = stat(found->path, &st) ? -errno : 0;
        if (r == 0 && st.st_dev == entry->dev && st.st_ino == entry->ino && now_ms - entry->opened_ms < BROKER_NETNS_HELD_MS) {
            entry->checked_ms = now_ms;
            *ret = entry;
            return 0;
        }
        entry_drop(netns, entry);
        if (r)
            return r;
        slot = found;
    }

    char name[BROKER_NETNS_PATH_MAX];
    str_copy(name, sizeof name, path);
    struct stat st = { 0 };
    int fd = namespace_open(netns, name, &st, err);
    if (fd < 0)
        return fd;
    entry_drop(netns, &slot->entry);
    slot->entry = (struct broker_netns_entry){ .fd = fd, .dev = st.st_dev, .ino = st.st_ino, .opened_ms = now_ms, .checked_ms = now_ms };
    memcpy(slot->path, name, sizeof name);
    netns->n_held++;
    *ret = &slot->entry;
    return 0;
}

int broker_netns_socket(struct broker_netns *netns, const struct broker_netns_entry *entry, int family, int type, int protocol)
{
    if (setns(entry->fd, CLONE_NEWNET))
        return errno == EPERM ? -EACCES : -errno;
    int fd = socket(family, type | SOCK_NONBLOCK | SOCK_CLOEXEC, protocol);
    int r = fd < 0 ? -errno : fd;
    if (setns(netns->home, CLONE_NEWNET))
        abort();
    return r;
}

/* ---- rtnetlink ---- */

struct seen {
    struct address addresses[IMAGE_TARGET_ADDRESSES];
    unsigned n;
    bool source_on_lo[2], source_is_ours[2];
};

static bool attribute_address(const struct rtattr *attribute, unsigned family, struct address *ret)
{
    size_t length = family == AF_INET ? 4 : 16;
    if (RTA_PAYLOAD(attribute) < length)
        return false;
    struct sockaddr_storage sa = { .ss_family = (sa_family_t)family };
    if (family == AF_INET)
        memcpy(&((struct sockaddr_in *)(void *)&sa)->sin_addr, RTA_DATA(attribute), 4);
    else
        memcpy(&((struct sockaddr_in6 *)(void *)&sa)->sin6_addr, RTA_DATA(attribute), 16);
    return address_from_sockaddr((struct sockaddr *)&sa, ret);
}

static void see_address(const struct nlmsghdr *message, const struct address sources[static 2], struct seen *seen)
{
    const struct ifaddrmsg *info = NLMSG_DATA(message);
    if (message->nlmsg_len < NLMSG_LENGTH(sizeof *info) || (info->ifa_family != AF_INET && info->ifa_family != AF_INET6))
        return;
    bool have = false;
    struct address address;
    uint32_t flags = info->ifa_flags;
    uint8_t origin = 0;
    size_t left = message->nlmsg_len - NLMSG_LENGTH(sizeof *info);
    for (const struct rtattr *a = IFA_RTA(info); RTA_OK(a, left); a = RTA_NEXT(a, left)) {
        /* IFA_LOCAL is ours; IFA_ADDRESS is the far end of a point-to-point link, and ours where IFA_LOCAL is missing. */
        if (a->rta_type == IFA_LOCAL || (a->rta_type == IFA_ADDRESS && !have))
            have = attribute_address(a, info->ifa_family, &address) || have;
        else if (a->rta_type == IFA_FLAGS && RTA_PAYLOAD(a) >= sizeof flags)
            memcpy(&flags, RTA_DATA(a), sizeof flags);
        else if (a->rta_type == IFA_PROTO && RTA_PAYLOAD(a) >= sizeof origin)
            memcpy(&origin, RTA_DATA(a), sizeof origin);
    }
    if (!have)
        return;
    if (info->ifa_index == LOOPBACK_INDEX) {
        for (size_t i = 0; i < 2; i++)
            if (address_equal(&address, &sources[i])) {
                seen->source_on_lo[i] = true;
                seen->source_is_ours[i] = origin == ADDRESS_ORIGIN;
            }
        return;
    }
    if (info->ifa_scope != RT_SCOPE_UNIVERSE || flags & (IFA_F_TENTATIVE | IFA_F_DADFAILED | IFA_F_DEPRECATED) ||
        seen->n == IMAGE_TARGET_ADDRESSES)
        return;
    seen->addresses[seen->n++] = address;
}

/* A gateway on trial may have a loopback address for its mesh: that is no source, it is what must not be taken for one. */
static bool source_given(const struct address *source)
{
    static const struct address none;
    return !address_equal(source, &none) && !address_is_loopback(source);
}

/* A dump of one family's addresses, IPv4 asked before IPv6 so that the order of trying follows. */
static int see_family(int netlink, unsigned family, const struct address sources[static 2], struct seen *seen)
{
    struct {
        struct nlmsghdr header;
        struct ifaddrmsg info;
    } ask = { .header = { .nlmsg_len = sizeof ask, .nlmsg_type = RTM_GETADDR, .nlmsg_flags = NLM_F_REQUEST | NLM_F_DUMP },
              .info = { .ifa_family = (uint8_t)family } };
    if (send(netlink, &ask, sizeof ask, 0) < 0)
        return -errno;
    for (;;) {
        union {
            struct nlmsghdr header;
            char bytes[16384];
        } answer;
        ssize_t n = recv(netlink, &answer, sizeof answer, 0);
        if (n < 0)
            return -errno; /* a dump's first part is there when send returns, each next when one was read: never -EAGAIN */
        size_t left = (size_t)n;
        for (const struct nlmsghdr *m = &answer.header; NLMSG_OK(m, left); m = NLMSG_NEXT(m, left)) {
            if (m->nlmsg_type == NLMSG_DONE)
                return 0;
            if (m->nlmsg_type == NLMSG_ERROR)
                return -EIO;
            if (m->nlmsg_type == RTM_NEWADDR)
                see_address(m, sources, seen);
        }
    }
}

/* Puts the address on lo, or takes it from there. Being there already, or not any more, is fine. */
static int change_loopback(int netlink, uint16_t type, const struct address *address)
{
    bool v4 = address_is_v4(address);
    struct {
        struct nlmsghdr header;
        struct ifaddrmsg info;
        struct rtattr origin_attribute;
        uint8_t origin, padding[3];
        struct rtattr attribute;
        uint8_t address[16];
    } ask = { .header = { .nlmsg_type = type, .nlmsg_flags = NLM_F_REQUEST | NLM_F_ACK },
              .info = { .ifa_family = v4 ? AF_INET : AF_INET6, .ifa_prefixlen = v4 ? 32 : 128, .ifa_flags = v4 ? 0 : IFA_F_NODAD,
                        .ifa_index = LOOPBACK_INDEX },
              .origin_attribute = { .rta_len = RTA_LENGTH(1), .rta_type = IFA_PROTO },
              .origin = ADDRESS_ORIGIN,
              .attribute = { .rta_type = IFA_LOCAL } };
    size_t length = v4 ? 4 : 16;
    ask.attribute.rta_len = (uint16_t)RTA_LENGTH(length);
    memcpy(ask.address, address->bytes + 16 - length, length);
    ask.header.nlmsg_len = (uint32_t)(offsetof(__typeof__(ask), address) + length);
    if (type == RTM_NEWADDR)
        ask.header.nlmsg_flags |= NLM_F_CREATE | NLM_F_EXCL;
    if (send(netlink, &ask, ask.header.nlmsg_len, 0) < 0)
        return -errno;
    struct {
        struct nlmsghdr header;
        struct nlmsgerr error;
        char rest[512];
    } answer;
    ssize_t n = recv(netlink, &answer, sizeof answer, 0);
    if (n < 0)
        return -errno;
    if ((size_t)n < offsetof(__typeof__(answer), rest) - sizeof answer.error.msg || answer.header.nlmsg_type != NLMSG_ERROR)
        return -EIO;
    int r = answer.error.error;
    return r == -EEXIST || r == -EADDRNOTAVAIL ? 0 : r;
}

int broker_netns_find_routes(struct broker_netns *netns, struct broker_netns_entry *entry, const struct address sources[static 2], int64_t now_ms)
{
    static const struct address loopbacks[2] = { { { [10] = 0xff, [11] = 0xff, [12] = 127, [15] = 1 } }, { { [15] = 1 } } };

    if (entry->routes_ms && now_ms - entry->routes_ms < BROKER_NETNS_HELD_MS)
        return 0;
    entry->routes_ms = 0;
    cleanup_close int netlink = broker_netns_socket(netns, entry, AF_NETLINK, SOCK_RAW, NETLINK_ROUTE);
    if (netlink < 0)
        return netlink;
    struct seen seen = { 0 };
    int r = see_family(netlink, AF_INET, sources, &seen);
    if (r == 0)
        r = see_family(netlink, AF_INET6, sources, &seen);
    if (r)
        return r;

    entry->n_routes = 0;
    for (unsigned i = 0; i < seen.n; i++)
        entry->routes[entry->n_routes++] = (struct broker_route){ .address = seen.addresses[i], .source = seen.addresses[i], .has_source = true };
    for (size_t i = 0; i < 2; i++) {
        if (!source_given(&sources[i]))
            continue;
        if (seen.n > 0) {
            /* It has a network by now: our address on its lo would hide the real one from it. */
            r = seen.source_is_ours[i] ? change_loopback(netlink, RTM_DELADDR, &sources[i]) : 0;
            if (r)
                return r;
        } else {
            r = seen.source_on_lo[i] ? 0 : change_loopback(netlink, RTM_NEWADDR, &sources[i]);
            if (r == -EAFNOSUPPORT || r == -EOPNOTSUPP || (r == -EACCES && i == 1))
                continue; /* IPv6 is off there */
            if (r)
                return r;
            entry->routes[entry->n_routes++] = (struct broker_route){ .address = loopbacks[i], .source = sources[i], .has_source = true };
        }
    }
    if (entry->n_routes == 0)
        return -EADDRNOTAVAIL;
    entry->routes_ms = now_ms;
    return 0;
}
