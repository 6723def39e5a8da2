/* What every role does from exec to its first event: its channel, its start message, its signals, its end with the parent. */
#pragma once

#include <stdint.h>

#include "base/error.h"
#include "ipc/message.h"
#include "ipc/metrics.h"
#include "policy/image.h"
#include "roles/confine.h"

struct role {
    enum ipc_role which;
    struct ipc_start start;
    int block;    /* the image block's memfd; -1: this role has none */
    int metrics;  /* worker, relay: its metrics page's memfd; porter: its channel to the relay; -1: none */
};

/* Takes this process into the role: descriptor IPC_PARENT_FD must be a channel to the parent, on which IPC_PARENT_START comes within ten
 * seconds. Then the process has its name and log, can't be traced or dumped, dies with its parent (all but the logger, which first writes
 * what its pipes hold: each role's loop ends at the channel's end anyway), ignores SIGPIPE and what a terminal or an administrator sends
 * to the whole group (the parent alone answers those; a child of a role must put the defaults back), and nothing is blocked.
 * The channel is non-blocking from here on. 0, or a negative errno that was logged: exit with EXIT_FAILURE. *ret is untouched then. */
int role_start(enum ipc_role which, struct role *ret) must_check;
/* Closes the descriptors that were not taken. */
void role_deinit(struct role *role);

/* Confines the process as the profile says, with the uid and gid of the start message, and tells the parent (IPC_ROLE_READY) what is in force
 * and what is missing. 0, or a negative errno that was logged: exit. */
int role_confine(const struct role *role, const struct confine_profile *profile) must_check;

/* Tells the parent that this worker process sent what no worker sends, after which its channel is ended. A failure is logged. */
void role_report_offence(int32_t pid, const char *why);

/* Takes the next connection of a listening unix or TCP socket, non-blocking. uid: of a unix socket's peer, which must be that user or root;
 * ROLE_ANYBODY asks nothing. -EAGAIN: there is none; -EPERM: it was somebody else, and was closed; other negative errno: none was taken. */
enum { ROLE_ANYBODY = UINT32_MAX };
int role_accept(int listener, uint32_t uid) must_check;

/* Maps a sealed block read-only; the descriptor stays the caller's. size must be exact and nobody may still be able to change it: the
 * seals against writing, growing and shrinking are required. 0, -EPERM (a seal is missing), -EINVAL (size), or another negative errno. */
int role_map_block(int fd, uint64_t size, const void **ret_data) must_check;
void role_unmap_block(const void *data, uint64_t size);
/* role_map_block and image_attach in one. On failure err says why and nothing stays mapped. */
int role_attach_image(int fd, uint64_t size, enum image_kind kind, struct image *ret, struct error *err) must_check;
void role_detach_image(struct image image);

/* Maps a worker's metrics page writable; it must be sealed against shrinking. 0 or negative errno. */
int role_map_metrics(int fd, struct metrics_page **ret) must_check;
