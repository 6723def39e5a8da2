/* The one table of messages: each type's name, exact size, descriptors and who may say it to whom; and the check of their contents. */
#include "ipc/message.h"

#include <errno.h>
#include <string.h>

#define ROLE(name) (1U << IPC_ROLE_##name)
#define ANY_WITH_IMAGE (ROLE(KEEPER) | ROLE(BROKER) | ROLE(WATCHER) | ROLE(WORKER) | ROLE(DOCKER) | ROLE(RELAY) | ROLE(PORTER))
#define ANY_CHILD (ANY_WITH_IMAGE | ROLE(LOGGER) | ROLE(COMPILER))

/* A second route of the same type (forwarding) has its own line. */
struct ipc_route {
    uint32_t senders, receivers;
};

struct ipc_rule {
    const char *name;
    uint16_t size;
    uint8_t min_fds, max_fds;
    struct ipc_route routes[2];
};

#define RULE(type, structure, min, max, ...) [type] = { #type, sizeof(struct structure), (min), (max), { __VA_ARGS__ } }

static const struct ipc_rule rules[] = {
    RULE(IPC_PARENT_START, ipc_start, 0, 2, { ROLE(PARENT), ANY_CHILD }),
    RULE(IPC_PARENT_IMAGE, ipc_image, 1, 1, { ROLE(PARENT), ANY_WITH_IMAGE }),
    RULE(IPC_PARENT_CHANNEL_LOST, ipc_channel, 0, 0, { ROLE(PARENT), ANY_WITH_IMAGE | ROLE(LOGGER) }),
    RULE(IPC_PARENT_CHANNEL, ipc_channel, 1, 1, { ROLE(PARENT), ANY_WITH_IMAGE | ROLE(LOGGER) }),
    RULE(IPC_PARENT_LISTENER, ipc_listener, 0, 1, { ROLE(PARENT), ROLE(WORKER) | ROLE(RELAY) | ROLE(PORTER) | ROLE(LOGGER) | ROLE(WATCHER) | ROLE(PARENT) }),
    RULE(IPC_PARENT_DRAIN, ipc_drain, 0, 0, { ROLE(PARENT), ROLE(WORKER) | ROLE(RELAY) }),
    RULE(IPC_PARENT_METRICS_PAGE, ipc_metrics_page, 1, 1, { ROLE(PARENT), ROLE(WATCHER) }),
    RULE(IPC_PARENT_ROLE_STATE, ipc_role_state, 0, 0, { ROLE(PARENT), ROLE(WATCHER) }),
    RULE(IPC_PARENT_RELOAD_RESULT, ipc_reload_result, 0, 1, { ROLE(PARENT), ROLE(WATCHER) }),
    RULE(IPC_PARENT_COMPILE, ipc_compile, 1, 4, { ROLE(PARENT), ROLE(COMPILER) }),
    RULE(IPC_PARENT_HANDOVER, ipc_handover, 0, 0, { ROLE(PARENT), ROLE(PARENT) }),
    RULE(IPC_PARENT_HINTS, ipc_hints, 2, 2, { ROLE(PARENT), ROLE(BROKER) | ROLE(DOCKER) }),
    RULE(IPC_PARENT_BOARD, ipc_board, 1, 1, { ROLE(PARENT), ROLE(WATCHER) }),
    RULE(IPC_PARENT_GUEST, ipc_guest, 0, 0, { ROLE(PARENT), ROLE(WORKER) }),
    RULE(IPC_ROLE_READY, ipc_ready, 0, 0, { ANY_CHILD | ROLE(PARENT), ROLE(PARENT) }),
    RULE(IPC_ROLE_IMAGE_TAKEN, ipc_image, 0, 0, { ANY_WITH_IMAGE, ROLE(PARENT) }),
    RULE(IPC_ROLE_DRAINED, ipc_drain, 0, 0, { ROLE(WORKER) | ROLE(RELAY), ROLE(PARENT) }),
    RULE(IPC_WATCHER_RELOAD, ipc_reload, 0, 0, { ROLE(WATCHER), ROLE(PARENT) }),
    RULE(IPC_COMPILER_BLOCK, ipc_block, 1, 1, { ROLE(COMPILER), ROLE(PARENT) }),
    RULE(IPC_COMPILER_DONE, ipc_compiler_done, 0, 1, { ROLE(COMPILER), ROLE(PARENT) }),
    RULE(IPC_ROLE_OFFENCE, ipc_offence, 0, 0, { ROLE(KEEPER) | ROLE(BROKER), ROLE(PARENT) }),
    RULE(IPC_KEEPER_SIGN, ipc_sign, 0, 0, { ROLE(WORKER), ROLE(KEEPER) }),
    RULE(IPC_KEEPER_SIGN_ANSWER, ipc_sign_answer, 0, 0, { ROLE(KEEPER), ROLE(WORKER) }),
    RULE(IPC_KEEPER_CERTIFICATES, ipc_certificates, 1, 1, { ROLE(KEEPER), ROLE(WORKER) }),
    RULE(IPC_KEEPER_TICKET_KEYS, ipc_ticket_keys, 0, 0, { ROLE(KEEPER), ROLE(WORKER) }),
    RULE(IPC_KEEPER_STATE, ipc_certificate_state, 0, 0, { ROLE(KEEPER), ROLE(PARENT) }, { ROLE(PARENT), ROLE(WATCHER) }),
    RULE(IPC_BROKER_DIAL, ipc_dial, 0, 0, { ROLE(WORKER) | ROLE(RELAY), ROLE(BROKER) }),
    RULE(IPC_BROKER_DIAL_ANSWER, ipc_dial_answer, 0, 1, { ROLE(BROKER), ROLE(WORKER) | ROLE(RELAY) }),
    RULE(IPC_BROKER_ENDED, ipc_target_ended, 0, 0, { ROLE(BROKER), ROLE(RELAY) }),
    RULE(IPC_PORTER_FLOW, ipc_flow, 0, 2, { ROLE(PORTER), ROLE(RELAY) }),
    RULE(IPC_PORTER_REFUSED, ipc_flow_refused, 0, 0, { ROLE(PORTER), ROLE(RELAY) }),
    RULE(IPC_DOCKER_NAMESPACE, ipc_docker_namespace, 2, 2, { ROLE(DOCKER), ROLE(BROKER) }),
    RULE(IPC_DOCKER_GONE, ipc_docker_gone, 0, 0, { ROLE(DOCKER), ROLE(BROKER) }),
    RULE(IPC_DOCKER_GUEST, ipc_guest, 0, 1, { ROLE(DOCKER), ROLE(PARENT) }),
    RULE(IPC_DOCKER_GUESTS_TOLD, ipc_guests_told, 0, 0, { ROLE(DOCKER), ROLE(PARENT) }),
    RULE(IPC_DOCKER_OFFERS, ipc_docker_offers, 1, 1, { ROLE(DOCKER), ROLE(PARENT) }, { ROLE(PARENT), ROLE(DOCKER) }),
};

