/* A host's packet filter as ordered rules: tables, chains, sets and verdicts, as nftables means them; and what of new flows it lets through.
 *
 * The renderers build this and print it, the readers of what is there read into it, and both are judged by the same two evaluators: one
 * that works out everything at once (packet_filter_relation) and one that walks the rules for a single packet (packet_filter_decide).
 * Only new TCP and UDP flows are spoken of. What a filter's reader could not understand is an answer of its own (PACKET_UNKNOWN) for just
 * those flows that depend on it; it is never guessed.
 *
 * Of a rule's conditions all must hold. A condition is a set of elements, each with one range per field, that holds the packet or, negated,
 * does not. Every field's values are ranges on the 16-byte axis of addresses: numbers in the last four bytes, names from the first. */
#pragma once

#include "base/error.h"
#include "policy/relation.h"

enum { PACKET_NONE = UINT32_MAX };

enum packet_field {
    PACKET_SOURCE, PACKET_DESTINATION,       /* addresses; a mapped one is IPv4 */
    PACKET_PROTOCOL, PACKET_PORT,            /* numbers: of the transport, of the destination */
    PACKET_INTERFACE, PACKET_OUT_INTERFACE,  /* names: arrived by; about to leave by */
    PACKET_CT_STATE,                         /* numbers: enum packet_ct_state */
    PACKET_UID,                              /* numbers: whose process sends, on the way out only */
    PACKET_ICMP_TYPE, PACKET_ICMPV6_TYPE,    /* numbers; no TCP or UDP packet has one */
    PACKET_HOP_LIMIT,                        /* numbers; may be anything */
    PACKET_LOCAL,                            /* numbers: 1 on the way to this host, else 0 */
    PACKET_OTHER,                            /* what only the kernel knows; may be anything, its values say nothing */
    PACKET_N_FIELDS,
};

enum packet_ct_state { PACKET_CT_INVALID = 1, PACKET_CT_ESTABLISHED = 2, PACKET_CT_RELATED = 4, PACKET_CT_NEW = 8, PACKET_CT_UNTRACKED = 64 };

/* In the order in which a packet meets them. */
enum packet_hook { PACKET_HOOK_INGRESS, PACKET_HOOK_PREROUTING, PACKET_HOOK_INPUT, PACKET_HOOK_FORWARD, PACKET_HOOK_OUTPUT, PACKET_HOOK_POSTROUTING };

/* Which hooks a flow meets. */
enum packet_path { PACKET_TO_HOST, PACKET_THROUGH_HOST, PACKET_FROM_HOST };

enum packet_verdict {
    PACKET_CONTINUE, PACKET_ACCEPT, PACKET_DROP, PACKET_REJECT,
    PACKET_JUMP, PACKET_GOTO, PACKET_RETURN,
    PACKET_ELSEWHERE, /* sent on by other rules than these (DNAT, a queue …): where to can't be told, whatever comes after */
};

enum packet_family { PACKET_ANY_FAMILY = 0, PACKET_IPV4 = 4, PACKET_IPV6 = 6 };

struct packet_table {
    struct str name;
    uint8_t family;
};

struct packet_chain {
    uint32_t table;
    struct str name, remark;      /* remark: one line for people, above the chain; the builder's own, not copied */
    bool is_base;
    uint8_t hook;                 /* of a base chain, as are the next two */
    uint8_t policy;               /* PACKET_ACCEPT or PACKET_DROP */
    int32_t priority;
    uint32_t first_rule, n_rules; /* in the order of packet_filter_rule_of, once sealed */
    uint32_t policy_reason;
};

enum { PACKET_SET_FIELDS_MAX = 8 };

struct packet_set {
    uint32_t table;
    struct str name;              /* empty: written in the rule itself */
    uint8_t fields[PACKET_SET_FIELDS_MAX], n_fields;
    uint8_t family;               /* of its addresses */
    bool is_interval, is_merged, is_counted; /* how it is written; what it means doesn't depend on them */
    uint32_t first_element, n_elements, first_value;
};

struct packet_match {
    uint32_t set;
    uint8_t family;               /* only packets of this one, negated or not */
    bool negated;
};

struct packet_rule {
    uint32_t chain;
    uint32_t first_match, n_matches;
    uint8_t verdict;
    bool is_counted;
    uint32_t target;              /* JUMP, GOTO: the chain */
    struct str comment;
    uint32_t line;                /* where it was read from; 0: nowhere */
    uint32_t reason;
};

struct packet_filter {
    struct arena arena;
    struct str name;              /* "nftables on roc": the file of its reasons */
    struct buf tables, chains, sets, elements, values, matches, rules, order, reasons;
    int error;                    /* sticks, as a buf's; packet_filter_seal says it */
    bool is_sealed;
};

/* What one filter may hold in each of its lists, and how deep jumps may go (the kernel's own limit). */
enum { PACKET_FILTER_BYTES_MAX = 1 << 28, PACKET_FILTER_DEPTH_MAX = 16 };

int packet_filter_init(struct packet_filter *filter, struct str name) must_check;
void packet_filter_deinit(struct packet_filter *filter);
#define cleanup_packet_filter cleanup(packet_filter_deinit)

