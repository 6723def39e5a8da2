/* What the watcher knows: roles, surfaces and their counters, certificates, what is in force. All of it as told by parent and keeper, or
 * read from pages that workers write: nothing in it is taken for more than a number or a text to show. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/macros.h"
#include "ipc/message.h"
#include "ipc/metrics.h"
#include "policy/image.h"
#include "roles/docker_board.h"

enum {
    WATCHER_ROLES_MAX = 512,
    WATCHER_PAGES_MAX = 512,
    WATCHER_SURFACES_MAX = 128,
    WATCHER_CERTIFICATES_MAX = 256,
    WATCHER_FOLD_MS = 10000,   /* how long a page is still read after its worker was last seen */
};

struct watcher_page {
    const struct metrics_page *page; /* NULL: free */
    uint32_t worker;
    uint64_t number;                 /* in the order they came */
    int64_t idle_ms;                 /* since when no living worker accounts for it; 0: one does */
    char surface[IPC_NAME_MAX];
};

struct watcher_surface {
    char name[IPC_NAME_MAX];         /* "": free */
    struct metrics_page ended;       /* counters of workers that are gone: totals never go back */
};

struct watcher_state {
    struct ipc_role_state roles[WATCHER_ROLES_MAX];
    uint32_t n_roles;
    struct watcher_page pages[WATCHER_PAGES_MAX];
    uint64_t n_pages_ever;
    struct watcher_surface surfaces[WATCHER_SURFACES_MAX];
    struct ipc_certificate_state certificates[WATCHER_CERTIFICATES_MAX];
    uint32_t n_certificates;
    struct image plan;               /* header NULL: none yet */
    const struct docker_board *board; /* of the docker role; NULL: there is none */
    uint64_t generation;
    char revision[IMAGE_REVISION_SIZE];
    uint64_t n_reloads[3];           /* by ipc_reload_result.status */
};

/* A role's new state takes the place of its last one; GONE removes it. */
void watcher_take_role(struct watcher_state *state, const struct ipc_role_state *role);
/* Maps a worker's page read-only; the descriptor stays the caller's. 0 or negative errno. */
int watcher_take_page(struct watcher_state *state, const struct ipc_metrics_page *message, int fd, int64_t now_ms) must_check;
void watcher_take_certificate(struct watcher_state *state, const struct ipc_certificate_state *certificate);
/* Maps the docker role's board read-only; the descriptor stays the caller's. 0 or negative errno. */
int watcher_take_board(struct watcher_state *state, int fd) must_check;
/* The plan in force (attached; owned from here on). Forgets certificates of surfaces that it doesn't have. */
void watcher_take_plan(struct watcher_state *state, struct image plan);
void watcher_take_result(struct watcher_state *state, const struct ipc_reload_result *result);

/* The sum over a surface's workers: counters of all there ever were, open ones of those that live. Folds pages nobody writes any more. */
void watcher_sum_surface(struct watcher_state *state, struct watcher_surface *surface, int64_t now_ms, struct metrics_page *ret);
/* The plan has a listener of that surface: it is neither another gateway's nor gone. */
bool watcher_serves(struct image plan, uint32_t surface);
/* The name of a surface by its number in the plan, or "". */
struct str watcher_surface_name(const struct watcher_state *state, uint32_t number);
