/* Multicast groups of netlink: nfnetlink's of nf_tables, rtnetlink's of links and addresses. */
#include "enforce/notices.h"

#include <errno.h>
#include <linux/netfilter/nf_tables.h>
#include <linux/netfilter/nfnetlink.h>
#include <linux/netlink.h>
#include <linux/rtnetlink.h>
#include <string.h>
#include <sys/socket.h>

#include "base/str.h"

enum { MESSAGE_SIZE = 64 << 10, RECEIVE_BUFFER = 8 << 20 };

static int listen_to(int family, unsigned groups)
{
    struct sockaddr_nl address = { .nl_family = AF_NETLINK, .nl_groups = groups };
    int size = RECEIVE_BUFFER;
    cleanup_close int fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC | SOCK_NONBLOCK, family);
    if (fd < 0 || bind(fd, (const struct sockaddr *)&address, sizeof address) < 0)
        return -errno;
    (void)setsockopt(fd, SOL_SOCKET, SO_RCVBUFFORCE, &size, sizeof size);
    return TAKE_FD(fd);
}

/* ---- rules ---- */

static const struct nlattr *attribute_find(const struct nlmsghdr *message, unsigned type)
{
    size_t head = NLMSG_SPACE(sizeof(struct nfgenmsg)), left = message->nlmsg_len > head ? message->nlmsg_len - head : 0;
    const char *at = (const char *)message + head;
    while (left >= NLA_HDRLEN) {
        const struct nlattr *a = (const struct nlattr *)(const void *)at;
        size_t whole = NLA_ALIGN(a->nla_len);
        if (a->nla_len < NLA_HDRLEN || a->nla_len > left)
            return NULL;
        if ((a->nla_type & NLA_TYPE_MASK) == type)
            return a;
        at += whole < left ? whole : left;
        left -= whole < left ? whole : left;
    }
    return NULL;
}

static struct str attribute_text(const struct nlattr *attribute)
{
    if (!attribute)
        return STR_NONE;
    const char *text = (const char *)attribute + NLA_HDRLEN;
    return str_make(text, strnlen(text, (size_t)attribute->nla_len - NLA_HDRLEN));
}

static pid_t attribute_pid(const struct nlattr *attribute)
{
    uint32_t value;
    if (!attribute || attribute->nla_len < NLA_HDRLEN + sizeof value)
        return 0;
    memcpy(&value, (const char *)attribute + NLA_HDRLEN, sizeof value);
    return (pid_t)__builtin_bswap32(value);
}

/* Every kind of message has its table's name as its first attribute; the last one of a transaction says who it was. */
static void take_rule(struct notices *notices, const struct nlmsghdr *message)
{
    struct notices_change change = { 0 };
    if (NFNL_SUBSYS_ID(message->nlmsg_type) != NFNL_SUBSYS_NFTABLES)
        return;
    if (NFNL_MSG_TYPE(message->nlmsg_type) != NFT_MSG_NEWGEN) {
        notices->is_touched |= str_equal(attribute_text(attribute_find(message, NFTA_TABLE_NAME)), str_of(notices->table));
        return;
    }
    if (!notices->is_touched)
        return;
    notices->is_touched = false;
    change.pid = attribute_pid(attribute_find(message, NFTA_GEN_PROC_PID));
    str_copy(change.name, sizeof change.name, attribute_text(attribute_find(message, NFTA_GEN_PROC_NAME)));
    notices->rules_changed(notices, &change);
}

static void on_rules(struct io_source *source, uint32_t events)
{
    struct notices *notices = container_of(source, struct notices, rules);
    static union {
        struct nlmsghdr header;
        char bytes[MESSAGE_SIZE];
    } received;
    (void)events;
    for (;;) {
        ssize_t n = recv(source->fd, &received, sizeof received, 0);
        if (n < 0 && errno == ENOBUFS) {
            const struct notices_change unknown = { .name = "" };
            notices->is_touched = false;
            notices->rules_changed(notices, &unknown);
            continue;
        }
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return;
        int left = (int)n;
        for (const struct nlmsghdr *m = &received.header; NLMSG_OK(m, (unsigned)left); m = NLMSG_NEXT(m, left))
            take_rule(notices, m);
    }
}

/* ---- interfaces ---- */

/* What changed is asked for whole: here only that something did. */
static void on_links(struct io_source *source, uint32_t events)
{
    struct notices *notices = container_of(source, struct notices, links);
    char drained[8192];
    bool is_any = false;
    (void)events;
    while (recv(source->fd, drained, sizeof drained, MSG_TRUNC) >= 0 || errno == EINTR || errno == ENOBUFS)
        is_any = true;
    if (is_any)
        notices->links_changed(notices);
}

/* ---- its life ---- */

int notices_init(struct notices *notices, struct io_loop *loop, const char *table, struct error *err)
{
    *notices = (struct notices){ .loop = loop, .table = table, .rules.ready = on_rules, .links.ready = on_links };
    notices->rules.fd = listen_to(NETLINK_NETFILTER, 1U << (NFNLGRP_NFTABLES - 1));
    notices->links.fd = listen_to(NETLINK_ROUTE, RTMGRP_LINK | RTMGRP_IPV4_IFADDR | RTMGRP_IPV6_IFADDR);
    int r = notices->rules.fd < 0 ? notices->rules.fd : notices->links.fd < 0 ? notices->links.fd : 0;
    if (r == 0)
        r = io_watch(loop, &notices->rules, EPOLLIN);
    if (r == 0)
        r = io_watch(loop, &notices->links, EPOLLIN);
    if (r < 0) {
        error_set(err, "can't listen to the kernel's notices: %s", strerror(-r));
        notices_deinit(notices);
    }
    return r;
}

void notices_deinit(struct notices *notices)
{
    struct io_source *const sources[] = { &notices->rules, &notices->links };
    for (size_t i = 0; i < ARRAY_SIZE(sources); i++) {
        if (sources[i]->fd >= 0) {
            io_unwatch(notices->loop, sources[i]);
            close(sources[i]->fd);
        }
        sources[i]->fd = -1;
    }
}
