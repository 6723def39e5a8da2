/* postern-compiler: reads a declaration that the parent hands it, compiles it, hands back the sealed blocks and what there is to say, and ends. */
#include <errno.h>
#include <fcntl.h>
#include <ifaddrs.h>
#include <netinet/in.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <termios.h>
#include <unistd.h>

#include "base/log.h"
#include "model/reader.h"
#include "policy/compile.h"
#include "roles/compiler_changes.h"
#include "roles/compiler_numbers.h"
#include "roles/revision.h"
#include "roles/role.h"

/* A file of 100,000 services takes 200 MB, twice that where the one in force is read too, for telling what changed. */
enum { MEMORY_MAX = 1 << 30, REPORT_ROOM = 4096 };

enum { REPORT_SIZE_MAX = 1 << 20, CA_SIZE_MAX = 4 << 20, CA_FILES_MAX = 64, OWN_ADDRESSES_MAX = 256 };

/* ---- confinement: it may read what anybody may read, and write nothing ---- */

static const struct confine_syscall calls[] = {
    CONFINE_ALLOW(openat), CONFINE_ALLOW(fstat), CONFINE_ALLOW(newfstatat), CONFINE_ALLOW(pread64),
    CONFINE_ALLOW(memfd_create), CONFINE_ALLOW(ftruncate),
    CONFINE_ALLOW_IF(fcntl, { 1, CONFINE_EQUAL, F_ADD_SEALS }),
    CONFINE_ALLOW_IF(ioctl, { 1, CONFINE_EQUAL, TCGETS }), /* the YAML parser asks whether it writes to a terminal */
};
static const struct confine_syscalls compiler_calls = CONFINE_GROUP(calls);
/* CA files have whatever path the declaration says; the uid has no right to anything that isn't public. */
static const struct confine_path paths[] = { { "/", CONFINE_READ } };
static const struct confine_limit limits[] = { { RLIMIT_NPROC, 0 }, { RLIMIT_DATA, MEMORY_MAX } };

static const struct confine_profile profile = {
    .name = "compiler",
    .syscalls = { &confine_basic, &confine_channels, &compiler_calls },
    .paths = paths,
    .n_paths = ARRAY_SIZE(paths),
    .limits = limits,
    .n_limits = ARRAY_SIZE(limits),
};

/* ---- what it works on ---- */

struct compiler {
    struct role role;
    struct ipc_compile ask;
    int fds[IPC_FDS_MAX];
    size_t n_fds;
    struct str source, previous_source;
    struct image previous_plan;
    struct address own_addresses[OWN_ADDRESSES_MAX];
    uint32_t n_own_addresses;
    char own_name[256];
    struct str ca_texts[CA_FILES_MAX];
    uint32_t n_ca_texts;
    struct offer *offers;
    struct buf report;
};

/* Which addresses and name this machine has: asked before confinement, for finding out which declared host it is. */
static void look_around(struct compiler *c)
{
    struct ifaddrs *list = NULL;
    if (gethostname(c->own_name, sizeof c->own_name - 1) < 0)
        c->own_name[0] = '\0';
    c->own_name[strcspn(c->own_name, ".")] = '\0';
    if (getifaddrs(&list) < 0)
        return;
    for (struct ifaddrs *entry = list; entry && c->n_own_addresses < OWN_ADDRESSES_MAX; entry = entry->ifa_next)
        if (entry->ifa_addr && address_from_sockaddr(entry->ifa_addr, &c->own_addresses[c->n_own_addresses]))
            c->n_own_addresses++;
    freeifaddrs(list);
}

static int hear_request(struct compiler *c)
{
    struct pollfd p = { .fd = IPC_PARENT_FD, .events = POLLIN };
    struct ipc_buffer buffer;
    int r;
    do
        r = poll(&p, 1, -1);
    while (r < 0 && errno == EINTR);
    r = ipc_receive_from(IPC_PARENT_FD, IPC_ROLE_PARENT, IPC_ROLE_COMPILER, &buffer, c->fds, &c->n_fds);
    if (r == 0 && buffer.header.type != IPC_PARENT_COMPILE)
        r = -EBADMSG;
    if (r == 0)
        memcpy(&c->ask, &buffer, sizeof c->ask);
    return r;
}

