/* Grouping and drawing. */
#include "cli/access_table.h"

#include <errno.h>
#include <stdio.h>

#include "cli/party.h"

/* ---- what is shown ---- */

static bool is_asked_subject(const struct access_subject *s, const struct parties *p)
{
    for (uint32_t i = 0; i < p->n_askers; i++) {
        const struct party_asker *asker = &p->askers[i];
        if (asker->container != MODEL_NONE ? asker->container == s->container :
            s->container != MODEL_NONE     ? false :
            asker->host != MODEL_NONE      ? asker->host == s->host :
                                             s->host == MODEL_NONE && asker->segment == s->segment)
            return true;
    }
    return false;
}

static bool is_asked_object(const struct access_object *o, const struct parties *p)
{
    for (uint32_t i = 0; i < p->n_asked; i++) {
        const struct party_asked *asked = &p->asked[i];
        bool is_container = o->kind == ACCESS_CONTAINER || o->kind == ACCESS_CONTAINER_PORT;
        if (asked->container != MODEL_NONE ? is_container && o->container == asked->container && (!asked->port || o->port == asked->port || !o->port) :
            asked->is_internet ? o->kind == ACCESS_INTERNET :
            asked->is_web ? o->kind == ACCESS_WEB && o->service == asked->service :
                            o->kind != ACCESS_WEB && !is_container && o->host == asked->host && o->port == asked->port && o->protocol == asked->protocol)
            return true;
    }
    return false;
}

static int choose(struct access_table *t, const struct parties *p)
{
    const struct access *a = t->access;
    t->subjects = arena_array(&t->arena, a->n_subjects, uint32_t);
    t->objects = arena_array(&t->arena, a->n_objects, uint32_t);
    if (!t->subjects || !t->objects)
        return -ENOMEM;
    for (uint32_t i = 0; i < a->n_subjects; i++)
        if (!t->has_from || is_asked_subject(&a->subjects[i], p))
            t->subjects[t->n_subjects++] = i;
    for (uint32_t i = 0; i < a->n_objects; i++)
        if (!t->has_to || is_asked_object(&a->objects[i], p))
            t->objects[t->n_objects++] = i;
    return 0;
}

static int ask_all(struct access_table *t, struct error *err)
{
    const struct access *a = t->access;
    const struct relation *const relations[] = { &a->relation };
    struct space *space = NULL;
    cleanup_matrix struct matrix matrix = { 0 };
    if (t->n_objects && t->n_subjects > ACCESS_TABLE_CELLS_MAX / t->n_objects) {
        error_set(err, "%u hosts and %u things are too many for one table; ask --from WHO or --to WHAT", t->n_subjects, t->n_objects);
        return -E2BIG;
    }
    t->answers = arena_array(&t->arena, (size_t)t->n_subjects * t->n_objects, uint8_t);
    int r = t->answers ? space_init(&space, relations, 1) : -ENOMEM;
    if (r == 0)
        r = matrix_of(space, &a->relation, &matrix);
    for (uint32_t s = 0; r == 0 && s < t->n_subjects; s++)
        for (uint32_t o = 0; o < t->n_objects; o++)
            t->answers[(size_t)s * t->n_objects + o] = (uint8_t)access_ask(a, &matrix, t->subjects[s], &a->objects[t->objects[o]]);
    space_free(space);
    return r;
}

int access_table_init(struct access_table *ret, const struct access *access, const char *from, const char *to, struct error *err)
{
    struct access_table t = { .access = access, .has_from = from, .has_to = to };
    cleanup_parties struct parties parties = { 0 };
    arena_init(&t.arena, RELATION_MEMORY_MAX);
    int r = parties_read(access, from, to, &parties, err);
    if (r == 0)
        r = choose(&t, &parties);
    if (r == 0)
        r = ask_all(&t, err);
    if (r < 0)
        access_table_deinit(&t);
    else
        *ret = t;
    return r;
}

void access_table_deinit(struct access_table *table)
{
    arena_deinit(&table->arena);
}

static bool is_open(enum access_answer answer)
{
    return answer == ACCESS_YES || answer == ACCESS_PARTLY;
}

