/* Containers by number: the namespace that the docker role gave for each, held until its first process ends, and how long to wait for one
 * that is not there.
 *
 *   UNKNOWN ──arrive──▶ HERE ──process ends, or leave──▶ GONE ──arrive──▶ HERE
 *      └──────────────leave──────────────────────────────▲
 *
 * The namespace is a descriptor: whatever the engine says or does, a socket made in it reaches what lives there and nothing else. The pidfd
 * beside it is the first news of the end, also while docker role and engine are away; then the namespace is let go at once, so that
 * nothing here keeps it alive. */
#pragma once

#include "base/error.h"
#include "base/macros.h"
#include "policy/image.h"
#include "roles/broker_netns.h"
#include "roles/broker_table.h"
#include "roles/broker_watch.h"

enum {
    CONTAINER_PATIENCE_MS = 3000,   /* for the successor of one that has just ended, and for that to listen */
};

enum broker_container_state { CONTAINER_UNKNOWN, CONTAINER_HERE, CONTAINER_GONE };

struct broker_container {
    struct broker_watch watch;      /* of process */
    struct broker_container *next;  /* among those to be freed */
    uint64_t number, epoch;
    enum broker_container_state state;
    bool is_wanted;
    int process;                    /* pidfd; -1 */
    int64_t patient_until_ms;       /* GONE: dials may wait until then. HERE: one that refuses may be starting until then */
    struct broker_netns_entry space; /* HERE */
};

struct broker_containers {
    int epoll;
    struct broker_container **slots; /* hash by number, open addressing; n_slots a power of two */
    uint32_t n_slots, n;
    struct broker_container *freed; /* until the event loop has no event of theirs in hand */
    uint8_t *hints;                 /* NULL: no docker role yet */
    int hint_event;
};

void broker_containers_init(struct broker_containers *containers, int epoll);
/* Has an entry for each container of the held generations and no other. 0; -ENOMEM: some may be missing. */
int broker_containers_follow(struct broker_containers *containers, const struct broker_table *table) must_check;
/* Frees what went: between two turns of the event loop. */
void broker_containers_bury(struct broker_containers *containers);
/* Maps the page of hints; both descriptors are consumed. 0 or negative errno: the old one stays. */
int broker_containers_take_hints(struct broker_containers *containers, int page, int event) must_check;

/* NULL: no target of a held generation is that container. */
struct broker_container *broker_container_find(const struct broker_containers *containers, uint64_t number);
/* Both descriptors are consumed. 0; -EACCES with err: not a network namespace, or the broker's own; -ESRCH: it has ended already. The
 * container is GONE then. */
int broker_container_arrive(const struct broker_containers *containers, struct broker_container *container, uint64_t epoch, int space, int process,
                            const struct broker_netns *netns, int64_t now_ms, struct error *err) must_check;
/* patient: its successor may be about to come. */
void broker_container_leave(const struct broker_containers *containers, struct broker_container *container, bool patient, int64_t now_ms);
/* Its process has not ended, by the kernel's word of now. */
bool broker_container_is_alive(const struct broker_container *container);
/* Tells the docker role that somebody waits for it. */
void broker_container_hint(const struct broker_containers *containers, const struct broker_container *container);
