/* The lines of expect:, each decided for every address that it speaks of. */
#pragma once

#include "policy/access.h"

/* One thing that isn't as a line says. */
struct expect_failure {
    uint32_t expectation;
    const struct model_target *target;
    bool is_can;                 /* "can:", and somebody can't */
    enum access_kind kind;       /* WEB, HOST_PORT, CONTAINER_PORT or INTERNET */
    uint32_t service, surface;   /* a web service over a surface; surface MODEL_NONE: over none of those it could be served on */
    uint32_t host;               /* of a port */
    uint32_t container;          /* of CONTAINER_PORT */
    uint8_t protocol;            /* of a port */
    uint16_t port;
    const struct model_principal *principal;
    uint32_t *subjects;          /* who of the principal; none: it has no address at all */
    uint32_t n_subjects;
    bool is_all;                 /* all of the principal */
    uint32_t rule;               /* "cannot:": the first rule of the relation that lets the first of them */
};

struct expect_result {
    struct arena arena;
    struct expect_failure *items; /* in the order of the file */
    uint32_t n;
    bool is_cut;                  /* there are more than EXPECT_FAILURES_MAX */
};

enum { EXPECT_FAILURES_MAX = 1000 };

/* matrix: of the access's relation. Without over:, "can" is over at least one surface that may serve the service and "cannot" over none; with it,
 * over each that is named. A port of a host is reached at each of its addresses of a family that both have.
 * A container reaches a service over a surface, unless over: says another thing, or at the service's own port in a container beside it.
 * 0, -ENOMEM or -E2BIG. */
int expect_check(const struct access *access, const struct matrix *matrix, struct expect_result *ret) must_check;
void expect_result_deinit(struct expect_result *result);
#define cleanup_expect_result cleanup(expect_result_deinit)
