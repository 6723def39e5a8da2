/* The docker role's inner interfaces: it alone holds the engine's socket, and hears nobody but the engine.
 *
 *   docker.c          start, confinement, what the parent says
 *   docker_engine.c   connections to the engine: listing, events, coming back
 *   docker_name.c     the containers that the declaration names: what runs by each name, told to broker and parent
 *   docker_offers.c   services that containers offer by label
 *   docker_look.c     a look at one name: asked twice, with its namespace opened in between
 *   docker_space.c    processes and namespaces, by the kernel's word
 *   docker_show.c     the board that 'postern status' shows
 *
 * A name's life:
 *
 *               ┌──────────── looked at: none that runs ──▶ ABSENT ──┐
 *   UNKNOWN ────┤                                                    ├── an event, the list, a hint ──▶ looked at again
 *               ├──────────── looked at: it mustn't be ───▶ REFUSED ─┘
 *               └─ look, verified twice ─▶ RUNNING ── its process ends, or another runs by that name ─▶ ABSENT or RUNNING
 *
 * Everything is told level by level: what counts is what is there when it is looked at, and an event only says that it is time to look. */
#pragma once

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "docker/connection.h"
#include "docker/events.h"
#include "io/loop.h"
#include "ipc/message.h"
#include "policy/image.h"
#include "roles/docker_board.h"
#include "roles/role.h"

enum {
    DOCKER_GUEST_ADDRESSES = 16,       /* of one container */
    DOCKER_HINT_PAUSE_MS = 100,        /* between two looks that only a waiting request asks for */
    DOCKER_HINT_PAUSE_LOOP_MS = 500,   /* the same, in a crash loop */
    DOCKER_QUICK_ENDS_MAX = 3,         /* more in a row are one */
    DOCKER_STEADY_MS = 10000,          /* a container that lives this long is no crash loop */
    DOCKER_WAIT_FIRST_MS = 250,        /* a crash loop's: doubled with each end, up to */
    DOCKER_WAIT_MAX_MS = 10000,
    DOCKER_FIRST_LIST_MS = 200,        /* at the start whoever is asked for comes first, and the rest when the gateway serves */
    DOCKER_RETRY_FIRST_MS = 50,        /* an engine that isn't there */
    DOCKER_RETRY_MAX_MS = 2000,
    DOCKER_AGAIN_MS = 50,              /* something moved while it was looked at */
    DOCKER_PATIENCE_MS = 1000,         /* after an answer of the engine's that was none */
};

/* One run of a container: all four together are never the same again. */
struct docker_run {
    char id[DOCKER_ID_LEN + 1];
    pid_t pid;
    char started_at[40];
    char sandbox_key[256];
};

enum docker_name_state { DOCKER_NAME_UNKNOWN, DOCKER_NAME_RUNNING, DOCKER_NAME_ABSENT, DOCKER_NAME_REFUSED };

struct docker_name {
    struct io_source process;          /* RUNNING: a pidfd of its first process; fd -1 otherwise */
    struct io_grave grave;
    struct docker *docker;
    uint64_t number;
    char *reference;
    uint32_t flags;                    /* enum image_container_flags */
    uint32_t place;                    /* on the board */
    enum docker_name_state state;
    enum ipc_docker_gone_why why;      /* not RUNNING: what the broker is told */
    char trouble[192];
    bool is_paused, owes_broker;       /* owes: it could not be told */
    bool needs_look, is_hinted;
    uint64_t due_ms;                   /* a look that is needed comes no sooner */
    uint64_t looked_ms;                /* when the last one ended */
    char found_id[DOCKER_ID_LEN + 1];  /* whom the list has by this name; "": to be asked */
    uint32_t n_replicas;
    struct docker_run run;             /* RUNNING */
    uint64_t run_since_ms;
    uint32_t n_starts, n_quick_ends;
    struct address guests[DOCKER_GUEST_ADDRESSES]; /* that the parent was told */
    uint32_t n_guests;
};

struct docker_engine {
    struct docker_connection events, lists, looks;
    struct docker_question events_question, list_question, version_question;
    struct docker_lines lines;
    struct io_timer retry, first_list;
    bool is_there, is_listing, is_listed; /* is_listed: since it came, once */
    bool was_there;
    uint32_t wait_ms, n_reconnects;
    uint64_t tried_ms;
    char trouble[256];                 /* as last logged */
};

enum docker_look_step { DOCKER_LOOK_NONE, DOCKER_LOOK_FIND, DOCKER_LOOK_FIRST, DOCKER_LOOK_OWNER, DOCKER_LOOK_AGAIN, DOCKER_LOOK_OWNER_AGAIN };