static int map_text(int fd, struct str *ret)
{
    struct stat st;
    const void *data;
    if (fstat(fd, &st) < 0)
        return -errno;
    if (st.st_size == 0) {
        *ret = STR("");
        return 0;
    }
    int r = role_map_block(fd, (uint64_t)st.st_size, &data);
    if (r == 0)
        *ret = str_make(data, (size_t)st.st_size);
    return r;
}

/* Copied, so that the texts' ends are ours to see to. */
static int map_offers(struct compiler *c, int fd)
{
    const void *data;
    uint32_t n = (uint32_t)c->ask.n_offers;
    int r = role_map_block(fd, n * sizeof(struct ipc_offer), &data);
    if (r < 0)
        return r;
    struct ipc_offer *texts = calloc(n, sizeof *texts);
    c->offers = calloc(n, sizeof *c->offers);
    if (!texts || !c->offers)
        return -ENOMEM;
    memcpy(texts, data, n * sizeof *texts);
    for (uint32_t i = 0; i < n; i++) {
        texts[i].name[sizeof texts[i].name - 1] = texts[i].reference[sizeof texts[i].reference - 1] = '\0';
        c->offers[i] = (struct offer){ .name = str_of(texts[i].name), .reference = str_of(texts[i].reference),
                                       .protocol = texts[i].protocol == IPC_OFFER_H2C ? MODEL_PROTOCOL_H2C : MODEL_PROTOCOL_HTTP };
        if (texts[i].protocol < IPC_OFFER_UNKNOWN) /* one that isn't known is no way to speak to any port */
            c->offers[i].port = texts[i].port;
    }
    return 0;
}

static int map_inputs(struct compiler *c)
{
    size_t next = 0;
    struct error err;
    int r = map_text(c->fds[next++], &c->source);
    if (r == 0 && c->ask.previous_size > 0)
        r = map_text(c->fds[next++], &c->previous_source);
    if (r == 0 && c->ask.previous_plan_size > 0)
        r = role_attach_image(c->fds[next++], c->ask.previous_plan_size, IMAGE_PLAN, &c->previous_plan, &err);
    if (r == 0 && c->ask.n_offers > 0)
        r = map_offers(c, c->fds[next]);
    return r;
}

/* ---- certificate authorities ---- */

static int read_whole(const char *path, struct str *ret, struct error *err)
{
    cleanup_close int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
    struct stat st;
    if (fd < 0 || fstat(fd, &st) < 0) {
        int r = -errno;
        error_set(err, "%s: %s", path, errno == EACCES ? "certificate authorities must be readable by everybody" : strerror(errno));
        return r;
    }
    if (!S_ISREG(st.st_mode) || st.st_size <= 0 || st.st_size > CA_SIZE_MAX) {
        error_set(err, "%s: not a file of 1 byte to 4 MB", path);
        return -EINVAL;
    }
    char *text = malloc((size_t)st.st_size);
    size_t len = 0;
    ssize_t n = -1;
    while (text && len < (size_t)st.st_size && (n = read(fd, text + len, (size_t)st.st_size - len)) > 0)
        len += (size_t)n;
    if (!text || n < 0) {
        int r = text ? -errno : -ENOMEM;
        free(text);
        error_set(err, "%s: %s", path, strerror(-r));
        return r;
    }
    *ret = str_make(text, len);
    return 0;
}

/* Relative paths start at the declaration's directory. */
static int read_ca(void *context, struct str path, struct str *ret_pem, struct error *err)
{
    struct compiler *c = context;
    char whole[4096];
    const char *slash = strrchr(c->ask.file, '/');
    int n;
    if (path.len == 0)
        n = snprintf(whole, sizeof whole, "/etc/ssl/certs/ca-certificates.crt");
    else if (path.ptr[0] == '/' || !slash)
        n = snprintf(whole, sizeof whole, "%.*s", STR_ARG(path));
    else
        n = snprintf(whole, sizeof whole, "%.*s/%.*s", (int)(slash - c->ask.file), c->ask.file, STR_ARG(path));
    if (n < 0 || (size_t)n >= sizeof whole || c->n_ca_texts >= CA_FILES_MAX) {
        error_set(err, "certificate authorities: %s", c->n_ca_texts >= CA_FILES_MAX ? "more than 64 files" : "the path is too long");
        return -EINVAL;
    }
    int r = read_whole(whole, &c->ca_texts[c->n_ca_texts], err);
    if (r == 0)
        *ret_pem = c->ca_texts[c->n_ca_texts++];
    return r;
}

