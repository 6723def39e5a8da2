/* What the reader of Tailscale policies shares between its files. Internal to src/observe. */
#pragma once

#include <errno.h>

#include "base/buf.h"
#include "base/table.h"
#include "observe/hujson.h"
#include "observe/ranges.h"
#include "observe/tailscale.h"

enum autogroup {
    AUTOGROUP_MEMBER, AUTOGROUP_TAGGED, AUTOGROUP_OWNER, AUTOGROUP_ADMIN, AUTOGROUP_NETWORK_ADMIN, AUTOGROUP_IT_ADMIN,
    AUTOGROUP_BILLING_ADMIN, AUTOGROUP_AUDITOR, AUTOGROUP_INTERNET, AUTOGROUP_SELF, AUTOGROUP_SHARED, AUTOGROUP_DANGER_ALL,
    AUTOGROUP_NONROOT, AUTOGROUPS
};

enum selector_kind {
    SELECTOR_ANY, SELECTOR_USER, SELECTOR_USER_DOMAIN, SELECTOR_GROUP, SELECTOR_TAG, SELECTOR_AUTOGROUP, SELECTOR_PREFIX,
    SELECTOR_IPSET, SELECTOR_SERVICE
};

struct selector {
    enum selector_kind kind;
    struct str text;                /* as written; of a user:*@DOMAIN, the domain */
    struct hujson_place at;
    enum autogroup autogroup;
    uint32_t index;                 /* GROUP, IPSET: which */
    struct relation_range range;    /* PREFIX, also of a name in hosts */
};

struct selectors {
    struct selector *items;
    uint32_t n;
};

struct destination {
    struct selector selector;
    const struct tailscale_service *services;
    uint32_t n_services;
};

struct rule {
    struct hujson_place at;
    struct str name;                /* "acl 1" */
    struct str title;               /* the same with the line of comment right above it: "grant 1 (postern.yml:41)" */
    struct selectors sources;
    struct destination *destinations;
    uint32_t n_destinations;
    const struct str *via;          /* tags */
    uint32_t n_via;
};

struct group {
    struct selectors members;       /* USER, USER_DOMAIN */
};

struct ipset {
    struct str name;
    struct hujson_place at;
    const struct hujson *steps;
    enum { IPSET_NEW, IPSET_OPEN, IPSET_DONE } state; /* of the walk that finds cycles */
    const struct relation_range *ranges;
    uint32_t n_ranges;
};

struct test_target {
    struct selector selector;
    struct hujson_place at;
    struct str text;
    uint16_t port;
    bool is_deny;
};

struct test {
    struct hujson_place at;
    struct selector source;
    struct test_target *targets;
    uint32_t n_targets;
    uint8_t protocols[2];           /* either of them; n 1 or 2 */
    uint8_t n_protocols;
};

struct tailscale_policy {
    struct arena arena;
    const char *file;
    struct str text;
    struct error *err;              /* while reading */
    int result;                     /* 0, TAILSCALE_E_INVALID or -errno; sticks */
    struct table tags, groups_by_name, hosts_by_name, ipsets_by_name, postures;
    struct relation_range *hosts;
    struct group *groups;
    struct ipset *ipsets;
    struct rule *rules;
    struct test *tests;
    uint32_t n_hosts, n_groups, n_ipsets, n_rules, n_tests;
    uint64_t n_ipset_work;          /* ranges handled, so that sets of sets end somewhere */
};

/* ---- reading (tailscale_policy.c) ---- */

/* Sets the first error, "file:line:column: …", and returns false. */
bool policy_refuse(struct tailscale_policy *p, struct hujson_place at, const char *format, ...) printf_like(3, 4);
bool policy_no_memory(struct tailscale_policy *p);
/* A text as it can stand in a message: short, without control characters. */
struct str policy_quote(struct str text);

struct policy_field {
    const char *name;
    bool (*read)(struct tailscale_policy *p, const struct hujson *value, void *object);
};
/* Reads the known members in the order of the table; unknown ones, and one name in two spellings, are errors. */
bool policy_read_object(struct tailscale_policy *p, const struct hujson *value, const struct policy_field *fields, size_t n_fields,
                        void *object);
bool policy_expect(struct tailscale_policy *p, const struct hujson *value, enum hujson_kind kind, const char *what);
/* null counts as an empty list. Each element must be of the kind. */
bool policy_list(struct tailscale_policy *p, const struct hujson *value, enum hujson_kind kind, const char *what);

/* ---- names (tailscale_names.c) ---- */

