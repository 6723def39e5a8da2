/* Two relations of one layer compared, and the difference in the declaration's names. */
#pragma once

#include "base/buf.h"
#include "model/model.h"
#include "policy/relation.h"
#include "policy/sources.h"

struct difference_item {
    struct str from, to;           /* names, or addresses where no name fits */
    uint8_t protocol_first, protocol_last;
    uint16_t port_first, port_last;
    const struct relation_reason *rule; /* of the relation that has it */
};

struct difference {
    struct arena arena;
    struct difference_item *items; /* by names, then ports; each once */
    uint32_t n;
    bool is_cut;                   /* there were more than DIFFERENCE_MAX */
};

enum { DIFFERENCE_MAX = 20000 };

/* What is in has and not in lacks, exactly; ICMP is left out. has must outlive the result. 0, -ENOMEM, -E2BIG. */
int difference_init(struct difference *ret, const struct model *model, const struct sources *sources, const struct relation *has,
                    const struct relation *lacks) must_check;
void difference_deinit(struct difference *difference);
#define cleanup_difference cleanup(difference_deinit)

/* A line each: prefix, "macbook to roc: tcp 22", the rule. At most limit of them (0: all), then how many more there are. */
void difference_write(struct buf *out, const struct difference *difference, const char *prefix, uint32_t limit);
void difference_write_json(struct buf *out, const struct difference *difference);
