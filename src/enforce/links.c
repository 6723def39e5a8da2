/* rtnetlink dumps of interfaces and addresses, and the numbers of other namespaces. */
#include "enforce/links.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/net_namespace.h>
#include <linux/rtnetlink.h>
#include <string.h>
#include <sys/socket.h>

enum { ANSWER_SIZE = 64 << 10, LINKS_MAX = 1 << 24, DUMP_TRIES = 4 };

typedef void (*reader)(const struct nlmsghdr *message, struct links *links);

static int route_open(void)
{
    int fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_ROUTE);
    const struct timeval limit = { .tv_sec = 5 };
    if (fd >= 0 && setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit) < 0) {
        int r = -errno;
        close(fd);
        return r;
    }
    return fd < 0 ? -errno : fd;
}

/* ---- messages ---- */

static const struct rtattr *attribute_find(const struct rtattr *attributes, size_t size, unsigned short type)
{
    int left = (int)size;
    for (const struct rtattr *a = attributes; RTA_OK(a, left); a = RTA_NEXT(a, left))
        if ((a->rta_type & NLA_TYPE_MASK) == type)
            return a;
    return NULL;
}

static int attribute_int(const struct rtattr *attribute, int otherwise)
{
    int value = otherwise;
    if (attribute && RTA_PAYLOAD(attribute) >= sizeof value)
        memcpy(&value, RTA_DATA(attribute), sizeof value);
    return value;
}

static struct str attribute_text(const struct rtattr *attribute)
{
    return attribute ? str_make(RTA_DATA(attribute), strnlen(RTA_DATA(attribute), RTA_PAYLOAD(attribute))) : STR_NONE;
}

static void read_link(const struct nlmsghdr *message, struct links *links)
{
    const struct ifinfomsg *body = NLMSG_DATA(message);
    const struct rtattr *first = IFLA_RTA(body);
    size_t size = IFLA_PAYLOAD(message);
    const struct rtattr *info = attribute_find(first, size, IFLA_LINKINFO);
    struct str kind = info ? attribute_text(attribute_find(RTA_DATA(info), RTA_PAYLOAD(info), IFLA_INFO_KIND)) : STR_NONE;
    struct link link = {
        .index = body->ifi_index,
        .master = attribute_int(attribute_find(first, size, IFLA_MASTER), 0),
        .peer_namespace = attribute_int(attribute_find(first, size, IFLA_LINK_NETNSID), LINKS_NO_NAMESPACE),
        .is_bridge = str_equal(kind, STR("bridge")),
    };
    if (message->nlmsg_type != RTM_NEWLINK || message->nlmsg_len < NLMSG_LENGTH(sizeof *body))
        return;
    str_copy(link.name, sizeof link.name, attribute_text(attribute_find(first, size, IFLA_IFNAME)));
    buf_append(&links->links, str_make((const char *)&link, sizeof link));
}

static void read_address(const struct nlmsghdr *message, struct links *links)
{
    const struct ifaddrmsg *body = NLMSG_DATA(message);
    const struct rtattr *first = IFA_RTA(body), *attribute;
    size_t size = IFA_PAYLOAD(message), n = body->ifa_family == AF_INET ? 4 : 16;
    struct address_prefix prefix = { .address.bytes = { [10] = 0xff, [11] = 0xff }, .bits = (uint8_t)(128 - n * 8 + body->ifa_prefixlen) };
    if (message->nlmsg_type != RTM_NEWADDR || message->nlmsg_len < NLMSG_LENGTH(sizeof *body))
        return;
    attribute = attribute_find(first, size, IFA_ADDRESS);
    if (!attribute || RTA_PAYLOAD(attribute) != n || body->ifa_prefixlen > n * 8)
        return;
    memcpy(prefix.address.bytes + 16 - n, RTA_DATA(attribute), n);
    if (address_is_loopback(&prefix.address))
        return;
    prefix.address = address_mask(&prefix.address, prefix.bits);
    buf_append(&links->prefixes, str_make((const char *)&prefix, sizeof prefix));
}

