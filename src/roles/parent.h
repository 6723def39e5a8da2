/* The parent's inner interfaces: one struct for the whole process, and a file for each thing it does.
 *
 *   parent.c             start, the event loop, signals, the end
 *   parent_options.c     the command line
 *   parent_child.c       starting, watching and restarting roles
 *   parent_send.c        what is said to them, queued where they are slow
 *   parent_wire.c        who gets a channel to whom
 *   parent_docker.c      hints, the board, and the addresses at which containers ask
 *   parent_reload.c      compiling the declaration in a child, and the order in which the result takes effect
 *   parent_generation.c  the compiled blocks that are in force
 *   parent_listen.c      listening sockets
 *   parent_holder.c      which process holds a port
 *   parent_upgrade.c     handing over to a new binary
 *   parent_confine.c     what it keeps of root
 *   parent_notify.c      telling the service manager
 *
 * A role's life, and who moves it:
 *
 *   child_start ──▶ STARTING ──READY──▶ RUNNING ──child_drain──▶ DRAINING ──DRAINED──▶ child_stop
 *       ▲               │                  │                                              │
 *       └── back-off ◀──┴───── DOWN ◀──────┘ (reaped, and wanted)                 GONE ◀──┘ (reaped, not wanted) */
#pragma once

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/error.h"
#include "ipc/message.h"
#include "policy/image.h"

enum {
    PARENT_START_TIMEOUT_MS = 10000,    /* from start message to READY */
    PARENT_COMPILE_TIMEOUT_MS = 60000,
    PARENT_SWITCH_TIMEOUT_MS = 3000,    /* for a role to take a new image */
    PARENT_UPGRADE_TIMEOUT_MS = 30000,
    PARENT_END_TIMEOUT_MS = 2000,       /* for a role to end by itself once its channel is closed */
    PARENT_STEADY_MS = 10000,           /* a role that lived this long starts its back-off anew */
    PARENT_BACKOFF_FIRST_MS = 100,
    PARENT_BACKOFF_MAX_MS = 10000,
    PARENT_QUEUE_MAX = 1024,            /* messages waiting for one role */
    PARENT_ASKERS_MAX = 64,             /* reloads asked for and not yet answered */
    PARENT_CERTIFICATES_MAX = 256,
    PARENT_WORKERS_MAX = 64,            /* of one surface */
    PARENT_GUESTS_MAX = 4096,           /* addresses of containers that ask */
};

struct parent;
struct generation;

struct parent_block {
    int fd;         /* sealed memfd; -1: none */
    uint64_t size;
};

struct parent_options {
    const char *file;                   /* absolute */
    const char *host;                   /* "": found out */
    const char *run_directory, *state_directory, *container_directory, *role_directory;
    bool log_requests;
    uint32_t uid_base;
    uint32_t grace_ms;                  /* at SIGTERM */
    uint32_t drain_ms;                  /* after an upgrade, and for a surface that is gone */
    bool is_successor;                  /* IPC_PARENT_FD is a channel to the parent that this one replaces */
};

/* Reads the command line. 0; CLI-like exit statuses otherwise (message or help printed): 1 + status to end with. */
int options_parse(int argc, char **argv, struct parent_options *ret) must_check;

/* ---- roles ---- */

struct child_queued {
    struct child_queued *next;
    int fds[IPC_FDS_MAX];
    size_t n_fds;
    struct ipc_buffer message;
};

struct child {
    struct child *next;
    enum ipc_role role;
    uint32_t surface, worker;           /* IMAGE_NONE but for workers; relay and porter: IMAGE_SURFACE_DIRECT and 0 */
    char surface_name[IPC_NAME_MAX];
    pid_t pid;                          /* 0: not running */
    int channel;                        /* -1 when not running or closed */
    bool is_writable_awaited;
    enum ipc_role_status status;
    bool is_wanted;                     /* to be started again when it ends */
    uint32_t confinement, missing, n_restarts, n_quick_ends, backoff_ms;
    uint64_t generation;                /* of the image it has taken */
    int64_t started_ms, deadline_ms;    /* deadline: to start again, to be ready, or to have ended; 0: none */
    uint64_t started_at;
    char last_exit[IPC_NAME_MAX];
    int metrics;                        /* of whom has connections: its page; -1 */
    int flows[2];                       /* porter: its channel to relays: their end, which outlives them, and its own until it has it */
    int records[2];                     /* of the same: the pipe to the logger; the reading end is kept, so that a logger's end loses nothing */
    struct child_queued *queue, **queue_end;
    uint32_t n_queued;
};

