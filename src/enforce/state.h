/* What is remembered of a host's enforcement, in one directory: what is in force, what it was before a change that awaits its confirmation, and
 * the lock of whoever changes it.
 *
 *   lock       held by who changes anything here, or the tables
 *   in-force   the declaration that is in force; none: nothing is
 *   before     what is put back unless the change is confirmed; none: no change awaits that
 *   observed   what was seen of containers that are gone (observed.h)
 *
 * Files come and go by rename, whole or not at all. */
#pragma once

#include "base/buf.h"
#include "base/error.h"

#define STATE_DIRECTORY "/var/lib/postern/apply"

enum { STATE_FILE_MAX = (16 << 20) + (64 << 10), STATE_LOCK_TIMEOUT_MS = 30000, STATE_TOKEN_SIZE = 33, STATE_NAME_SIZE = 256, STATE_PATH_SIZE = 1024 };

struct state {
    int directory;   /* descriptors */
    int lock;        /* -1: not held */
};

/* A declaration as it was applied. */
struct state_declaration {
    char host[STATE_NAME_SIZE];      /* as the declaration calls it; "" with is_nothing */
    char path[STATE_PATH_SIZE];      /* where it was read from */
    bool is_nothing;                 /* only `before`: nothing was in force */
    uint64_t deadline_ms;            /* only `before`: until when it may be confirmed, on CLOCK_BOOTTIME */
    char token[STATE_TOKEN_SIZE];    /* only `before`: whose guard it is; also other after a reboot */
    struct buf source;
};

static inline void state_declaration_deinit(struct state_declaration *declaration)
{
    buf_deinit(&declaration->source);
}
#define cleanup_state_declaration cleanup(state_declaration_deinit)

/* Makes the directory where it isn't, for root alone. 0 or a negative errno with err. */
int state_open(const char *directory, struct state *ret, struct error *err) must_check;
void state_close(struct state *state);
#define cleanup_state cleanup(state_close)
/* Waits for whoever holds it. -ETIMEDOUT with err. */
int state_lock(struct state *state, struct error *err) must_check;
void state_unlock(struct state *state);

/* 0; STATE_E_NONE: there is none; a negative errno with err. *ret is untouched then. */
enum { STATE_E_NONE = 1 };
int state_read(const struct state *state, const char *name, struct state_declaration *ret, struct error *err) must_check;
int state_write(const struct state *state, const char *name, const struct state_declaration *declaration, struct error *err) must_check;
/* Whether it is there or not. */
int state_remove(const struct state *state, const char *name, struct error *err) must_check;
/* Plain files in it, under the same rules. */
int state_read_text(const struct state *state, const char *name, struct buf *out, struct error *err) must_check;
int state_write_text(const struct state *state, const char *name, struct str text, struct error *err) must_check;
/* Changes whenever the file does; 0: there is none. */
uint64_t state_version(const struct state *state, const char *name);
uint64_t state_now_ms(void); /* CLOCK_BOOTTIME */
