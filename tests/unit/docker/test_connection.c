/* The connection to the engine, against engines that speak every version, cut what they say into pieces, hang, lie, and never end. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <time.h>

#include "docker/client.h"
#include "docker/events.h"

static char directory[] = "/tmp/postern-docker-XXXXXX";
static char socket_path[64];

/* ---- an engine: a child that answers with what a test says ---- */

struct engine {
    pid_t pid;
};

/* One question's path and the connection it came on; false ends the connection. */
static bool read_question(int fd, char path[256])
{
    char text[1024];
    size_t len = 0;
    while (len < sizeof text - 1) {
        ssize_t n = recv(fd, text + len, sizeof text - 1 - len, 0);
        if (n <= 0)
            return false;
        len += (size_t)n;
        text[len] = 0;
        if (strstr(text, "\r\n\r\n"))
            return sscanf(text, "GET %255s HTTP/1.1\r\nHost: docker\r\n", path) == 1;
    }
    return false;
}

static void say(int fd, const char *text)
{
    size_t len = strlen(text);
    while (len > 0) {
        ssize_t n = send(fd, text, len, MSG_NOSIGNAL);
        if (n <= 0)
            return;
        text += n;
        len -= (size_t)n;
    }
}

/* In pieces of `step` bytes, each its own write. */
static void say_in_pieces(int fd, const char *text, size_t step)
{
    struct timespec pause = { .tv_nsec = 100000 };
    for (size_t at = 0, len = strlen(text); at < len; at += step) {
        size_t n = len - at < step ? len - at : step;
        if (send(fd, text + at, n, MSG_NOSIGNAL) < 0)
            return;
        nanosleep(&pause, NULL);
    }
}

static void say_json(int fd, const char *version, const char *status, const char *json)
{
    char text[4096];
    snprintf(text, sizeof text, "HTTP/1.1 %s\r\nApi-Version: %s\r\nContent-Type: application/json\r\nContent-Length: %zu\r\n\r\n%s", status, version,
             strlen(json), json);
    say(fd, text);
}

/* n_connections: how many it serves, one after the other; 0: all. The child lives 20 s at most. */
static struct engine start_engine(void (*serve)(int fd, int nth), int n_connections)
{
    struct sockaddr_un name = { .sun_family = AF_UNIX };
    str_copy(name.sun_path, sizeof name.sun_path, str_of(socket_path));
    unlink(socket_path);
    int listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_true(listener >= 0);
    assert_int_equal(bind(listener, (struct sockaddr *)&name, sizeof name), 0);
    assert_int_equal(listen(listener, 4), 0);
    pid_t pid = fork();
    assert_true(pid >= 0);
    if (pid == 0) {
        alarm(20);
        for (int nth = 0; n_connections == 0 || nth < n_connections; nth++) {
            int fd = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
            if (fd < 0)
                break;
            serve(fd, nth);
            close(fd);
        }
        _exit(0);
    }
    close(listener);
    return (struct engine){ pid };
}

static void end_engine(struct engine engine)
{
    kill(engine.pid, SIGKILL);
    waitpid(engine.pid, NULL, 0);
}

static int set_up(void **state)
{
    (void)state;
    if (!mkdtemp(directory))
        return -1;
    snprintf(socket_path, sizeof socket_path, "%s/docker.sock", directory);
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    unlink(socket_path);
    rmdir(directory);
    return 0;
}

/* ---- one question through the waiting client ---- */

struct answer {
    int r;
    char body[256];
    struct error err;
    uint64_t took_ms;
};

static struct answer ask(struct docker_client *client, const char *path)
{
    struct answer answer = { .err = { "" } };
    struct buf body;
    uint64_t begin_us = io_now_us();
    buf_init(&body, DOCKER_BODY_MAX);
    answer.r = docker_client_get(client, path, &body, &answer.err);
    str_copy(answer.body, sizeof answer.body, buf_str(&body));
    answer.took_ms = (io_now_us() - begin_us) / 1000;
    buf_deinit(&body);
    return answer;
}

