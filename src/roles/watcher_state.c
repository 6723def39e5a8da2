/* Keeping what the watcher is told, bounded, and adding up counters across the ends of workers. */
#include "roles/watcher_state.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>

#include "roles/role.h"

/* ---- roles ---- */

static bool is_same_place(const struct ipc_role_state *a, const struct ipc_role_state *b)
{
    return a->role == b->role && a->worker == b->worker && strcmp(a->surface_name, b->surface_name) == 0;
}

static struct ipc_role_state *role_by_pid(struct watcher_state *state, const struct ipc_role_state *role)
{
    for (uint32_t i = 0; i < state->n_roles; i++)
        if (is_same_place(&state->roles[i], role) && state->roles[i].pid == role->pid)
            return &state->roles[i];
    return NULL;
}

static struct ipc_role_state *role_by_place(struct watcher_state *state, const struct ipc_role_state *role, bool draining)
{
    for (uint32_t i = 0; i < state->n_roles; i++)
        if (is_same_place(&state->roles[i], role) && (state->roles[i].status == IPC_ROLE_DRAINING) == draining)
            return &state->roles[i];
    return NULL;
}

/* A place (the keeper, worker 0 of main) has one process, and those that it drains from besides. */
void watcher_take_role(struct watcher_state *state, const struct ipc_role_state *role)
{
    struct ipc_role_state *entry = role->pid > 0 ? role_by_pid(state, role) : NULL;
    if (role->status == IPC_ROLE_GONE) {
        /* Told once it is reaped and has no pid any more: it was one that drained, if there is such a one. */
        if (!entry)
            entry = role_by_place(state, role, true);
        if (!entry)
            entry = role_by_place(state, role, false);
        if (entry)
            *entry = state->roles[--state->n_roles];
        return;
    }
    if (!entry)
        entry = role_by_place(state, role, false);
    if (!entry && state->n_roles < WATCHER_ROLES_MAX)
        entry = &state->roles[state->n_roles++];
    if (entry)
        *entry = *role;
}

/* ---- counters ---- */

static struct watcher_surface *surface_get(struct watcher_state *state, const char *name)
{
    for (size_t i = 0; i < WATCHER_SURFACES_MAX; i++) {
        struct watcher_surface *surface = &state->surfaces[i];
        if (strcmp(surface->name, name) == 0)
            return surface;
        if (surface->name[0] == '\0') {
            str_copy(surface->name, sizeof surface->name, str_of(name));
            return surface;
        }
    }
    return NULL;
}

/* What is open is no counter: with the worker it is gone. */
static void clear_gauges(struct metrics_page *page)
{
    page->connections_open = page->requests_open = page->tunnels_open = page->flows_open = page->generation = 0;
}

static void add(struct metrics_page *sum, const struct metrics_page *page, bool with_gauges)
{
    struct metrics_page copy = *page;
    if (!with_gauges)
        clear_gauges(&copy);
    uint64_t generation = copy.generation > sum->generation ? copy.generation : sum->generation;
    uint64_t *to = (uint64_t *)sum;
    const uint64_t *from = (const uint64_t *)&copy;
    _Static_assert(sizeof *sum % sizeof *to == 0, "a page is nothing but 64-bit counters");
    for (size_t i = 0; i < sizeof *sum / sizeof *to; i++)
        to[i] += from[i];
    sum->generation = generation;
}

static void page_fold(struct watcher_state *state, struct watcher_page *page)
{
    struct watcher_surface *surface = surface_get(state, page->surface);
    if (surface)
        add(&surface->ended, page->page, false);
    munmap((void *)(uintptr_t)page->page, METRICS_PAGE_SIZE);
    *page = (struct watcher_page){ 0 };
}

/* The newest pages of a place belong to the processes that live there. */
static bool page_is_live(const struct watcher_state *state, const struct watcher_page *page)
{
    unsigned n_newer = 0, n_living = 0;
    for (size_t i = 0; i < WATCHER_PAGES_MAX; i++) {
        const struct watcher_page *other = &state->pages[i];
        n_newer += other->page && other->worker == page->worker && other->number > page->number && strcmp(other->surface, page->surface) == 0;
    }
    for (uint32_t i = 0; i < state->n_roles; i++) {
        const struct ipc_role_state *role = &state->roles[i];
        n_living += (role->role == IPC_ROLE_WORKER || role->role == IPC_ROLE_RELAY) && role->worker == page->worker && role->status != IPC_ROLE_DOWN &&
                    strcmp(role->surface_name, page->surface) == 0;
    }
    return n_newer < n_living;
}