/* ---- dumps ---- */

/* 0, or -EINTR when what is listed changed meanwhile. */
static int dump_receive(int fd, struct links *links, reader read)
{
    union {
        struct nlmsghdr header;
        char bytes[ANSWER_SIZE];
    } answer;
    for (;;) {
        ssize_t n = recv(fd, &answer, sizeof answer, 0);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return -errno;
        int left = (int)n;
        for (const struct nlmsghdr *m = &answer.header; NLMSG_OK(m, (unsigned)left); m = NLMSG_NEXT(m, left)) {
            if (m->nlmsg_flags & NLM_F_DUMP_INTR)
                return -EINTR;
            if (m->nlmsg_type == NLMSG_DONE)
                return 0;
            if (m->nlmsg_type == NLMSG_ERROR)
                return ((const struct nlmsgerr *)NLMSG_DATA(m))->error;
            read(m, links);
        }
    }
}

static int dump(unsigned short type, struct links *links, reader read)
{
    const struct {
        struct nlmsghdr header;
        struct rtgenmsg body;
    } request = { { sizeof request, type, NLM_F_REQUEST | NLM_F_DUMP, 1, 0 }, { AF_UNSPEC } };
    cleanup_close int fd = route_open();
    if (fd < 0)
        return fd;
    if (send(fd, &request, sizeof request, 0) < 0)
        return -errno;
    return dump_receive(fd, links, read);
}

static int dump_whole(unsigned short type, struct links *links, struct buf *list, reader read)
{
    int r = -EINTR;
    for (unsigned i = 0; i < DUMP_TRIES && r == -EINTR; i++) {
        buf_clear(list);
        r = dump(type, links, read);
    }
    return r == 0 ? list->error : r;
}

int links_read(struct links *ret, struct error *err)
{
    struct links links;
    buf_init(&links.links, LINKS_MAX);
    buf_init(&links.prefixes, LINKS_MAX);
    int r = dump_whole(RTM_GETLINK, &links, &links.links, read_link);
    if (r == 0)
        r = dump_whole(RTM_GETADDR, &links, &links.prefixes, read_address);
    if (r < 0) {
        error_set(err, "can't list this host's interfaces: %s", strerror(-r));
        links_deinit(&links);
        return r;
    }
    *ret = links;
    return 0;
}

void links_deinit(struct links *links)
{
    buf_deinit(&links->links);
    buf_deinit(&links->prefixes);
}

const struct link *links_find(const struct links *links, struct str name)
{
    for (uint32_t i = 0; i < links_count(links); i++)
        if (str_equal(str_of(links_at(links, i)->name), name))
            return links_at(links, i);
    return NULL;
}

/* ---- namespaces ---- */

int links_namespace_of(const char *path)
{
    struct {
        struct nlmsghdr header;
        struct rtgenmsg body;
        _Alignas(4) struct rtattr attribute;
        int fd;
    } request = { .header = { sizeof request, RTM_GETNSID, NLM_F_REQUEST, 1, 0 }, .attribute = { RTA_LENGTH(sizeof(int)), NETNSA_FD } };
    union {
        struct nlmsghdr header;
        char bytes[1024];
    } answer;
    cleanup_close int fd = route_open(), namespace = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0 || namespace < 0)
        return LINKS_NO_NAMESPACE;
    request.fd = namespace;
    ssize_t n = send(fd, &request, sizeof request, 0) < 0 ? -1 : recv(fd, &answer, sizeof answer, 0);
    size_t head = NLMSG_SPACE(sizeof(struct rtgenmsg));
    if (n < (ssize_t)head || answer.header.nlmsg_type != RTM_NEWNSID)
        return LINKS_NO_NAMESPACE;
    return attribute_int(attribute_find((const struct rtattr *)(const void *)(answer.bytes + head), (size_t)n - head, NETNSA_NSID), LINKS_NO_NAMESPACE);
}