static const struct ipc_rule *rule_of(unsigned type)
{
    return type < ARRAY_SIZE(rules) && rules[type].size ? &rules[type] : NULL;
}

const char *ipc_role_name(enum ipc_role role)
{
    static const char *const names[IPC_ROLE_COUNT] = { "parent", "keeper", "broker", "watcher", "logger", "worker", "compiler", "docker", "relay", "porter" };
    return (unsigned)role < IPC_ROLE_COUNT ? names[role] : "unknown";
}

size_t ipc_type_size(enum ipc_type type)
{
    const struct ipc_rule *rule = rule_of(type);
    return rule ? rule->size : 0;
}

const char *ipc_type_name(enum ipc_type type)
{
    const struct ipc_rule *rule = rule_of(type);
    return rule ? rule->name : "unknown";
}

bool ipc_may_send(enum ipc_role sender, enum ipc_role receiver, enum ipc_type type)
{
    const struct ipc_rule *rule = rule_of(type);
    if (!rule || (unsigned)sender >= IPC_ROLE_COUNT || (unsigned)receiver >= IPC_ROLE_COUNT)
        return false;
    for (size_t i = 0; i < ARRAY_SIZE(rule->routes); i++)
        if (rule->routes[i].senders >> sender & 1 && rule->routes[i].receivers >> receiver & 1)
            return true;
    return false;
}

#define IS_TEXT(field) (memchr((field), 0, sizeof(field)) != NULL)

