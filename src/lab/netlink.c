/* rtnetlink requests: built in one buffer, sent, acknowledged. */
#include "lab/netlink.h"

#include <errno.h>
#include <linux/if_addr.h>
#include <linux/if_bridge.h>
#include <linux/if_link.h>
#include <linux/rtnetlink.h>
#include <linux/veth.h>
#include <net/if.h>
#include <string.h>
#include <sys/socket.h>

enum { REQUEST_MAX = 1024 };

struct request {
    union {
        struct nlmsghdr header;
        char bytes[REQUEST_MAX];
    };
};

int netlink_open(void)
{
    int fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_ROUTE);
    return fd < 0 ? -errno : fd;
}

/* body: the fixed struct that the type begins with. Returns where it lies. */
static void *request_init(struct request *request, uint16_t type, uint16_t flags, size_t body)
{
    *request = (struct request){ .header = { .nlmsg_len = (uint32_t)NLMSG_LENGTH(body), .nlmsg_type = type } };
    request->header.nlmsg_flags = (uint16_t)(NLM_F_REQUEST | NLM_F_ACK | flags);
    request->header.nlmsg_seq = 1;
    return NLMSG_DATA(&request->header);
}

/* Every request here fits by far; one that does not would be a mistake in this file, and is sent short to be refused by the kernel. */
static struct rtattr *request_add(struct request *request, uint16_t type, const void *data, size_t length)
{
    size_t at = NLMSG_ALIGN(request->header.nlmsg_len);
    struct rtattr *attribute = (struct rtattr *)(void *)(request->bytes + at);
    if (at + RTA_SPACE(length) > REQUEST_MAX)
        return attribute;
    attribute->rta_type = type;
    attribute->rta_len = (uint16_t)RTA_LENGTH(length);
    if (length)
        memcpy(RTA_DATA(attribute), data, length);
    request->header.nlmsg_len = (uint32_t)(at + RTA_SPACE(length));
    return attribute;
}

static void request_end(struct request *request, struct rtattr *nest)
{
    nest->rta_len = (uint16_t)(request->bytes + request->header.nlmsg_len - (char *)nest);
}

static void request_add_text(struct request *request, uint16_t type, const char *text)
{
    request_add(request, type, text, strlen(text) + 1);
}

static int request_send(int netlink, const struct request *request)
{
    union {
        struct nlmsghdr header;
        char bytes[4096];
    } answer;
    ssize_t n = send(netlink, request, request->header.nlmsg_len, 0);
    if (n < 0)
        return -errno;
    do
        n = recv(netlink, &answer, sizeof(answer), 0);
    while (n < 0 && errno == EINTR);
    if (n < 0)
        return -errno;
    if ((size_t)n < NLMSG_LENGTH(sizeof(struct nlmsgerr)) || answer.header.nlmsg_type != NLMSG_ERROR)
        return -EPROTO;
    return ((const struct nlmsgerr *)NLMSG_DATA(&answer.header))->error;
}

/* The link's index, or a negative errno. */
static int link_index(const char *name)
{
    unsigned index = if_nametoindex(name);
    return index == 0 ? -errno : (int)index;
}

int netlink_add_bridge(int netlink, const char *name)
{
    struct request request;
    request_init(&request, RTM_NEWLINK, NLM_F_CREATE | NLM_F_EXCL, sizeof(struct ifinfomsg));
    request_add_text(&request, IFLA_IFNAME, name);
    struct rtattr *info = request_add(&request, IFLA_LINKINFO, NULL, 0);
    request_add(&request, IFLA_INFO_KIND, "bridge", 6);
    request_end(&request, info);
    return request_send(netlink, &request);
}

int netlink_add_veth(int netlink, const char *name, const char *peer, int peer_namespace)
{
    struct request request;
    struct ifinfomsg peer_link = { 0 };
    request_init(&request, RTM_NEWLINK, NLM_F_CREATE | NLM_F_EXCL, sizeof(struct ifinfomsg));
    request_add_text(&request, IFLA_IFNAME, name);
    struct rtattr *info = request_add(&request, IFLA_LINKINFO, NULL, 0);
    request_add(&request, IFLA_INFO_KIND, "veth", 4);
    struct rtattr *data = request_add(&request, IFLA_INFO_DATA, NULL, 0);
    struct rtattr *other = request_add(&request, VETH_INFO_PEER, &peer_link, sizeof(peer_link));
    request_add_text(&request, IFLA_IFNAME, peer);
    request_add(&request, IFLA_NET_NS_FD, &peer_namespace, sizeof(peer_namespace));
    request_end(&request, other);
    request_end(&request, data);
    request_end(&request, info);
    return request_send(netlink, &request);
}

