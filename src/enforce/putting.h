/* Putting a declaration in force on this host, and taking it away: shared by all who do that once, with the state's lock held. */
#pragma once

#include "enforce/state.h"
#include "enforce/scene.h"

/* A declaration that was applied, read again. */
struct put_declaration {
    struct model *model;
    uint32_t host;
    char docker_socket[STATE_PATH_SIZE];
};

struct put_result {
    struct container_filter filter;
    struct holding_notes notes;
    struct holding_counts counts;
    uint32_t n_cut;            /* tracked connections that were ended */
    pid_t nft;                 /* who changed the tables, for the kernel */
};

void put_result_deinit(struct put_result *result);
#define cleanup_put_result cleanup(put_result_deinit)

/* *ret's model is the caller's. -EINVAL with err where it isn't right (any more), or has no such host. */
int put_declaration_read(const struct state_declaration *declaration, struct put_declaration *ret, struct error *err) must_check;
/* The same of a model that is read already. */
void put_declaration_make(struct model *model, uint32_t host, struct put_declaration *ret);
/* What the tables would hold; nothing is changed. *ret is the caller's, untouched on failure. */
int put_work_out(const struct put_declaration *declaration, struct put_result *ret, struct error *err) must_check;
/* Replaces the tables, and ends what they no longer let through. */
int put_load(const struct put_declaration *declaration, struct put_result *result, struct error *err) must_check;
/* Has nft load rules, all or none. *ret_nft (may be NULL): who the kernel will say it was. As program_run. */
int put_rules(struct str text, pid_t *ret_nft, struct error *err) must_check;
/* The table of addresses is loaded, whatever it holds. */
bool put_is_there(void);
/* Takes the tables away. */
int put_away(pid_t *ret_nft, struct error *err) must_check;
/* The origin line of the tables. */
void put_write_origin(const struct put_declaration *declaration, struct buf *out);

/* ---- a change that awaits its confirmation ---- */

/* Puts back what was before, and forgets the change: with the lock held. Where Docker can't be asked, the tables go. 0 or a negative errno. */
int put_undo(const struct state *state, struct error *err) must_check;
/* Starts a process that undoes the change of that token at its deadline, unless it was confirmed; it outlives its parent and its terminal. */
int put_guard_start(const char *state_directory, const struct state_declaration *before, struct error *err) must_check;
void put_token_make(char ret[static STATE_TOKEN_SIZE]);