/* A new entry in the list of roles, not started. NULL: no memory. */
struct child *child_new(struct parent *parent, enum ipc_role role, uint32_t surface, const char *surface_name, uint32_t worker);
/* Starts the role's program, sends its start message and wires it to those that run. A failure counts as an end: it is tried again later. */
void child_start(struct parent *parent, struct child *child);
/* No more restarts; closes its channel, which ends it, and kills it if that takes too long. */
void child_stop(struct parent *parent, struct child *child);
/* Ends it at once, to be restarted if it is wanted. */
void child_kill(struct child *child, const char *why);
/* Lets a worker finish what it has within the limit; child_stop follows by itself. */
void child_drain(struct parent *parent, struct child *child, uint32_t limit_ms);
/* Collects ended roles, and starts again or removes them. */
void child_reap_all(struct parent *parent);
/* Acts on the deadlines that have passed. */
void child_run_deadlines(struct parent *parent);
/* The service (not a worker) that is meant to run, or NULL. */
struct child *child_find(struct parent *parent, enum ipc_role role);
/* It runs and can be spoken to. */
bool child_is_live(const struct child *child);
/* A worker or the relay: it is drained before it ends, writes records and counts. */
bool child_has_connections(const struct child *child);
/* "worker main/0" or "keeper", for messages; returns text. */
enum { CHILD_NAME_SIZE = IPC_NAME_MAX + 24 };
const char *child_name(const struct child *child, char text[static CHILD_NAME_SIZE]);

/* Sends the message, or queues it (the descriptors stay the caller's). A role that is down is not told: its next start tells it all. One that
 * lets its queue fill up is ended. */
void child_send(struct parent *parent, struct child *child, const void *message, const int *fds, size_t n_fds);
/* Sends what is queued, as far as it goes. */
void child_flush(struct parent *parent, struct child *child);
void child_drop_queue(struct child *child);
void child_send_start(struct parent *parent, struct child *child);
void child_send_image(struct parent *parent, struct child *child, const struct generation *generation);
void child_set_status(struct parent *parent, struct child *child, enum ipc_role_status status);
/* Tells the watcher how the role is. */
void child_tell_state(struct parent *parent, const struct child *child);

/* ---- channels between roles ---- */

/* Gives a role that has just started its channels to all others, and them theirs to it; to a watcher, all that it shows. */
void wire_started(struct parent *parent, struct child *child);
/* Tells the others that it has ended. */
void wire_ended(struct parent *parent, struct child *child);

/* ---- the declaration ---- */

struct generation {
    uint64_t number;
    char revision[IMAGE_REVISION_SIZE];
    struct parent_block plan, dial, keys, views[IMAGE_VIEWS_MAX];
    struct parent_block docker;         /* fd -1: no container is looked for */
    struct image plan_image;            /* attached once complete */
    struct parent_block source;         /* the text it came from */
};

struct generation *generation_new(uint64_t number);
/* NULL is fine; returns NULL. */
struct generation *generation_free(struct generation *generation);
/* Takes a block of the compiler's; its descriptor is consumed. -EBADMSG: a kind or surface there is none of, or one that came already. */
int generation_add_block(struct generation *generation, const struct ipc_block *block, int fd) must_check;
/* All blocks are there and the plan is sound: attaches it. 0, or -EINVAL with err. */
int generation_complete(struct generation *generation, struct error *err) must_check;
/* The entry of a surface that this gateway serves, or NULL. */
const struct image_surface *generation_surface(const struct generation *generation, uint32_t surface);
/* A sealed memfd with at most max bytes of the file. Negative errno with err. */
int generation_read_source(const char *path, struct parent_block *ret, struct error *err) must_check;
/* Leaves a copy of the declaration in the state directory as applied.yml, for "postern plan"; a warning in the log where that fails. */
void generation_keep_source(const struct generation *generation, const char *state_directory);

