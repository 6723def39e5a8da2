/* Inside the proof: what verify.c composes, verify_web.c adds of web services and verify_report.c turns into findings. For these only. */
#pragma once

#include "policy/verify.h"

/* What the proof has to know about a destination's addresses. */
enum {
    PROOF_IS_MESH = 1,       /* some host's on the mesh: it is reached over nothing else */
    PROOF_HAS_FIREWALL = 2,  /* a firewall judges what comes from the mesh */
    PROOF_LAN_OPEN = 4,      /* a host's on its LAN, and nothing judges what comes there */
    PROOF_PLACES = 8,
};

/* What passes the network, and with it what web services are reached. */
struct proof_reach {
    struct matrix network, all;
};

struct proof {
    const struct verify_layers *layers;
    struct verify_result *result;                  /* has what must outlive the proof */
    const struct relation *mesh, *firewall, *firewall_lan, *unknown, *unknown_lan;
    struct relation shape;                         /* cuts the space where the composition needs it */
    struct relation direct_ports;                  /* everybody to each direct port that a gateway relays */
    struct matrix refused;                         /* of these, what no gateway's verdict allows */
    uint32_t place_selectors[PROOF_PLACES];        /* of shape, by what is known; UINT32_MAX: none */
    struct space *space;
    uint8_t *place_of;                             /* by destination class: PROOF_* bits */
    bool *has_firewall, *is_not_mesh, *is_network; /* the same as marks; is_network: addresses, no service points */
    bool *is_sender, *is_container;                /* by source class: packets come from its addresses; it is of containers' points */
    bool *is_service;                              /* by destination class: it is of service points */
    struct matrix declared, mesh_rows, firewall_rows, firewall_lan_rows, unknown_rows, unknown_lan_rows;
    struct matrix *verdicts;                       /* by gateway */
    struct proof_reach low, high;                  /* by the declared way; by any way */
    struct proof_reach maybe_low, maybe_high;      /* the same if all that can't be told lets pass */
    bool has_containers;                           /* some class is of containers */
    bool has_unknown, is_lan_closed;               /* is_lan_closed: nothing comes in but by the mesh; high is empty, low is both */
    struct matrix missing, extra, unproved_missing, unproved_extra;
};

/* Direct ports: fills direct_ports before the space is made, refused once verdicts are there, and takes it from a network. */
int proof_shape_direct(struct proof *proof) must_check;
int proof_read_direct(struct proof *proof) must_check;
int proof_refuse_direct(const struct proof *proof, struct matrix *network) must_check;
/* The gateway that relays the port at that protocol << 16 | port, or NULL; the limit falls to where that changes. */
const struct gateway_layer *proof_find_port(const struct proof *proof, const struct address *to, uint32_t key, uint32_t *limit);

/* Makes web services of different reach different classes. 0, -ENOMEM, -E2BIG. */
int proof_shape_web(struct proof *proof) must_check;
/* network, with every web service that can be reached over it. */
int proof_reach_web(const struct proof *proof, const struct matrix *network, struct matrix *ret) must_check;
/* The differences, explained. */
int proof_report(const struct proof *proof, struct verify_result *result) must_check;

/* Whether a flow passes the network: nothing stops what comes to an open LAN. */
bool proof_passes(const struct proof *proof, const struct matrix *network, const struct address *from, const struct address *to,
                  uint8_t protocol, uint16_t port);
/* Whether the way of a gateway is open over that network. */
bool proof_way_is_open(const struct proof *proof, const struct matrix *network, const struct gateway_layer *gateway,
                       const struct gateway_way *way);
/* The gateway's addresses from which it dials another host: on that host's LAN, those of its own there. */
const struct model_prefixes *proof_dials_from(const struct proof *proof, const struct gateway_layer *gateway, const struct address *to);
/* The layers that one question meets, in order. */
struct proof_steps {
    struct verify_step items[VERIFY_STEPS_MAX];
    uint32_t n;
    uint32_t limit;                                /* up to which protocol << 16 | port the answer is the same by the same rules */
    enum verify_answer answer;
};

struct proof_question {
    const struct proof *proof;
    enum verify_kind kind;
    struct address from, to;
    uint32_t source, destination;                  /* their classes */
    uint64_t *budget;                              /* rules that may still be looked at */
};

/* What lets a flow pass (EXTRA: every way there is), what stops it, or what can't be told. */
void proof_explain_flow(const struct proof_question *question, uint32_t key, uint32_t last, struct proof_steps *ret);
/* The same for a web service, by the way that is open or else comes furthest. */
void proof_explain_web(const struct proof_question *question, uint32_t surface, uint32_t service, struct proof_steps *ret);
/* The rule of a relation that lets the question's flow pass, or NULL; lowers the limit to where the rule ends. */
const struct relation_reason *proof_find_reason(const struct proof_question *question, const struct relation *relation, uint32_t key,
                                                uint32_t *limit);
/* The host with that address, on the mesh or its LAN, or MODEL_NONE. */
uint32_t proof_host_of(const struct proof *proof, const struct address *address);
bool proof_is_of_host(const struct model_host *host, const struct address *address);
