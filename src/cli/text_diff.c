/* The longest common subsequence of what is left between the common beginning and the common end. */
#include "cli/text_diff.h"

#include "base/arena.h"

enum { CELLS_MAX = 1 << 24 };

struct lines {
    struct str *items;
    size_t n;
};

static bool split(struct arena *arena, struct str text, struct lines *ret)
{
    size_t n = text.len && text.ptr[text.len - 1] != '\n';
    for (size_t i = 0; i < text.len; i++)
        n += text.ptr[i] == '\n';
    struct lines lines = { arena_array(arena, n, struct str), 0 };
    if (!lines.items)
        return false;
    while (lines.n < n)
        lines.items[lines.n++] = str_split(&text, '\n');
    *ret = lines;
    return true;
}

enum mark { MARK_SAME, MARK_GONE, MARK_NEW };

struct step {
    enum mark mark;
    struct str line;
    size_t number;
};

struct script {
    struct step *steps;
    size_t n;
};

static void add_step(struct script *s, enum mark mark, struct str line, size_t number)
{
    s->steps[s->n++] = (struct step){ mark, line, number };
}

/* length[i][k]: of the longest common subsequence of what follows line i of the one and line k of the other. */
static bool align(struct arena *arena, const struct lines *a, const struct lines *b, size_t first, size_t n, size_t m, struct script *s)
{
    if (n && m && n > CELLS_MAX / m)
        return false;
    uint32_t *length = arena_array(arena, (n + 1) * (m + 1), uint32_t);
    if (!length)
        return false;
    for (size_t i = n; i-- > 0;)
        for (size_t k = m; k-- > 0;) {
            uint32_t down = length[(i + 1) * (m + 1) + k], right = length[i * (m + 1) + k + 1];
            length[i * (m + 1) + k] = str_equal(a->items[first + i], b->items[first + k]) ? length[(i + 1) * (m + 1) + k + 1] + 1 : down > right ? down : right;
        }
    for (size_t i = 0, k = 0; i < n || k < m;) {
        if (i < n && k < m && str_equal(a->items[first + i], b->items[first + k])) {
            add_step(s, MARK_SAME, b->items[first + k], first + k + 1);
            i++;
            k++;
        } else if (i < n && (k == m || length[(i + 1) * (m + 1) + k] >= length[i * (m + 1) + k + 1])) {
            add_step(s, MARK_GONE, a->items[first + i], first + i + 1);
            i++;
        } else {
            add_step(s, MARK_NEW, b->items[first + k], first + k + 1);
            k++;
        }
    }
    return true;
}

static bool is_near_change(const struct script *s, size_t at, unsigned n_context)
{
    size_t first = at > n_context ? at - n_context : 0, end = at + n_context + 1 < s->n ? at + n_context + 1 : s->n;
    for (size_t i = first; i < end; i++)
        if (s->steps[i].mark != MARK_SAME)
            return true;
    return false;
}

static void write_step(struct buf *out, const struct step *step, const struct text_diff_options *options)
{
    static const char marks[] = { ' ', '-', '+' };
    static const char *const colours[] = { "", "\033[31m", "\033[32m" };
    bool colour = options->colour && step->mark != MARK_SAME;
    buf_printf(out, "%s%s", options->indent, colour ? colours[step->mark] : "");
    if (options->has_numbers)
        buf_printf(out, "%5zu ", step->number);
    buf_printf(out, "%c %.*s%s\n", marks[step->mark], STR_ARG(step->line), colour ? "\033[0m" : "");
}

static size_t write_script(struct buf *out, const struct script *s, const struct text_diff_options *options)
{
    size_t n_changes = 0;
    bool was_shown = true;
    for (size_t i = 0; i < s->n; i++) {
        bool is_shown = is_near_change(s, i, options->n_context);
        n_changes += s->steps[i].mark != MARK_SAME;
        if (is_shown && !was_shown && n_changes && options->n_context)
            buf_printf(out, "%s...\n", options->indent);
        if (is_shown)
            write_step(out, &s->steps[i], options);
        was_shown = is_shown;
    }
    return n_changes;
}

static size_t diff(struct arena *arena, struct buf *out, struct str before, struct str after, const struct text_diff_options *options)
{
    struct lines a, b;
    if (!split(arena, before, &a) || !split(arena, after, &b))
        return 1;
    size_t first = 0, last = 0, least = a.n < b.n ? a.n : b.n;
    while (first < least && str_equal(a.items[first], b.items[first]))
        first++;
    while (last < least - first && str_equal(a.items[a.n - 1 - last], b.items[b.n - 1 - last]))
        last++;
    size_t n = a.n - first - last, m = b.n - first - last;
    struct script s = { arena_array(arena, n + m + 2 * options->n_context, struct step), 0 };
    if (n + m == 0)
        return 0;
    size_t before_first = first < options->n_context ? first : options->n_context, after_last = last < options->n_context ? last : options->n_context;
    for (size_t i = first - before_first; s.steps && i < first; i++)
        add_step(&s, MARK_SAME, b.items[i], i + 1);
    if (!s.steps || !align(arena, &a, &b, first, n, m, &s)) {
        buf_printf(out, "%s%zu lines become %zu others\n", options->indent, n, m);
        return n + m;
    }
    for (size_t i = 0; i < after_last; i++)
        add_step(&s, MARK_SAME, b.items[first + m + i], first + m + i + 1);
    return write_script(out, &s, options);
}

size_t text_diff_write(struct buf *out, struct str before, struct str after, const struct text_diff_options *options)
{
    struct arena arena;
    arena_init(&arena, (size_t)1 << 30);
    size_t n = diff(&arena, out, before, after, options);
    arena_deinit(&arena);
    return n;
}