/* What a reload is at. The broker takes the new image before any worker does, so that no worker asks for what it doesn't know. */
enum reload_state { RELOAD_IDLE, RELOAD_COMPILING, RELOAD_BROKER, RELOAD_ROLES };

struct reload {
    enum reload_state state;
    struct generation *next;            /* being compiled, or taken by the broker; once the roles take it, it is parent->current */
    struct child *compiler;
    pid_t told_broker;                  /* the broker that was sent the next image */
    int64_t deadline_ms;
    uint64_t askers[PARENT_ASKERS_MAX]; /* 0 for a signal */
    uint32_t n_askers, n_answered;      /* all; those that the running reload answers come first */
    struct parent_block report;
    int status;
    bool is_change;                     /* not the start's own */
    bool is_of_offers, wants_offers;    /* the text in force is compiled again, with what containers offer now; another such is wanted after it */
};

/* Compiles the file and puts it in force. asker: the watcher's request, or 0 for a signal or the start. The answer goes to the watcher and the log. */
void reload_ask(struct parent *parent, uint64_t asker);
/* Compiles the text in force again: what containers offer has changed. */
void reload_ask_for_offers(struct parent *parent);
void reload_on_block(struct parent *parent, struct child *compiler, const struct ipc_block *block, int fd);
void reload_on_done(struct parent *parent, struct child *compiler, const struct ipc_compiler_done *done, int fd);
void reload_on_compiler_end(struct parent *parent, struct child *compiler);
/* Forgets the running reload and who asked: the end has begun. */
void reload_cancel(struct parent *parent);
/* A role took an image, got ready or ended: whoever waited for it may go on. */
void reload_advance(struct parent *parent);
void reload_run_deadline(struct parent *parent);
/* Tells a watcher that has just started what is in force. */
void reload_tell_watcher(struct parent *parent, struct child *watcher);
/* Starts logger and watcher where they are missing; false: nothing was. */
bool reload_start_observers(struct parent *parent);

/* ---- listening sockets ---- */

struct listener {
    struct listener *next;
    uint16_t kind;                      /* enum image_listener_kind or ipc_listener_kind */
    uint32_t surface;                   /* IMAGE_NONE but for workers', relay's and porter's */
    struct address address;
    uint16_t port, redirect_to;
    int fd;
    char path[108];                     /* unix sockets; "" for TCP */
    uint64_t device, inode;             /* of the path, to remove only what is ours */
    bool is_wanted, is_new;
};

/* Opens what the generation lists and isn't open; what it no longer lists stays until listen_commit. On failure nothing new is left open and
 * err names who holds the port and what to do. */
int listen_prepare(struct parent *parent, const struct generation *generation, struct error *err) must_check;
/* Closes what listen_prepare opened. */
void listen_abandon(struct parent *parent);
/* Tells roles of new and closing listeners, and closes the latter here. */
void listen_commit(struct parent *parent);
/* Gives unix sockets their names, over those of a predecessor. */
void listen_publish(struct parent *parent);
/* All that a role which has just started is to accept on. */
void listen_tell(struct parent *parent, struct child *child);
/* Takes over a socket that another parent handed over; fd is consumed. */
int listen_adopt(struct parent *parent, const struct ipc_listener *message, int fd) must_check;
/* Sends every TCP listener over the channel; *ret_n of them. */
int listen_hand_over(struct parent *parent, int channel, uint32_t *ret_n) must_check;
/* Closes all, and removes the unix sockets' names that are still ours. */
void listen_close_all(struct parent *parent);

/* "caddy (process 812)" that has the TCP or UDP port there, or an empty text when it can't be found out. */
enum { HOLDER_TEXT_SIZE = 96 };
void holder_find(const struct address *address, bool is_udp, uint16_t port, char text[static HOLDER_TEXT_SIZE]);

/* ---- containers ---- */

/* An address at which a container asks, as the docker role said. The parent holds a pidfd of the container's first process, so that its end
 * is known at once, whatever that role and the engine are at. */
struct parent_guest {
    struct parent_guest *next;
    uint64_t container;
    struct address address;
    int process;
    bool is_told;                       /* by the docker role that runs now */
};

struct parent_docker {
    int hints, hint_event, board;       /* -1: not made yet */
    struct parent_guest *guests;
    uint32_t n_guests;
    struct parent_block offers;         /* that containers make by label, as the docker role told last */
    uint32_t n_offers;
};