/* What a receiver may then rely on: texts end, lengths fit, enumerations are known, and descriptors are there exactly when promised. */
static bool contents_are_valid(const void *message, size_t n_fds)
{
    const struct ipc_header *header = message;
    switch ((enum ipc_type)header->type) {
    case IPC_PARENT_START: {
        const struct ipc_start *m = message;
        return m->role < IPC_ROLE_COUNT && IS_TEXT(m->state_directory) && IS_TEXT(m->log_file);
    }
    case IPC_PARENT_CHANNEL:
    case IPC_PARENT_CHANNEL_LOST:
        return ((const struct ipc_channel *)message)->peer < IPC_ROLE_COUNT && IS_TEXT(((const struct ipc_channel *)message)->surface_name);
    case IPC_PARENT_LISTENER:
        return ((const struct ipc_listener *)message)->closing <= 1 && n_fds == (((const struct ipc_listener *)message)->closing ? 0 : 1);
    case IPC_PARENT_METRICS_PAGE:
        return IS_TEXT(((const struct ipc_metrics_page *)message)->surface_name);
    case IPC_PARENT_ROLE_STATE: {
        const struct ipc_role_state *m = message;
        return m->role < IPC_ROLE_COUNT && m->status <= IPC_ROLE_GONE && IS_TEXT(m->surface_name) && IS_TEXT(m->last_exit);
    }
    case IPC_PARENT_RELOAD_RESULT: {
        const struct ipc_reload_result *m = message;
        return m->status >= 0 && m->status <= 2 && IS_TEXT(m->revision) && (m->text_size > 0) == (n_fds == 1);
    }
    case IPC_PARENT_COMPILE: {
        const struct ipc_compile *m = message;
        return IS_TEXT(m->host) && IS_TEXT(m->file) && IS_TEXT(m->container_directory) && m->n_offers <= IPC_OFFERS_MAX &&
               n_fds >= 1U + (m->previous_size > 0) + (m->previous_plan_size > 0) + (m->n_offers > 0);
    }
    case IPC_PARENT_HANDOVER:
        return IS_TEXT(((const struct ipc_handover *)message)->host);
    case IPC_COMPILER_DONE: {
        const struct ipc_compiler_done *m = message;
        return m->status >= 0 && m->status <= 2 && IS_TEXT(m->revision) && (m->text_size > 0) == (n_fds == 1);
    }
    case IPC_ROLE_OFFENCE: {
        const struct ipc_offence *m = message;
        return m->pid > 0 && IS_TEXT(m->why);
    }
    case IPC_KEEPER_SIGN: {
        const struct ipc_sign *m = message;
        return m->length <= sizeof m->input && m->scheme <= IPC_SIGN_RSA_PKCS1_SHA256;
    }
    case IPC_KEEPER_SIGN_ANSWER: {
        const struct ipc_sign_answer *m = message;
        return m->length <= sizeof m->signature && m->status <= 0;
    }
    case IPC_KEEPER_TICKET_KEYS: {
        const struct ipc_ticket_keys *m = message;
        return m->n >= 1 && m->n <= IPC_TICKET_KEYS;
    }
    case IPC_KEEPER_STATE: {
        const struct ipc_certificate_state *m = message;
        return IS_TEXT(m->name) && IS_TEXT(m->trouble);
    }
    case IPC_BROKER_DIAL_ANSWER: {
        const struct ipc_dial_answer *m = message;
        return m->status <= 0 && (m->status == 0) == (n_fds == 1);
    }
    case IPC_PARENT_GUEST: {
        const struct ipc_guest *m = message;
        return m->container != 0 && m->is_present <= 1;
    }
    case IPC_DOCKER_GUEST: {
        const struct ipc_guest *m = message;
        return m->container != 0 && m->is_present <= 1 && n_fds == m->is_present;
    }
    case IPC_PORTER_FLOW: {
        const struct ipc_flow *m = message;
        return m->is_new <= 1 && m->is_long <= 1 && (m->is_long || m->length <= sizeof m->data) && n_fds == (size_t)m->is_new + m->is_long;
    }
    case IPC_PORTER_REFUSED: {
        const struct ipc_flow_refused *m = message;
        return m->why <= IPC_DENIED_REVOKED && m->n > 0;
    }
    case IPC_DOCKER_NAMESPACE:
        return ((const struct ipc_docker_namespace *)message)->number != 0;
    case IPC_DOCKER_GONE: {
        const struct ipc_docker_gone *m = message;
        return m->number != 0 && m->why <= IPC_DOCKER_REFUSED;
    }
    case IPC_DOCKER_OFFERS:
        return ((const struct ipc_docker_offers *)message)->n <= IPC_OFFERS_MAX;
    case IPC_PARENT_HINTS:
    case IPC_PARENT_BOARD:
    case IPC_DOCKER_GUESTS_TOLD:
    case IPC_PARENT_IMAGE:
    case IPC_PARENT_DRAIN:
    case IPC_ROLE_READY:
    case IPC_ROLE_IMAGE_TAKEN:
    case IPC_ROLE_DRAINED:
    case IPC_WATCHER_RELOAD:
    case IPC_COMPILER_BLOCK:
    case IPC_KEEPER_CERTIFICATES:
    case IPC_BROKER_DIAL:
    case IPC_BROKER_ENDED:
        return true;
    }
    return false;
}

int ipc_check_shape(const void *message, size_t size, size_t n_fds)
{
    struct ipc_header header;
    if (size < sizeof header)
        return -EBADMSG;
    memcpy(&header, message, sizeof header);
    const struct ipc_rule *rule = rule_of(header.type);
    if (!rule || size != rule->size || header.size != rule->size || n_fds < rule->min_fds || n_fds > rule->max_fds)
        return -EBADMSG;
    return contents_are_valid(message, n_fds) ? 0 : -EBADMSG;
}

int ipc_check_message(enum ipc_role sender, enum ipc_role receiver, const void *message, size_t size, size_t n_fds)
{
    if (ipc_check_shape(message, size, n_fds) < 0)
        return -EBADMSG;
    return ipc_may_send(sender, receiver, ((const struct ipc_header *)message)->type) ? 0 : -EBADMSG;
}