/* ---- which host this is ---- */

static bool has_own_address(const struct compiler *c, const struct model_host *host)
{
    for (uint32_t i = 0; i < host->addresses.n; i++)
        for (uint32_t j = 0; j < c->n_own_addresses; j++)
            if (address_equal(&host->addresses.items[i].address, &c->own_addresses[j]))
                return true;
    return false;
}

static uint32_t find_host(const struct model *model, struct str name)
{
    for (uint32_t i = 0; i < model->n_hosts; i++)
        if (str_equal_nocase(model->hosts[i].name.text, name))
            return i;
    return MODEL_NONE;
}

static uint32_t find_gateway(const struct compiler *c, const struct model *model, struct error *err)
{
    if (c->ask.host[0]) {
        uint32_t host = find_host(model, str_of(c->ask.host));
        if (host == MODEL_NONE)
            error_set(err, "no host '%s' is declared; --host names the one that this machine is", c->ask.host);
        return host;
    }
    for (uint32_t i = 0; i < model->n_hosts; i++)
        if (model->hosts[i].gateway && has_own_address(c, &model->hosts[i]))
            return i;
    uint32_t host = find_host(model, str_of(c->own_name));
    if (host == MODEL_NONE)
        error_set(err, "which declared host is this machine? It has no gateway's address, and none is called '%s'; say --host NAME", c->own_name);
    return host;
}

/* ---- the results ---- */

static int send_sealed(const void *message, const char *name, const void *data, size_t size)
{
    cleanup_close int fd = memfd_create(name, MFD_CLOEXEC | MFD_ALLOW_SEALING);
    if (fd < 0)
        return -errno;
    for (size_t written = 0; written < size;) {
        ssize_t n = write(fd, (const char *)data + written, size - written);
        if (n < 0 && errno != EINTR)
            return -errno;
        written += n > 0 ? (size_t)n : 0;
    }
    if (fcntl(fd, F_ADD_SEALS, F_SEAL_WRITE | F_SEAL_GROW | F_SEAL_SHRINK | F_SEAL_SEAL) < 0)
        return -errno;
    int r;
    while ((r = ipc_send(IPC_PARENT_FD, message, &fd, 1)) == -EAGAIN) {
        struct pollfd p = { .fd = IPC_PARENT_FD, .events = POLLOUT };
        poll(&p, 1, -1);
    }
    return r;
}

static int send_block(enum image_kind kind, uint32_t surface, const struct compile_block *block)
{
    struct ipc_block message = { .header = IPC_HEADER(IPC_COMPILER_BLOCK, message), .size = block->size, .kind = kind, .surface = surface };
    return send_sealed(&message, "postern-image", block->data, block->size);
}

static int send_blocks(const struct compile_output *output)
{
    int r = send_block(IMAGE_PLAN, IMAGE_NONE, &output->plan);
    if (r == 0)
        r = send_block(IMAGE_DIAL, IMAGE_NONE, &output->dial);
    if (r == 0)
        r = send_block(IMAGE_KEYS, IMAGE_NONE, &output->keys);
    if (r == 0 && output->docker.data)
        r = send_block(IMAGE_DOCKER, IMAGE_NONE, &output->docker);
    for (uint32_t i = 0; r == 0 && i < IMAGE_VIEWS_MAX; i++)
        if (output->views[i].data)
            r = send_block(IMAGE_VIEW, i, &output->views[i]);
    return r;
}

static int send_done(struct compiler *c, int status, const char *revision)
{
    struct ipc_compiler_done done = { .header = IPC_HEADER(IPC_COMPILER_DONE, done), .text_size = c->report.len, .status = status };
    str_copy(done.revision, sizeof done.revision, str_of(revision));
    return c->report.len > 0 ? send_sealed(&done, "postern-report", c->report.ptr, c->report.len) : ipc_send(IPC_PARENT_FD, &done, NULL, 0);
}

/* ---- the way from one to the other ---- */