bool access_table_is_empty(const struct access_table *table)
{
    for (size_t i = 0; i < (size_t)table->n_subjects * table->n_objects; i++)
        if (is_open((enum access_answer)table->answers[i]))
            return false;
    return true;
}

/* ---- grouping ---- */

struct group {
    uint32_t *items; /* positions */
    uint32_t n;
};

struct drawing {
    const struct access_table *t;
    struct buf *out;
    struct arena arena;
    struct group *columns;
    uint32_t n_columns;
    unsigned width;
    bool colour;
    bool of_containers;  /* who asks are these; else hosts and segments */
};

/* A host's own port counts as one that it can't reach: it fills no column of its own. */
static bool is_same_answer(enum access_answer a, enum access_answer b)
{
    return (a == ACCESS_NONE ? ACCESS_NO : a) == (b == ACCESS_NONE ? ACCESS_NO : b);
}

static bool is_same_column(const struct access_table *t, uint32_t a, uint32_t b)
{
    for (uint32_t o = 0; o < t->n_objects; o++)
        if (!is_same_answer(access_table_answer(t, a, o), access_table_answer(t, b, o)))
            return false;
    return true;
}

static bool reaches_any(const struct access_table *t, uint32_t subject)
{
    for (uint32_t o = 0; o < t->n_objects; o++)
        if (is_open(access_table_answer(t, subject, o)))
            return true;
    return false;
}

static int group_columns(struct drawing *d)
{
    const struct access_table *t = d->t;
    bool *is_taken = arena_array(&d->arena, t->n_subjects, bool);
    d->columns = arena_array(&d->arena, t->n_subjects, struct group);
    if (!is_taken || !d->columns)
        return -ENOMEM;
    for (uint32_t s = 0; s < t->n_subjects; s++) {
        struct group *g = &d->columns[d->n_columns];
        bool is_container = t->access->subjects[t->subjects[s]].container != MODEL_NONE;
        if (is_taken[s] || is_container != d->of_containers || ((is_container || t->has_to || t->has_from) && !reaches_any(t, s)))
            continue;
        *g = (struct group){ arena_array(&d->arena, t->n_subjects - s, uint32_t), 0 };
        if (!g->items)
            return -ENOMEM;
        for (uint32_t k = s; k < t->n_subjects; k++)
            if (!is_taken[k] && is_container == (t->access->subjects[t->subjects[k]].container != MODEL_NONE) && is_same_column(t, s, k)) {
                is_taken[k] = true;
                g->items[g->n++] = k;
            }
        d->n_columns++;
    }
    return 0;
}

static enum access_answer column_answer(const struct drawing *d, uint32_t column, uint32_t object)
{
    enum access_answer answer = ACCESS_NONE;
    for (uint32_t i = 0; i < d->columns[column].n && answer == ACCESS_NONE; i++)
        answer = access_table_answer(d->t, d->columns[column].items[i], object);
    return answer;
}

static bool is_same_row(const struct drawing *d, uint32_t a, uint32_t b)
{
    for (uint32_t c = 0; c < d->n_columns; c++)
        if (!is_same_answer(column_answer(d, c, a), column_answer(d, c, b)))
            return false;
    return true;
}

static bool is_row_open(const struct drawing *d, uint32_t object)
{
    for (uint32_t c = 0; c < d->n_columns; c++)
        if (is_open(column_answer(d, c, object)))
            return true;
    return false;
}

/* The line of the rule by which the first who can does. */
static uint32_t row_line(const struct drawing *d, uint32_t object)
{
    const struct access *a = d->t->access;
    for (uint32_t c = 0; c < d->n_columns; c++)
        for (uint32_t i = 0; i < d->columns[c].n; i++)
            if (is_open(access_table_answer(d->t, d->columns[c].items[i], object))) {
                uint32_t rule = access_find_rule(a, &a->relation, d->t->subjects[d->columns[c].items[i]], &a->objects[d->t->objects[object]]);
                return rule == UINT32_MAX ? 0 : relation_reason(&a->relation, relation_rule(&a->relation, rule)->reason)->line;
            }
    return 0;
}

/* ---- drawing ---- */

