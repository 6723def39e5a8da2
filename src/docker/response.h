/* One HTTP/1.1 response of the engine, taken from bytes as they come: gathered whole up to a cap, or handed on piece by piece. */
#pragma once

#include "base/buf.h"
#include "http/h1.h"

enum {
    DOCKER_BODY_MAX = 16 << 20,
    DOCKER_API_TEXT_MAX = 16, /* "1.41" */
};

/* Results of feeding. */
enum {
    DOCKER_RESPONSE_MORE = 1,
    DOCKER_RESPONSE_REFUSED = 2,  /* not HTTP as RFC 9112 has it, or past a cap: `problem` says what; the connection is of no more use */
};

struct docker_response {
    uint16_t status;                        /* 0: no head yet */
    bool keeps_alive;                       /* the connection carries another request after it */
    char api_version[DOCKER_API_TEXT_MAX];  /* the Api-Version field, "" without or where it is longer */
    struct buf body;                        /* what was gathered */
    const char *problem;                    /* after DOCKER_RESPONSE_REFUSED */
    /* Set: pieces of a 200's body go here as they come and are not gathered; no cap on their sum. False: the response is refused. */
    bool (*take)(void *context, struct str piece);
    void *context;

    /* The rest is the parser's own. */
    struct buf head;      /* of a head, or trailers, that came in parts */
    size_t scanned;
    uint8_t state, framing, n_interim;
    uint64_t left;
    struct http1_chunked chunked;
};

void docker_response_init(struct docker_response *response);
/* Frees; may be done twice, and to a zeroed one. */
void docker_response_deinit(struct docker_response *response);
#define cleanup_docker_response cleanup(docker_response_deinit)

/* Takes bytes that came. 0: the response is whole, *ret_used of the bytes were its. DOCKER_RESPONSE_MORE, DOCKER_RESPONSE_REFUSED, -ENOMEM. */
int docker_response_feed(struct docker_response *response, struct str bytes, size_t *ret_used) must_check;
/* The connection ended. 0: the response was one that ends so, and is whole. DOCKER_RESPONSE_REFUSED: it is cut off. */
int docker_response_finish(struct docker_response *response) must_check;
