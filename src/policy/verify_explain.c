/* Which layers one difference meets, and by which rules: asked for an address of each class, which stands for all of them. */
#include "policy/verify_proof.h"

uint32_t proof_host_of(const struct proof *proof, const struct address *address)
{
    const struct source_range *range = sources_find(proof->layers->sources, address);
    const struct model *m = proof->layers->model;
    if (range && range->host != MODEL_NONE)
        return range->host;
    for (uint32_t i = 0; i < m->n_hosts; i++)
        for (uint32_t k = 0; k < m->hosts[i].lan.n; k++)
            if (address_prefix_contains(&m->hosts[i].lan.items[k], address))
                return i;
    for (uint32_t g = 0; g < proof->layers->n_gateways; g++)
        for (uint32_t i = 0; i < proof->layers->gateways[g].n_listeners; i++)
            if (address_equal(&proof->layers->gateways[g].listeners[i].address, address))
                return proof->layers->gateways[g].host;
    return MODEL_NONE;
}

const struct relation_reason *proof_find_reason(const struct proof_question *question, const struct relation *relation, uint32_t key,
                                                uint32_t *limit)
{
    uint64_t n = relation_n_rules(relation);
    *question->budget -= n < *question->budget ? n : *question->budget;
    uint32_t found = relation_find_rule(relation, &question->from, &question->to, (uint8_t)(key >> 16), (uint16_t)key);
    if (found == UINT32_MAX)
        return NULL;
    const struct relation_rule *rule = relation_rule(relation, found);
    uint32_t end = rule->protocol_first == rule->protocol_last ? (key & ~UINT32_C(0xffff)) | rule->port_last : key | 0xffff;
    *limit = end < *limit ? end : *limit;
    return relation_reason(relation, rule->reason);
}

/* Whether the matrix has the cell; the limit falls to where that changes. */
static bool has_cell(const struct proof_question *q, const struct matrix *matrix, uint32_t key, uint32_t *limit)
{
    const struct matrix_row *row = matrix_row(matrix, q->source);
    uint32_t at = matrix_row_find(row, q->destination, key);
    if (at == row->n || row->items[at].destination != q->destination)
        return false;
    bool has = row->items[at].first <= key;
    uint32_t end = has ? row->items[at].last : row->items[at].first - 1;
    *limit = end < *limit ? end : *limit;
    return has;
}

static void add_step(const struct proof_question *q, struct proof_steps *steps, enum verify_layer layer, uint32_t host, enum verify_answer answer,
                     const struct relation *relation, uint32_t key)
{
    if (steps->n == VERIFY_STEPS_MAX)
        return;
    steps->items[steps->n++] = (struct verify_step){
        .layer = layer, .answer = answer, .host = host,
        .rule = relation && answer != VERIFY_NO ? proof_find_reason(q, relation, key, &steps->limit) : NULL,
    };
}

/* What the network's layers say of one flow. */
struct saying {
    bool mesh, firewall, lan, firewall_unknown, lan_unknown;
    bool has_firewall, is_by_lan; /* is_by_lan: the declared way is the LAN's */
    uint32_t host;
};

static void hear_network(const struct proof_question *q, uint32_t key, uint32_t *limit, struct saying *ret)
{
    const struct proof *p = q->proof;
    *ret = (struct saying){
        .mesh = has_cell(q, &p->mesh_rows, key, limit), .firewall = has_cell(q, &p->firewall_rows, key, limit),
        .lan = has_cell(q, &p->firewall_lan_rows, key, limit), .firewall_unknown = has_cell(q, &p->unknown_rows, key, limit),
        .lan_unknown = has_cell(q, &p->unknown_lan_rows, key, limit), .has_firewall = p->has_firewall[q->destination],
        .is_by_lan = p->is_not_mesh[q->destination] && p->has_firewall[q->destination], .host = proof_host_of(p, &q->to),
    };
}

static void add_mesh(const struct proof_question *q, const struct saying *s, uint32_t key, enum verify_answer firewall, struct proof_steps *steps)
{
    add_step(q, steps, VERIFY_MESH, MODEL_NONE, s->mesh ? VERIFY_YES : VERIFY_NO, q->proof->mesh, key);
    if (s->mesh && s->has_firewall)
        add_step(q, steps, VERIFY_FIREWALL, s->host, firewall, firewall == VERIFY_UNKNOWN ? q->proof->unknown : q->proof->firewall, key);
}

