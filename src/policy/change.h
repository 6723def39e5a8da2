/* What another declaration opens and closes: the exact difference of what two of them let pass, in names, worst first, each with its cause. */
#pragma once

#include "policy/access.h"

enum change_cause {
    CHANGE_BY_GRANT,    /* the grant is new, gone or another one */
    CHANGE_BY_HOST,     /* the subject's: its segment or its addresses */
    CHANGE_BY_SEGMENT,  /* the subject's: its addresses */
    CHANGE_BY_SERVICE,  /* the object's: new, gone, elsewhere, on other surfaces */
    CHANGE_BY_SURFACE,  /* the object's: its port, its gateways */
    CHANGE_BY_TARGET,   /* the object's host: its addresses */
};

struct change_entry {
    uint32_t subject, object; /* in after for a gain, in before for a loss */
    uint32_t rule;            /* the first that lets it, in that relation */
    bool is_gain;
    bool is_derived;          /* a way that a gained or lost web service needs */
    bool is_across;           /* from one segment into another */
    bool is_moved;            /* gained and lost in the same names: only addresses are others; the gain stands for both */
    bool is_in_before;        /* where the cause stands */
    enum change_cause cause;
    uint32_t line;            /* of the cause */
};

struct change {
    struct access before, after;
    struct arena arena;
    struct change_entry *items; /* gains, losses, then what moved */
    uint32_t n;
};

/* 0, -ENOMEM or -E2BIG. The models must outlive it. */
int change_init(struct change *ret, const struct model *before, const struct model *after) must_check;
void change_deinit(struct change *change);
#define cleanup_change cleanup(change_deinit)

static inline const struct access *change_side(const struct change *change, const struct change_entry *entry)
{
    return entry->is_gain ? &change->after : &change->before;
}
