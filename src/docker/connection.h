/* Questions to a Docker engine over its unix socket, without waiting: one connection, one question at a time, the others queued.
 *
 * It only ever asks (GET): nothing here can change what the engine runs. The connection is made when the first question comes, and again
 * after it was lost; each new one begins with /_ping, which settles the API version: the newest that both speak, from 1.40 to 1.57.
 * A question ends exactly once, with its `done`: never inside docker_connection_ask itself, and not after docker_connection_withdraw. */
#pragma once

#include "base/error.h"
#include "docker/response.h"
#include "io/loop.h"

enum {
    DOCKER_PATH_MAX = 256,          /* of one question, after "/v1.41" */
    DOCKER_QUESTIONS_MAX = 65536,   /* that wait */
    DOCKER_API_OLDEST = 40,         /* 1.40: Docker 19.03 */
    DOCKER_API_NEWEST = 57,         /* 1.57: Docker 29.10 */
};

struct docker_question {
    /* The caller's. r: 0 with a whole response of any status (the words of a refusal: docker_response_message). Else response is NULL:
     * -ETIMEDOUT; -ECONNRESET (the engine hung up); -EPROTO (what came is not HTTP, or too much of it); -EPROTONOSUPPORT (no API version in
     * common); -ECANCELED (piece said false); or connect's own: -ENOENT, -ECONNREFUSED, -EACCES ... A connection that is lost ends all that
     * wait. Both pointers live until it returns. It may ask again, and free the question. */
    void (*done)(struct docker_question *question, int r, const struct docker_response *response, const struct error *err);
    /* Set: the pieces of a 200's content as they come, not gathered; false ends it. The time limit then counts to the head only. */
    bool (*piece)(struct docker_question *question, struct str piece);
    /* May be set with piece: the head came, with 200. Of events, all that happens from now on will be told. */
    void (*opened)(struct docker_question *question);
    unsigned timeout_ms; /* from its turn; 0: DOCKER_TIMEOUT_MS */

    /* The connection's. */
    struct docker_question *next;
    char path[DOCKER_PATH_MAX];
    bool is_asked;
};

enum { DOCKER_TIMEOUT_MS = 10000 };

/* Its memory must outlive the loop's round in which it is deinited. */
struct docker_connection {
    struct io_source source;
    struct io_timer timer;
    struct io_deferred turn;
    struct io_loop *loop; /* NULL: deinited */
    char *socket_path;
    struct docker_question *first, **last; /* first: whose turn it is, in all states but closed and idle */
    struct docker_question *doomed;        /* whose done will be told of a lost connection */
    uint32_t n_questions;
    uint64_t deadline_ms;  /* of the question whose turn it is; 0: it has not begun, or has none any more */
    unsigned api_minor;    /* settled on this connection: 1.N; 0: not yet */
    uint8_t state;
    bool is_reused;        /* it has answered a question before */
    bool is_opened;        /* the stream's head has been told of */
    bool is_unwanted;      /* its piece said false */
    struct buf out;
    struct docker_response response;
    struct error err;
};

/* The socket is opened when it is needed. 0, -ENOMEM, -ENAMETOOLONG. */
int docker_connection_init(struct docker_connection *connection, struct io_loop *loop, const char *socket_path) must_check;
/* Hangs up; what was asked is forgotten, without its done. May be called inside done, and twice. */
void docker_connection_deinit(struct docker_connection *connection);
/* Queues GET path ("/containers/json?all=1", already escaped). 0, -ENAMETOOLONG, -EINVAL (a path with a control character or blank),
 * -ENOBUFS (too many wait): done is not called then. */
int docker_connection_ask(struct docker_connection *connection, struct docker_question *question, const char *path) must_check;
/* Forgets a question that is asked; hangs up if it is its turn. Nothing happens otherwise. */
void docker_connection_withdraw(struct docker_connection *connection, struct docker_question *question);
/* The socket in use, or -1: for who shuts the process in. */
static inline int docker_connection_fd(const struct docker_connection *connection)
{
    return connection->source.fd;
}

/* The engine's own words for a refusal ({"message": "..."}), cut to fit, "" without any; returns text. */
enum { DOCKER_MESSAGE_SIZE = 256 };
const char *docker_response_message(const struct docker_response *response, char text[static DOCKER_MESSAGE_SIZE]);
