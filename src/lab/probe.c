/* Probes: bare ports in parallel, since silence takes its time; HTTP and HTTPS one by one. */
#include "lab/probe.h"

#include <errno.h>
#include <fcntl.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

#include "base/buf.h"

enum { SILENCE_MS = 700, HTTP_TIMEOUT_MS = 5000, ANSWER_MAX = 64 << 10, BATCH = 256 };

static uint64_t clock_us(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000 + (uint64_t)now.tv_nsec / 1000;
}

static void fail(struct probe *probe, int error)
{
    switch (error) {
    case EHOSTUNREACH:
    case ENETUNREACH:
    case EACCES:
    case EPERM: probe->outcome = PROBE_REFUSED; break;
    case ECONNREFUSED: probe->outcome = PROBE_NOT_OPEN; break;
    case ETIMEDOUT:
    case EAGAIN: probe->outcome = PROBE_SILENT; break;
    case ECONNRESET:
    case EPIPE: probe->outcome = PROBE_CLOSED; break;
    default:
        probe->outcome = PROBE_FAILED;
        snprintf(probe->detail, sizeof(probe->detail), "%s", strerror(error));
    }
}

/* A socket on its way to the probe's address; *ret_error is EINPROGRESS, 0, or why not. */
static int begin_connect(const struct probe *probe, int *ret_error)
{
    struct sockaddr_storage sa;
    socklen_t length = address_to_sockaddr(&probe->address, probe->port, &sa);
    int type = probe->kind == PROBE_PORT_UDP ? SOCK_DGRAM : SOCK_STREAM;
    int fd = socket(sa.ss_family, type | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    *ret_error = fd < 0 || connect(fd, (struct sockaddr *)&sa, length) < 0 ? errno : 0;
    return fd;
}

/* ---- ports ---- */

/* The first word of what a stand-in says. */
static void take_greeting(struct probe *probe, const char *text, size_t length)
{
    struct str said = str_make(text, length), who = str_split(&said, ' ');
    str_copy(probe->who, sizeof(probe->who), who);
    probe->outcome = PROBE_ANSWERED;
}

/* One step of a port that poll says something about. True when it is decided. */
static bool port_step(struct probe *probe, int fd, bool *connected)
{
    int error = 0;
    socklen_t length = sizeof(error);
    if (!*connected) {
        if (getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &length) < 0 || error) {
            fail(probe, error ? error : errno);
            return true;
        }
        *connected = true;
        return false;
    }
    char text[256];
    ssize_t n = read(fd, text, sizeof(text));
    if (n > 0)
        take_greeting(probe, text, (size_t)n);
    else if (n == 0)
        probe->outcome = PROBE_CLOSED;
    else if (errno == EAGAIN)
        return false;
    else
        fail(probe, errno);
    return true;
}

/* At most BATCH probes. */
static void run_ports(struct probe **probes, size_t n)
{
    struct pollfd wait[BATCH];
    bool connected[BATCH] = { false };
    size_t n_open = 0;
    uint64_t start = clock_us();
    for (size_t i = 0; i < n; i++) {
        int error;
        wait[i] = (struct pollfd){ .fd = begin_connect(probes[i], &error), .events = POLLOUT };
        if (probes[i]->kind == PROBE_PORT_UDP && error == 0) {
            connected[i] = true;
            error = write(wait[i].fd, "postern lab", 11) < 0 ? errno : 0;
        }
        if (error && error != EINPROGRESS) {
            fail(probes[i], error);
            if (wait[i].fd >= 0)
                close(wait[i].fd);
            wait[i].fd = -1;
        }
        n_open += wait[i].fd >= 0;
    }
    while (n_open) {
        uint64_t spent_ms = (clock_us() - start) / 1000;
        for (size_t i = 0; i < n; i++)
            wait[i].events = connected[i] ? POLLIN : POLLOUT;
        if (spent_ms >= SILENCE_MS || poll(wait, n, (int)(SILENCE_MS - spent_ms)) <= 0)
            break;
        for (size_t i = 0; i < n; i++)
            if (wait[i].fd >= 0 && wait[i].revents && port_step(probes[i], wait[i].fd, &connected[i])) {
                probes[i]->took_us = (uint32_t)(clock_us() - start);
                close(wait[i].fd);
                wait[i].fd = -1;
                n_open--;
            }
    }
    for (size_t i = 0; i < n; i++)
        if (wait[i].fd >= 0) {
            probes[i]->outcome = connected[i] && probes[i]->kind == PROBE_PORT_TCP ? PROBE_CONNECTED : PROBE_SILENT;
            close(wait[i].fd);
        }
}

/* ---- HTTP ---- */

static bool await_connect(struct probe *probe, int fd, int error)
{
    struct pollfd wait = { .fd = fd, .events = POLLOUT };
    socklen_t length = sizeof(error);
    if (error == EINPROGRESS) {
        if (poll(&wait, 1, SILENCE_MS) <= 0)
            error = ETIMEDOUT;
        else if (getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &length) < 0)
            error = errno;
    }
    if (error) {
        fail(probe, error);
        return false;
    }
    struct timeval patience = { .tv_sec = HTTP_TIMEOUT_MS / 1000 };
    return fcntl(fd, F_SETFL, 0) == 0 && setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience)) == 0 &&
           setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof(patience)) == 0;
}

