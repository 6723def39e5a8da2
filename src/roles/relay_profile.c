/* The relay's profile: a worker's (see worker_profile.c for each way out that it closes), without what TLS needs. Its UDP sockets are connected
 * when they come, and no call that it has takes an address; what it listens on is for accept4 alone. */
#include "roles/relay_profile.h"

#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/syscall.h>

#include "ipc/message.h"

static const struct confine_syscall calls[] = {
    CONFINE_ALLOW_IF(accept4, { 0, CONFINE_BELOW, IPC_SLOTS_END }),
    CONFINE_ALLOW_IF(recvmsg, { 0, CONFINE_BELOW, IPC_SLOTS_END }),
    CONFINE_ALLOW_IF(shutdown, { 0, CONFINE_DESCRIPTOR_FROM, IPC_SLOTS_END }),
    CONFINE_ALLOW(getpeername), CONFINE_ALLOW(getsockname), /* whether a flow's socket is what the porter says */
    CONFINE_ALLOW(eventfd2), /* placeholders in the low descriptors (ipc/slots.h) */
};

static const struct confine_syscalls relay_calls = CONFINE_GROUP(calls);

static const struct confine_limit limits[] = {
    { RLIMIT_NOFILE, CONFINE_LIMIT_HARD },
    { RLIMIT_NPROC, 0 },
};

const struct confine_profile relay_profile = {
    .name = "relay",
    .syscalls = { &confine_basic, &relay_calls },
    .limits = limits,
    .n_limits = ARRAY_SIZE(limits),
};
