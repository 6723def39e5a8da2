/* The keeper's side of ACME: it makes key and request, and takes the certificate; who talks to the network is postern-acme, its child.
 *
 * The child is started before the keeper confines itself, because afterwards the keeper may start nothing; it runs under a user of its own
 * and never sees a key of ours. It dies with the keeper, and the keeper that follows starts another. */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/log.h"
#include "roles/acme_order.h"
#include "roles/keeper.h"

/* The executable is beside our own. */
static int find_executable(char *path, size_t size)
{
    ssize_t n = readlink("/proc/self/exe", path, size - 1);
    if (n < 0)
        return -errno;
    path[n] = '\0';
    char *slash = strrchr(path, '/');
    if (!slash || (size_t)(slash - path) + sizeof "/postern-acme" > size)
        return -ENAMETOOLONG;
    str_copy(slash, size - (size_t)(slash - path), STR("/postern-acme"));
    return 0;
}

static _Noreturn void become_child(int channel, char *const arguments[])
{
    char *const environment[] = { NULL };
    prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0);
    signal(SIGCHLD, SIG_DFL);
    /* Everything but the channel is closed on exec; dup2 onto itself would leave that flag. */
    if (channel == ACME_CHANNEL_FD ? fcntl(channel, F_SETFD, 0) == 0 : dup2(channel, ACME_CHANNEL_FD) >= 0)
        execve(arguments[0], arguments, environment);
    _exit(127);
}

int keeper_acme_start(struct keeper *keeper, struct image keys, const char *state, uint32_t uid, uint32_t gid, struct error *err)
{
    char executable[512], uid_text[16], gid_text[16], directory[512];
    char *arguments[5 + KEEPER_ACME_FILES_MAX] = { executable, uid_text, gid_text, directory };
    size_t n = 4;
    bool is_wanted = false;
    int pair[2], size = 256 * 1024, r = 0;

    for (uint32_t i = 0; i < image_count(keys, IMAGE_CERTIFICATES); i++) {
        const struct image_certificate *certificate = image_certificate(keys, i);
        struct str file = image_str(keys, certificate->acme_environment_file);
        is_wanted |= certificate->source == IMAGE_CERTIFICATE_ACME;
        if (certificate->source == IMAGE_CERTIFICATE_ACME && file.len > 0 && n < ARRAY_SIZE(arguments) - 1 && (arguments[n] = strndup(file.ptr, file.len)))
            n++;
    }
    if (!is_wanted)
        return 0;
    snprintf(uid_text, sizeof uid_text, "%u", (unsigned)uid);
    snprintf(gid_text, sizeof gid_text, "%u", (unsigned)gid);
    snprintf(directory, sizeof directory, "%s/acme", state);
    if ((r = find_executable(executable, sizeof executable)) == 0 && socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) < 0)
        r = -errno;
    if (r == 0) {
        setsockopt(pair[1], SOL_SOCKET, SO_SNDBUF, &size, sizeof size);
        signal(SIGCHLD, SIG_IGN); /* nobody waits for it: its channel tells */
        pid_t pid = fork();
        if (pid == 0)
            become_child(pair[1], arguments);
        if (pid < 0) {
            r = -errno;
            close(pair[0]);
        } else {
            keeper->acme = pair[0];
            fcntl(pair[0], F_SETFL, O_RDWR | O_NONBLOCK);
        }
        close(pair[1]);
    }
    keeper->n_acme_files = n - 4;
    memcpy(keeper->acme_files, &arguments[4], keeper->n_acme_files * sizeof arguments[0]);
    if (r < 0)
        error_set(err, "starting postern-acme: %s", strerror(-r));
    return r;
}

