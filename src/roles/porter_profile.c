/* The porter's profile. It alone makes sockets that strangers' datagrams come to, so it can send through none:
 *   - below IPC_SLOTS_END are its two channels, which it has from its start, and placeholders; none of these numbers ever gets free (close is
 *     for those above, dup it hasn't), so that whatever it makes or is given lands above;
 *   - write, writev and sendmsg are for those below; sendto and sendmmsg it hasn't at all;
 *   - its listeners were shut for sending besides, when they were made (parent_listen.c);
 *   - connect sends nothing: the sockets are UDP. The relay asks the kernel where a socket that it is given leads, and decides for itself. */
#include "roles/porter_profile.h"

#include <netinet/in.h>
#include <sys/capability.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/syscall.h>

#include "ipc/message.h"

#define ON_LOW_DESCRIPTOR  { 0, CONFINE_BELOW, IPC_SLOTS_END }
#define ON_HIGH_DESCRIPTOR { 0, CONFINE_DESCRIPTOR_FROM, IPC_SLOTS_END }
#define UDP                { 1, CONFINE_EQUAL, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK }, { 2, CONFINE_EQUAL, 0 }
#define OPTION(level, name) CONFINE_ALLOW_IF(setsockopt, ON_HIGH_DESCRIPTOR, { 1, CONFINE_EQUAL, level }, { 2, CONFINE_EQUAL, name })

static const struct confine_syscall calls[] = {
    CONFINE_ALLOW_IF(recvfrom, ON_HIGH_DESCRIPTOR),
    CONFINE_ALLOW_IF(recvmsg, ON_LOW_DESCRIPTOR),
    CONFINE_ALLOW_IF(sendmsg, ON_LOW_DESCRIPTOR),
    CONFINE_ALLOW_IF(socket, { 0, CONFINE_EQUAL, AF_INET }, UDP),
    CONFINE_ALLOW_IF(socket, { 0, CONFINE_EQUAL, AF_INET6 }, UDP),
    OPTION(SOL_SOCKET, SO_REUSEPORT), OPTION(SOL_SOCKET, SO_ATTACH_FILTER), OPTION(SOL_SOCKET, SO_DETACH_FILTER),
    OPTION(IPPROTO_IP, IP_FREEBIND), OPTION(IPPROTO_IPV6, IPV6_FREEBIND), OPTION(IPPROTO_IPV6, IPV6_V6ONLY),
    CONFINE_ALLOW_IF(bind, ON_HIGH_DESCRIPTOR),
    CONFINE_ALLOW_IF(connect, ON_HIGH_DESCRIPTOR),
    CONFINE_ALLOW(memfd_create), CONFINE_ALLOW(ftruncate), /* a datagram that is longer than a message */
};

static const struct confine_syscalls porter_calls = CONFINE_GROUP(calls);

static const struct confine_syscall narrow_calls[] = {
    CONFINE_ALLOW_IF(write, ON_LOW_DESCRIPTOR),
    CONFINE_ALLOW_IF(writev, ON_LOW_DESCRIPTOR),
    CONFINE_ALLOW_IF(close, ON_HIGH_DESCRIPTOR),
};

static const struct confine_syscalls narrowed = CONFINE_GROUP(narrow_calls);

static const int low_port_capabilities[] = { CAP_NET_BIND_SERVICE };

static const struct confine_limit limits[] = {
    { RLIMIT_NOFILE, CONFINE_LIMIT_HARD },
    { RLIMIT_NPROC, 0 },
};

struct confine_profile porter_profile(bool low_ports)
{
    return (struct confine_profile){
        .name = "porter",
        .capabilities = low_port_capabilities,
        .n_capabilities = low_ports ? ARRAY_SIZE(low_port_capabilities) : 0,
        .syscalls = { &confine_basic, &porter_calls },
        .limits = limits,
        .n_limits = ARRAY_SIZE(limits),
        .narrowed = &narrowed,
    };
}
