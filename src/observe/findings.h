/* What is open on a Docker host that few mean to have open: who can reach what, how bad that is, and the line to change.
 *
 * Texts are as the engine and the labels have them: whoever prints them must make them safe to print. */
#pragma once

#include "base/buf.h"
#include "observe/engine.h"

enum finding_severity {
    FINDING_CRITICAL, /* this host is taken over from there */
    FINDING_HIGH,     /* data or rights are open to those who shouldn't have them */
    FINDING_MEDIUM,   /* more than is needed can be reached */
    FINDING_LOW,      /* a way that is seldom thought of */
    FINDING_NOTE,     /* worth to be known; nothing is open by it that was not meant */
};

enum finding_kind {
    FINDING_SOCKET,        /* the engine's socket is in a container */
    FINDING_ENGINE_TCP,    /* dockerd listens on the network */
    FINDING_PRIVILEGED,
    FINDING_CAPABILITY,
    FINDING_HOST_FILES,    /* a directory of the host's own is in a container, to be written */
    FINDING_HOST_PID,
    FINDING_HOST_NETWORK,
    FINDING_PUBLISHED,     /* ports, at every address */
    FINDING_PUBLISHED_AT,  /* ports, at some address of the host */
    FINDING_PUBLISHED_LOOPBACK,
    FINDING_OWN_ADDRESS,   /* macvlan, ipvlan: a machine of its own on the LAN */
    FINDING_ROUTED,        /* a network whose containers can be routed to */
    FINDING_SHARED_NETWORK, /* containers of different projects on one bridge */
    FINDING_PROJECT_NETWORK, /* one project's */
    FINDING_HOST_REACHED,  /* what the host listens on, from containers */
    FINDING_ROOTLESS,
    FINDING_ABSENT,        /* declared, and not there */
    FINDING_SILENT,        /* declared, and nobody listens there */
    FINDING_UNDECLARED,    /* containers that no service names */
    FINDING_N_KINDS,
};

enum finding_mark { FINDING_TEXT = ' ', FINDING_REMOVE = '-', FINDING_ADD = '+' };

/* One line to change: of the file, or a word about it. */
struct finding_line {
    enum finding_mark mark;
    struct str text;
};

enum { FINDING_LINES_MAX = 12 };

struct finding {
    enum finding_severity severity;
    enum finding_kind kind;
    uint32_t container, network;  /* what it is about; UINT32_MAX: none */
    struct str title, who, why;
    struct str service, file;     /* where to change it; "" where no Compose file is known */
    struct finding_line lines[FINDING_LINES_MAX];
    uint32_t n_lines;
};

struct findings {
    struct arena *arena;
    struct buf items;             /* of struct finding, worst first once found */
    int error;
};

enum { FINDINGS_MEMORY_MAX = 64 << 20 };

/* All of them, worst first, then by name. gateway: this host's name in the lines for postern.yml. The findings live in the engine's arena.
 * 0, -ENOMEM, -E2BIG. Release them with findings_deinit, also after a failure. */
int findings_find(struct observe_engine *engine, struct str gateway, struct findings *ret) must_check;
void findings_deinit(struct findings *findings);
/* Puts the worst first again, after more were added. */
void findings_sort(struct findings *findings);
#define cleanup_findings cleanup(findings_deinit)

static inline uint32_t findings_n(const struct findings *findings)
{
    return (uint32_t)(findings->items.len / sizeof(struct finding));
}
static inline const struct finding *findings_at(const struct findings *findings, uint32_t i)
{
    return (const struct finding *)(const void *)findings->items.ptr + i;
}

/* "critical"; "published". */
const char *finding_severity_text(enum finding_severity severity);
const char *finding_kind_text(enum finding_kind kind);