enum selector_side { SIDE_SOURCE, SIDE_DESTINATION, SIDE_TARGET, SIDE_OWNER };

/* One selector as it may stand on that side. */
bool policy_read_selector(struct tailscale_policy *p, struct str text, struct hujson_place at, enum selector_side side,
                          struct selector *ret);
bool policy_read_selectors(struct tailscale_policy *p, const struct hujson *list, enum selector_side side, struct selectors *ret);
bool policy_read_groups(struct tailscale_policy *p, const struct hujson *value, void *object);
bool policy_read_hosts(struct tailscale_policy *p, const struct hujson *value, void *object);
bool policy_read_tag_owners(struct tailscale_policy *p, const struct hujson *value, void *object);
bool policy_tag_exists(struct tailscale_policy *p, struct str tag, struct hujson_place at, const char *where);
/* An address or a prefix. */
bool policy_parse_prefix(struct str text, struct relation_range *ret);

/* ---- rules (tailscale_rules.c) ---- */

bool policy_read_acls(struct tailscale_policy *p, const struct hujson *value, void *object);
bool policy_read_grants(struct tailscale_policy *p, const struct hujson *value, void *object);
/* protocol's number from its name or number; false when there is none. */
bool policy_parse_protocol(struct str text, uint8_t *ret);
/* "host:ports" apart at the last ':' outside brackets; brackets of an IPv6 address are taken off. */
bool policy_split_ports(struct str text, struct str *ret_host, struct str *ret_ports);

/* ---- the rest (tailscale_sections.c, tailscale_ipsets.c, tailscale_tests.c) ---- */

bool policy_read_ipsets(struct tailscale_policy *p, const struct hujson *value, void *object);
bool policy_read_postures(struct tailscale_policy *p, const struct hujson *value, void *object);
bool policy_read_posture_names(struct tailscale_policy *p, const struct hujson *value, void *object);
bool policy_read_auto_approvers(struct tailscale_policy *p, const struct hujson *value, void *object);
bool policy_read_node_attrs(struct tailscale_policy *p, const struct hujson *value, void *object);
bool policy_read_tests(struct tailscale_policy *p, const struct hujson *value, void *object);
/* 100.64.0.0/10 and fd7a:115c:a1e0::/48, where the mesh's own addresses are, without what is kept for ChromeOS: adds them. */
void tailscale_add_mesh(struct ranges *ret);
/* What autogroup:internet means as a set: adds it. */
void tailscale_add_internet(struct ranges *ret);

/* ---- the filter (tailscale_resolve.c, tailscale_filter.c) ---- */

struct resolved {
    const struct relation_range *ranges;  /* ascending, disjoint */
    uint32_t n;
    const uint32_t *nodes;                /* identities: whose ranges these are, ascending; else NULL */
    uint32_t n_nodes;
    bool is_identity;
};

struct resolved_rule {
    struct resolved sources;
    struct resolved *destinations;        /* of rule.destinations; ANY, SELF and the internet have none */
};

struct tailscale_filter {
    const struct tailscale_policy *policy;
    const struct tailscale_nodes *nodes;
    struct arena arena;
    struct table memo;                    /* an identity selector to its resolved */
    struct resolved *memoised;
    uint32_t n_memoised, n_memo_held;
    struct resolved_rule *rules;
    struct resolved wildcard;             /* '*' as a source */
    struct error *err;                    /* while making */
    struct table users;                   /* login and "name@", in lower case, to the user */
    uint64_t n_work;
    struct ranges scratch, scratch_sources;
};

/* Counts steps of loops whose length a file sets; false past what a policy of any real network takes. */
static inline bool filter_work(struct tailscale_filter *f, uint64_t n)
{
    enum { FILTER_WORK_MAX = 1 << 28 };
    f->n_work += n;
    return f->n_work <= FILTER_WORK_MAX;
}

enum { FILTER_MEMORY_MAX = 1 << 29, FILTER_RANGES_MAX = 1 << 22 };

int filter_resolve_rules(struct tailscale_filter *f) must_check;
/* A selector that is no ANY, SELF or internet as a source or destination. */
int filter_resolve(struct tailscale_filter *f, const struct selector *selector, struct resolved *ret) must_check;
int filter_keep(struct tailscale_filter *f, struct ranges *ranges, struct resolved *ret) must_check;
/* What one destination of a rule lets in at the node. */
int filter_visit_destination(struct tailscale_filter *f, uint32_t node, uint32_t rule, uint32_t d, tailscale_visitor visit, void *context) must_check;
int filter_run_tests(struct tailscale_filter *f) must_check;