enum { CELL_MIN = 4, LABEL_MIN = 24, LABEL_MAX = 64, HEAD_LINES = 4, ROW_NAMES_MAX = 40, NAME_MAX_SHOWN = 18, LINE_WIDTH = 6 };

static bool is_whole_segment(const struct drawing *d, const struct group *g)
{
    const struct access *a = d->t->access;
    uint32_t segment = a->subjects[d->t->subjects[g->items[0]]].segment, n = 0;
    for (uint32_t i = 0; i < g->n; i++)
        if (a->subjects[d->t->subjects[g->items[i]]].segment != segment)
            return false;
    for (uint32_t i = 0; i < a->n_subjects; i++)
        n += a->subjects[i].segment == segment;
    return g->n > 1 && n == g->n && segment != MODEL_NONE;
}

/* Line k of a column's head, from the top; false past the last. */
static bool head_line(const struct drawing *d, uint32_t column, uint32_t k, struct buf *out)
{
    const struct group *g = &d->columns[column];
    const struct access *a = d->t->access;
    buf_clear(out);
    if (is_whole_segment(d, g)) {
        if (k == 0)
            buf_append(out, a->model->segments[a->subjects[d->t->subjects[g->items[0]]].segment].name.text);
        if (k == 1)
            buf_printf(out, "(all %u)", g->n);
        return k < 2;
    }
    if (k >= g->n || k >= HEAD_LINES)
        return false;
    if (k == HEAD_LINES - 1 && g->n > HEAD_LINES)
        buf_printf(out, "+ %u more", g->n - HEAD_LINES + 1);
    else
        access_write_subject(out, a, d->t->subjects[g->items[k]]);
    if (out->len > NAME_MAX_SHOWN) {
        out->len = NAME_MAX_SHOWN - 2;
        buf_append(out, STR(".."));
    }
    return true;
}

static unsigned column_width(const struct drawing *d, uint32_t column)
{
    size_t width = CELL_MIN;
    cleanup_buf struct buf text;
    buf_init(&text, 4096);
    for (uint32_t k = 0; head_line(d, column, k, &text); k++)
        width = text.len > width ? text.len : width;
    return (unsigned)width + 2;
}

static uint32_t head_height(const struct drawing *d, uint32_t first, uint32_t end)
{
    uint32_t height = 0;
    cleanup_buf struct buf text;
    buf_init(&text, 4096);
    for (uint32_t c = first; c < end; c++)
        for (uint32_t k = 0; head_line(d, c, k, &text); k++)
            height = k + 1 > height ? k + 1 : height;
    return height;
}

static const char *dim(const struct drawing *d)
{
    return d->colour ? "\033[2m" : "";
}

static const char *plain(const struct drawing *d)
{
    return d->colour ? "\033[0m" : "";
}

static void write_heads(struct drawing *d, unsigned label, uint32_t first, uint32_t end)
{
    uint32_t height = head_height(d, first, end);
    cleanup_buf struct buf text;
    buf_init(&text, 4096);
    for (uint32_t row = 0; row < height; row++) {
        size_t gap = label;
        for (uint32_t c = first; c < end; c++) {
            uint32_t own = head_height(d, c, c + 1), skip = height - own;
            unsigned width = column_width(d, c);
            bool has = row >= skip && head_line(d, c, row - skip, &text);
            if (has) {
                buf_printf(d->out, "%*s%.*s", (int)gap, "", (int)text.len, text.ptr ? text.ptr : "");
                gap = width - text.len;
            } else {
                gap += width;
            }
        }
        if (row + 1 == height)
            buf_printf(d->out, "%*s%sline%s", (int)gap, "", dim(d), plain(d));
        buf_append_char(d->out, '\n');
    }
}

static void write_cells(struct drawing *d, uint32_t object, uint32_t first, uint32_t end)
{
    static const char *const words[] = { [ACCESS_NO] = "-", [ACCESS_YES] = "yes", [ACCESS_PARTLY] = "part", [ACCESS_NONE] = "-" };
    for (uint32_t c = first; c < end; c++) {
        enum access_answer answer = column_answer(d, c, object);
        const char *on = !d->colour ? "" : answer == ACCESS_YES ? "\033[32m" : answer == ACCESS_PARTLY ? "\033[33m" : "\033[2m";
        buf_printf(d->out, "%s%-*s%s", on, (int)column_width(d, c), words[answer], plain(d));
    }
    uint32_t line = row_line(d, object);
    if (line)
        buf_printf(d->out, "%s%u%s", dim(d), line, plain(d));
}

