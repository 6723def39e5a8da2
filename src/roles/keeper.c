/* The keeper's start, confinement and loop. */
#include "roles/keeper.h"

#include <errno.h>
#include <fcntl.h>
#include <openssl/crypto.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/capability.h>
#include <sys/epoll.h>
#include <sys/inotify.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "base/log.h"
#include "roles/confine.h"
#include "roles/role.h"

enum {
    SECURE_HEAP_SIZE = 1 << 20, /* keys of every surface, and the text of the one being read or written */
    SECURE_HEAP_UNIT = 32,
    CHECK_EVERY_S = 60,
    AUTHORITY_AFTER_MS = 200,
    RETRY_FIRST_S = 300,
    RETRY_MAX_S = 6 * 3600,
    PATHS_MAX = 300,
};

int64_t keeper_now(void)
{
    return (int64_t)time(NULL);
}

int64_t keeper_now_ms(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

/* ---- confinement ---- */

/* Files of its own directory and those certificates are read from (Landlock says which), and the memory that chains are handed over in. It
 * makes no socket, starts no process. */
static const struct confine_syscall file_calls[] = {
    CONFINE_ALLOW(openat), CONFINE_ALLOW(newfstatat), CONFINE_ALLOW(statx), CONFINE_ALLOW(fstat), CONFINE_ALLOW(fchmod), CONFINE_ALLOW(fsync),
    CONFINE_ALLOW(renameat), CONFINE_ALLOW(renameat2), CONFINE_ALLOW(unlinkat), CONFINE_ALLOW(readlinkat),
#ifdef SYS_readlink
    CONFINE_ALLOW(readlink),
#endif
#ifdef SYS_open
    CONFINE_ALLOW(open), CONFINE_ALLOW(stat), CONFINE_ALLOW(lstat),
#endif
    CONFINE_ALLOW(inotify_add_watch), CONFINE_ALLOW(memfd_create), CONFINE_ALLOW(getcwd), CONFINE_ALLOW(geteuid),
    CONFINE_ALLOW_IF(fcntl, { 1, CONFINE_EQUAL, F_ADD_SEALS }), CONFINE_ALLOW_IF(fcntl, { 1, CONFINE_EQUAL, F_SETFL }),
};
static const struct confine_syscalls file_group = CONFINE_GROUP(file_calls);

static const struct confine_limit limits[] = { { RLIMIT_NPROC, 0 } };

/* A key file is commonly root's alone. The right to read it regardless is kept only where certificates come from files, and Landlock holds
 * it to their directories; that way a renewed file is read as it comes, which descriptors opened once by the parent could not do. */
static const int read_all[] = { CAP_DAC_READ_SEARCH };

static bool has_source(struct image keys, enum image_certificate_source source)
{
    for (uint32_t i = 0; i < image_count(keys, IMAGE_CERTIFICATES); i++)
        if (image_certificate(keys, i)->source == (uint32_t)source)
            return true;
    return false;
}

static int confine(const struct role *role, struct image keys, char *const directories[], size_t n_directories)
{
    char own[2][512];
    struct confine_path paths[PATHS_MAX];
    size_t n = 0;

    snprintf(own[0], sizeof own[0], "%s/keeper", role->start.state_directory);
    snprintf(own[1], sizeof own[1], "%s/ca", role->start.state_directory);
    for (size_t i = 0; i < 2; i++)
        paths[n++] = (struct confine_path){ own[i], CONFINE_READ | CONFINE_WRITE };
    for (size_t i = 0; i < n_directories && n < PATHS_MAX; i++)
        paths[n++] = (struct confine_path){ directories[i], CONFINE_READ };
    struct confine_profile profile = {
        .name = "keeper",
        .capabilities = read_all,
        .n_capabilities = has_source(keys, IMAGE_CERTIFICATE_FILES) ? ARRAY_SIZE(read_all) : 0,
        .syscalls = { &confine_basic, &confine_channels, &file_group },
        .paths = paths,
        .n_paths = n,
        .limits = limits,
        .n_limits = ARRAY_SIZE(limits),
    };
    return role_confine(role, &profile);
}

/* ---- lifetimes ---- */

/* STATE/lifetimes, "NAME SECONDS" a line: for tests, which can't wait for 60 days. Whoever may write it may write the keys. */
static void read_lifetimes(struct keeper *keeper, const char *state)
{
    char path[512];
    struct buf text;
    struct error err;

    buf_init(&text, 8192);
    snprintf(path, sizeof path, "%s/lifetimes", state);
    if (keeper_state_read(AT_FDCWD, path, &text, &err) == 0) {
        const struct {
            struct str name;
            int64_t *value;
        } settings[] = {
            { STR("root"), &keeper->lifetimes.root_s },   { STR("intermediate"), &keeper->lifetimes.intermediate_s },
            { STR("leaf"), &keeper->lifetimes.leaf_s },   { STR("check"), &keeper->check_every_s },
            { STR("retry"), &keeper->retry_first_s },     { STR("retry-max"), &keeper->retry_max_s },
        };
        for (struct str rest = buf_str(&text); rest.len > 0;) {
            struct str value = str_split(&rest, '\n'), name = str_split(&value, ' ');
            uint64_t seconds;
            for (size_t i = 0; i < ARRAY_SIZE(settings); i++)
                if (str_equal(name, settings[i].name) && str_to_u64(str_trim(value), INT32_MAX, &seconds) && seconds > 0)
                    *settings[i].value = (int64_t)seconds;
        }
        log_warning("%s is in force: certificates don't live as long as they should", path);
    }
    buf_deinit(&text);
}

/* ---- the loop ---- */

static void refresh_all(struct keeper *keeper, bool files_changed)
{
    for (uint32_t i = 0; i < keeper->n_surfaces; i++) {
        struct keeper_surface *surface = &keeper->surfaces[i];
        if (keeper_tickets_rotate(surface, keeper_now()))
            keeper_channel_push_tickets(keeper, surface);
        for (uint32_t j = 0; j < surface->n_certificates; j++)
            keeper_certificate_refresh(keeper, &surface->certificates[j], files_changed);
    }
}

/* When to look again, in monotonic milliseconds: when something may be due, at most the time between two looks, so that a wall clock that
 * jumps is noticed. */
static int64_t next_look_ms(const struct keeper *keeper)
{
    int64_t now = keeper_now(), wait = keeper->check_every_s * 1000;
    for (uint32_t i = 0; i < keeper->n_surfaces; i++) {
        for (uint32_t j = 0; j < keeper->surfaces[i].n_certificates; j++) {
            const struct keeper_certificate *certificate = &keeper->surfaces[i].certificates[j];
            int64_t until = (certificate->next_try - now) * 1000;
            if (certificate->source != IMAGE_CERTIFICATE_FILES && certificate->order == 0 && until < wait)
                wait = until > 1000 ? until : 1000;
        }
    }
    return keeper_now_ms() + wait;
}

/* Landlock can't be widened and nothing can be started any more: for new places of certificate files, or a first ACME certificate, the
 * parent is to start a keeper anew. Workers ask again there. */
static bool needs_new_start(struct keeper *keeper, struct image keys, char *const allowed[], size_t n_allowed)
{
    char **wanted = NULL;
    size_t n_wanted = 0;
    bool is_new = !keeper_acme_serves(keeper, keys);

    if (keeper_files_directories(keys, &wanted, &n_wanted) < 0)
        return is_new;
    for (size_t i = 0; i < n_wanted; i++) {
        bool found = false;
        for (size_t j = 0; j < n_allowed; j++)
            found |= strcmp(wanted[i], allowed[j]) == 0;
        is_new |= !found;
        free(wanted[i]);
    }
    free(wanted);
    return is_new;
}

/* b: 0 if there is none. */
static int64_t earliest(int64_t a, int64_t b)
{
    return b != 0 && b < a ? b : a;
}

struct places {
    char **directories;
    size_t n;
};

/* False: end. */
static bool take_image(struct keeper *keeper, const struct ipc_image *message, int fd, const struct places *places)
{
    struct ipc_image taken = { .header = IPC_HEADER(IPC_ROLE_IMAGE_TAKEN, taken), .generation = message->generation };
    struct image keys;
    struct error err = { "" };

    if (role_attach_image(fd, message->block_size, IMAGE_KEYS, &keys, &err) < 0) {
        log_error("%s", err.text);
        return false;
    }
    bool anew = needs_new_start(keeper, keys, places->directories, places->n);
    int r = anew ? 0 : keeper_plan_take(keeper, keys);
    role_detach_image(keys);
    if (r < 0)
        return false;
    if (ipc_send_plain(IPC_PARENT_FD, &taken) < 0 && errno != EAGAIN)
        return false;
    if (anew)
        log_info("certificates come from a new place: starting anew");
    else
        refresh_all(keeper, false);
    return !anew;
}

/* False: the parent is gone, or said what it never says. */
static bool on_parent(struct keeper *keeper, const struct places *places)
{
    struct ipc_buffer buffer;
    int fds[IPC_FDS_MAX];
    size_t n_fds = 0;
    int r = ipc_receive_from(IPC_PARENT_FD, IPC_ROLE_PARENT, IPC_ROLE_KEEPER, &buffer, fds, &n_fds);
    bool go_on = true;

    if (r < 0) {
        if (r == -EBADMSG)
            log_error("a malformed message from the parent");
        return r == -EAGAIN;
    }
    switch (buffer.header.type) {
    case IPC_PARENT_IMAGE:
        go_on = take_image(keeper, (const struct ipc_image *)&buffer, fds[0], places);
        break;
    case IPC_PARENT_CHANNEL:
        if (keeper_channel_add(keeper, (const struct ipc_channel *)&buffer, TAKE_FD(fds[0])) < 0)
            log_error("no memory for a worker's channel");
        break;
    case IPC_PARENT_CHANNEL_LOST:
        keeper_channel_lost(keeper, (const struct ipc_channel *)&buffer);
        break;
    default:
        break;
    }
    for (size_t i = 0; i < n_fds; i++)
        if (fds[i] >= 0)
            close(fds[i]);
    return go_on;
}

static void watch(struct keeper *keeper, int fd, void *mark)
{
    struct epoll_event event = { .events = EPOLLIN, .data.ptr = mark };
    if (fd >= 0 && epoll_ctl(keeper->epoll, EPOLL_CTL_ADD, fd, &event) < 0)
        log_error("epoll: %s", strerror(errno));
}

/* Also where no certificate is the internal CA's: 'postern ca export' is to have something to give. */
static void open_authorities(struct keeper *keeper)
{
    struct error err;
    for (uint32_t i = 0; i < keeper->n_surfaces; i++)
        if (keeper_authority_open(keeper, keeper->surfaces[i].domain, &err) < 0)
            log_error("the internal CA: %s", err.text);
}

static void run(struct keeper *keeper, const struct places *places)
{
    int64_t look_ms = next_look_ms(keeper);
    int64_t authority_ms = keeper_now_ms() + AUTHORITY_AFTER_MS; /* making one takes several fsync: the first handshakes don't wait for it */
    bool go_on = true;

    watch(keeper, IPC_PARENT_FD, keeper);
    watch(keeper, keeper->inotify, &keeper->inotify);
    watch(keeper, keeper->acme, &keeper->acme);
    while (go_on) {
        /* One event at a time: handling one may close the channel that another is about. */
        struct epoll_event event;
        int64_t due_ms = earliest(earliest(look_ms, keeper->files_due_ms), authority_ms), left = due_ms - keeper_now_ms();
        int n = epoll_wait(keeper->epoll, &event, 1, left > 0 ? (int)left : 0);
        if (n < 0 && errno != EINTR)
            break;
        if (n > 0 && event.data.ptr == keeper)
            go_on = on_parent(keeper, places);
        else if (n > 0 && event.data.ptr == &keeper->inotify)
            keeper_files_on_change(keeper);
        else if (n > 0 && event.data.ptr == &keeper->acme)
            keeper_acme_on_answer(keeper);
        else if (n > 0)
            keeper_channel_on_event(keeper, event.data.ptr, event.events);
        if (authority_ms && keeper_now_ms() >= authority_ms) {
            open_authorities(keeper);
            authority_ms = 0;
        }
        bool files_due = keeper->files_due_ms && keeper_now_ms() >= keeper->files_due_ms;
        /* What is due is done in time, however busy the workers keep us. */
        if (files_due || keeper_now_ms() >= look_ms) {
            if (files_due)
                keeper->files_due_ms = 0;
            refresh_all(keeper, files_due);
            look_ms = next_look_ms(keeper);
        } else if (n > 0 && (event.data.ptr == keeper || event.data.ptr == &keeper->acme)) {
            look_ms = next_look_ms(keeper);
        }
    }
}

static int prepare(struct keeper *keeper, const struct role *role, struct image keys, struct places *places, struct error *err)
{
    const struct ipc_start *start = &role->start;
    int r = keeper_state_prepare(start->state_directory, start->uid, start->gid, start->acme_uid, start->acme_gid, err);
    if (r < 0)
        return r;
    read_lifetimes(keeper, start->state_directory);
    r = keeper_acme_start(keeper, keys, start->state_directory, start->acme_uid, start->acme_gid, err);
    if (r < 0)
        log_error("%s; certificates are not renewed by ACME", err->text);
    keeper->inotify = inotify_init1(IN_CLOEXEC | IN_NONBLOCK);
    keeper->epoll = epoll_create1(EPOLL_CLOEXEC);
    if (keeper->epoll < 0) {
        error_set(err, "epoll: %s", strerror(errno));
        return -errno;
    }
    r = keeper_files_directories(keys, &places->directories, &places->n);
    if (r < 0)
        error_set(err, "no memory");
    return r;
}

static void deinit(struct keeper *keeper, struct places *places)
{
    keeper_channel_close_all(keeper);
    keeper_plan_free(keeper->surfaces, keeper->n_surfaces);
    keeper_acme_stop(keeper);
    tls_pair_deinit(&keeper->node);
    keeper_state_close(&keeper->state);
    for (size_t i = 0; i < places->n; i++)
        free(places->directories[i]);
    free(places->directories);
    const int fds[] = { keeper->inotify, keeper->epoll };
    for (size_t i = 0; i < ARRAY_SIZE(fds); i++)
        if (fds[i] >= 0)
            close(fds[i]);
}

int main(void)
{
    struct keeper keeper = {
        .state = { -1, -1 },
        .lifetimes = TLS_LIFETIMES_DEFAULT,
        .check_every_s = CHECK_EVERY_S,
        .retry_first_s = RETRY_FIRST_S,
        .retry_max_s = RETRY_MAX_S,
        .inotify = -1,
        .epoll = -1,
        .acme = -1,
    };
    struct role role;
    struct places places = { 0 };
    struct image keys;
    struct error err = { "" };
    int status = EXIT_FAILURE;

    if (role_start(IPC_ROLE_KEEPER, &role) < 0)
        return EXIT_FAILURE;
    umask(0077);
    OPENSSL_init_crypto(OPENSSL_INIT_NO_LOAD_CONFIG | OPENSSL_INIT_LOAD_CRYPTO_STRINGS, NULL);
    if (CRYPTO_secure_malloc_init(SECURE_HEAP_SIZE, SECURE_HEAP_UNIT) != 1)
        log_warning("private keys can't be locked in memory and may be swapped out; raise the limit on locked memory (RLIMIT_MEMLOCK)");
    if (role_attach_image(role.block, role.start.block_size, IMAGE_KEYS, &keys, &err) < 0 || prepare(&keeper, &role, keys, &places, &err) < 0) {
        log_error("%s", err.text);
        return EXIT_FAILURE;
    }
    if (confine(&role, keys, places.directories, places.n) < 0)
        return EXIT_FAILURE;
    keeper_files_watch(&keeper, places.directories, places.n);
    if (keeper_state_open(role.start.state_directory, &keeper.state, &err) < 0) {
        log_error("%s", err.text);
    } else if (keeper_plan_take(&keeper, keys) < 0) {
        log_error("no memory");
    } else {
        role_detach_image(keys);
        role_deinit(&role);
        refresh_all(&keeper, true);
        run(&keeper, &places);
        status = EXIT_SUCCESS;
    }
    deinit(&keeper, &places);
    return status;
}
