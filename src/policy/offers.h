/* Services that containers offer by label: names that nobody declared, for which grants with `labelled: true` were written.
 *
 * A label is a stranger's word. It can add a name, and be reached by whom such a grant names; it can take no name that is declared, or that
 * would be another's, and it can't open what is declared to be nobody's. */
#pragma once

#include "base/arena.h"
#include "model/model.h"

struct offer {
    struct str name;              /* as labelled; anything */
    struct str reference;         /* the container: PROJECT/SERVICE or NAME, as Docker has it */
    uint16_t port;
    enum model_protocol protocol; /* HTTP or H2C */
};

struct offer_verdict {
    bool is_taken;
    struct str why;               /* refused: "the name is service grafana's (postern.yml:12)" */
};

struct offers {
    struct arena arena;
    struct model model;           /* the declaration, and the offers that are taken as services of the host; borrows the declaration */
    struct offer_verdict *verdicts; /* of each offer */
    uint32_t n_taken;
};

enum { OFFERS_MAX = 1024 };

/* Of two that want one name, the earlier in the list holds it; the same container may offer a name again. Past OFFERS_MAX all are refused.
 * The model and the offers must outlive it. 0 or -ENOMEM. */
int offers_init(struct offers *ret, const struct model *model, uint32_t host, const struct offer *offers, uint32_t n) must_check;
void offers_deinit(struct offers *offers);
#define cleanup_offers cleanup(offers_deinit)