/* The first way that is open; else one that nobody can tell; else what stops the declared one. */
static enum verify_answer ask_network(const struct proof_question *q, uint32_t key, bool by_any_way, struct proof_steps *steps)
{
    const struct proof *p = q->proof;
    struct saying s;
    hear_network(q, key, &steps->limit, &s);
    by_any_way |= p->is_not_mesh[q->destination];
    if (s.mesh && (s.firewall || !s.has_firewall)) {
        add_mesh(q, &s, key, VERIFY_YES, steps);
        return VERIFY_YES;
    }
    if (by_any_way && s.lan) {
        add_step(q, steps, VERIFY_FIREWALL_LAN, s.host, VERIFY_YES, p->firewall_lan, key);
        return VERIFY_YES;
    }
    if (s.mesh && s.firewall_unknown) {
        add_mesh(q, &s, key, VERIFY_UNKNOWN, steps);
        return VERIFY_UNKNOWN;
    }
    if (by_any_way && s.lan_unknown) {
        add_step(q, steps, VERIFY_FIREWALL_LAN, s.host, VERIFY_UNKNOWN, p->unknown_lan, key);
        return VERIFY_UNKNOWN;
    }
    if (s.is_by_lan)
        add_step(q, steps, VERIFY_FIREWALL_LAN, s.host, VERIFY_NO, NULL, key);
    else
        add_mesh(q, &s, key, VERIFY_NO, steps);
    return VERIFY_NO;
}

/* A direct port that a gateway relays: it judges what has come so far. */
static void add_relay(const struct proof_question *q, uint32_t key, struct proof_steps *steps)
{
    const struct gateway_layer *gateway = proof_find_port(q->proof, &q->to, key, &steps->limit);
    if (!gateway || steps->answer == VERIFY_NO)
        return;
    bool is_allowed = proof_find_reason(q, &gateway->relation, key, &steps->limit);
    add_step(q, steps, VERIFY_GATEWAY, gateway->host, is_allowed ? VERIFY_YES : VERIFY_NO, &gateway->relation, key);
    if (!is_allowed)
        steps->answer = VERIFY_NO;
}

void proof_explain_flow(const struct proof_question *question, uint32_t key, uint32_t last, struct proof_steps *ret)
{
    struct proof_steps steps = { .limit = last };
    struct saying s;
    if (question->kind != VERIFY_EXTRA) {
        steps.answer = ask_network(question, key, question->kind == VERIFY_UNPROVED, &steps);
    } else {
        hear_network(question, key, &steps.limit, &s);
        steps.answer = VERIFY_YES;
        if (s.mesh && (s.firewall || !s.has_firewall))
            add_mesh(question, &s, key, VERIFY_YES, &steps);
        if (s.lan)
            add_step(question, &steps, VERIFY_FIREWALL_LAN, s.host, VERIFY_YES, question->proof->firewall_lan, key);
    }
    add_relay(question, key, &steps);
    *ret = steps;
}

/* ---- web services ---- */

/* How far a way comes: an open one furthest. */
static bool is_better(const struct proof_steps *a, const struct proof_steps *b)
{
    if (a->answer != b->answer)
        return a->answer == VERIFY_YES || (a->answer == VERIFY_UNKNOWN && b->answer == VERIFY_NO);
    return a->answer == VERIFY_NO && a->n > b->n;
}

static void keep_better(struct proof_steps *best, bool *has_any, const struct proof_steps *next)
{
    if (!*has_any || is_better(next, best))
        *best = *next;
    *has_any = true;
}

static bool by_any_way(const struct proof_question *q)
{
    return q->kind != VERIFY_MISSING;
}

/* A flow on the way of the question: from and to other addresses than its own. */
static void pass_flow(const struct proof_question *q, const struct address *from, const struct address *to, uint16_t port, struct proof_steps *steps)
{
    struct proof_question hop = *q;
    hop.from = *from;
    hop.to = *to;
    hop.source = space_class_of(q->proof->space, SPACE_SOURCE, from);
    hop.destination = space_class_of(q->proof->space, SPACE_DESTINATION, to);
    if (steps->answer == VERIFY_NO || (q->proof->place_of[hop.destination] & PROOF_LAN_OPEN))
        return;
    enum verify_answer answer = ask_network(&hop, (uint32_t)RELATION_TCP << 16 | port, by_any_way(q), steps);
    if (answer != VERIFY_YES)
        steps->answer = answer;
}