static void pad(struct buf *out, size_t n)
{
    buf_printf(out, "%*s", (int)n, "");
}

/* The row's names, wrapped to the label's width; cells stand beside the first line. */
static void write_row(struct drawing *d, const struct group *row, const char *instead, unsigned label, uint32_t first, uint32_t end)
{
    size_t at = 4, room = label - 2;
    bool has_cells = false;
    cleanup_buf struct buf name;
    buf_init(&name, 4096);
    pad(d->out, 4);
    for (uint32_t i = 0; i < (instead ? 1 : row->n); i++) {
        buf_clear(&name);
        if (instead)
            buf_append(&name, str_of(instead));
        else
            access_write_object(&name, d->t->access, d->t->objects[row->items[i]]);
        if (!instead && i + 1 < row->n)
            buf_append_char(&name, ',');
        if (at > 4 && at + 1 + name.len > room) {
            if (!has_cells) {
                pad(d->out, at < label ? label - at : 1);
                write_cells(d, row->items[0], first, end);
                has_cells = true;
            }
            buf_append(d->out, STR("\n    "));
            at = 4;
        }
        if (at > 4)
            buf_append_char(d->out, ' ');
        at += name.len + (at > 4);
        buf_append(d->out, buf_str(&name));
    }
    if (!has_cells) {
        pad(d->out, at < label ? label - at : 1);
        write_cells(d, row->items[0], first, end);
    }
    while (d->out->len && d->out->ptr[d->out->len - 1] == ' ')
        d->out->len--;
    buf_append_char(d->out, '\n');
}

enum { CONTAINERS_RANK = 3, DERIVED_RANK };

struct section {
    unsigned rank;
    uint32_t surface;
};

static struct section section_of(const struct access_object *o)
{
    static const unsigned ranks[ACCESS_KINDS] = { [ACCESS_WEB] = 0, [ACCESS_DIRECT] = 1, [ACCESS_HOST_PORT] = 2, [ACCESS_CONTAINER] = CONTAINERS_RANK,
                                                    [ACCESS_CONTAINER_PORT] = CONTAINERS_RANK, [ACCESS_INTERNET] = CONTAINERS_RANK,
                                                    [ACCESS_SURFACE] = DERIVED_RANK, [ACCESS_INSTANCE] = DERIVED_RANK };
    return (struct section){ ranks[o->kind], o->kind == ACCESS_WEB ? o->surface : 0 };
}

static void write_title(struct drawing *d, struct section section)
{
    static const char *const titles[] = { "", "direct services", "ports of hosts", "between containers, and from them to the internet", "on the way, derived" };
    const struct model *m = d->t->access->model;
    if (section.rank == 0)
        buf_printf(d->out, "  %sover %.*s, port %u%s\n", d->colour ? "\033[1m" : "", STR_ARG(m->surfaces[section.surface].name.text),
                   m->surfaces[section.surface].port, plain(d));
    else
        buf_printf(d->out, "  %s%s%s\n", d->colour ? "\033[1m" : "", titles[section.rank], plain(d));
}

static int write_section(struct drawing *d, struct section section, uint32_t first_object, uint32_t end_object, unsigned label, uint32_t first, uint32_t end)
{
    uint32_t n = end_object - first_object;
    bool *is_taken = arena_array(&d->arena, n, bool), has_title = false;
    struct group row = { arena_array(&d->arena, n, uint32_t), 0 };
    if (!is_taken || !row.items)
        return -ENOMEM;
    for (uint32_t i = 0; i < n; i++) {
        bool open = is_row_open(d, first_object + i);
        if (is_taken[i] || (!open && (d->of_containers || d->t->has_from || section.rank == CONTAINERS_RANK || section.rank == DERIVED_RANK)))
            continue;
        uint32_t line = row_line(d, first_object + i);
        row.n = 0;
        for (uint32_t k = i; k < n; k++)
            if (!is_taken[k] && is_same_row(d, first_object + i, first_object + k) && row_line(d, first_object + k) == line) {
                is_taken[k] = true;
                row.items[row.n++] = first_object + k;
            }
        if (!has_title)
            write_title(d, section);
        has_title = true;
        char instead[64];
        bool is_all = open && row.n == n && !d->t->has_to;
        snprintf(instead, sizeof instead, is_all ? "all %u" : row.n == n ? "none of %u" : "the other %u", row.n);
        write_row(d, &row, (!open && row.n > 4) || (is_all && row.n > ROW_NAMES_MAX) ? instead : NULL, label, first, end);
    }
    return 0;
}