int watcher_take_page(struct watcher_state *state, const struct ipc_metrics_page *message, int fd, int64_t now_ms)
{
    struct watcher_page *slot = &state->pages[0];
    for (size_t i = 0; i < WATCHER_PAGES_MAX && slot->page; i++)
        if (!state->pages[i].page || state->pages[i].number < slot->number)
            slot = &state->pages[i];
    int seals = fcntl(fd, F_GET_SEALS);
    if (seals < 0 || !(seals & F_SEAL_SHRINK) || lseek(fd, 0, SEEK_END) < METRICS_PAGE_SIZE)
        return -EINVAL; /* reading it could end us */
    void *page = mmap(NULL, METRICS_PAGE_SIZE, PROT_READ, MAP_SHARED, fd, 0);
    if (page == MAP_FAILED)
        return -errno;
    if (slot->page)
        page_fold(state, slot);
    *slot = (struct watcher_page){ .page = page, .worker = message->worker, .number = ++state->n_pages_ever, .idle_ms = now_ms };
    str_copy(slot->surface, sizeof slot->surface, str_of(message->surface_name));
    (void)surface_get(state, slot->surface);
    return 0;
}

void watcher_sum_surface(struct watcher_state *state, struct watcher_surface *surface, int64_t now_ms, struct metrics_page *ret)
{
    struct metrics_page sum = surface->ended;
    for (size_t i = 0; i < WATCHER_PAGES_MAX; i++) {
        struct watcher_page *page = &state->pages[i];
        if (!page->page || strcmp(page->surface, surface->name) != 0)
            continue;
        bool live = page_is_live(state, page);
        add(&sum, page->page, live);
        if (live)
            page->idle_ms = 0;
        else if (page->idle_ms == 0)
            page->idle_ms = now_ms;
        else if (now_ms - page->idle_ms > WATCHER_FOLD_MS)
            page_fold(state, page);
    }
    *ret = sum;
}

/* ---- certificates, plan, results ---- */

void watcher_take_certificate(struct watcher_state *state, const struct ipc_certificate_state *certificate)
{
    uint32_t i = 0;
    while (i < state->n_certificates &&
           (state->certificates[i].surface != certificate->surface || strcmp(state->certificates[i].name, certificate->name) != 0))
        i++;
    if (i == WATCHER_CERTIFICATES_MAX)
        return;
    state->certificates[i] = *certificate;
    if (i == state->n_certificates)
        state->n_certificates++;
}

bool watcher_serves(struct image plan, uint32_t surface)
{
    for (uint32_t i = 0; i < image_count(plan, IMAGE_LISTENERS); i++)
        if (image_listener(plan, i)->surface == surface)
            return true;
    return false;
}

struct str watcher_surface_name(const struct watcher_state *state, uint32_t number)
{
    for (uint32_t i = 0; state->plan.header && i < image_count(state->plan, IMAGE_SURFACES); i++)
        if (image_surface(state->plan, i)->index == number)
            return image_str(state->plan, image_surface(state->plan, i)->name);
    return STR("");
}

void watcher_take_plan(struct watcher_state *state, struct image plan)
{
    role_detach_image(state->plan);
    state->plan = plan;
    state->generation = plan.header->generation;
    memcpy(state->revision, plan.header->revision, sizeof state->revision);
    for (uint32_t i = 0; i < state->n_certificates;)
        if (!watcher_serves(plan, state->certificates[i].surface))
            state->certificates[i] = state->certificates[--state->n_certificates];
        else
            i++;
    for (uint32_t i = 0; i < image_count(plan, IMAGE_SURFACES); i++) {
        char name[IPC_NAME_MAX];
        str_copy(name, sizeof name, image_str(plan, image_surface(plan, i)->name));
        (void)surface_get(state, name);
    }
}

void watcher_take_result(struct watcher_state *state, const struct ipc_reload_result *result)
{
    state->generation = result->generation;
    memcpy(state->revision, result->revision, sizeof state->revision);
    if (result->request > 0 && (size_t)result->status < ARRAY_SIZE(state->n_reloads))
        state->n_reloads[result->status]++;
}
