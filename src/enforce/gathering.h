/* Taking what the tables counted into the state directory, by names. */
#pragma once

#include "enforce/seen.h"
#include "enforce/state.h"

struct gathering {
    struct seen seen;
    struct seen_places places;       /* as of the last look */
    bool has_read;                   /* what the state directory had */
    bool has_gone;                   /* some places are of containers that are gone */
};

void gathering_init(struct gathering *gathering);
void gathering_deinit(struct gathering *gathering);
/* Takes what was counted, and has the sets begin anew; with the state's lock held. *ret_nft: who changed the tables, 0: nobody. 0 or a negative
 * errno with err. */
int gathering_collect(struct gathering *gathering, const struct state *state, const struct container_filter *filter, const struct model *model,
                      uint32_t host, pid_t *ret_nft, struct error *err) must_check;
/* Where everybody is now. True: an address changed hands, so that what was counted must be collected by the places of before: that was not done
 * yet, and the places are still those; the next call takes the new ones. */
bool gathering_look(struct gathering *gathering, const struct docker_containers *containers, const struct docker_networks *networks,
                    bool is_collected);