static const char *base_name(const char *path)
{
    const char *slash = strrchr(path, '/');
    return slash ? slash + 1 : path;
}

static void report_findings(struct compiler *c, const struct model_findings *findings)
{
    for (uint32_t i = 0; i < findings->n; i++)
        model_finding_write(&c->report, &findings->items[i], str_of(c->ask.file), c->source, false);
}

static void write_changes(const struct compiler *c, const struct model *model, struct buf *out)
{
    struct model *before = NULL;
    struct model_findings findings;
    if (!c->previous_source.ptr || model_read(c->previous_source, str_of(base_name(c->ask.file)), &before, &findings) != 0)
        return;
    changes_write(out, before, model);
    model_findings_deinit(&findings);
    model_free(before);
}

static int compile(struct compiler *c, const struct model *model, const char *revision, struct compile_output *ret, struct error *err)
{
    struct compile_input input = { .model = model, .generation = c->ask.generation, .revision = str_of(revision),
        .container_directory = str_of(c->ask.container_directory), .read_ca = read_ca, .context = c,
        .offers = c->offers, .n_offers = c->offers ? (uint32_t)c->ask.n_offers : 0 };
    input.gateway = find_gateway(c, model, err);
    if (input.gateway == MODEL_NONE)
        return -EINVAL;
    return compile_model(&input, ret, err);
}

/* Told like any other fault of the file: an end without an answer would look like an accident. */
static int refuse_size(struct compiler *c)
{
    c->report.len = 0;
    c->report.error = 0;
    buf_printf(&c->report, "%s: takes more than %d MB of memory to compile; declare fewer services, or grants from segments instead of hosts\n",
               c->ask.file, MEMORY_MAX >> 20);
    return send_done(c, 1, "");
}

static int run(struct compiler *c)
{
    char revision[REVISION_DIGITS + 1] = "";
    struct model *model = NULL;
    struct model_findings findings;
    struct compile_output output;
    struct error err = { "" };
    revision_of(c->source, revision);
    int r = model_read(c->source, str_of(base_name(c->ask.file)), &model, &findings);
    if (r < 0)
        return r;
    report_findings(c, &findings);
    model_findings_deinit(&findings);
    if (r == MODEL_E_INVALID)
        return send_done(c, 1, revision);
    struct buf changes;
    buf_init(&changes, REPORT_SIZE_MAX);
    write_changes(c, model, &changes);
    r = c->previous_plan.header ? numbers_keep(model, c->previous_plan) : 0;
    if (r == 0)
        r = compile(c, model, revision, &output, &err);
    else
        error_set(&err, "%s", strerror(-r));
    if (r < 0 && r != -ENOMEM) { /* which the caller tells, when this is freed */
        buf_printf(&c->report, "%s: %s\n", c->ask.file, err.text);
        r = send_done(c, 1, revision);
    } else if (r == 0) {
        buf_append(&c->report, buf_str(&changes));
        buf_append(&c->report, buf_str(&output.refused));
        r = send_blocks(&output);
        if (r == 0)
            r = send_done(c, 0, revision);
        compile_output_deinit(&output);
    }
    buf_deinit(&changes);
    model_free(model);
    return r;
}

int main(void)
{
    static struct compiler c;
    int r = role_start(IPC_ROLE_COMPILER, &c.role);
    if (r < 0)
        return EXIT_FAILURE;
    buf_init(&c.report, REPORT_SIZE_MAX);
    if (!buf_reserve(&c.report, REPORT_ROOM)) /* for what there is to say when no memory is left */
        return EXIT_FAILURE;
    look_around(&c);
    r = hear_request(&c);
    if (r == 0)
        r = role_confine(&c.role, &profile);
    if (r == 0)
        r = map_inputs(&c);
    if (r == 0)
        r = run(&c);
    if (r == -ENOMEM)
        r = refuse_size(&c);
    buf_deinit(&c.report);
    for (uint32_t i = 0; i < c.n_ca_texts; i++)
        free((void *)(uintptr_t)c.ca_texts[i].ptr);
    if (r < 0 && r != -EPIPE)
        log_error("%s", strerror(-r));
    return r < 0 ? EXIT_FAILURE : EXIT_SUCCESS;
}