static struct answer ask_once(void (*serve)(int fd, int nth), const char *path, unsigned timeout_ms)
{
    struct engine engine = start_engine(serve, 0);
    struct docker_client *client;
    struct error err = { "" };
    assert_int_equal(docker_client_open(socket_path, timeout_ms, &client, &err), 0);
    struct answer answer = ask(client, path);
    docker_client_close(client);
    end_engine(engine);
    return answer;
}

/* ---- versions ---- */

static char spoken[16]; /* what the engine says, for the child */

static void serve_version(int fd, int nth)
{
    (void)nth;
    char path[256];
    bool pinged = false;
    while (read_question(fd, path)) {
        if (!pinged && strcmp(path, "/_ping") == 0) {
            pinged = true;
            say_json(fd, spoken, "200 OK", "OK");
        } else {
            char json[300];
            snprintf(json, sizeof json, "[\"%s\"]", path);
            say_json(fd, spoken, "200 OK", json);
        }
    }
}

static void test_the_newest_version_that_both_speak_is_asked_in(void **state)
{
    (void)state;
    char wanted[64];
    for (unsigned minor = 40; minor <= 60; minor++) {
        snprintf(spoken, sizeof spoken, "1.%u", minor);
        snprintf(wanted, sizeof wanted, "[\"/v1.%u/networks\"]", minor < 57 ? minor : 57);
        struct answer answer = ask_once(serve_version, "/networks", 2000);
        assert_int_equal(answer.r, 0);
        assert_string_equal(answer.body, wanted);
    }
}

static void test_an_engine_without_a_common_version_is_named_so(void **state)
{
    (void)state;
    static const char *const bad[] = { "1.39", "1.24", "2.0", "", "1", "1.", "1.x", ".41", "1.41.2", "1.-1", "1.99999999999999999999", "99999999999999999" };
    for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
        str_copy(spoken, sizeof spoken, str_of(bad[i]));
        struct answer answer = ask_once(serve_version, "/networks", 2000);
        assert_int_equal(answer.r, -EPROTONOSUPPORT);
        assert_non_null(strstr(answer.err.text, socket_path));
    }
}

static void serve_refusal(int fd, int nth)
{
    (void)nth;
    char path[256];
    while (read_question(fd, path)) {
        if (strcmp(path, "/_ping") == 0)
            say_json(fd, "1.99", "200 OK", "OK");
        else if (strstr(path, "/containers/"))
            say_json(fd, "1.99", "404 Not Found", "{\"message\":\"No such container: x\\u001b[2J\"}");
        else
            say_json(fd, "1.99", "400 Bad Request", "{\"message\":\"client version 1.57 is too old. Minimum supported API version is 1.60\"}");
    }
}

static void test_a_refusal_is_told_in_the_engines_words(void **state)
{
    (void)state;
    struct answer answer = ask_once(serve_refusal, "/networks", 2000);
    assert_int_equal(answer.r, -EIO);
    assert_non_null(strstr(answer.err.text, "400: client version 1.57 is too old"));
    answer = ask_once(serve_refusal, "/containers/x/json", 2000);
    assert_int_equal(answer.r, DOCKER_NOT_FOUND);
    assert_non_null(strstr(answer.err.text, "No such container: x [2J"));
}

/* ---- ways to answer ---- */

static void serve_in_pieces(int fd, int nth)
{
    (void)nth;
    char path[256];
    for (size_t step = 1; read_question(fd, path); step++) {
        if (strcmp(path, "/_ping") == 0)
            say_in_pieces(fd, "HTTP/1.1 200 OK\r\nApi-Version: 1.41\r\nContent-Length: 2\r\n\r\nOK", 1);
        else
            say_in_pieces(fd, "HTTP/1.1 200 OK\r\nApi-Version: 1.41\r\nTransfer-Encoding: chunked\r\n\r\n1\r\n[\r\n3\r\n1,2\r\n1\r\n]\r\n0\r\n\r\n", step);
    }
}

