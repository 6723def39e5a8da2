/* What is told apart in the bench under attack: a steady load whose latencies are kept, and clients that take all the time in the world.
 *
 * press paced PORT CA NAME RATE SECONDS     RATE requests a second over CONNECTIONS kept connections; the latencies in nanoseconds, one a line, but for
 *                                           those during which we were kept from running ourselves: these are lines "disturbed"
 * press slow  PORT CA NAME N EVERY_MS       opens N connections, says "ready", sends a byte of a request's head on each of them every EVERY_MS;
 *                                           at the end of stdin, or after LIFE_S, prints how many are still open and ends
 *
 * Its own failures end it with status 1. */
#include "line.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { CONNECTIONS = 16, ANSWER_MAX = 4096, OPENING_AT_ONCE = 64, LIFE_S = 60, STUCK_S = 10, AWAKE_NS = 200000, LATE_NS = 200000 };

/* ---- the steady load ---- */

struct asker {
    struct line line;
    int64_t due_ns, from_ns;     /* of the next request; what the latency of the one under way counts from */
    bool busy, disturbed;
    size_t size;
    char answer[ANSWER_MAX + 1];
};

static bool is_whole(const char *answer, size_t size)
{
    const char *end = strstr(answer, "\r\n\r\n"), *length = strcasestr(answer, "\r\ncontent-length:");
    if (!end)
        return false;
    if (!length || length > end)
        line_die("an answer without a length: %.200s", answer);
    return size >= (size_t)(end + 4 - answer) + strtoul(length + 17, NULL, 10);
}

/* From when it was due where the one before was late, so that a stall counts for every request that it held up. */
static void asker_ask(struct asker *asker, int64_t now_ns, int64_t interval_ns)
{
    char request[512];
    int length = snprintf(request, sizeof request, "GET / HTTP/1.1\r\nHost: %s\r\n\r\n", line_server_name);
    if (!asker->from_ns)
        asker->from_ns = now_ns;
    if (!line_write(&asker->line, request, (size_t)length))
        line_die("cannot ask");
    asker->busy = true;
    asker->size = 0;
    asker->due_ns += interval_ns;
}

/* Whether the answer is whole. */
static bool asker_read(struct asker *asker)
{
    ssize_t n = line_read(&asker->line, asker->answer + asker->size, ANSWER_MAX - asker->size);
    if (n <= 0) {
        if (SSL_get_error(asker->line.ssl, (int)n) == SSL_ERROR_WANT_READ)
            return false;
        line_die("the connection ended");
    }
    asker->size += (size_t)n;
    asker->answer[asker->size] = '\0';
    if (!is_whole(asker->answer, asker->size))
        return false;
    if (strncmp(asker->answer, "HTTP/1.1 200 ", 13) != 0)
        line_die("answered with %.40s", asker->answer);
    return true;
}

static void set_nonblocking(int fd)
{
    int flags = fcntl(fd, F_GETFL);
    if (flags < 0 || fcntl(fd, F_SETFL, flags | O_NONBLOCK) < 0)
        line_die("fcntl: %s", strerror(errno));
}

/* We woke late, so this core was somebody else's: what is under way may be late through us, or through the instance, which shares the core. */
static void note_disturbance(struct asker *askers, int64_t planned_ns, int64_t now_ns)
{
    if (now_ns - planned_ns > LATE_NS)
        for (size_t i = 0; i < CONNECTIONS; i++)
            askers[i].disturbed |= askers[i].busy;
}

static int run_paced(unsigned rate, unsigned seconds)
{
    static struct asker askers[CONNECTIONS];
    size_t n = (size_t)rate * seconds, n_done = 0, n_asked = 0;
    int64_t *latencies = calloc(n, sizeof *latencies);
    if (!n || !latencies)
        line_die("no memory, or nothing to do");
    prctl(PR_SET_TIMERSLACK, 1); /* waits end when they should */
    for (size_t i = 0; i < CONNECTIONS; i++) {
        if (!line_open(&askers[i].line, "http/1.1"))
            line_die("cannot connect");
        set_nonblocking(askers[i].line.fd);
    }
    int64_t interval_ns = 1000000000LL * CONNECTIONS / rate, start_ns = line_now_ns() + 1000000;
    int64_t limit_ns = start_ns + (int64_t)(seconds + STUCK_S) * 1000000000;
    for (size_t i = 0; i < CONNECTIONS; i++)
        askers[i].due_ns = start_ns + interval_ns * (int64_t)i / CONNECTIONS;
    while (n_done < n) {
        struct pollfd ready[CONNECTIONS];
        int64_t now_ns = line_now_ns(), next_ns = now_ns + AWAKE_NS;
        for (size_t i = 0; i < CONNECTIONS; i++) {
            struct asker *asker = &askers[i];
            if (!asker->busy && asker->due_ns <= now_ns && n_asked < n) {
                asker_ask(asker, now_ns, interval_ns);
                n_asked++;
            }
            if (!asker->busy && asker->due_ns < next_ns)
                next_ns = asker->due_ns;
            ready[i] = (struct pollfd){ .fd = asker->line.fd, .events = POLLIN };
        }
        now_ns = line_now_ns();
        if (now_ns > limit_ns)
            line_die("%zu of %zu answered within %u s", n_done, n, seconds + STUCK_S);
        struct timespec wait = { .tv_nsec = next_ns > now_ns ? (long)(next_ns - now_ns) : 0 };
        if (ppoll(ready, CONNECTIONS, &wait, NULL) < 0 && errno != EINTR)
            line_die("ppoll: %s", strerror(errno));
        now_ns = line_now_ns();
        note_disturbance(askers, next_ns, now_ns);
        for (size_t i = 0; i < CONNECTIONS; i++) {
            struct asker *asker = &askers[i];
            if (!ready[i].revents || !asker->busy || !asker_read(asker))
                continue;
            latencies[n_done++] = asker->disturbed ? -1 : now_ns - asker->from_ns;
            asker->busy = false;
            asker->from_ns = asker->due_ns < now_ns ? asker->due_ns : 0;
            asker->disturbed &= asker->from_ns != 0;
        }
    }
    for (size_t i = 0; i < n; i++)
        if (latencies[i] < 0)
            puts("disturbed");
        else
            printf("%lld\n", (long long)latencies[i]);
    free(latencies);
    return 0;
}

