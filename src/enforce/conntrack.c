/* ctnetlink: a dump of both families, each entry judged, those that must end deleted by their original tuple. */
#include "enforce/conntrack.h"

#include <errno.h>
#include <linux/netfilter/nf_conntrack_common.h>
#include <linux/netfilter/nfnetlink.h>
#include <linux/netfilter/nfnetlink_conntrack.h>
#include <linux/netlink.h>
#include <netinet/in.h>
#include <string.h>
#include <sys/socket.h>

enum { ANSWER_SIZE = 64 << 10, TUPLE_MAX = 256, DOOMED_MAX = 64 << 20 };

struct entry {
    uint8_t family, protocol;
    bool is_translated;
    struct address from, to;
    uint16_t port;
    uint16_t tuple_size;
    char tuple[TUPLE_MAX]; /* CTA_TUPLE_ORIG as it came */
};

struct request {
    struct nlmsghdr header;
    struct nfgenmsg body;
};

static int conntrack_open(void)
{
    const struct timeval limit = { .tv_sec = 5 };
    int fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_NETFILTER);
    if (fd >= 0 && setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit) < 0) {
        int r = -errno;
        close(fd);
        return r;
    }
    return fd < 0 ? -errno : fd;
}

/* ---- reading ---- */

static const struct nlattr *attribute_find(const void *attributes, size_t size, unsigned type)
{
    const char *at = attributes;
    while (size >= NLA_HDRLEN) {
        const struct nlattr *a = (const struct nlattr *)(const void *)at;
        size_t whole = NLA_ALIGN(a->nla_len);
        if (a->nla_len < NLA_HDRLEN || a->nla_len > size)
            return NULL;
        if ((a->nla_type & NLA_TYPE_MASK) == type)
            return a;
        at += whole < size ? whole : size;
        size -= whole < size ? whole : size;
    }
    return NULL;
}

static const struct nlattr *attribute_in(const struct nlattr *outer, unsigned type)
{
    return outer ? attribute_find((const char *)outer + NLA_HDRLEN, (size_t)outer->nla_len - NLA_HDRLEN, type) : NULL;
}

static bool attribute_copy(const struct nlattr *attribute, void *to, size_t size)
{
    if (!attribute || (size_t)attribute->nla_len - NLA_HDRLEN < size)
        return false;
    memcpy(to, (const char *)attribute + NLA_HDRLEN, size);
    return true;
}

static bool address_read(const struct nlattr *tuple, bool v6, bool source, struct address *ret)
{
    const struct nlattr *ip = attribute_in(tuple, CTA_TUPLE_IP);
    struct address address = { .bytes = { [10] = 0xff, [11] = 0xff } };
    unsigned type = v6 ? (source ? CTA_IP_V6_SRC : CTA_IP_V6_DST) : source ? CTA_IP_V4_SRC : CTA_IP_V4_DST;
    if (!attribute_copy(attribute_in(ip, type), address.bytes + (v6 ? 0 : 12), v6 ? 16 : 4))
        return false;
    *ret = address;
    return true;
}

static bool entry_read(const struct nlmsghdr *message, struct entry *ret)
{
    const struct nfgenmsg *body = NLMSG_DATA(message);
    size_t head = NLMSG_SPACE(sizeof *body);
    struct entry entry = { .family = body->nfgen_family };
    uint32_t status = 0;
    uint16_t port = 0;
    if (message->nlmsg_len < head)
        return false;
    const char *first = (const char *)message + head;
    size_t size = message->nlmsg_len - head;
    const struct nlattr *tuple = attribute_find(first, size, CTA_TUPLE_ORIG), *proto = attribute_in(tuple, CTA_TUPLE_PROTO);
    bool v6 = entry.family == AF_INET6;
    if (!tuple || tuple->nla_len > TUPLE_MAX || !attribute_copy(attribute_in(proto, CTA_PROTO_NUM), &entry.protocol, 1) ||
        !address_read(tuple, v6, true, &entry.from) || !address_read(tuple, v6, false, &entry.to))
        return false;
    (void)attribute_copy(attribute_in(proto, CTA_PROTO_DST_PORT), &port, sizeof port);
    (void)attribute_copy(attribute_find(first, size, CTA_STATUS), &status, sizeof status);
    entry.port = ntohs(port);
    entry.is_translated = ntohl(status) & (IPS_SRC_NAT | IPS_DST_NAT);
    entry.tuple_size = tuple->nla_len;
    memcpy(entry.tuple, tuple, tuple->nla_len);
    *ret = entry;
    return true;
}