static void test_an_answer_in_odd_pieces_is_whole(void **state)
{
    (void)state;
    struct engine engine = start_engine(serve_in_pieces, 0);
    struct docker_client *client;
    struct error err = { "" };
    assert_int_equal(docker_client_open(socket_path, 5000, &client, &err), 0);
    for (int i = 0; i < 12; i++) { /* pieces of 2, 3, ... bytes, all on one connection */
        struct answer answer = ask(client, "/networks");
        assert_int_equal(answer.r, 0);
        assert_string_equal(answer.body, "[1,2]");
    }
    docker_client_close(client);
    end_engine(engine);
}

static void serve_endless_body(int fd, int nth)
{
    (void)nth;
    char path[256], much[8192];
    memset(much, ' ', sizeof much);
    much[sizeof much - 1] = 0;
    if (!read_question(fd, path))
        return;
    say_json(fd, "1.41", "200 OK", "OK");
    if (!read_question(fd, path))
        return;
    say(fd, "HTTP/1.1 200 OK\r\nApi-Version: 1.41\r\n\r\n[");
    while (send(fd, much, sizeof much, MSG_NOSIGNAL) > 0)
        ;
}

static void serve_endless_head(int fd, int nth)
{
    (void)nth;
    char path[256];
    if (!read_question(fd, path))
        return;
    say(fd, "HTTP/1.1 200 OK\r\n");
    while (send(fd, "X: y\r\n", 6, MSG_NOSIGNAL) > 0)
        ;
}

static void serve_garbage(int fd, int nth)
{
    (void)nth;
    char path[256];
    if (read_question(fd, path))
        say(fd, "SSH-2.0-OpenSSH_9.2p1\r\n\r\n");
}

static void serve_two_answers(int fd, int nth)
{
    (void)nth;
    char path[256];
    if (read_question(fd, path))
        say_json(fd, "1.41", "200 OK", "OK");
    if (read_question(fd, path))
        say(fd, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n[]HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}");
    read_question(fd, path);
}

static void serve_half(int fd, int nth)
{
    (void)nth;
    char path[256];
    if (read_question(fd, path))
        say_json(fd, "1.41", "200 OK", "OK");
    if (read_question(fd, path))
        say(fd, "HTTP/1.1 200 OK\r\nContent-Length: 200\r\n\r\n[");
}

static void serve_nothing(int fd, int nth)
{
    (void)nth;
    struct pollfd waits = { .fd = fd, .events = POLLRDHUP };
    poll(&waits, 1, 15000);
}

static void serve_drops(int fd, int nth)
{
    (void)nth;
    char path[256];
    if (!read_question(fd, path))
        return;
    say_json(fd, "1.41", "200 OK", "OK");
    if (!read_question(fd, path))
        return;
    say(fd, "HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n");
    struct timespec pause = { .tv_nsec = 20000000 };
    while (send(fd, " ", 1, MSG_NOSIGNAL) > 0)
        nanosleep(&pause, NULL);
}

static void serve_close_after_ping(int fd, int nth)
{
    (void)nth;
    char path[256];
    if (read_question(fd, path))
        say(fd, "HTTP/1.1 200 OK\r\nApi-Version: 1.41\r\nConnection: close\r\nContent-Length: 2\r\n\r\nOK");
}

static void test_an_engine_that_lies_hangs_or_never_ends_costs_bounded_time_and_memory(void **state)
{
    (void)state;
    static const struct {
        const char *name;
        void (*serve)(int fd, int nth);
        int r;
        unsigned timeout_ms, limit_ms;
    } rows[] = {
        { "endless body", serve_endless_body, -EPROTO, 15000, 15000 }, { "endless head", serve_endless_head, -EPROTO, 5000, 5000 },
        { "garbage", serve_garbage, -EPROTO, 5000, 4000 },             { "half an answer", serve_half, -ECONNRESET, 5000, 4000 },
        { "nothing", serve_nothing, -ETIMEDOUT, 300, 2000 },           { "a byte now and then", serve_drops, -ETIMEDOUT, 300, 2000 },
        { "hangs up after each", serve_close_after_ping, -EPROTO, 5000, 4000 },
    };
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        struct answer answer = ask_once(rows[i].serve, "/networks", rows[i].timeout_ms);
        if (answer.r != rows[i].r || answer.took_ms > rows[i].limit_ms || !strstr(answer.err.text, socket_path))
            fail_msg("%s: %d after %u ms: %s", rows[i].name, answer.r, (unsigned)answer.took_ms, answer.err.text);
    }
}