int netlink_join_bridge(int netlink, const char *name, const char *bridge, bool isolated)
{
    struct request request;
    int index = link_index(name), master = link_index(bridge);
    if (index < 0 || master < 0)
        return index < 0 ? index : master;
    struct ifinfomsg *link = request_init(&request, RTM_NEWLINK, 0, sizeof(struct ifinfomsg));
    link->ifi_index = index;
    request_add(&request, IFLA_MASTER, &master, sizeof(master));
    int r = request_send(netlink, &request);
    if (r < 0 || !isolated)
        return r;

    unsigned char on = 1;
    link = request_init(&request, RTM_SETLINK, 0, sizeof(struct ifinfomsg));
    link->ifi_index = index;
    link->ifi_family = AF_BRIDGE;
    struct rtattr *port = request_add(&request, IFLA_PROTINFO | NLA_F_NESTED, NULL, 0);
    request_add(&request, IFLA_BRPORT_ISOLATED, &on, sizeof(on));
    request_end(&request, port);
    return request_send(netlink, &request);
}

int netlink_set_up(int netlink, const char *name)
{
    struct request request;
    int index = link_index(name);
    if (index < 0)
        return index;
    struct ifinfomsg *link = request_init(&request, RTM_NEWLINK, 0, sizeof(struct ifinfomsg));
    link->ifi_index = index;
    link->ifi_flags = link->ifi_change = IFF_UP;
    return request_send(netlink, &request);
}

/* The bytes that the kernel wants, and how many. */
static const void *address_bytes(const struct address *address, size_t *ret_length)
{
    *ret_length = address_is_v4(address) ? 4 : 16;
    return address->bytes + 16 - *ret_length;
}

static unsigned family_bits(const struct address *address, unsigned bits)
{
    return address_is_v4(address) ? bits - 96 : bits;
}

int netlink_add_address(int netlink, const char *name, const struct address *address, unsigned bits)
{
    struct request request;
    int index = link_index(name);
    if (index < 0)
        return index;
    size_t length;
    const void *bytes = address_bytes(address, &length);
    struct ifaddrmsg *body = request_init(&request, RTM_NEWADDR, NLM_F_CREATE | NLM_F_EXCL, sizeof(struct ifaddrmsg));
    body->ifa_family = address_is_v4(address) ? AF_INET : AF_INET6;
    body->ifa_prefixlen = (uint8_t)family_bits(address, bits);
    body->ifa_flags = IFA_F_NODAD;
    body->ifa_index = (uint32_t)index;
    request_add(&request, IFA_LOCAL, bytes, length);
    request_add(&request, IFA_ADDRESS, bytes, length);
    return request_send(netlink, &request);
}

int netlink_add_route(int netlink, const char *name, const struct address_prefix *prefix, const struct address *gateway)
{
    struct request request;
    int index = link_index(name);
    if (index < 0)
        return index;
    size_t length;
    const void *bytes = address_bytes(&prefix->address, &length);
    struct rtmsg *body = request_init(&request, RTM_NEWROUTE, NLM_F_CREATE | NLM_F_EXCL, sizeof(struct rtmsg));
    body->rtm_family = length == 4 ? AF_INET : AF_INET6;
    body->rtm_dst_len = (uint8_t)family_bits(&prefix->address, prefix->bits);
    body->rtm_table = RT_TABLE_MAIN;
    body->rtm_protocol = RTPROT_STATIC;
    body->rtm_scope = gateway ? RT_SCOPE_UNIVERSE : RT_SCOPE_LINK;
    body->rtm_type = RTN_UNICAST;
    if (body->rtm_dst_len)
        request_add(&request, RTA_DST, bytes, length);
    request_add(&request, RTA_OIF, &index, sizeof(index));
    if (gateway) {
        bytes = address_bytes(gateway, &length);
        body->rtm_flags = RTNH_F_ONLINK;
        request_add(&request, RTA_GATEWAY, bytes, length);
    }
    return request_send(netlink, &request);
}
