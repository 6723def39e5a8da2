/* The worker's timers, in a whole gateway between a client and an instance that are ends of socket pairs. Time is virtual: it passes only when
 * the loop has nothing to do (clock_gettime and epoll_wait are wrapped at link time), so that five minutes take none. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "gateway/client.h"
#include "gateway/dialer.h"
#include "world.h"

enum { SECOND_MS = 1000, SLACK_MS = 100 }; /* a timer fires within two ticks */

static uint64_t virtual_ms;
static struct gateway gw;
static struct metrics_page metrics;
static struct compile_output compiled;
static struct world world;
static int broker;          /* what would be its end of the channel */
static int client, instance; /* our ends; -1: none */

int __real_clock_gettime(clockid_t clock, struct timespec *ret);
int __wrap_clock_gettime(clockid_t clock, struct timespec *ret);
int __real_epoll_wait(int fd, struct epoll_event *events, int n, int timeout_ms);
int __wrap_epoll_wait(int fd, struct epoll_event *events, int n, int timeout_ms);

int __wrap_clock_gettime(clockid_t clock, struct timespec *ret)
{
    if (clock != CLOCK_MONOTONIC)
        return __real_clock_gettime(clock, ret);
    *ret = (struct timespec){ .tv_sec = (time_t)(virtual_ms / 1000), .tv_nsec = (long)(virtual_ms % 1000 * 1000000) };
    return 0;
}

int __wrap_epoll_wait(int fd, struct epoll_event *events, int n, int timeout_ms)
{
    int r = __real_epoll_wait(fd, events, n, 0);
    if (r == 0) {
        assert_true(timeout_ms >= 0); /* the test's own timer is always set */
        virtual_ms += (uint64_t)timeout_ms;
    }
    return r;
}

/* ---- the world ---- */

static void time_is_up(struct io_timer *timer)
{
    (void)timer;
    io_loop_stop(&gw.loop);
}

static void run_for(uint64_t ms)
{
    struct io_timer timer = { .fire = time_is_up };
    gw.loop.now_ms = virtual_ms;
    io_timer_set(&gw.loop, &timer, ms);
    gw.loop.stopping = false;
    assert_int_equal(io_loop_run(&gw.loop), 0);
}

static void pair(int ends[2])
{
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, ends), 0);
}

static void connect_client(void)
{
    int ends[2];
    struct address address;
    pair(ends);
    client = ends[0];
    assert_true(address_parse(STR("100.64.0.13"), &address));
    client_accept(&gw, ends[1], &address, image_find_principal(gw.view, &address), NULL, 0);
    run_for(SLACK_MS);
    assert_int_equal(gw.n_clients, 1);
}

static void say(int fd, const char *text)
{
    assert_int_equal(write(fd, text, strlen(text)), (ssize_t)strlen(text));
    run_for(SLACK_MS);
}

/* Answers one dial, with a socket whose other end is `instance` from now on. */
static void answer_dial(void)
{
    struct ipc_buffer message;
    struct ipc_dial dial;
    int fds[IPC_FDS_MAX], ends[2];
    size_t n_fds;
    assert_int_equal(ipc_receive(broker, &message, sizeof message, fds, &n_fds), 0);
    memcpy(&dial, &message, sizeof dial);
    pair(ends);
    instance = ends[0];
    dialer_answered(&gw, dial.id, ends[1], 0);
    run_for(SLACK_MS);
}

static bool nobody_dials(void)
{
    struct ipc_buffer message;
    int fds[IPC_FDS_MAX];
    size_t n_fds;
    return ipc_receive(broker, &message, sizeof message, fds, &n_fds) == -EAGAIN;
}

/* What is there to read now, as text, and whether the end came after it. */
static const char *hear(int fd, bool *ret_ended)
{
    static char text[1 << 20];
    size_t size = 0;
    ssize_t n;
    while ((n = read(fd, text + size, sizeof text - 1 - size)) > 0)
        size += (size_t)n;
    text[size] = '\0';
    *ret_ended = n == 0 || (n < 0 && errno != EAGAIN);
    return text;
}