static void pass_way(const struct proof_question *q, const struct gateway_layer *gateway, const struct gateway_way *way, struct proof_steps *steps)
{
    struct proof_steps best = *steps;
    bool has_any = false;
    for (uint32_t k = 0; way->kind == GATEWAY_WAY_NETWORK && k < way->n_to; k++) {
        const struct model_prefixes *own = proof_dials_from(q->proof, gateway, &way->to[k]);
        for (uint32_t i = 0; i < own->n; i++) {
            struct proof_steps next = *steps;
            if (address_is_v4(&own->items[i].address) != address_is_v4(&way->to[k]))
                continue;
            pass_flow(q, &own->items[i].address, &way->to[k], way->port, &next);
            keep_better(&best, &has_any, &next);
        }
    }
    if (way->kind == GATEWAY_WAY_HERE || has_any) {
        *steps = best;
        if (steps->answer != VERIFY_NO)
            add_step(q, steps, VERIFY_INSTANCE, gateway->host, VERIFY_YES, NULL, 0);
        return;
    }
    add_step(q, steps, VERIFY_INSTANCE, gateway->host, VERIFY_NO, NULL, 0);
    steps->answer = VERIFY_NO;
}

static void pass_gateway(const struct proof_question *q, const struct gateway_layer *gateway, uint32_t surface, uint32_t service,
                         struct proof_steps *steps)
{
    const uint32_t key = (uint32_t)RELATION_POINT_PROTOCOL << 16 | RELATION_POINT_PORT;
    struct proof_steps best = *steps;
    bool has_any = false;
    if (steps->answer == VERIFY_NO)
        return;
    if (proof_find_reason(q, &gateway->relation, key, &steps->limit) == NULL) {
        add_step(q, steps, VERIFY_GATEWAY, gateway->host, VERIFY_NO, NULL, key);
        steps->answer = VERIFY_NO;
        return;
    }
    add_step(q, steps, VERIFY_GATEWAY, gateway->host, VERIFY_YES, &gateway->relation, key);
    for (uint32_t i = 0; i < gateway->n_ways; i++) {
        struct proof_steps next = *steps;
        if (gateway->ways[i].service != service || !(gateway->ways[i].surfaces >> surface & 1))
            continue;
        pass_way(q, gateway, &gateway->ways[i], &next);
        keep_better(&best, &has_any, &next);
    }
    if (has_any) {
        *steps = best;
    } else {
        add_step(q, steps, VERIFY_INSTANCE, gateway->host, VERIFY_NO, NULL, key);
        steps->answer = VERIFY_NO;
    }
}

void proof_explain_web(const struct proof_question *question, uint32_t surface, uint32_t service, struct proof_steps *ret)
{
    const struct verify_layers *l = question->proof->layers;
    struct proof_steps best = { .limit = UINT32_MAX, .answer = VERIFY_NO };
    bool has_any = false;
    for (uint32_t g = 0; g < l->n_gateways; g++) {
        const struct gateway_layer *gateway = &l->gateways[g];
        uint32_t container;
        bool is_container = l->containers && relation_is_container_point(&question->from, &container);
        bool is_own = is_container ? l->containers->items[container].host == gateway->host :
                                     proof_is_of_host(&l->model->hosts[gateway->host], &question->from);
        if (is_container && !is_own)
            continue;
        for (uint32_t i = 0; i < gateway->n_listeners; i++) {
            struct proof_steps next = { .limit = UINT32_MAX, .answer = VERIFY_YES };
            const struct gateway_listener *listener = &gateway->listeners[i];
            if (listener->surface != surface || (!is_container && address_is_v4(&listener->address) != address_is_v4(&question->from)))
                continue;
            if (!is_own)
                pass_flow(question, &question->from, &listener->address, listener->port, &next);
            pass_gateway(question, gateway, surface, service, &next);
            keep_better(&best, &has_any, &next);
        }
    }
    *ret = best;
}