bool keeper_acme_serves(const struct keeper *keeper, struct image keys)
{
    for (uint32_t i = 0; i < image_count(keys, IMAGE_CERTIFICATES); i++) {
        const struct image_certificate *certificate = image_certificate(keys, i);
        struct str file = image_str(keys, certificate->acme_environment_file);
        bool found = file.len == 0;
        if (certificate->source != IMAGE_CERTIFICATE_ACME)
            continue;
        for (size_t j = 0; j < keeper->n_acme_files && !found; j++)
            found = str_equal(file, str_of(keeper->acme_files[j]));
        if (keeper->acme < 0 || !found)
            return false;
    }
    return true;
}

void keeper_acme_stop(struct keeper *keeper)
{
    if (keeper->acme >= 0)
        close(TAKE_FD(keeper->acme));
    for (size_t i = 0; i < keeper->n_acme_files; i++)
        free(keeper->acme_files[i]);
    keeper->n_acme_files = 0;
}

/* ---- attempts, remembered across restarts ---- */

static void attempts_name(const struct keeper_certificate *certificate, char *text, size_t size)
{
    bool is_wildcard = certificate->name[0] == '*';
    snprintf(text, size, "%s,acme,%s%s.attempts", certificate->surface->name, is_wildcard ? "_" : "", certificate->name + is_wildcard);
}

static void save_attempts(struct keeper *keeper, const struct keeper_certificate *certificate)
{
    char name[400], text[64];
    struct error err = { "" };
    attempts_name(certificate, name, sizeof name);
    snprintf(text, sizeof text, "%u %lld\n", certificate->n_failures, (long long)certificate->next_try);
    if (keeper_state_write(keeper->state.keys, name, str_of(text), 0600, KEEPER_REPLACEABLE, &err) < 0)
        log_warning("%s", err.text);
}

void keeper_acme_restore(struct keeper *keeper, struct keeper_certificate *certificate)
{
    char name[400];
    struct error err = { "" };
    struct buf text;
    uint64_t n_failures, next_try;

    buf_init(&text, 8192);
    attempts_name(certificate, name, sizeof name);
    if (keeper_state_read(keeper->state.keys, name, &text, &err) == 0) {
        struct str rest = str_trim(str_first(buf_str(&text), str_find_char(buf_str(&text), '\n')));
        struct str first = str_split(&rest, ' ');
        /* A time too far ahead is a clock that was wrong then. */
        if (str_to_u64(first, UINT32_MAX, &n_failures) && str_to_u64(rest, INT64_MAX, &next_try) && n_failures > 0 &&
            (int64_t)next_try <= keeper_now() + keeper->retry_max_s * 2) {
            certificate->n_failures = (uint32_t)n_failures;
            certificate->next_try = (int64_t)next_try;
        }
    }
    buf_deinit(&text);
}

static void fail(struct keeper *keeper, struct keeper_certificate *certificate, const char *trouble)
{
    tls_pair_deinit(&certificate->ordered);
    certificate->order = 0;
    keeper_certificate_back_off(keeper, certificate);
    keeper_certificate_set_trouble(certificate, trouble);
    save_attempts(keeper, certificate);
}

/* ---- orders ---- */

static bool is_busy(const struct keeper *keeper)
{
    for (uint32_t i = 0; i < keeper->n_surfaces; i++)
        for (uint32_t j = 0; j < keeper->surfaces[i].n_certificates; j++)
            if (keeper->surfaces[i].certificates[j].order != 0)
                return true;
    return false;
}

static bool copy_into(char *into, size_t size, const char *text)
{
    return str_copy(into, size, str_of(text)) == strlen(text);
}