static bool has_ended(int fd)
{
    bool ended;
    (void)hear(fd, &ended);
    return ended;
}

static bool starts_with(const char *text, const char *start)
{
    return strncmp(text, start, strlen(start)) == 0;
}

static void assert_silent(int fd)
{
    bool ended;
    assert_string_equal(hear(fd, &ended), "");
    assert_false(ended);
}

#define REQUEST "GET / HTTP/1.1\r\nHost: grafana.home.example\r\n\r\n"

static void ask_for(const char *request)
{
    bool ended;
    connect_client();
    say(client, request);
    answer_dial();
    assert_true(strstr(hear(instance, &ended), "\r\n\r\n") != NULL);
    assert_false(ended);
}

static int set_up(void **state)
{
    (void)state;
    int ends[2];
    signal(SIGPIPE, SIG_IGN);
    virtual_ms = 1000 * SECOND_MS;
    client = instance = -1;
    metrics = (struct metrics_page){ 0 };
    world_homelab(&world);
    world_compile(&world, "roc", &compiled);
    struct compile_block block = compiled.views[0];
    void *map = mmap(NULL, block.size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    assert_ptr_not_equal(map, MAP_FAILED);
    memcpy(map, block.data, block.size);
    struct image view = world_attach((struct compile_block){ .data = map, .size = block.size }, IMAGE_VIEW);
    assert_int_equal(gateway_init(&gw, view, map, block.size, &metrics, 0), 0);
    assert_int_equal(ipc_pair(&ends[0], &ends[1]), 0);
    dialer_set_channel(&gw, ends[0]);
    broker = ends[1];
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    close(gw.dialer.channel);
    gateway_deinit(&gw);
    close(broker);
    if (client >= 0)
        close(client);
    if (instance >= 0)
        close(instance);
    compile_output_deinit(&compiled);
    world_deinit(&world);
    return 0;
}

/* ---- instances ---- */

static void test_an_instance_that_never_answers_is_a_504_after_five_minutes(void **state)
{
    (void)state;
    bool ended;
    ask_for(REQUEST);
    run_for(GATEWAY_FIRST_BYTE_MS - SECOND_MS);
    assert_silent(client);
    assert_silent(instance);
    run_for(SECOND_MS);
    assert_true(starts_with(hear(client, &ended), "HTTP/1.1 504 "));
    assert_true(has_ended(instance));
    assert_int_equal(metrics.requests_by_class[5], 1);
}

static void test_an_instance_that_stalls_in_its_head_is_a_504_however_late_it_began(void **state)
{
    (void)state;
    bool ended;
    ask_for(REQUEST);
    run_for(100 * SECOND_MS);
    say(instance, "HTTP/1.1 200 OK\r\nContent-Ty");
    run_for(GATEWAY_FIRST_BYTE_MS - 100 * SECOND_MS);
    assert_true(starts_with(hear(client, &ended), "HTTP/1.1 504 "));
    assert_true(has_ended(instance));
}

static void test_an_instance_that_stalls_in_its_body_breaks_the_answer_off(void **state)
{
    (void)state;
    bool ended;
    ask_for(REQUEST);
    say(instance, "HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nten bytes.");
    const char *got = hear(client, &ended);
    assert_true(starts_with(got, "HTTP/1.1 200 ") && strstr(got, "ten bytes."));
    run_for(GATEWAY_FIRST_BYTE_MS - SECOND_MS);
    assert_silent(client);
    say(instance, "and ten."); /* slow is no stall: it counts from here again */
    run_for(GATEWAY_FIRST_BYTE_MS - SECOND_MS);
    assert_string_equal(hear(client, &ended), "and ten.");
    assert_false(ended);
    run_for(2 * SECOND_MS);
    assert_string_equal(hear(client, &ended), "");
    assert_true(ended);
    assert_true(has_ended(instance));
    assert_int_equal(gw.n_clients, 0);
}

static void test_a_kept_connection_is_closed_when_nobody_needs_it_for_half_a_minute(void **state)
{
    (void)state;
    ask_for(REQUEST);
    say(instance, "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n");
    run_for(GATEWAY_BACK_IDLE_MS - SECOND_MS);
    assert_false(has_ended(instance));
    run_for(SECOND_MS);
    assert_true(has_ended(instance));
}

static void test_a_rested_connection_whose_end_was_not_seen_yet_costs_no_request(void **state)
{
    (void)state;
    bool ended;
    ask_for(REQUEST);
    for (int i = 0; i < 20; i++) { /* it proves to keep connections */
        say(instance, "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n");
        assert_true(starts_with(hear(client, &ended), "HTTP/1.1 200 "));
        say(client, REQUEST);
        assert_true(nobody_dials());
    }
    say(instance, "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n");
    (void)hear(client, &ended);
    run_for(5 * SECOND_MS);
    /* Both happen between two rounds, and the request is looked at first. */
    assert_int_equal(write(client, REQUEST, strlen(REQUEST)), (ssize_t)strlen(REQUEST));
    int rested = instance;
    assert_int_equal(shutdown(rested, SHUT_WR), 0);
    run_for(SLACK_MS);
    assert_true(has_ended(rested)); /* without having been asked */
    answer_dial();
    close(rested);
    say(instance, "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n");
    assert_true(starts_with(hear(client, &ended), "HTTP/1.1 200 "));
}

/* ---- clients ---- */

static void pour_until_held_up(void)
{
    static const char piece[64 * 1024];
    say(instance, "HTTP/1.1 200 OK\r\nContent-Length: 1000000000\r\n\r\n");
    for (int held_up = 0; held_up < 3; run_for(SLACK_MS))
        held_up = write(instance, piece, sizeof piece) < 0 ? held_up + 1 : 0;
}

static void test_a_client_that_stops_reading_is_closed_after_a_minute(void **state)
{
    (void)state;
    ask_for(REQUEST);
    pour_until_held_up();
    run_for(GATEWAY_STALL_MS - 5 * SECOND_MS);
    assert_int_equal(gw.n_clients, 1);
    run_for(5 * SECOND_MS + GATEWAY_STALL_LOOK_MS + SLACK_MS);
    assert_int_equal(gw.n_clients, 0);
    assert_true(has_ended(instance));
}

static void test_a_client_that_reads_slowly_is_not_closed(void **state)
{
    (void)state;
    static const char piece[64 * 1024];
    bool ended;
    ask_for(REQUEST);
    pour_until_held_up();
    for (int turn = 0; turn < 20; turn++) {
        run_for(GATEWAY_STALL_MS - 5 * SECOND_MS);
        (void)hear(client, &ended); /* what the socket holds: the kernel wakes a writer when most of it is gone */
        assert_false(ended);
        run_for(SLACK_MS);
        while (write(instance, piece, sizeof piece) > 0)
            run_for(SLACK_MS);
    }
    assert_int_equal(gw.n_clients, 1);
}

static void test_a_client_that_reads_so_slowly_that_the_socket_stays_full_is_not_closed(void **state)
{
    (void)state;
    static char sip[40 * 1024]; /* at least one of the kernel's pieces, and far from what wakes a writer */
    ask_for(REQUEST);
    pour_until_held_up();
    for (uint64_t ms = 0; ms < 2 * GATEWAY_STALL_MS; ms += GATEWAY_STALL_LOOK_MS - SECOND_MS) {
        assert_true(read(client, sip, sizeof sip) > 0);
        run_for(GATEWAY_STALL_LOOK_MS - SECOND_MS);
    }
    assert_int_equal(gw.n_clients, 1);
}

static void test_a_client_that_sends_on_and_reads_nothing_prevents_no_timeout(void **state)
{
    (void)state;
    static char body[20000];
    ask_for(REQUEST);
    memset(body, 'x', sizeof body - 1);
    for (int i = 0; !transport_is_congested(&gw.clients->t); i++) {
        assert_true(i < 100);
        if (i > 0)
            say(client, REQUEST);
        say(instance, "HTTP/1.1 200 OK\r\nContent-Length: 19999\r\n\r\n");
        say(instance, body);
    }
    for (int turn = 0; turn < 10 && gw.n_clients; turn++) {
        say(client, "G");
        run_for(GATEWAY_STALL_MS / 4);
    }
    assert_int_equal(gw.n_clients, 0);
}

static void test_a_client_that_stops_in_its_upload_is_closed_after_a_minute(void **state)
{
    (void)state;
    ask_for("POST / HTTP/1.1\r\nHost: grafana.home.example\r\nContent-Length: 100\r\n\r\nten bytes.");
    run_for(GATEWAY_BODY_IDLE_MS - SECOND_MS);
    say(client, "and more.."); /* slow is no stall */
    run_for(GATEWAY_BODY_IDLE_MS - SECOND_MS);
    assert_int_equal(gw.n_clients, 1);
    run_for(SECOND_MS + GATEWAY_LINGER_MS + SLACK_MS);
    assert_int_equal(gw.n_clients, 0);
    assert_true(has_ended(instance));
}

static void test_a_head_that_dribbles_is_a_408_ten_seconds_after_its_beginning(void **state)
{
    (void)state;
    bool ended;
    connect_client();
    say(client, "GET / HTTP/1.1\r\nX-Slow: ");
    for (int second = 1; second < GATEWAY_HEAD_MS / SECOND_MS - 1; second++) {
        run_for(SECOND_MS - SLACK_MS);
        say(client, "a");
        assert_silent(client);
    }
    run_for(2 * SECOND_MS);
    assert_true(starts_with(hear(client, &ended), "HTTP/1.1 408 "));
    run_for(GATEWAY_LINGER_MS + SLACK_MS);
    assert_int_equal(gw.n_clients, 0);
}

static void test_a_client_that_says_nothing_more_is_closed_when_idle_for_long(void **state)
{
    (void)state;
    bool ended;
    ask_for(REQUEST);
    say(instance, "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n");
    assert_true(starts_with(hear(client, &ended), "HTTP/1.1 200 "));
    run_for(GATEWAY_IDLE_H1_MS - SECOND_MS);
    assert_silent(client);
    run_for(SECOND_MS);
    assert_string_equal(hear(client, &ended), ""); /* no 408: a browser would show it for its next request */
    assert_true(ended);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        TEST(test_an_instance_that_never_answers_is_a_504_after_five_minutes),
        TEST(test_an_instance_that_stalls_in_its_head_is_a_504_however_late_it_began),
        TEST(test_an_instance_that_stalls_in_its_body_breaks_the_answer_off),
        TEST(test_a_kept_connection_is_closed_when_nobody_needs_it_for_half_a_minute),
        TEST(test_a_rested_connection_whose_end_was_not_seen_yet_costs_no_request),
        TEST(test_a_client_that_stops_reading_is_closed_after_a_minute),
        TEST(test_a_client_that_reads_slowly_is_not_closed),
        TEST(test_a_client_that_reads_so_slowly_that_the_socket_stays_full_is_not_closed),
        TEST(test_a_client_that_sends_on_and_reads_nothing_prevents_no_timeout),
        TEST(test_a_client_that_stops_in_its_upload_is_closed_after_a_minute),
        TEST(test_a_head_that_dribbles_is_a_408_ten_seconds_after_its_beginning),
        TEST(test_a_client_that_says_nothing_more_is_closed_when_idle_for_long),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
