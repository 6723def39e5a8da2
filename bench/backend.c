/* The instance behind every proxy of the bench: one epoll loop that answers from constants, so that it costs much less than what is measured.
 *
 * GET /            200, 100 bytes
 * GET /bytes/N     200, N bytes
 * GET /events/N    N event-stream chunks, one every EVENT_INTERVAL_MS, each carrying its CLOCK_MONOTONIC time in nanoseconds
 * POST, PUT        the body is swallowed, then as GET /
 *
 * Trusts its clients: it serves the bench on loopback and nothing else. */
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/timerfd.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

enum { EVENT_INTERVAL_MS = 2, HEAD_MAX = 16384, READ_SIZE = 262144, CHUNK_SIZE = 262144 };

enum body { BODY_NONE, BODY_LENGTH, BODY_CHUNKED };
/* Where a chunked request body is: in a size line, in data, in the line end after data, in the trailers. */
enum chunk { CHUNK_SIZE_LINE, CHUNK_DATA, CHUNK_END, CHUNK_TRAILERS };

struct connection {
    int fd;
    enum body body;
    enum chunk chunk;
    uint64_t left;               /* of the request's body, or of its chunk */
    uint32_t line_length;        /* of the size or trailer line so far */
    bool close, wants_out;
    uint64_t bulk_left;          /* of the answer's body */
    char answer[256];
    size_t answer_size, answer_sent;
    uint32_t events_left;
    struct connection *next_event;
    size_t head_size;
    char head[HEAD_MAX];
};

static int epoll_fd, timer_fd;
static struct connection *event_streams;
static char zeros[CHUNK_SIZE];
static char reading[READ_SIZE];

static const char small_answer[] = "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 100\r\n\r\n"
                                   "0123456789012345678901234567890123456789012345678\n"
                                   "0123456789012345678901234567890123456789012345678\n";

static void watch(struct connection *c, bool out)
{
    if (c->wants_out == out)
        return;
    struct epoll_event event = { .events = EPOLLIN | (out ? EPOLLOUT : 0), .data.ptr = c };
    epoll_ctl(epoll_fd, EPOLL_CTL_MOD, c->fd, &event);
    c->wants_out = out;
}

static void close_connection(struct connection *c)
{
    for (struct connection **at = &event_streams; *at; at = &(*at)->next_event)
        if (*at == c) {
            *at = c->next_event;
            break;
        }
    close(c->fd);
    free(c);
}

static void run_timer(bool on)
{
    struct itimerspec every = { 0 };
    if (on)
        every.it_value.tv_nsec = every.it_interval.tv_nsec = EVENT_INTERVAL_MS * 1000000L;
    timerfd_settime(timer_fd, 0, &every, NULL);
}

/* Writes what is owed. False when the connection is gone. */
static bool flush(struct connection *c)
{
    while (c->answer_sent < c->answer_size || c->bulk_left) {
        struct iovec parts[2] = { { c->answer + c->answer_sent, c->answer_size - c->answer_sent },
                                  { zeros, c->bulk_left < sizeof zeros ? (size_t)c->bulk_left : sizeof zeros } };
        ssize_t n = writev(c->fd, parts, 2);
        if (n < 0 && errno == EAGAIN) {
            watch(c, true);
            return true;
        }
        if (n <= 0) {
            close_connection(c);
            return false;
        }
        size_t of_answer = c->answer_size - c->answer_sent;
        if ((size_t)n < of_answer)
            of_answer = (size_t)n;
        c->answer_sent += of_answer;
        c->bulk_left -= (size_t)n - of_answer;
    }
    watch(c, false);
    if (c->close && !c->events_left) {
        close_connection(c);
        return false;
    }
    return true;
}

