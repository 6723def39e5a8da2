/* Connections to instances: found, dialled, kept, and dropped; and how each instance has been doing. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "gateway/exchange.h"

/* All that is known of one instance (by its identity, so that a reload keeps it). */
struct back_group {
    uint64_t identity;
    struct back_h1 *idle;            /* newest first */
    struct back_h2 *sessions;        /* live HTTP/2 sessions with it */
    uint32_t n_idle;
    uint32_t n_live;                 /* connections and dials that point here */
    uint32_t n_dials_in_flight;
    uint64_t generation;             /* of the last view that had it */
    uint32_t n_failures;             /* dials in a row that failed */
    uint32_t n_reuses_proven;        /* answered requests on kept connections since one was found closed */
    uint64_t down_until_ms;
};

int back_groups_init(struct gateway *gw) must_check;
void back_groups_deinit(struct gateway *gw);
/* Never NULL unless memory is short. Valid until the next prune, and as long as n_live counts you. */
struct back_group *back_group_get(struct gateway *gw, uint64_t identity);
void back_group_note_failure(struct gateway *gw, struct back_group *group);
void back_group_note_success(struct back_group *group);
bool back_group_is_down(const struct gateway *gw, const struct back_group *group);
/* Closes what no instance of the current view has any more. */
void back_groups_prune(struct gateway *gw);

/* Packs the request's head into x->request in the form its protocol's start sends. 0 or a negative errno. */
int back_pack_request(struct exchange *x, const struct http_head *head, const struct image_principal *principal, bool has_body) must_check;
/* Finds or dials a connection for x's current candidate; exchange_back_ready or exchange_back_failed follows, perhaps during the call. */
void back_acquire(struct exchange *x);

/* ---- per protocol; back_h1.c, back_h2.c ---- */
int back_h1_pack(struct exchange *x, const struct http_head *head, const struct image_principal *principal, bool has_body) must_check;
void back_h1_acquire(struct exchange *x);
void back_h1_close_idle(struct gateway *gw, struct back_group *group);
int back_h2_pack(struct exchange *x, const struct http_head *head, const struct image_principal *principal, bool has_body) must_check;
void back_h2_acquire(struct exchange *x);
void back_h2_close_idle(struct gateway *gw, struct back_group *group);
