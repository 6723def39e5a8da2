/* Every message between roles, as any sender could forge it: what is accepted has its exact size, a known type and texts that end. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "ipc/message.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* Reads what a receiver would, so that a sanitizer sees a text without its end. */
static size_t read_texts(const struct ipc_buffer *message)
{
    const void *m = message;
    switch ((enum ipc_type)message->header.type) {
    case IPC_PARENT_START:
        return strlen(((const struct ipc_start *)m)->state_directory) + strlen(((const struct ipc_start *)m)->log_file);
    case IPC_PARENT_CHANNEL:
    case IPC_PARENT_CHANNEL_LOST:
        return strlen(((const struct ipc_channel *)m)->surface_name);
    case IPC_PARENT_ROLE_STATE:
        return strlen(((const struct ipc_role_state *)m)->last_exit) + strlen(((const struct ipc_role_state *)m)->surface_name);
    case IPC_PARENT_COMPILE:
        return strlen(((const struct ipc_compile *)m)->host) + strlen(((const struct ipc_compile *)m)->file);
    case IPC_KEEPER_STATE:
        return strlen(((const struct ipc_certificate_state *)m)->name) + strlen(((const struct ipc_certificate_state *)m)->trouble);
    default:
        return 0;
    }
}

/* The first byte says who speaks to whom and how many descriptors came; the rest is the packet, exact to the byte. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size < 2)
        return 0;
    enum ipc_role sender = (enum ipc_role)(data[0] % (IPC_ROLE_COUNT + 1)), receiver = (enum ipc_role)(data[0] / 16 % (IPC_ROLE_COUNT + 1));
    size_t n_fds = data[1] % (IPC_FDS_MAX + 2), len = size - 2;
    struct ipc_buffer *packet = malloc(len ? len : 1);
    if (!packet)
        return 0;
    memcpy(packet, data + 2, len);
    if (ipc_check_message(sender, receiver, packet, len, n_fds) == 0) {
        if (len != ipc_type_size(packet->header.type) || len > IPC_MESSAGE_MAX || !ipc_may_send(sender, receiver, packet->header.type))
            abort();
        if (sender != IPC_ROLE_PARENT && receiver != IPC_ROLE_PARENT && sender != IPC_ROLE_WORKER && receiver != IPC_ROLE_WORKER)
            if (sender != IPC_ROLE_DOCKER || receiver != IPC_ROLE_BROKER)
                abort(); /* two daemons never speak to each other, but docker, which the broker hears */
        if (read_texts(packet) > IPC_MESSAGE_MAX)
            abort();
    }
    free(packet);
    return 0;
}