/* ---- the slow ones ---- */

static const char slow_head[] = "GET / HTTP/1.1\r\nX-Slow: ";

/* Resumed where it can be: cheap for us, and for the other side. False: the handshake failed. */
static bool open_all(struct line *lines, size_t n)
{
    int epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    struct line first;
    if (epoll_fd < 0 || !line_open(&first, "http/1.1") || !line_write(&first, slow_head, sizeof slow_head - 1))
        return false;
    set_nonblocking(first.fd);
    char nothing;
    for (int turn = 0; turn < 100 && !line_session; turn++) {
        poll(&(struct pollfd){ .fd = first.fd, .events = POLLIN }, 1, 10);
        (void)line_read(&first, &nothing, 1); /* the ticket comes with it */
    }
    SSL_CTX_set_session_cache_mode(line_context, SSL_SESS_CACHE_OFF);
    size_t n_started = 0, n_done = 0;
    while (n_done < n) {
        for (; n_started < n && n_started - n_done < OPENING_AT_ONCE; n_started++) {
            struct line *line = &lines[n_started];
            line_begin(line, "http/1.1");
            if (line_session)
                SSL_set_session(line->ssl, line_session);
            struct epoll_event event = { .events = EPOLLIN | EPOLLOUT | EPOLLET, .data.ptr = line };
            epoll_ctl(epoll_fd, EPOLL_CTL_ADD, line->fd, &event);
        }
        struct epoll_event events[OPENING_AT_ONCE];
        int n_events = epoll_wait(epoll_fd, events, OPENING_AT_ONCE, STUCK_S * 1000);
        if (n_events <= 0)
            return false;
        for (int i = 0; i < n_events; i++) {
            struct line *line = events[i].data.ptr;
            int status = SSL_do_handshake(line->ssl);
            if (status == 1) {
                epoll_ctl(epoll_fd, EPOLL_CTL_DEL, line->fd, NULL);
                line_write(line, slow_head, sizeof slow_head - 1);
                n_done++;
            } else if (SSL_get_error(line->ssl, status) != SSL_ERROR_WANT_READ) {
                return false;
            }
        }
    }
    close(epoll_fd);
    close(first.fd);
    return true;
}

static size_t count_open(const struct line *lines, size_t n)
{
    size_t n_open = 0;
    for (size_t i = 0; i < n; i++) {
        char byte;
        ssize_t got;
        /* The tickets that nobody read are there still; what follows them is the end, or nothing. */
        while ((got = recv(lines[i].fd, &byte, 1, MSG_DONTWAIT)) > 0)
            ;
        n_open += got < 0 && errno == EAGAIN;
    }
    return n_open;
}

static int run_slow(size_t n, unsigned every_ms)
{
    struct line *lines = calloc(n, sizeof *lines);
    if (!n || !every_ms || !lines)
        line_die("no memory, or nothing to do");
    if (!open_all(lines, n))
        line_die("they could not all be opened");
    puts("ready");
    fflush(stdout);
    int64_t start_ns = line_now_ns(), end_ns = start_ns + (int64_t)LIFE_S * 1000000000;
    size_t n_sent = 0;
    for (int64_t now_ns = start_ns; now_ns < end_ns; now_ns = line_now_ns()) {
        size_t n_due = (size_t)((double)(now_ns - start_ns) / 1e6 / every_ms * (double)n);
        for (; n_sent < n_due; n_sent++)
            line_write(&lines[n_sent % n], "a", 1); /* one that was closed takes nothing */
        if (poll(&(struct pollfd){ .fd = STDIN_FILENO, .events = POLLIN }, 1, 1) > 0)
            break;
    }
    printf("%zu\n", count_open(lines, n));
    free(lines);
    return 0;
}

int main(int argc, char **argv)
{
    if (argc != 7) {
        fputs("usage: press paced|slow PORT CA NAME ...; see the head of press.c\n", stderr);
        return 2;
    }
    line_setup(argv[2], argv[3], argv[4]);
    unsigned a = (unsigned)strtoul(argv[5], NULL, 10), b = (unsigned)strtoul(argv[6], NULL, 10);
    if (strcmp(argv[1], "paced") == 0)
        return run_paced(a, b);
    if (strcmp(argv[1], "slow") == 0)
        return run_slow(a, b);
    fprintf(stderr, "press: no mode %s\n", argv[1]);
    return 2;
}