static SSL *start_tls(struct probe *probe, int fd, SSL_CTX *context)
{
    SSL *tls = SSL_new(context);
    if (!tls || SSL_set_fd(tls, fd) != 1 || SSL_set_tlsext_host_name(tls, probe->name) != 1 || SSL_set1_host(tls, probe->name) != 1) {
        SSL_free(tls);
        probe->outcome = PROBE_FAILED;
        return NULL;
    }
    ERR_clear_error();
    errno = 0;
    if (SSL_connect(tls) == 1)
        return tls;
    int saved_errno = errno;
    long verdict = SSL_get_verify_result(tls);
    if (verdict != X509_V_OK) {
        probe->outcome = PROBE_UNTRUSTED;
        snprintf(probe->detail, sizeof(probe->detail), "%s", X509_verify_cert_error_string(verdict));
    } else if (saved_errno) {
        fail(probe, saved_errno);
    } else {
        probe->outcome = PROBE_CLOSED;
    }
    SSL_free(tls);
    return NULL;
}

static void take_field(struct probe *probe, struct str line)
{
    struct str name = str_split(&line, ':'), value = str_trim(line);
    if (str_equal_nocase(name, STR("stand-in")))
        str_copy(probe->who, sizeof(probe->who), value);
    else if (str_equal_nocase(name, STR("location")))
        str_copy(probe->detail, sizeof(probe->detail), value);
}

/* The digest of a body but for each place where it repeats the answer's own id. */
static uint64_t digest_without(struct str body, struct str id)
{
    uint64_t digest = 0;
    while (body.len) {
        if (id.len && str_starts_with(body, id)) {
            body = str_skip(body, id.len);
            continue;
        }
        digest = digest * 1099511628211U + (unsigned char)body.ptr[0];
        body = str_skip(body, 1);
    }
    return digest;
}

static void take_answer(struct probe *probe, struct str text)
{
    struct str line = str_split(&text, '\n'), id = STR_NONE;
    uint64_t status;
    if (!str_starts_with(line, STR("HTTP/1.1 ")) || !str_to_u64(str_first(str_skip(line, 9), 3), 999, &status)) {
        probe->outcome = PROBE_CLOSED;
        return;
    }
    probe->outcome = PROBE_ANSWERED;
    probe->status = (unsigned)status;
    probe->digest = status;
    while (text.len) {
        line = str_split(&text, '\n');
        if (line.len && line.ptr[line.len - 1] == '\r')
            line.len--;
        struct str value = line, name = str_split(&value, ':');
        if (!line.len)
            break;
        /* Date and id differ in each answer, by intent: they are no part of what two answers must have in common. */
        if (str_equal_nocase(name, STR("postern-request-id")))
            id = str_trim(value);
        else if (!str_equal_nocase(name, STR("date")))
            probe->digest = probe->digest * 31 + str_hash(line);
        take_field(probe, line);
    }
    if (!probe->who[0])
        probe->digest = probe->digest * 31 + digest_without(text, id);
}

static ssize_t answer_read(SSL *tls, int fd, char *data, size_t size)
{
    return tls ? SSL_read(tls, data, (int)size) : read(fd, data, size);
}

static void exchange(struct probe *probe, int fd, SSL *tls)
{
    cleanup_buf struct buf text = { .max = ANSWER_MAX };
    buf_printf(&text, "GET / HTTP/1.1\r\nHost: %s\r\nUser-Agent: postern-lab\r\nConnection: close\r\n\r\n", probe->name);
    ssize_t n = tls ? SSL_write(tls, text.ptr, (int)text.len) : send(fd, text.ptr, text.len, MSG_NOSIGNAL);
    if (n != (ssize_t)text.len) {
        fail(probe, errno);
        return;
    }
    buf_clear(&text);
    for (char *room; (room = buf_reserve(&text, 4096));) {
        n = answer_read(tls, fd, room, 4096);
        if (n <= 0)
            break;
        text.len += (size_t)n;
    }
    take_answer(probe, buf_str(&text));
}

static void run_http(struct probe *probe, SSL_CTX *context)
{
    uint64_t start = clock_us();
    int error;
    cleanup_close int fd = begin_connect(probe, &error);
    if (!await_connect(probe, fd, error))
        return;
    SSL *tls = NULL;
    if (probe->kind == PROBE_HTTP || (tls = start_tls(probe, fd, context)))
        exchange(probe, fd, tls);
    SSL_free(tls);
    probe->took_us = (uint32_t)(clock_us() - start);
}

void probe_run(struct probe *probes, size_t n, const char *ca_file)
{
    struct probe *batch[BATCH];
    size_t n_batch = 0;
    SSL_CTX *context = SSL_CTX_new(TLS_client_method());
    bool trusts = context && SSL_CTX_load_verify_locations(context, ca_file, NULL) == 1;
    if (context)
        SSL_CTX_set_verify(context, SSL_VERIFY_PEER, NULL);
    for (size_t i = 0; i < n; i++) {
        if (probes[i].kind == PROBE_HTTP || (probes[i].kind == PROBE_HTTPS && trusts)) {
            run_http(&probes[i], context);
        } else if (probes[i].kind == PROBE_HTTPS) {
            probes[i].outcome = PROBE_FAILED;
            snprintf(probes[i].detail, sizeof(probes[i].detail), "%s holds no CA", ca_file);
        } else {
            batch[n_batch++] = &probes[i];
            if (n_batch == BATCH) {
                run_ports(batch, n_batch);
                n_batch = 0;
            }
        }
    }
    run_ports(batch, n_batch);
    SSL_CTX_free(context);
}
