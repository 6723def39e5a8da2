/* The smallest change to a declaration that opens one thing to one principal: as words in its text, so that it can be shown and tried. */
#pragma once

#include "base/buf.h"
#include "model/model.h"

/* What is wanted: principal (a host, a segment, or a service in a container) to a web service over a surface, a direct service, or a port of a
 * host; or a container to a port of another, or to the internet. */
struct amend_want {
    uint32_t host, segment, asking;    /* two of them MODEL_NONE; all: address, which is nobody's yet */
    struct address address;
    uint32_t service, surface;         /* surface MODEL_NONE: a direct service; service MODEL_NONE: the port below */
    uint32_t to_host;
    enum model_transport transport;
    uint16_t port;
    enum { AMEND_BY_NAME, AMEND_CONTAINER_PORT, AMEND_INTERNET } what; /* AMEND_CONTAINER_PORT: service, transport and port */
};

enum amend_kind {
    AMEND_NEW_GRANT,    /* a line under grants: */
    AMEND_GRANT_TO,     /* a word in an existing grant's to: */
    AMEND_GRANT_FROM,   /* a word in an existing grant's from: */
};

struct amend {
    enum amend_kind kind;
    uint32_t grant;                    /* the one that gets the word */
    bool declares_host;                /* and the asker is declared as a host */
    bool opens_internal;               /* and "internal: true" goes */
    struct buf source;                 /* the whole text, changed */
    struct buf grant_text;             /* NEW_GRANT: "- { from: robin, to: grafana, over: agents }" */
};

/* The change that gives the principal this and nothing else. 0: *ret is the caller's; AMEND_E_NONE: no line or word does (the text's form is
 * another than can be amended); -ENOMEM or -E2BIG. Whether it does what is wanted is for the caller to try. */
enum { AMEND_E_NONE = 1 };
int amend_find(const struct model *model, const struct amend_want *want, struct amend *ret) must_check;
void amend_deinit(struct amend *amend);
#define cleanup_amend cleanup(amend_deinit)
