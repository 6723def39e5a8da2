/* Questions to the engine for who may wait: a loop that runs until the answer is there. */
#include "docker/client.h"

#include <errno.h>
#include <stdio.h>

struct docker_client {
    struct io_loop loop;
    struct docker_connection connection;
    unsigned timeout_ms;
};

struct call {
    struct docker_question question;
    struct docker_client *client;
    struct buf *body;
    struct error *err;
    int r;
};

int docker_client_open(const char *socket_path, unsigned timeout_ms, struct docker_client **ret, struct error *err)
{
    struct docker_client *client = calloc(1, sizeof *client);
    if (!client)
        return -ENOMEM;
    client->timeout_ms = timeout_ms;
    int r = io_loop_init(&client->loop);
    if (r < 0) {
        free(client);
        error_set(err, "%s: %s", socket_path, strerrordesc_np(-r));
        return r;
    }
    r = docker_connection_init(&client->connection, &client->loop, socket_path);
    if (r < 0) {
        io_loop_deinit(&client->loop);
        free(client);
        error_set(err, "%s: %s", socket_path, r == -ENAMETOOLONG ? "longer than a socket's path may be" : strerrordesc_np(-r));
        return r;
    }
    *ret = client;
    return 0;
}

struct docker_client *docker_client_close(struct docker_client *client)
{
    if (!client)
        return NULL;
    docker_connection_deinit(&client->connection);
    io_loop_deinit(&client->loop);
    free(client);
    return NULL;
}

/* ---- one question ---- */

static int take_response(struct call *call, const struct docker_response *response)
{
    const char *path = call->client->connection.socket_path;
    char message[DOCKER_MESSAGE_SIZE];
    if (response->status == 200) {
        buf_clear(call->body);
        buf_append(call->body, buf_str(&response->body));
        if (call->body->error)
            error_set(call->err, "%s: an answer of %zu bytes is more than was expected", path, response->body.len);
        return call->body->error;
    }
    docker_response_message(response, message);
    error_set(call->err, "%s: the engine refuses %s: %u%s%s", path, call->question.path, response->status, message[0] ? ": " : "", message);
    return response->status == 404 ? DOCKER_NOT_FOUND : -EIO;
}

static void on_done(struct docker_question *question, int r, const struct docker_response *response, const struct error *err)
{
    struct call *call = container_of(question, struct call, question);
    if (r == 0)
        call->r = take_response(call, response);
    else
        call->r = r;
    if (r < 0 && err)
        error_set(call->err, "%s", err->text);
    io_loop_stop(&call->client->loop);
}

int docker_client_get(struct docker_client *client, const char *path, struct buf *ret_body, struct error *err)
{
    struct call call = {
        .question = { .done = on_done, .timeout_ms = client->timeout_ms },
        .client = client,
        .body = ret_body,
        .err = err,
    };
    int r = docker_connection_ask(&client->connection, &call.question, path);
    if (r < 0) {
        error_set(err, "%s: %s is no question for an engine", client->connection.socket_path, path);
        return r;
    }
    client->loop.stopping = false;
    r = io_loop_run(&client->loop);
    if (r < 0) {
        docker_connection_withdraw(&client->connection, &call.question);
        error_set(err, "%s: %s", client->connection.socket_path, strerrordesc_np(-r));
        return r;
    }
    return call.r;
}

/* ---- what it is asked for ---- */

static int say_unreadable(struct docker_client *client, const char *path, int r, struct error *err)
{
    if (r < 0)
        error_wrap(err, "%s: the answer to %s", client->connection.socket_path, path);
    return r;
}

int docker_client_version(struct docker_client *client, struct arena *arena, struct docker_version *ret, struct error *err)
{
    cleanup_buf struct buf body;
    buf_init(&body, DOCKER_BODY_MAX);
    int r = docker_client_get(client, "/version", &body, err);
    return r ? r : say_unreadable(client, "/version", docker_version_parse(buf_str(&body), arena, ret, err), err);
}

int docker_client_info(struct docker_client *client, struct arena *arena, struct docker_info *ret, struct error *err)
{
    cleanup_buf struct buf body;
    buf_init(&body, DOCKER_BODY_MAX);
    int r = docker_client_get(client, "/info", &body, err);
    return r ? r : say_unreadable(client, "/info", docker_info_parse(buf_str(&body), arena, ret, err), err);
}

int docker_client_networks(struct docker_client *client, struct arena *arena, struct docker_networks *ret, struct error *err)
{
    cleanup_buf struct buf body;
    buf_init(&body, DOCKER_BODY_MAX);
    int r = docker_client_get(client, "/networks", &body, err);
    return r ? r : say_unreadable(client, "/networks", docker_networks_parse(buf_str(&body), arena, ret, err), err);
}

/* What the API takes for a container's name: it becomes part of a path. */
static bool may_be_asked_for(struct str id)
{
    for (size_t i = 0; i < id.len; i++) {
        char c = id.ptr[i];
        bool is_plain = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_' || c == '-';
        if (!is_plain && !(c == '.' && i > 0))
            return false;
    }
    return id.len > 0;
}

int docker_client_container(struct docker_client *client, struct str id, struct arena *arena, struct docker_container *ret, struct error *err)
{
    cleanup_buf struct buf body;
    char path[DOCKER_PATH_MAX];
    buf_init(&body, DOCKER_BODY_MAX);
    int n = snprintf(path, sizeof path, "/containers/%.*s/json", STR_ARG(id));
    if (!may_be_asked_for(id) || n < 0 || (size_t)n >= sizeof path) {
        error_set(err, "\"%.*s\" is not a container's name or ID", STR_ARG(id));
        return -EINVAL;
    }
    int r = docker_client_get(client, path, &body, err);
    return r ? r : say_unreadable(client, path, docker_container_parse(buf_str(&body), arena, ret, err), err);
}

static int inspect_all(struct docker_client *client, struct arena *arena, struct docker_containers *list, struct error *err)
{
    uint32_t n = 0;
    for (uint32_t i = 0; i < list->n; i++) {
        int r = docker_client_container(client, list->items[i].id, arena, &list->items[n], err);
        if (r < 0)
            return r;
        if (r == 0)
            n++;
    }
    list->n = n;
    return 0;
}

int docker_client_containers(struct docker_client *client, bool inspect, struct arena *arena, struct docker_containers *ret, struct error *err)
{
    static const char path[] = "/containers/json?all=1";
    struct docker_containers list;
    cleanup_buf struct buf body;
    buf_init(&body, DOCKER_BODY_MAX);
    int r = docker_client_get(client, path, &body, err);
    if (r == 0)
        r = say_unreadable(client, path, docker_containers_parse(buf_str(&body), arena, &list, err), err);
    if (r == 0 && inspect)
        r = inspect_all(client, arena, &list, err);
    if (r == 0)
        *ret = list;
    return r;
}