static void test_a_second_answer_that_nobody_asked_for_answers_nothing(void **state)
{
    (void)state;
    struct engine engine = start_engine(serve_two_answers, 0);
    struct docker_client *client;
    struct error err = { "" };
    assert_int_equal(docker_client_open(socket_path, 2000, &client, &err), 0);
    for (int i = 0; i < 3; i++) {
        struct answer answer = ask(client, "/networks");
        assert_int_equal(answer.r, 0);
        assert_string_equal(answer.body, "[]");
    }
    docker_client_close(client);
    end_engine(engine);
}

/* ---- engines that come and go ---- */

static void test_where_no_engine_is_it_says_what_to_do(void **state)
{
    (void)state;
    struct docker_client *client;
    struct error err = { "" };
    unlink(socket_path);
    assert_int_equal(docker_client_open(socket_path, 2000, &client, &err), 0);
    struct answer answer = ask(client, "/networks");
    assert_int_equal(answer.r, -ENOENT);
    assert_non_null(strstr(answer.err.text, "docker:"));
    struct engine engine = start_engine(serve_version, 1);
    end_engine(engine); /* the socket stays, without a listener */
    assert_int_equal(ask(client, "/networks").r, -ECONNREFUSED);
    str_copy(spoken, sizeof spoken, STR("1.41"));
    engine = start_engine(serve_version, 0);
    assert_int_equal(ask(client, "/networks").r, 0); /* the same client, once there is one */
    docker_client_close(client);
    end_engine(engine);

    char name[200];
    memset(name, 'x', sizeof name);
    name[sizeof name - 1] = 0;
    assert_int_equal(docker_client_open(name, 0, &client, &err), -ENAMETOOLONG);
}

/* Answers one question a connection, then closes it in silence. */
static void serve_one_question(int fd, int nth)
{
    (void)nth;
    char path[256];
    if (read_question(fd, path))
        say_json(fd, nth % 2 ? "1.44" : "1.41", "200 OK", "OK");
    if (read_question(fd, path)) {
        char json[300];
        snprintf(json, sizeof json, "%s", path);
        say_json(fd, "1.41", "200 OK", json);
    }
}

static void test_an_engine_that_restarted_between_two_questions_is_connected_to_anew(void **state)
{
    (void)state;
    struct engine engine = start_engine(serve_one_question, 0);
    struct docker_client *client;
    struct error err = { "" };
    assert_int_equal(docker_client_open(socket_path, 2000, &client, &err), 0);
    for (int i = 0; i < 6; i++) {
        struct answer answer = ask(client, "/networks");
        assert_int_equal(answer.r, 0);
        assert_string_equal(answer.body, i % 2 ? "/v1.44/networks" : "/v1.41/networks"); /* it may have been upgraded */
    }
    docker_client_close(client);
    end_engine(engine);
}

static void test_only_plain_paths_are_asked(void **state)
{
    (void)state;
    struct docker_client *client;
    struct error err = { "" };
    struct arena arena;
    struct docker_container container;
    arena_init(&arena, 4096);
    assert_int_equal(docker_client_open(socket_path, 2000, &client, &err), 0);
    assert_int_equal(ask(client, "/a b").r, -EINVAL);
    assert_int_equal(ask(client, "/a\r\nX: y").r, -EINVAL);
    assert_int_equal(ask(client, "networks").r, -EINVAL);
    static const char *const names[] = { "", "../x", "a/b", "a?b", "a b", ".a", "a%20", "\r\n" };
    for (size_t i = 0; i < ARRAY_SIZE(names); i++)
        assert_int_equal(docker_client_container(client, str_of(names[i]), &arena, &container, &err), -EINVAL);
    docker_client_close(client);
    arena_deinit(&arena);
}

/* ---- without waiting: a queue, a stream ---- */

struct probe {
    struct docker_question question;
    struct docker_connection *connection;
    struct probe *withdraws;
    struct io_loop *loop;
    struct docker_lines lines;
    int r;
    unsigned status, n_done, n_lines, n_opened, stop_at_line;
    bool deinits, stops;
};