static bool answer(struct connection *c)
{
    const char *path = memchr(c->head, ' ', c->head_size);
    path = path ? path + 1 : "/";
    c->answer_sent = 0;
    if (strncmp(path, "/bytes/", 7) == 0) {
        c->bulk_left = strtoull(path + 7, NULL, 10);
        c->answer_size = (size_t)snprintf(c->answer, sizeof c->answer, "HTTP/1.1 200 OK\r\nContent-Type: application/octet-stream\r\n"
                                          "Content-Length: %llu\r\n\r\n", (unsigned long long)c->bulk_left);
    } else if (strncmp(path, "/events/", 8) == 0) {
        c->events_left = (uint32_t)strtoul(path + 8, NULL, 10);
        c->answer_size = (size_t)snprintf(c->answer, sizeof c->answer, "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n"
                                          "Cache-Control: no-store\r\nTransfer-Encoding: chunked\r\n\r\n");
        if (!event_streams)
            run_timer(true);
        c->next_event = event_streams;
        event_streams = c;
    } else {
        c->answer_size = sizeof small_answer - 1;
        memcpy(c->answer, small_answer, c->answer_size);
    }
    return flush(c);
}

/* The value of a header field, or NULL. The head is NUL-terminated. */
static const char *field(const struct connection *c, const char *name)
{
    for (const char *line = strchr(c->head, '\n'); line && line[1] != '\r'; line = strchr(line + 1, '\n'))
        if (strncasecmp(line + 1, name, strlen(name)) == 0)
            return line + 1 + strlen(name) + strspn(line + 1 + strlen(name), " ");
    return NULL;
}

/* Consumes body bytes; *done when the body has ended. Returns how many were consumed. */
static size_t take_body(struct connection *c, const char *data, size_t size, bool *done)
{
    size_t at = 0;
    *done = false;
    while (at < size) {
        if (c->body == BODY_LENGTH || c->chunk == CHUNK_DATA) {
            uint64_t n = size - at < c->left ? size - at : c->left;
            at += (size_t)n;
            c->left -= n;
            if (c->left)
                continue;
            if (c->body == BODY_LENGTH) {
                *done = true;
                return at;
            }
            c->chunk = CHUNK_END;
            continue;
        }
        char byte = data[at++];
        if (byte == '\r')
            continue;
        if (byte != '\n') {
            int digit = byte >= '0' && byte <= '9' ? byte - '0' : (byte | 32) >= 'a' && (byte | 32) <= 'f' ? (byte | 32) - 'a' + 10 : 0;
            if (c->chunk == CHUNK_SIZE_LINE)
                c->left = c->left * 16 + (uint64_t)digit;
            c->line_length++;
            continue;
        }
        bool empty = c->line_length == 0;
        c->line_length = 0;
        if (c->chunk == CHUNK_END) {
            c->chunk = CHUNK_SIZE_LINE;
        } else if (c->chunk == CHUNK_SIZE_LINE) {
            c->chunk = c->left ? CHUNK_DATA : CHUNK_TRAILERS;
        } else if (empty) {
            *done = true;
            return at;
        }
    }
    return at;
}

/* Takes what was read: heads and bodies, one after the other. False when the connection is gone. */
static bool take(struct connection *c, const char *data, size_t size)
{
    while (size) {
        if (c->body != BODY_NONE) {
            bool done;
            size_t n = take_body(c, data, size, &done);
            data += n;
            size -= n;
            if (done) {
                c->body = BODY_NONE;
                bool alive = answer(c);
                c->head_size = 0;
                if (!alive)
                    return false;
            }
            continue;
        }
        size_t n = size < sizeof c->head - 1 - c->head_size ? size : sizeof c->head - 1 - c->head_size;
        size_t searched = c->head_size > 3 ? c->head_size - 3 : 0;
        memcpy(c->head + c->head_size, data, n);
        const char *end = memmem(c->head + searched, c->head_size + n - searched, "\r\n\r\n", 4);
        if (!end) {
            c->head_size += n;
            if (n == 0 || c->head_size == sizeof c->head - 1) {
                close_connection(c);
                return false;
            }
            data += n;
            size -= n;
            continue;
        }
        size_t used = (size_t)(end + 4 - c->head) - c->head_size;
        data += used;
        size -= used;
        c->head_size += used;
        c->head[c->head_size] = '\0';
        const char *value = field(c, "connection:");
        c->close = value && strncasecmp(value, "close", 5) == 0;
        c->chunk = CHUNK_SIZE_LINE;
        c->left = 0;
        if ((value = field(c, "content-length:")) && (c->left = strtoull(value, NULL, 10)) > 0)
            c->body = BODY_LENGTH;
        else if ((value = field(c, "transfer-encoding:")) && strncasecmp(value, "chunked", 7) == 0)
            c->body = BODY_CHUNKED;
        if (c->body != BODY_NONE)
            continue;
        bool alive = answer(c);
        c->head_size = 0;
        if (!alive)
            return false;
    }
    return true;
}

