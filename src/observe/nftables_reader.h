/* Shared by the files that read nft's JSON: what is known while reading, and operands with their values. */
#pragma once

#include <jansson.h>

#include "base/table.h"
#include "observe/nftables.h"

/* What a condition looks at. */
struct nft_operand {
    uint8_t fields[PACKET_SET_FIELDS_MAX], n_fields;
    bool is_nfproto[PACKET_SET_FIELDS_MAX];  /* the field is a source whose values are families */
    uint8_t family;                          /* that a packet must be of to have it */
    uint8_t protocol;                        /* the same for a transport; 0: any */
    bool is_never;                           /* no TCP or UDP packet has it */
};

/* A set or map as listed. */
struct nft_set {
    const json_t *object;
    uint32_t table;
    bool is_changing;                        /* elements come and go by themselves */
};

struct nft_reader {
    struct packet_filter *filter;
    struct error *err;
    struct arena arena;                      /* keys of the tables */
    struct table tables, chains, sets, made; /* by "family table [name]"; made: packet sets by set and fields */
    struct buf listed;                       /* struct nft_set */
};

enum { NFT_MATCHES_MAX = 64 };

/* Conditions of a rule that is being read; sets are made before the rule. */
struct nft_conditions {
    struct packet_match items[NFT_MATCHES_MAX];
    uint32_t n;
};

/* Never fails: what isn't understood is PACKET_OTHER. */
void nft_operand_read(const json_t *left, unsigned depth, struct nft_operand *ret);
/* One element's ranges, one per field. False: not understood. */
bool nft_value_read(const struct nft_operand *operand, const json_t *value, struct relation_range *ret);

/* All of these: 0 or a negative errno, with err where it is -EINVAL. */
int nft_add_condition(struct nft_reader *reader, struct nft_conditions *conditions, uint32_t set, uint8_t family, bool negated) must_check;
/* Whatever the expression is: it can't be told. */
int nft_add_other(struct nft_reader *reader, struct nft_conditions *conditions, uint8_t family) must_check;
/* What having the operand at all asks of a packet. */
int nft_add_implied(struct nft_reader *reader, struct nft_conditions *conditions, const struct nft_operand *operand) must_check;
/* A match statement. family, table_name: of the rule's table, for named sets. */
int nft_read_match(struct nft_reader *reader, struct nft_conditions *conditions, const char *family, const char *table_name, const json_t *match) must_check;
/* The set or map of that name, or NULL. */
const struct nft_set *nft_find_set(const struct nft_reader *reader, const char *family, const char *table_name, const char *name);
int nft_read_rule(struct nft_reader *reader, const json_t *rule, uint32_t chain) must_check;