/* Makes the shared pages, once. Negative errno. */
int docker_prepare(struct parent *parent) must_check;
void docker_tell_hints(struct parent *parent, struct child *child);
void docker_tell_board(struct parent *parent, struct child *watcher);
/* All guests there are, to a worker that has just started. */
void docker_tell_guests(struct parent *parent, struct child *worker);
/* process: a pidfd, consumed; -1 when the guest is gone. */
void docker_on_guest(struct parent *parent, const struct ipc_guest *message, int process);
/* What containers offer by label: compiled in from now on. fd is consumed. */
void docker_on_offers(struct parent *parent, const struct ipc_docker_offers *message, int fd);
/* To a docker role that starts: whoever holds a name holds it on. */
void docker_tell_offers(struct parent *parent, struct child *docker);
/* A docker role starts: from now on guests count as told anew. */
void docker_on_start(struct parent *parent);
void docker_on_guests_told(struct parent *parent);
/* Some guest's process has ended. */
void docker_end_guests(struct parent *parent);
/* Nobody looks for containers any more. */
void docker_stop(struct parent *parent);

/* ---- upgrade ---- */

struct upgrade {
    int channel;                        /* to the successor; -1: none */
    pid_t pid;
    int64_t deadline_ms;
};

/* Starts the program that is now installed and hands it the listening sockets. */
void upgrade_start(struct parent *parent);
/* The successor's channel has something, or has ended. */
void upgrade_on_event(struct parent *parent);
void upgrade_run_deadline(struct parent *parent);
/* Collects a successor that has ended. */
void upgrade_reap(struct parent *parent);
/* In the successor: takes the sockets, the host's name and the count of generations. */
int upgrade_receive(struct parent *parent, struct error *err) must_check;
/* In the successor: everything runs; the predecessor may drain. */
void upgrade_tell_ready(void);

/* ---- service manager (sd_notify) ---- */

void notify_manager(const char *state);
/* "RELOADING=1" needs the time with it, or the manager waits for ever. */
void notify_reloading(void);

/* ---- the process ---- */

enum parent_state { PARENT_STARTING, PARENT_SERVING, PARENT_SUCCEEDED /* draining for the successor */, PARENT_STOPPING };

struct parent {
    struct parent_options options;
    enum parent_state state;
    bool is_privileged;                 /* may give each role a uid of its own */
    int exit_status;
    int epoll, signals;
    int null_fd, stdout_fd, stderr_fd;  /* the latter two opened for writing only */
    struct child *children;
    struct generation *current, *previous;
    struct reload reload;
    struct listener *listeners;
    struct ipc_certificate_state certificates[PARENT_CERTIFICATES_MAX]; /* the keeper's last word on each, for a watcher that starts */
    uint32_t n_certificates;
    uint64_t started_at;                /* CLOCK_REALTIME seconds */
    uint64_t last_generation;           /* highest number ever used */
    char host[256];                     /* once known */
    struct parent_docker docker;
    struct upgrade upgrade;
    char **arguments;                   /* as given, for a successor */
};

int64_t parent_now_ms(void);
/* The uid a role runs as; 0: what the parent is. docs: base + 1 keeper, 2 broker, 3 watcher, 4 logger, 5 compiler, 6 acme, 7 docker, 16 + n
 * surface n's workers. */
uint32_t parent_uid_of(const struct parent *parent, enum ipc_role role, uint32_t surface);
/* Of postern-acme, which the keeper starts. */
uint32_t parent_uid_of_acme(const struct parent *parent);
/* Begins the end: workers drained for the grace time (0: not at all), then everybody stopped. */
void parent_stop(struct parent *parent, int exit_status, uint32_t grace_ms);
/* A role got ready, or ended: the start may be complete or have failed, the end may be near. */
void parent_on_progress(struct parent *parent);
/* Gives up what of root's rights neither the parent nor a role needs, for itself and all it starts. */
int parent_confine(struct error *err) must_check;
/* Writes RUNDIR/postern.pid: this process serves, from now on or still. */
void parent_write_pid_file(const struct parent *parent);
/* Reads what the role's channel has. */
void parent_dispatch(struct parent *parent, struct child *child);