/* ---- judging ---- */

static bool must_end(const struct container_filter *filter, const struct entry *entry)
{
    const char *bridge = entry->is_translated ? container_filter_bridge_of(filter, &entry->from) : NULL;
    /* What is translated and was addressed to the host itself went to a published port: no more to be told from here, and granted as any address. */
    return bridge && !container_filter_passes(filter, bridge, &entry->from, &entry->to, entry->protocol, entry->port, false);
}

static int list(uint8_t family, const struct container_filter *filter, struct buf *doomed)
{
    const struct request request = { { sizeof request, NFNL_SUBSYS_CTNETLINK << 8 | IPCTNL_MSG_CT_GET, NLM_F_REQUEST | NLM_F_DUMP, 1, 0 },
                                     { family, NFNETLINK_V0, 0 } };
    union {
        struct nlmsghdr header;
        char bytes[ANSWER_SIZE];
    } answer;
    cleanup_close int fd = conntrack_open();
    if (fd < 0)
        return fd;
    if (send(fd, &request, sizeof request, 0) < 0)
        return -errno;
    for (;;) {
        ssize_t n = recv(fd, &answer, sizeof answer, 0);
        if (n < 0 && errno != EINTR)
            return -errno;
        int left = n > 0 ? (int)n : 0;
        for (const struct nlmsghdr *m = &answer.header; NLMSG_OK(m, (unsigned)left); m = NLMSG_NEXT(m, left)) {
            struct entry entry;
            if (m->nlmsg_type == NLMSG_DONE)
                return doomed->error;
            if (m->nlmsg_type == NLMSG_ERROR)
                return ((const struct nlmsgerr *)NLMSG_DATA(m))->error;
            if (entry_read(m, &entry) && must_end(filter, &entry))
                buf_append(doomed, str_make((const char *)&entry, sizeof entry));
        }
    }
}

/* ---- ending ---- */

static int end(int fd, const struct entry *entry)
{
    struct {
        struct request head;
        char tuple[TUPLE_MAX];
    } request = { .head = { { (uint32_t)(sizeof request.head + NLA_ALIGN(entry->tuple_size)), NFNL_SUBSYS_CTNETLINK << 8 | IPCTNL_MSG_CT_DELETE,
                              NLM_F_REQUEST | NLM_F_ACK, 1, 0 }, { entry->family, NFNETLINK_V0, 0 } } };
    union {
        struct nlmsghdr header;
        char bytes[1024];
    } answer;
    memcpy(request.tuple, entry->tuple, entry->tuple_size);
    if (send(fd, &request, request.head.header.nlmsg_len, 0) < 0)
        return -errno;
    ssize_t n = recv(fd, &answer, sizeof answer, 0);
    if (n < (ssize_t)NLMSG_LENGTH(sizeof(struct nlmsgerr)) || answer.header.nlmsg_type != NLMSG_ERROR)
        return n < 0 ? -errno : -EPROTO;
    int r = ((const struct nlmsgerr *)NLMSG_DATA(&answer.header))->error;
    return r == -ENOENT ? 0 : r;
}

int conntrack_cut(const struct container_filter *filter, struct error *err)
{
    cleanup_buf struct buf doomed;
    int n = 0, r;
    buf_init(&doomed, DOOMED_MAX);
    r = list(AF_INET, filter, &doomed);
    if (r == 0)
        r = list(AF_INET6, filter, &doomed);
    cleanup_close int fd = r == 0 ? conntrack_open() : -1;
    if (r == 0 && fd < 0)
        r = fd;
    for (size_t i = 0; r == 0 && i < doomed.len / sizeof(struct entry); i++) {
        r = end(fd, (const struct entry *)(const void *)doomed.ptr + i);
        n += r == 0;
    }
    if (r < 0)
        error_set(err, "can't end tracked connections: %s", strerror(-r));
    return r < 0 ? r : n;
}
