/* The worker's profile. Each way out that was ever found is closed here by name:
 *   - socket, connect, bind, listen, dup, io_uring_setup, sendto, sendmsg, sendmmsg, open, execve, ptrace are not in the list at all;
 *   - shutdown(listener) and then sendto(MSG_FASTOPEN) connected anywhere: shutdown is for connections only (descriptor >= IPC_SLOTS_END);
 *   - a half-connected or failed socket could be redialled with MSG_FASTOPEN or sendto, an unconnected UDP socket sends anywhere: no call
 *     takes an address; TCP_FASTOPEN_CONNECT, TCP_REPAIR and TCP_ULP can't be set, for parent and broker set the options of what they make
 *     and the one that is a worker's to set (how much wakes it) reaches nobody;
 *   - connections inherit a listener's options, also those that a worker's successors accept: options are for connections only;
 *   - a hostile instance behind a unix socket could pass descriptors: recvmsg is for channels only (descriptor < IPC_SLOTS_END);
 *   - accept4 is for listeners only.
 * Code that is hijacked can't make its own executable either: no PROT_EXEC, from the basic group. */
#include "roles/worker_profile.h"

#include <sys/ioctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/syscall.h>

#include "ipc/message.h"

#define ON_LOW_DESCRIPTOR  { 0, CONFINE_BELOW, IPC_SLOTS_END }
#define ON_HIGH_DESCRIPTOR { 0, CONFINE_DESCRIPTOR_FROM, IPC_SLOTS_END }

static const struct confine_syscall calls[] = {
    CONFINE_ALLOW_IF(accept4, ON_LOW_DESCRIPTOR),
    CONFINE_ALLOW_IF(recvmsg, ON_LOW_DESCRIPTOR),
    CONFINE_ALLOW_IF(shutdown, ON_HIGH_DESCRIPTOR),
    CONFINE_ALLOW_IF(setsockopt, ON_HIGH_DESCRIPTOR, { 1, CONFINE_EQUAL, SOL_SOCKET }, { 2, CONFINE_EQUAL, SO_RCVLOWAT }), /* gateway/patience.h */
    CONFINE_ALLOW_IF(ioctl, ON_HIGH_DESCRIPTOR, { 1, CONFINE_EQUAL, TIOCOUTQ }), /* how much a slow client has yet to read */
    CONFINE_ALLOW(ppoll), /* to wait for the keeper's answer in the middle of a handshake */
#ifdef SYS_poll
    CONFINE_ALLOW(poll),
#endif
    CONFINE_ALLOW(eventfd2), /* placeholders in the low descriptors (ipc/slots.h) */
};

static const struct confine_syscalls worker_calls = CONFINE_GROUP(calls);

static const struct confine_limit limits[] = {
    { RLIMIT_NOFILE, CONFINE_LIMIT_HARD },
    { RLIMIT_NPROC, 0 },
};

const struct confine_profile worker_profile = {
    .name = "worker",
    .syscalls = { &confine_basic, &worker_calls },
    .limits = limits,
    .n_limits = ARRAY_SIZE(limits),
};
