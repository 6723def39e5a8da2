/* Who may send what to whom, as one layer says it: the form in which layers are read, composed and compared.
 *
 * A relation is a union of rules. Each rule lets every address of its source selector send to every address of its destination
 * selector, by its protocols and ports. There is no order and no denial in here: whoever reads an ordered layer resolves them first
 * (policy/packet_filter.h). A rule speaks of new flows; what a layer lets back in answer is no rule of it.
 *
 * Web services stand on the same axis as addresses, at points that no host can have (relation_service_point), so that "robin may ask for
 * registry over agents" is a rule like any other and one engine proves both. */
#pragma once

#include "base/address.h"
#include "base/arena.h"
#include "base/buf.h"
#include "base/str.h"

/* Inclusive. Never across the border of the IPv4-mapped addresses: a range is of one family. */
struct relation_range {
    struct address first, last;
};

/* Ascending, disjoint, and never adjacent within a family. */
struct relation_selector {
    const struct relation_range *items; /* the relation's */
    uint32_t n;
};

/* Where a rule comes from, for people: "postern.yml:41", or a file and what the layer calls the rule there. */
struct relation_reason {
    struct str file;  /* "postern.yml", "policy.hujson", "nftables on roc" */
    uint32_t line;    /* 0: the layer has no lines */
    struct str text;  /* "grant", "derived: gateway to instance", "rule 3 of acls", "set allowed4"; may be empty */
};

enum { RELATION_PORT_MAX = 65535, RELATION_PROTOCOL_MAX = 255 };
enum { RELATION_TCP = 6, RELATION_UDP = 17 };

struct relation_rule {
    uint32_t source, destination;            /* selectors */
    uint8_t protocol_first, protocol_last;   /* IP protocol numbers; more than one only with all ports */
    uint16_t port_first, port_last;          /* of the destination; all of them for protocols without ports */
    uint32_t reason;
};

struct relation {
    struct arena arena;                      /* ranges and texts */
    struct buf selectors, rules, reasons;    /* struct relation_selector, relation_rule, relation_reason; read by the accessors */
    struct buf hashes;                       /* uint64_t, of the selectors */
    struct relation_index *index;            /* finds equal selectors while building */
};

/* What one relation may hold in all; past it, the call says -E2BIG. */
enum { RELATION_MEMORY_MAX = 1 << 30 };

void relation_init(struct relation *relation);
void relation_deinit(struct relation *relation);
#define cleanup_relation cleanup(relation_deinit)

/* Takes ranges in any order, overlapping or not, and gives the number of the selector that they are; equal sets share one. n may be 0:
 * nobody. 0, -ENOMEM, -E2BIG, or -EINVAL for a range whose last lies before its first or that mixes families. */
int relation_add_selector(struct relation *relation, const struct relation_range *ranges, uint32_t n, uint32_t *ret) must_check;
/* Copies the texts. */
int relation_add_reason(struct relation *relation, struct relation_reason reason, uint32_t *ret) must_check;
/* A rule with a selector that is nobody is dropped. */
int relation_add_rule(struct relation *relation, const struct relation_rule *rule) must_check;
/* One rule of another relation, or all of them, with their selectors and reasons. */
int relation_append_rule(struct relation *to, const struct relation *from, uint32_t index) must_check;
int relation_append(struct relation *to, const struct relation *from) must_check;

uint32_t relation_n_selectors(const struct relation *relation);
uint32_t relation_n_rules(const struct relation *relation);
uint32_t relation_n_reasons(const struct relation *relation);
struct relation_selector relation_selector(const struct relation *relation, uint32_t index);
const struct relation_rule *relation_rule(const struct relation *relation, uint32_t index);
const struct relation_reason *relation_reason(const struct relation *relation, uint32_t index);

bool relation_selector_contains(struct relation_selector selector, const struct address *address);
/* Of selectors of whatever relations: they are the same addresses exactly when they are equal; then their hashes are, too. */
bool relation_selector_equal(struct relation_selector a, struct relation_selector b);
uint64_t relation_selector_hash(const struct relation *relation, uint32_t index);

/* The whole of a family, and the range of a prefix. Of IPv6 they begin past the mapped addresses (what lies below, loopback and the like, is
 * never sent over a network) and end before ff00::, since nothing unicast lies above; a prefix that reaches further is cut there. */
extern const struct relation_range relation_all_v4, relation_all_v6;
struct relation_range relation_range_of_prefix(const struct address_prefix *prefix);
/* Takes off what lies from ff00:: on, where nobody sends from and points are; false: nothing is left. */
bool relation_range_cut_points(struct relation_range *range) must_check;
/* The axis point of a web service over a surface, by their numbers in the declaration: under ff00::/16, where no source or host can be.
 * Rules to service points say this protocol and this one port. */
enum { RELATION_POINT_PROTOCOL = 6, RELATION_POINT_PORT = 0 };
struct address relation_service_point(uint32_t surface, uint32_t service);
bool relation_is_service_point(const struct address *address, uint32_t *ret_surface, uint32_t *ret_service);
/* The point of a container, by its number (containers.h), as a sender and as a receiver: its addresses are Docker's to say, and change. */
struct address relation_container_point(uint32_t container);
bool relation_is_container_point(const struct address *address, uint32_t *ret_container);
/* The point of the internet, as a receiver. */
struct address relation_internet_point(void);
bool relation_is_internet_point(const struct address *address);

/* One question, answered by walking the rules from the first: the measure of everything faster. The rule, or UINT32_MAX. */
uint32_t relation_find_rule(const struct relation *relation, const struct address *from, const struct address *to, uint8_t protocol, uint16_t port);