static int write_part(struct drawing *d, unsigned label, uint32_t first, uint32_t end)
{
    const struct access *a = d->t->access;
    int r = 0;
    write_heads(d, label, first, end);
    for (uint32_t i = 0, next; r == 0 && i < d->t->n_objects; i = next) {
        struct section section = section_of(&a->objects[d->t->objects[i]]);
        for (next = i + 1; next < d->t->n_objects; next++) {
            struct section other = section_of(&a->objects[d->t->objects[next]]);
            if (other.rank != section.rank || other.surface != section.surface)
                break;
        }
        r = write_section(d, section, i, next, label, first, end);
    }
    return r;
}

/* How wide the names' column is: what they need, and at most what the heads leave. */
static unsigned label_width(const struct drawing *d)
{
    unsigned heads = LINE_WIDTH, room;
    for (uint32_t c = 0; c < d->n_columns; c++)
        heads += column_width(d, c);
    room = d->width > heads + LABEL_MIN ? d->width - heads : LABEL_MIN;
    size_t wanted = LABEL_MIN, names = 0;
    cleanup_buf struct buf name;
    buf_init(&name, 4096);
    for (uint32_t i = 0; i < d->t->n_objects && wanted < LABEL_MAX; i++) {
        struct section section = section_of(&d->t->access->objects[d->t->objects[i]]);
        struct section before = i ? section_of(&d->t->access->objects[d->t->objects[i - 1]]) : section;
        buf_clear(&name);
        access_write_object(&name, d->t->access, d->t->objects[i]);
        names = section.rank == before.rank && section.surface == before.surface ? names + name.len + 2 : name.len + 2;
        wanted = names + 6 > wanted ? names + 6 : wanted;
    }
    wanted = wanted > LABEL_MAX ? LABEL_MAX : wanted;
    return room > wanted ? (unsigned)wanted : room;
}

static int draw(struct drawing *d)
{
    int r = group_columns(d);
    if (r < 0 || d->n_columns == 0)
        return r;
    unsigned label = label_width(d);
    for (uint32_t first = 0, end; r == 0 && first < d->n_columns; first = end) {
        unsigned used = label + LINE_WIDTH;
        for (end = first; end < d->n_columns && (end == first || used + column_width(d, end) <= d->width); end++)
            used += column_width(d, end);
        if (first)
            buf_append_char(d->out, '\n');
        r = write_part(d, label, first, end);
    }
    return r;
}

/* Between the hosts' table and the containers'. */
static void insert_empty_line(struct buf *out, size_t at)
{
    buf_append_char(out, '\n');
    if (out->error)
        return;
    memmove(out->ptr + at + 1, out->ptr + at, out->len - at - 1);
    out->ptr[at] = '\n';
}

void access_table_write(struct buf *out, const struct access_table *table, unsigned width, bool colour)
{
    uint32_t n_columns = 0;
    for (unsigned i = 0; i < 2; i++) {
        struct drawing d = { .t = table, .out = out, .width = width, .colour = colour, .of_containers = i == 1 };
        size_t before = out->len;
        arena_init(&d.arena, RELATION_MEMORY_MAX);
        if (draw(&d) < 0)
            out->error = -ENOMEM;
        arena_deinit(&d.arena);
        if (n_columns && out->len > before)
            insert_empty_line(out, before);
        n_columns += d.n_columns;
    }
    if (n_columns == 0)
        buf_append(out, table->has_to && !table->n_objects ? STR("nobody: no grant speaks of it\n") : table->has_to ? STR("nobody\n") : STR("nothing\n"));
}
