/* The matrix of who reaches what, drawn: equal columns and equal rows once, as many columns side by side as the width has room for. */
#pragma once

#include "base/error.h"
#include "policy/access.h"

struct access_table {
    const struct access *access;
    struct arena arena;
    uint32_t *subjects, *objects;      /* those that are shown */
    uint32_t n_subjects, n_objects;
    uint8_t *answers;                  /* enum access_answer, subject by subject */
    bool has_from, has_to;             /* it was asked for some only */
};

enum { ACCESS_TABLE_CELLS_MAX = 1 << 26 };

/* from and to as in parties_read, or NULL. 0; -ENOMEM; -E2BIG and -EINVAL with err. */
int access_table_init(struct access_table *ret, const struct access *access, const char *from, const char *to, struct error *err) must_check;
void access_table_deinit(struct access_table *table);
#define cleanup_access_table cleanup(access_table_deinit)

/* By position in subjects and objects. */
static inline enum access_answer access_table_answer(const struct access_table *table, uint32_t subject, uint32_t object)
{
    return (enum access_answer)table->answers[(size_t)subject * table->n_objects + object];
}

bool access_table_is_empty(const struct access_table *table);
void access_table_write(struct buf *out, const struct access_table *table, unsigned width, bool colour);