void keeper_acme_order(struct keeper *keeper, struct keeper_certificate *certificate)
{
    struct acme_order order = { .id = keeper->last_order + 1 };
    struct error err = { "" };
    struct tls_pair pair = { 0 };
    struct buf request;

    if (is_busy(keeper))
        return; /* one at a time: asked again when the answer is there */
    if (keeper->acme < 0) {
        fail(keeper, certificate, "postern-acme is not running; see its last message in the log");
        return;
    }
    buf_init(&request, sizeof order.request - 1);
    int r = tls_ca_make_request(str_of(certificate->name), &pair, &request, &err);
    if (r == 0 && !(copy_into(order.directory, sizeof order.directory, certificate->acme_directory) &&
                    copy_into(order.email, sizeof order.email, certificate->acme_email) &&
                    copy_into(order.provider, sizeof order.provider, certificate->acme_provider) &&
                    copy_into(order.environment_file, sizeof order.environment_file, certificate->acme_environment_file) &&
                    copy_into(order.ca_file, sizeof order.ca_file, certificate->acme_ca_file))) {
        error_set(&err, "a value under tls: acme: is too long");
        r = -EINVAL;
    }
    if (r == 0) {
        str_copy(order.request, sizeof order.request, buf_str(&request));
        if (write(keeper->acme, &order, sizeof order) != (ssize_t)sizeof order) {
            error_set(&err, "postern-acme doesn't take orders: %s", strerror(errno));
            r = -EIO;
        }
    }
    buf_deinit(&request);
    if (r < 0) {
        tls_pair_deinit(&pair);
        fail(keeper, certificate, err.text);
        return;
    }
    certificate->ordered = pair;
    certificate->order = keeper->last_order = order.id;
    log_info("surface %s: asking %s for a certificate for %s", certificate->surface->name, certificate->acme_directory, certificate->name);
}

static struct keeper_certificate *find_order(struct keeper *keeper, uint64_t id)
{
    for (uint32_t i = 0; i < keeper->n_surfaces; i++)
        for (uint32_t j = 0; j < keeper->surfaces[i].n_certificates; j++)
            if (keeper->surfaces[i].certificates[j].order == id && id != 0)
                return &keeper->surfaces[i].certificates[j];
    return NULL;
}

static void take_answer(struct keeper *keeper, struct keeper_certificate *certificate, const struct acme_answer *answer)
{
    struct error err = { "" };
    struct tls_pair pair = { 0 };

    if (answer->status != 0) {
        fail(keeper, certificate, answer->trouble);
        return;
    }
    int r = tls_pair_join(&certificate->ordered, str_of(answer->chain), &pair, &err);
    if (r == 0)
        r = tls_pair_check(&pair, str_of(certificate->name), keeper_now(), &err);
    if (r < 0) {
        error_wrap(&err, "what %s issued", certificate->acme_directory);
        tls_pair_deinit(&pair);
        fail(keeper, certificate, err.text);
        return;
    }
    certificate->order = 0;
    char name[400];
    attempts_name(certificate, name, sizeof name);
    unlinkat(keeper->state.keys, name, 0);
    keeper_certificate_adopt(keeper, certificate, &pair, false);
}

static void end_orders(struct keeper *keeper)
{
    close(TAKE_FD(keeper->acme));
    for (uint32_t i = 0; i < keeper->n_surfaces; i++)
        for (uint32_t j = 0; j < keeper->surfaces[i].n_certificates; j++)
            if (keeper->surfaces[i].certificates[j].order != 0)
                fail(keeper, &keeper->surfaces[i].certificates[j], "postern-acme ended before it answered; see its last message in the log");
}

void keeper_acme_on_answer(struct keeper *keeper)
{
    static struct acme_answer answer; /* too large for the stack of a loop that is meant to be small */
    ssize_t n = read(keeper->acme, &answer, sizeof answer);
    if (n < 0 && (errno == EAGAIN || errno == EINTR))
        return;
    if (n != (ssize_t)sizeof answer || !memchr(answer.trouble, 0, sizeof answer.trouble) || !memchr(answer.chain, 0, sizeof answer.chain)) {
        end_orders(keeper);
        return;
    }
    struct keeper_certificate *certificate = find_order(keeper, answer.id);
    if (!certificate)
        return; /* withdrawn meanwhile */
    take_answer(keeper, certificate, &answer);
    keeper_certificate_report(certificate);
}