struct docker_look {
    struct docker_question question;
    enum docker_look_step step;
    struct docker_name *name;
    struct docker_run run, owner;      /* as told first; owner: of the namespace, where it is another container's */
    bool has_owner;
    int process, owner_process, space; /* -1 */
    unsigned n_finds;
};

struct docker_offer {
    struct ipc_offer told;
    char id[DOCKER_ID_LEN + 1];
    bool is_listed;
    uint64_t gone_ms;                  /* since when nobody offers it; 0: somebody does */
};

struct docker_offers {
    struct docker_question question;
    struct io_timer timer;
    uint64_t at_ms, listed_ms, gap_ms;
    bool is_told, is_owed;             /* told: at least once by this process */
    uint32_t n;
    struct docker_offer items[IPC_OFFERS_MAX];
};

struct docker {
    struct io_loop loop;
    struct role role;
    struct io_source parent, broker, hint;
    uint8_t *hints;                    /* NULL: none yet */
    char socket_path[108];
    struct docker_name **names;        /* by number */
    uint32_t n_names;
    struct docker_engine engine;
    struct docker_look look;
    struct docker_offers offers;
    bool wants_offers;                 /* a grant speaks of services that are offered by label */
    struct io_timer due;               /* the next look that has to wait */
    uint64_t epoch;
    struct docker_board *board;
};

/* ---- names ---- */

/* Takes the names of the block: those that were there stay as they are. 0; -ENOMEM: nothing changed. */
int docker_names_take(struct docker *docker, struct image block) must_check;
/* NULL: none is called so. */
struct docker_name *docker_name_find(const struct docker *docker, struct str reference);
/* It runs, as verified. process and space are consumed; space is -1 where the broker needs none. addresses: at which it asks. */
void docker_name_run(struct docker_name *name, const struct docker_run *run, int process, int space, const struct address *addresses, uint32_t n);
/* The same run as before, looked at again. */
void docker_name_refresh(struct docker_name *name, const struct address *addresses, uint32_t n);
/* No such container runs, or it mustn't be entered: state is ABSENT, REFUSED or UNKNOWN. */
void docker_name_gone(struct docker_name *name, enum docker_name_state state, enum ipc_docker_gone_why why, const char *trouble);
/* RUNNING, but not all is as declared. */
void docker_name_note(struct docker_name *name, const char *trouble);
/* Its addresses may be another's from now on, until it is looked at. */
void docker_name_drop_guests(struct docker_name *name);
bool docker_name_is_alive(const struct docker_name *name);
/* The broker's channel is new: it knows nothing. */
void docker_names_tell_broker(struct docker *docker);
/* Wants a look no sooner than after_ms. */
void docker_name_want(struct docker_name *name, uint64_t after_ms);

/* ---- looks ---- */

/* Looks at the next name that needs it, if none is being looked at; whoever is waited for comes first. */
void docker_look_next(struct docker *docker);
/* The name goes, or the engine did. */
void docker_look_abort(struct docker *docker);

/* ---- the engine ---- */

int docker_engine_init(struct docker *docker) must_check;
/* Connects, unless it is there or was just tried. */
void docker_engine_try(struct docker *docker);
/* A question could not be asked or answered for want of an engine. May be called inside done. */
void docker_engine_lost(struct docker *docker, const struct error *err);
void docker_engine_list(struct docker *docker);
/* Another socket from now on. */
void docker_engine_move(struct docker *docker, const char *socket_path);

/* ---- offers ---- */

void docker_offers_init(struct docker *docker);
/* What a predecessor told, from the parent; before anything else is listed. The descriptor stays the caller's. */
void docker_offers_take(struct docker *docker, const struct ipc_docker_offers *message, int fd);
/* Lists soon who offers what, and tells the parent when that changed. */
void docker_offers_look(struct docker *docker);
void docker_offers_on_event(struct docker *docker, const struct docker_event *event);

/* ---- processes and namespaces ---- */

enum { DOCKER_SPACE_MOVED = 1, DOCKER_SPACE_REFUSED = 2 };
/* A pidfd of the process, which is in the container's cgroup and alive. 0; DOCKER_SPACE_MOVED: not it, or not any more; DOCKER_SPACE_REFUSED
 * with err: it can't be told. */
int docker_process_open(const struct docker_run *run, int *ret_process, struct error *err) must_check;
bool docker_process_is_alive(int process);
/* When the process was started, in the kernel's ticks since boot; 0: it can't be told. */
uint64_t docker_process_started(pid_t pid);
/* The network namespace that is mounted at the run's sandbox key. As docker_process_open. */
int docker_space_open(const struct docker_run *run, int *ret_space, struct error *err) must_check;

/* ---- the board ---- */

void docker_show_engine(struct docker *docker, enum docker_board_engine engine, const char *trouble);
void docker_show_version(struct docker *docker, const char *version);
void docker_show_name(const struct docker_name *name);
void docker_show_count(struct docker *docker);