static void probe_done(struct docker_question *question, int r, const struct docker_response *response, const struct error *err)
{
    struct probe *p = container_of(question, struct probe, question);
    assert_true((r == 0) == (response != NULL) && (r == 0) == (err == NULL));
    p->n_done++;
    p->r = r;
    p->status = response ? response->status : 0;
    if (p->withdraws)
        docker_connection_withdraw(p->connection, &p->withdraws->question);
    if (p->deinits)
        docker_connection_deinit(p->connection);
    if (p->stops)
        io_loop_stop(p->loop);
}

static bool probe_piece(struct docker_question *question, struct str piece)
{
    struct probe *p = container_of(question, struct probe, question);
    struct str line;
    int error = 0;
    assert_int_equal(p->n_opened, 1);
    while (docker_lines_next(&p->lines, &piece, &line, &error))
        if (++p->n_lines == p->stop_at_line)
            return false;
    return error == 0;
}

static void probe_opened(struct docker_question *question)
{
    container_of(question, struct probe, question)->n_opened++;
}

static void give_up(struct io_timer *timer)
{
    (void)timer;
    fail_msg("nothing came of it");
}

static void run(struct io_loop *loop)
{
    struct io_timer limit = { .fire = give_up };
    loop->stopping = false;
    loop->now_ms = io_now_us() / 1000;
    io_timer_set(loop, &limit, 10000);
    assert_int_equal(io_loop_run(loop), 0);
    io_timer_clear(loop, &limit);
}

static void test_questions_end_in_order_and_a_withdrawn_one_not_at_all(void **state)
{
    (void)state;
    struct io_loop loop;
    struct docker_connection connection;
    str_copy(spoken, sizeof spoken, STR("1.41"));
    struct engine engine = start_engine(serve_version, 0);
    assert_int_equal(io_loop_init(&loop), 0);
    assert_int_equal(docker_connection_init(&connection, &loop, socket_path), 0);
    struct probe p[4];
    for (int i = 0; i < 4; i++)
        p[i] = (struct probe){ .question = { .done = probe_done }, .connection = &connection, .loop = &loop };
    p[0].withdraws = &p[2];
    p[3].stops = true;
    for (int i = 0; i < 4; i++)
        assert_int_equal(docker_connection_ask(&connection, &p[i].question, "/networks"), 0);
    assert_int_equal(docker_connection_ask(&connection, &p[3].question, "/networks"), -EINVAL); /* twice at once */
    docker_connection_withdraw(&connection, &p[1].question);
    run(&loop);
    assert_int_equal(p[0].n_done, 1);
    assert_int_equal(p[1].n_done, 0);
    assert_int_equal(p[2].n_done, 0);
    assert_int_equal(p[3].n_done, 1);
    assert_int_equal(p[3].status, 200);
    assert_int_equal(connection.n_questions, 0);
    assert_int_equal(loop.n_timers, 0);
    docker_connection_deinit(&connection);
    docker_connection_deinit(&connection);
    io_loop_deinit(&loop);
    end_engine(engine);
}

static void test_a_lost_connection_ends_all_that_wait_and_may_be_deinited_meanwhile(void **state)
{
    (void)state;
    for (int deinits = 0; deinits < 2; deinits++) {
        struct io_loop loop;
        struct docker_connection connection;
        struct engine engine = start_engine(serve_half, 0);
        assert_int_equal(io_loop_init(&loop), 0);
        assert_int_equal(docker_connection_init(&connection, &loop, socket_path), 0);
        struct probe p[4];
        for (int i = 0; i < 4; i++) {
            p[i] = (struct probe){ .question = { .done = probe_done }, .connection = &connection, .loop = &loop };
            assert_int_equal(docker_connection_ask(&connection, &p[i].question, "/networks"), 0);
        }
        p[0].withdraws = &p[1];
        p[2].deinits = deinits;
        p[deinits ? 2 : 3].stops = true;
        run(&loop);
        assert_int_equal(p[0].r, -ECONNRESET);
        assert_int_equal(p[1].n_done, 0);
        assert_int_equal(p[2].n_done, 1);
        assert_int_equal(p[3].n_done, deinits ? 0 : 1);
        docker_connection_deinit(&connection);
        io_loop_deinit(&loop);
        end_engine(engine);
    }
}

