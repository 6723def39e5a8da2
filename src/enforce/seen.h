/* What was counted of containers, by their names instead of their addresses, which come and go.
 *
 *   addresses and counts (observe/containers.h) ──places──▶ lines: who asked whom, and was it let through
 *
 * A watch gathers them from time to time, and before an address changes hands; the state directory keeps them as "observed". */
#pragma once

#include "base/table.h"
#include "enforce/holding.h"
#include "observe/containers.h"

enum { SEEN_NAME_SIZE = 300, SEEN_LINES_MAX = 4096, SEEN_PLACES_MAX = 16384 };

enum seen_kind {
    SEEN_CONTAINER, /* to: another container, "PROJECT/SERVICE" or NAME */
    SEEN_PUBLISHED, /* the same, by a port of the host at which it is published */
    SEEN_SURFACE,   /* to: a surface of the host's own gateway */
    SEEN_INTERNET,  /* to: "internet", without protocol and port */
    SEEN_HOST,      /* to: the host itself, by one of its addresses */
    SEEN_ADDRESS,   /* to: what is left */
    SEEN_N_KINDS,
};

struct seen_line {
    char from[SEEN_NAME_SIZE], to[SEEN_NAME_SIZE];
    uint8_t kind, protocol;
    bool is_denied;
    uint16_t port;
    uint64_t n;                      /* connections begun, or packets that were dropped */
};

struct seen {
    struct arena arena;
    struct table index;              /* of lines, by what they say but for n */
    struct buf lines;                /* struct seen_line, each once; past SEEN_LINES_MAX no new ones */
};

void seen_init(struct seen *seen);
void seen_deinit(struct seen *seen);
static inline uint32_t seen_count(const struct seen *seen)
{
    return (uint32_t)(seen->lines.len / sizeof(struct seen_line));
}
static inline struct seen_line *seen_at(const struct seen *seen, uint32_t i)
{
    return (struct seen_line *)(void *)seen->lines.ptr + i;
}

/* Who has which address, and is published at which port of the host. */
struct seen_place {
    char bridge[CONTAINER_NAME_SIZE];
    struct address address;
    uint8_t protocol;                /* of a published port; 0: an address */
    uint16_t port, own_port;
    char name[SEEN_NAME_SIZE];
};

struct seen_places {
    struct buf items;                /* struct seen_place */
};

void seen_places_deinit(struct seen_places *places);
/* 0 or -ENOMEM. Containers whose labels no declaration could name are left out. */
int seen_places_init(struct seen_places *ret, const struct docker_containers *containers, const struct docker_networks *networks) must_check;
/* Adds what of `before` isn't contradicted. False: an address is somebody else's now. */
bool seen_places_keep(struct seen_places *places, const struct seen_places *before);

/* Adds counts, by these places. filter: sealed, for what is the internet. */
void seen_add(struct seen *seen, const struct container_counts *counts, const struct seen_places *places, const struct container_filter *filter,
              const struct model *model, uint32_t host);
/* As text, a line each, and back; what isn't such a line is passed over. */
void seen_write(const struct seen *seen, struct buf *out);
void seen_read(struct seen *seen, struct str text);