/* ---- building: numbers are given in the order of the calls; texts are copied; pointers are good until the next call of their kind ---- */

uint32_t packet_filter_add_table(struct packet_filter *filter, uint8_t family, struct str name);
uint32_t packet_filter_add_chain(struct packet_filter *filter, uint32_t table, struct str name);
/* Makes it a base chain. */
void packet_filter_set_hook(struct packet_filter *filter, uint32_t chain, enum packet_hook hook, int32_t priority, enum packet_verdict policy);
/* The fields, family and flags of what; elements are added next, before another set begins. */
uint32_t packet_filter_add_set(struct packet_filter *filter, const struct packet_set *what);
/* One range per field of the last set. reason: of this element, or PACKET_NONE for the rule's. */
void packet_filter_add_element(struct packet_filter *filter, const struct relation_range *values, uint32_t reason);
uint32_t packet_filter_add_reason(struct packet_filter *filter, struct relation_reason reason);
/* The same of a text as renderers write it into a filter: "postern.yml:40" or "postern.yml:40, a gateway to its instance". PACKET_NONE: it is none. */
uint32_t packet_filter_add_place(struct packet_filter *filter, struct str text);
/* A rule at the end of the chain; its conditions are added next, before another rule begins. */
uint32_t packet_filter_add_rule(struct packet_filter *filter, uint32_t chain, enum packet_verdict verdict, uint32_t target);
void packet_filter_add_match(struct packet_filter *filter, uint32_t set, uint8_t family, bool negated);
/* The same for a condition on one field with one range. */
void packet_filter_add_simple(struct packet_filter *filter, enum packet_field field, struct relation_range range, uint8_t family, bool negated);
void packet_filter_set_comment(struct packet_filter *filter, struct str comment);
/* Ends the building and names each rule. 0; -EINVAL with err for a jump to nowhere, in a circle or past PACKET_FILTER_DEPTH_MAX; -E2BIG, -ENOMEM. */
int packet_filter_seal(struct packet_filter *filter, struct error *err) must_check;

struct relation_range packet_number(uint32_t first, uint32_t last);
/* An interface's name, or all that begin with it. Past 15 bytes it is cut, as the kernel does. */
struct relation_range packet_name(struct str name, bool is_prefix);

uint32_t packet_filter_n_tables(const struct packet_filter *filter);
uint32_t packet_filter_n_chains(const struct packet_filter *filter);
uint32_t packet_filter_n_sets(const struct packet_filter *filter);
uint32_t packet_filter_n_rules(const struct packet_filter *filter);
struct packet_table *packet_filter_table(const struct packet_filter *filter, uint32_t index);
struct packet_chain *packet_filter_chain(const struct packet_filter *filter, uint32_t index);
struct packet_set *packet_filter_set(const struct packet_filter *filter, uint32_t index);
struct packet_rule *packet_filter_rule(const struct packet_filter *filter, uint32_t index);
struct packet_match *packet_filter_match(const struct packet_filter *filter, uint32_t index);
/* The k-th rule of a chain of a sealed filter. */
struct packet_rule *packet_filter_rule_of(const struct packet_filter *filter, const struct packet_chain *chain, uint32_t k);
/* The ranges of the k-th element of a set, one per field. */
struct relation_range *packet_filter_values(const struct packet_filter *filter, const struct packet_set *set, uint32_t k);
/* The reason of the k-th element, or PACKET_NONE. */
uint32_t packet_filter_element_reason(const struct packet_filter *filter, const struct packet_set *set, uint32_t k);
const struct relation_reason *packet_filter_reason(const struct packet_filter *filter, uint32_t index);

/* ---- judging a sealed filter ---- */

/* How a flow comes: by which interface. An empty name is one that no rule names ("the LAN's, whatever it is called"). */
struct packet_arrival {
    struct str interface;
    uint32_t uid;  /* PACKET_FROM_HOST: who sends */
};

/* PACKET_UNKNOWN: it depends on something that can't be told from here. */
enum packet_answer { PACKET_DENIED, PACKET_ADMITTED, PACKET_UNKNOWN };

/* One new flow, by walking the rules: short, slow, and the measure of the other. Base chains compose: admitted where none denies.
 * *ret_reason (may be NULL): what decided; packet_filter_reason. protocol: TCP or UDP. */
enum packet_answer packet_filter_decide(const struct packet_filter *filter, enum packet_path path, const struct packet_arrival *arrival,
                                        const struct address *from, const struct address *to, uint8_t protocol, uint16_t port, uint32_t *ret_reason);

/* All new TCP and UDP flows that come that way for these destinations (n_to 0: any): what is let in (ret_open), and what depends on something that
 * can't be told (ret_unknown, may be NULL; each rule's reason is what it depends on). Both are added to, so that several filters and arrivals
 * can share a relation; after a failure what was added is of no use. Exact.
 * 0, -ENOMEM, or -E2BIG when that would take more than a bounded number of steps. */
int packet_filter_relation(const struct packet_filter *filter, enum packet_path path, const struct packet_arrival *arrival,
                           const struct relation_range *to, uint32_t n_to, struct relation *ret_open, struct relation *ret_unknown) must_check;