/* Events in pieces that split lines, without an end. */
static void serve_events(int fd, int nth)
{
    (void)nth;
    char path[256];
    if (!read_question(fd, path))
        return;
    say_json(fd, "1.41", "200 OK", "OK");
    if (!read_question(fd, path))
        return;
    say(fd, "HTTP/1.1 200 OK\r\nApi-Version: 1.41\r\nTransfer-Encoding: chunked\r\n\r\n");
    for (int i = 0; i < 5; i++)
        say_in_pieces(fd, "7\r\n{\"a\":1}\r\n1\r\n\n\r\n8\r\n{\"b\":2}\n\r\n", 5);
    struct pollfd waits = { .fd = fd, .events = POLLRDHUP };
    poll(&waits, 1, 15000);
}

static void serve_stream_that_breaks(int fd, int nth)
{
    (void)nth;
    char path[256];
    if (read_question(fd, path))
        say_json(fd, "1.41", "200 OK", "OK");
    if (read_question(fd, path))
        say(fd, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\n{}\n\r\n");
}

static struct probe stream(void (*serve)(int fd, int nth), unsigned stop_at_line, unsigned timeout_ms)
{
    struct io_loop loop;
    struct docker_connection connection;
    struct engine engine = start_engine(serve, 0);
    assert_int_equal(io_loop_init(&loop), 0);
    assert_int_equal(docker_connection_init(&connection, &loop, socket_path), 0);
    struct probe p = { .question = { .done = probe_done, .piece = probe_piece, .opened = probe_opened, .timeout_ms = timeout_ms },
                       .connection = &connection, .loop = &loop, .stop_at_line = stop_at_line, .stops = true };
    char path[DOCKER_EVENTS_PATH_SIZE];
    docker_lines_init(&p.lines);
    assert_int_equal(docker_connection_ask(&connection, &p.question, docker_events_path(0, path)), 0);
    run(&loop);
    docker_lines_deinit(&p.lines);
    docker_connection_deinit(&connection);
    io_loop_deinit(&loop);
    end_engine(engine);
    return p;
}

static void test_events_stream_without_end_until_they_are_not_wanted(void **state)
{
    (void)state;
    struct probe p = stream(serve_events, 10, 2000);
    assert_int_equal(p.n_lines, 10);
    assert_int_equal(p.r, -ECANCELED);
    assert_int_equal(p.n_done, 1);
    p = stream(serve_stream_that_breaks, 0, 2000);
    assert_int_equal(p.n_lines, 1);
    assert_int_equal(p.r, -ECONNRESET);
    p = stream(serve_nothing, 0, 200);
    assert_int_equal(p.r, -ETIMEDOUT);
    p = stream(serve_refusal, 0, 2000);
    assert_true(p.r == 0 && p.status == 400 && p.n_opened == 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_the_newest_version_that_both_speak_is_asked_in),
        cmocka_unit_test(test_an_engine_without_a_common_version_is_named_so),
        cmocka_unit_test(test_a_refusal_is_told_in_the_engines_words),
        cmocka_unit_test(test_an_answer_in_odd_pieces_is_whole),
        cmocka_unit_test(test_an_engine_that_lies_hangs_or_never_ends_costs_bounded_time_and_memory),
        cmocka_unit_test(test_a_second_answer_that_nobody_asked_for_answers_nothing),
        cmocka_unit_test(test_where_no_engine_is_it_says_what_to_do),
        cmocka_unit_test(test_an_engine_that_restarted_between_two_questions_is_connected_to_anew),
        cmocka_unit_test(test_only_plain_paths_are_asked),
        cmocka_unit_test(test_questions_end_in_order_and_a_withdrawn_one_not_at_all),
        cmocka_unit_test(test_a_lost_connection_ends_all_that_wait_and_may_be_deinited_meanwhile),
        cmocka_unit_test(test_events_stream_without_end_until_they_are_not_wanted),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
