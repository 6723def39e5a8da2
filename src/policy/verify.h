/* The proof: whether the layers together let pass exactly what is declared, and every difference with the rule that made it.
 *
 * The network lets a flow pass when the mesh does and the destination's firewall lets it in from the mesh, or when that firewall lets it in
 * from elsewhere (the LAN, by whatever address). A web service over a surface is reached when a gateway's listener is, the gateway's
 * verdict allows it, and its way to an instance is open. Sources are all addresses there are, "anyone else" included; and of web services
 * containers, which are beside their gateway and ask it without a network. What containers reach otherwise is not spoken of here.
 *
 * Spoken of are new TCP and UDP flows, all ports, both families; nothing is sampled. Flows that stay on one host are none. */
#pragma once

#include "policy/containers.h"
#include "policy/gateway_layer.h"
#include "policy/matrix.h"
#include "policy/sources.h"

struct verify_layers {
    const struct model *model;
    const struct sources *sources;
    const struct relation *declared;
    const struct relation *mesh;                 /* what the mesh lets pass */
    /* By host: what its firewall lets in from the mesh, and from elsewhere, to addresses of its own; NULL: it has none that counts. Several
     * hosts may share one relation. */
    const struct relation *const *firewalls, *const *firewalls_lan;
    /* By host: what is let in or not by something that can't be told; NULL, or NULL for a host: nothing of the kind. */
    const struct relation *const *firewalls_unknown, *const *firewalls_lan_unknown;
    const struct gateway_layer *gateways;
    uint32_t n_gateways;
    const struct containers *containers;         /* who asks gateways from beside them; NULL: nobody */
};

enum verify_kind {
    VERIFY_MISSING,   /* declared, and stopped */
    VERIFY_EXTRA,     /* let pass, and not declared */
    VERIFY_UNPROVED,  /* either of them, unless what can't be told is as declared */
};

enum verify_layer { VERIFY_MESH, VERIFY_FIREWALL, VERIFY_FIREWALL_LAN, VERIFY_GATEWAY, VERIFY_INSTANCE };

enum verify_answer { VERIFY_NO, VERIFY_YES, VERIFY_UNKNOWN };

/* A layer that was asked. */
struct verify_step {
    enum verify_layer layer;
    enum verify_answer answer;
    uint32_t host;                       /* whose firewall or gateway; MODEL_NONE: the mesh */
    const struct relation_reason *rule;  /* that lets it pass, or that it depends on; NULL: no rule does. The layers' */
};

enum { VERIFY_STEPS_MAX = 6 };

struct verify_finding {
    enum verify_kind kind;
    bool is_web;                                 /* destinations are service points; else addresses */
    const struct relation_range *sources, *destinations;
    uint32_t n_sources, n_destinations;
    uint8_t protocol;                            /* not of a web service, as the ports */
    uint16_t port_first, port_last;
    const struct relation_reason *declared;      /* MISSING, and UNPROVED where it is: by which rule */
    /* EXTRA: every layer's rule. MISSING: those passed and last the one that stops it (of several gateways, the way that comes furthest; none:
     * no gateway serves the surface). */
    struct verify_step steps[VERIFY_STEPS_MAX];
    uint32_t n_steps;
};

/* A host that the proof can't vouch for: without a firewall that counts, nothing but the mesh keeps anybody off its ports, and nothing
 * at all does on its LAN. */
struct verify_unproved_host {
    uint32_t host;
    bool has_lan;
};

struct verify_result {
    struct arena arena;
    struct relation ranges;                      /* holds the findings' ranges, as selectors */
    struct relation merged[4];                   /* holds the reasons of layers that came in parts */
    struct verify_finding *findings;             /* extra, missing, unproved; by destination */
    uint32_t n_findings;
    bool is_cut;                                 /* there are more findings than VERIFY_FINDINGS_MAX */
    struct verify_unproved_host *unproved;
    uint32_t n_unproved;
    uint32_t n_source_classes, n_destination_classes; /* how many kinds of addresses the layers tell apart */
};

enum { VERIFY_FINDINGS_MAX = 4096 };

static inline bool verify_holds(const struct verify_result *result)
{
    return result->n_findings == 0;
}

/* 0, -ENOMEM or -E2BIG (also of the space and the matrices); *ret is untouched then. The layers must outlive the result. */
int verify(const struct verify_layers *layers, struct verify_result *ret) must_check;
void verify_result_deinit(struct verify_result *result);
#define cleanup_verify_result cleanup(verify_result_deinit)
