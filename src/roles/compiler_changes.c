/* Compares two declarations by what they name: each thing as a line of text, and the lines of one kind as sets. */
#include "roles/compiler_changes.h"

#include <stdlib.h>

#include "base/table.h"

/* Past this many lines of a kind, only their number is told. */
enum { LINES_MAX = 50 };

struct lines {
    struct arena arena;
    struct str *items;
    uint32_t n;
    bool is_short_of_memory;
};

typedef void (*describe_function)(struct lines *lines, const struct model *model);

static void add_line(struct lines *lines, struct str line)
{
    if (line.ptr && lines->items)
        lines->items[lines->n++] = line;
    else
        lines->is_short_of_memory = true;
}

static void allocate(struct lines *lines, uint32_t n)
{
    lines->items = n ? arena_array(&lines->arena, n, struct str) : NULL;
    lines->is_short_of_memory |= n && !lines->items;
}

static void describe_hosts(struct lines *lines, const struct model *model)
{
    allocate(lines, model->n_hosts);
    for (uint32_t i = 0; i < model->n_hosts; i++)
        add_line(lines, model->hosts[i].name.text);
}

static void describe_surfaces(struct lines *lines, const struct model *model)
{
    allocate(lines, model->n_surfaces);
    for (uint32_t i = 0; i < model->n_surfaces; i++)
        add_line(lines, arena_printf(&lines->arena, "%.*s on port %u", STR_ARG(model->surfaces[i].name.text), (unsigned)model->surfaces[i].port));
}

static void describe_services(struct lines *lines, const struct model *model)
{
    allocate(lines, model->n_services);
    for (uint32_t i = 0; i < model->n_services; i++)
        add_line(lines, model->services[i].name.text);
}

static struct str grant_line(struct arena *arena, const struct model *model, const struct model_grant *grant, uint32_t from, uint32_t to)
{
    struct buf text;
    buf_init(&text, 4096);
    buf_printf(&text, "%.*s to %.*s", STR_ARG(grant->from[from].text.text), STR_ARG(grant->to[to].text.text));
    for (uint32_t i = 0; i < grant->over.n; i++)
        buf_printf(&text, "%s%.*s", i ? ", " : " over ", STR_ARG(model->surfaces[grant->over.items[i]].name.text));
    struct str line = text.error ? STR_NONE : arena_copy(arena, buf_str(&text));
    buf_deinit(&text);
    return line;
}

static void describe_grants(struct lines *lines, const struct model *model)
{
    uint64_t n = 0;
    for (uint32_t i = 0; i < model->n_grants; i++)
        n += (uint64_t)model->grants[i].n_from * model->grants[i].n_to;
    if (n > UINT32_MAX) {
        lines->is_short_of_memory = true;
        return;
    }
    allocate(lines, (uint32_t)n);
    for (uint32_t i = 0; i < model->n_grants && !lines->is_short_of_memory; i++)
        for (uint32_t from = 0; from < model->grants[i].n_from; from++)
            for (uint32_t to = 0; to < model->grants[i].n_to; to++)
                add_line(lines, grant_line(&lines->arena, model, &model->grants[i], from, to));
}

/* Lines of a that b lacks, after the sign. Returns how many. */
static uint32_t write_missing(struct buf *out, char sign, const char *kind, const struct lines *a, const struct lines *b)
{
    cleanup_table struct table have = { 0 };
    uint32_t n = 0;
    for (uint32_t i = 0; i < b->n; i++)
        if (table_add(&have, b->items[i], i, NULL) < 0) /* NOLINT(clang-analyzer-core.NullDereference): n is 0 while it is NULL */
            return 0;
    for (uint32_t i = 0; i < a->n; i++) {
        uint32_t ignored;
        if (table_get(&have, a->items[i], &ignored)) /* NOLINT(clang-analyzer-core.NullDereference): as above */
            continue;
        if (++n <= LINES_MAX)
            buf_printf(out, "%c %s %.*s\n", sign, kind, STR_ARG(a->items[i]));
    }
    if (n > LINES_MAX)
        buf_printf(out, "%c %u more of kind %s\n", sign, (unsigned)(n - LINES_MAX), kind);
    return n;
}

static uint32_t compare(struct buf *out, const char *kind, describe_function describe, const struct model *before, const struct model *after)
{
    struct lines old = { 0 }, new = { 0 };
    uint32_t n = 0;
    arena_init(&old.arena, 64 << 20);
    arena_init(&new.arena, 64 << 20);
    describe(&old, before);
    describe(&new, after);
    if (old.is_short_of_memory || new.is_short_of_memory) {
        buf_printf(out, "(too many of kind %s to compare)\n", kind);
        n = 1;
    } else {
        n = write_missing(out, '+', kind, &new, &old) + write_missing(out, '-', kind, &old, &new);
    }
    arena_deinit(&old.arena);
    arena_deinit(&new.arena);
    return n;
}

void changes_write(struct buf *out, const struct model *before, const struct model *after)
{
    uint32_t n = compare(out, "host", describe_hosts, before, after);
    n += compare(out, "surface", describe_surfaces, before, after);
    n += compare(out, "service", describe_services, before, after);
    n += compare(out, "grant", describe_grants, before, after);
    if (n == 0)
        buf_printf(out, "%s\n", str_equal(before->source, after->source) ? "nothing changes" : "no host, surface, service or grant comes or goes");
}