static void read_from(struct connection *c)
{
    ssize_t n = read(c->fd, reading, sizeof reading);
    if (n < 0 && errno == EAGAIN)
        return;
    if (n <= 0)
        close_connection(c);
    else
        take(c, reading, (size_t)n);
}

static void accept_all(int listener)
{
    int fd;
    while ((fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC)) >= 0) {
        int one = 1;
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
        struct connection *c = malloc(sizeof *c);
        if (!c) {
            close(fd);
            continue;
        }
        memset(c, 0, offsetof(struct connection, head));
        c->fd = fd;
        struct epoll_event event = { .events = EPOLLIN, .data.ptr = c };
        epoll_ctl(epoll_fd, EPOLL_CTL_ADD, fd, &event);
    }
}

static void send_events(void)
{
    uint64_t ticks;
    if (read(timer_fd, &ticks, sizeof ticks) < 0)
        return;
    struct connection *next;
    for (struct connection *c = event_streams; c; c = next) {
        next = c->next_event;
        struct timespec now;
        clock_gettime(CLOCK_MONOTONIC, &now);
        char data[64];
        int length = snprintf(data, sizeof data, "data: %lld\n\n", (long long)now.tv_sec * 1000000000LL + now.tv_nsec);
        bool last = --c->events_left == 0;
        c->answer_sent = 0;
        c->answer_size = (size_t)snprintf(c->answer, sizeof c->answer, "%x\r\n%s\r\n%s", (unsigned)length, data, last ? "0\r\n\r\n" : "");
        if (last)
            for (struct connection **at = &event_streams; *at; at = &(*at)->next_event)
                if (*at == c) {
                    *at = c->next_event;
                    break;
                }
        flush(c);
    }
    if (!event_streams)
        run_timer(false);
}

int main(int argc, char **argv)
{
    if (argc != 3) {
        fprintf(stderr, "usage: backend ADDRESS PORT\n");
        return 2;
    }
    sigaction(SIGPIPE, &(struct sigaction){ .sa_handler = SIG_IGN }, NULL);
    struct sockaddr_in address = { .sin_family = AF_INET, .sin_port = htons((uint16_t)strtoul(argv[2], NULL, 10)) };
    int listener = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0), one = 1;
    setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
    if (inet_pton(AF_INET, argv[1], &address.sin_addr) != 1 || bind(listener, (struct sockaddr *)&address, sizeof address) < 0 ||
        listen(listener, 4096) < 0) {
        fprintf(stderr, "backend: cannot listen on %s:%s: %s\n", argv[1], argv[2], strerror(errno));
        return 1;
    }
    epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    timer_fd = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK);
    struct epoll_event event = { .events = EPOLLIN, .data.ptr = NULL };
    epoll_ctl(epoll_fd, EPOLL_CTL_ADD, listener, &event);
    event.data.ptr = &timer_fd;
    epoll_ctl(epoll_fd, EPOLL_CTL_ADD, timer_fd, &event);
    for (;;) {
        struct epoll_event events[256];
        int n = epoll_wait(epoll_fd, events, 256, -1);
        bool tick = false;
        for (int i = 0; i < n; i++) {
            struct connection *c = events[i].data.ptr;
            if (!c)
                accept_all(listener);
            else if ((void *)c == &timer_fd)
                tick = true; /* last: it may end connections that have events of their own in this round */
            else if (!(events[i].events & EPOLLOUT) || flush(c)) {
                if (events[i].events & (EPOLLIN | EPOLLHUP | EPOLLERR))
                    read_from(c);
            }
        }
        if (tick)
            send_events();
    }
}
