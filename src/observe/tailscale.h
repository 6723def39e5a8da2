/* What a Tailscale policy file lets pass: the file and the machines in it give each machine's packet filter, as Tailscale's control
 * plane compiles it (Headscale's is a subset of the language).
 *
 * Who is let in where is decided here from acls, grants, groups, hosts, ipsets, tags and autogroups. SSH rules, node attributes and
 * postures are looked at for errors only; a rule with a posture counts as if the posture were met. */
#pragma once

#include "base/arena.h"
#include "base/error.h"
#include "policy/relation.h"

#define TAILSCALE_NONE UINT32_MAX

/* What all functions here return when the text is wrong: err says where and what. */
enum { TAILSCALE_E_INVALID = 1 };

/* ---- machines ---- */

struct tailscale_user {
    struct str login;  /* "alice@example.org" */
    struct str name;   /* "alice", what Headscale's own users have instead; may be empty */
    struct str role;   /* "admin", where it is known */
};

struct tailscale_node {
    struct str name;
    const struct str *tags;
    uint32_t n_tags;
    uint32_t user;                            /* TAILSCALE_NONE: tagged, or nobody knows whose */
    const struct relation_range *addresses;   /* its own, ascending */
    uint32_t n_addresses;
    const struct relation_range *routes;      /* approved ones, ascending; without exit routes */
    uint32_t n_routes;
};

struct tailscale_nodes {
    struct arena arena;
    struct tailscale_user *users;
    struct tailscale_node *nodes;
    uint32_t n_users, n_nodes;
    bool has_roles;                           /* it is known who is an admin, an owner, … */
};

enum { TAILSCALE_NODES_MAX = 1 << 17 };

/* {"users": [{name, email, role}], "nodes": {NAME: {hostname, tags, user, ipv4, ipv6, routable_ips, approved_routes}}}, or what
 * "tailscale status --json" says. 0, TAILSCALE_E_INVALID, -ENOMEM. */
int tailscale_nodes_read(struct str text, const char *file, struct tailscale_nodes *ret, struct error *err) must_check;
void tailscale_nodes_deinit(struct tailscale_nodes *nodes);
#define cleanup_tailscale_nodes cleanup(tailscale_nodes_deinit)

/* ---- the policy ---- */

struct tailscale_policy;

/* Everything that can be wrong without knowing the machines. 0, TAILSCALE_E_INVALID, -ENOMEM. The text must outlive the policy. */
int tailscale_policy_read(struct str text, const char *file, struct tailscale_policy **ret, struct error *err) must_check;
struct tailscale_policy *tailscale_policy_free(struct tailscale_policy *policy);
static inline void tailscale_policy_free_pointer(struct tailscale_policy **policy)
{
    *policy = tailscale_policy_free(*policy);
}
#define cleanup_tailscale_policy cleanup(tailscale_policy_free_pointer)

/* acls, then grants; a file with neither has one rule that allows all, at line 0. */
uint32_t tailscale_policy_n_rules(const struct tailscale_policy *policy);
/* "acl 3" or "grant 1", counted from 1, and its line. */
struct str tailscale_policy_rule(const struct tailscale_policy *policy, uint32_t rule, uint32_t *ret_line);

/* Who the rule is for, as the policy writes it: "tag:client, group:admins". */
void tailscale_policy_write_sources(const struct tailscale_policy *policy, uint32_t rule, struct buf *out);

/* ---- the filter ---- */

enum { TAILSCALE_PROTOCOLS_MAX = 4 };

struct tailscale_service {
    uint8_t protocols[TAILSCALE_PROTOCOLS_MAX];
    uint8_t n_protocols;
    uint16_t port_first, port_last;
};

/* What a rule lets in at a node. The arrays are the visitor's for the call. */
struct tailscale_pass {
    uint32_t node, rule;
    const struct relation_range *sources, *destinations; /* ascending, disjoint */
    uint32_t n_sources, n_destinations;
    const struct tailscale_service *services;
    uint32_t n_services;
};

/* Not 0: the visit ends, and returns it. */
typedef int (*tailscale_visitor)(void *context, const struct tailscale_pass *pass);

struct tailscale_filter;

/* Resolves every name against the nodes. 0; -ENOMEM; -E2BIG: the sets that it speaks of are too many; -ENOTSUP: it asks for what the nodes
 * don't tell, err says what. Both must outlive the filter. */
int tailscale_filter_make(const struct tailscale_policy *policy, const struct tailscale_nodes *nodes, struct tailscale_filter **ret,
                          struct error *err) must_check;
/* Runs the policy's own tests, as a control plane does before it takes a policy; what is in force may fail them since, by another tag on a
 * machine. 0; TAILSCALE_E_INVALID: one failed; otherwise as above. */
int tailscale_filter_test(struct tailscale_filter *filter, struct error *err) must_check;
struct tailscale_filter *tailscale_filter_free(struct tailscale_filter *filter);
static inline void tailscale_filter_free_pointer(struct tailscale_filter **filter)
{
    *filter = tailscale_filter_free(*filter);
}
#define cleanup_tailscale_filter cleanup(tailscale_filter_free_pointer)

/* Everything that the node lets in. */
int tailscale_filter_visit(struct tailscale_filter *filter, uint32_t node, tailscale_visitor visit, void *context) must_check;
/* All nodes' filters as a layer: what reaches the nodes' own addresses and the networks behind them. file names the reasons.
 * 0, -ENOMEM, -E2BIG. */
int tailscale_filter_relation(struct tailscale_filter *filter, const char *file, struct relation *relation) must_check;
