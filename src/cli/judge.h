/* A declaration that reads well, judged: its expectations, whether its layers let pass what it says and nothing else, and what is worth a word. */
#pragma once

#include "cli/layers.h"
#include "model/diagnose.h"
#include "policy/expect.h"
#include "policy/verify.h"

struct judgement {
    struct access access;
    struct layers layers;
    struct space *space;
    struct matrix matrix;               /* of what is declared */
    struct expect_result expectations;
    struct verify_result proof;
    struct container_proof containers;  /* of what is enforced between them */
    struct diagnostics advice;          /* warnings: lint.h's */
    struct diagnostics failures;        /* errors: expectations that fail, differences between layers and declaration */
    bool is_proof_known;                /* false: why_unproved says why the layers could not be judged at all */
    char why_unproved[512];
};

/* before: what is in force now, or NULL; then what the change takes away from whoever administers the hosts is advice, too.
 * 0, -ENOMEM, or -E2BIG when even what is declared is too much to work out. */
int judge(const struct model *model, const struct model *before, struct judgement *ret) must_check;
void judgement_deinit(struct judgement *judgement);
#define cleanup_judgement cleanup(judgement_deinit)

/* The layers let pass what is declared, and nothing else. */
static inline bool judgement_is_proved(const struct judgement *judgement)
{
    return judgement->is_proof_known && verify_holds(&judgement->proof) && judgement->containers.n == 0;
}

static inline bool judgement_holds(const struct judgement *judgement)
{
    return judgement->failures.found.n_errors == 0 && judgement->is_proof_known;
}

/* The containers that nothing holds, as one sentence; nothing where there are none. */
void judgement_write_unheld(struct buf *out, const struct judgement *judgement);
/* The hosts that the proof doesn't vouch for, as one sentence; nothing where there are none. */
void judgement_write_unproved(struct buf *out, const struct judgement *judgement);
/* {"holds", "missing", "extra", "unproved", "unproved_hosts", "unproved_containers", "why"} */
void judgement_write_proof_json(struct buf *out, const struct judgement *judgement);
