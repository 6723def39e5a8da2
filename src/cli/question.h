/* One who asks, one thing that is asked for, and what the layers say to it. */
#pragma once

#include "cli/layers.h"
#include "cli/party.h"

enum question_answer {
    QUESTION_NO,
    QUESTION_YES,
    QUESTION_MIXED,   /* by some addresses only */
    QUESTION_UNKNOWN, /* no layer is asked: it stays on one host, or there is no address to ask with */
};

struct question_result {
    enum question_answer answer;
    uint32_t surface;          /* of a web service: where it is reached, or where the way comes furthest */
    struct explain_path path;  /* the one that is shown: of a mixed answer the one that is closed */
    uint32_t n_asked, n_open;  /* pairs of addresses; of a web service, addresses of who asks */
    bool stays_on_host;
    bool is_unheld;            /* of a container: nothing holds it or what it asks for, and no grant names it */
};

/* The layers that the parties' questions come to: of firewalls, only those on the way. As layers_init. */
int question_layers_init(struct layers *ret, const struct access *access, const struct parties *parties, struct error *err) must_check;
/* over: a surface, or MODEL_NONE for any that may serve it. */
void question_ask(const struct layers *layers, const struct party_asker *asker, const struct party_asked *asked, uint32_t over,
                  struct question_result *ret);
/* "grafana over main", "roc:22". */
void question_write_asked(struct buf *out, const struct layers *layers, const struct party_asked *asked, uint32_t surface);
/* A hop as a sentence: "lets it to port 443 of roc". */
void question_write_hop(struct buf *out, const struct layers *layers, const struct question_result *result, const struct explain_hop *hop);
/* Where the answer comes from: "postern.yml:41"; nothing where the layer has no rule for it. */
void question_write_place(struct buf *out, const struct layers *layers, const struct explain_hop *hop);
const char *question_layer_name(enum explain_layer layer);
const char *question_answer_name(enum question_answer answer);
