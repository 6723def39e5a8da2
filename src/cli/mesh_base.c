/* The declaration's part goes into the text of the user's policy, not into a copy of its values: comments and order stay. */
#include "cli/mesh_base.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "cli/difference.h"
#include "observe/hujson.h"

#define MARK_BEGIN "// postern begin: written by postern render; what is between these marks is replaced"
#define MARK_END   "// postern end"

enum { MERGE_MEMORY_MAX = 1 << 29, OPENED_SHOWN = 40 };

struct merge {
    const struct model *model;
    const struct render_mesh_options *options;
    const char *path;
    struct buf stripped;             /* base without what was put into it before */
    struct arena arena;
    struct hujson *root;
    struct render_mesh_sections sections;
    struct error *err;
};

/* ---- what was put in before ---- */

static int strip(struct merge *m, struct str base)
{
    bool is_ours = false;
    uint32_t line_number = 0;
    for (struct str rest = base; rest.len;) {
        size_t end = str_find_char(rest, '\n');
        struct str line = str_first(rest, end < rest.len ? end + 1 : end), text = str_trim(str_first(line, end));
        rest = str_skip(rest, line.len);
        line_number++;
        bool is_begin = str_starts_with(text, STR("// postern begin")), is_end = str_starts_with(text, STR(MARK_END));
        if (is_begin == is_ours && (is_begin || is_end)) {
            error_set(m->err, "%s:%u: a mark of postern's without its other one; take both out", m->path, line_number);
            return -EINVAL;
        }
        if (is_begin && m->stripped.len && m->stripped.ptr[m->stripped.len - 1] == '\n')
            m->stripped.len--; /* the one that was put in with it */
        if (!is_ours && !is_begin)
            buf_append(&m->stripped, line);
        is_ours = is_begin || (is_ours && !is_end);
    }
    if (is_ours)
        error_set(m->err, "%s: the last mark of postern's has no end; take it out", m->path);
    return is_ours ? -EINVAL : m->stripped.error;
}

/* ---- what Headscale doesn't know ---- */

static int headscale_check(struct merge *m)
{
    static const char *const known[] = { "acls", "grants", "groups", "tagOwners", "hosts", "autoApprovers", "nodeAttrs", "ssh", "tests", "sshTests",
                                         "randomizeClientPort" };
    for (const struct hujson *member = m->root->first; member && m->options->dialect == RENDER_HEADSCALE; member = member->next) {
        size_t i = 0;
        while (i < ARRAY_SIZE(known) && !str_equal_nocase(member->key, str_of(known[i])))
            i++;
        if (i < ARRAY_SIZE(known))
            continue;
        error_set(m->err, "%s:%u:%u: Headscale refuses a policy with \"%.*s\"; take it out", m->path, member->key_at.line, member->key_at.column,
                  STR_ARG(str_first(member->key, 60)));
        return -EINVAL;
    }
    return 0;
}

/* ---- putting in ---- */

/* The name of a line "    \"NAME\": VALUE,\n" and its value. Names here have no escapes. */
static struct str line_name(struct str line, struct str *ret_value)
{
    struct str rest = str_skip(line, str_find_char(line, '"') + 1), name = str_split(&rest, '"');
    struct str value = str_trim(str_skip(rest, 1));
    size_t end = value.len;
    while (end > 0 && (value.ptr[end - 1] == ',' || value.ptr[end - 1] == '\n'))
        end--;
    *ret_value = str_first(value, end);
    return name;
}

/* Lines whose name base has already are left out: a tag's owners are whoever base says, and a host must be at the same address. */
static int names_filter(struct merge *m, const struct hujson *object, const struct buf *lines, bool is_hosts, struct buf *out)
{
    for (struct str rest = buf_str(lines); rest.len;) {
        struct str line = str_first(rest, str_find_char(rest, '\n') + 1), value;
        rest = str_skip(rest, line.len);
        struct str name = line_name(line, &value);
        const struct hujson *there = hujson_find(object, name);
        if (!there) {
            buf_append(out, line);
            continue;
        }
        if (!is_hosts || (there->kind == HUJSON_STRING && str_equal(there->source, value)))
            continue;
        error_set(m->err, "%s:%u:%u: \"%.*s\" is another address here than in the declaration (%.*s); rename one of them", m->path,
                  there->key_at.line, there->key_at.column, STR_ARG(name), STR_ARG(value));
        return -EINVAL;
    }
    return out->error;
}

struct insertion {
    const char *name;
    bool is_object;
    struct buf lines;
    const struct hujson *there;    /* the section in base, or NULL */
};

static void block_write(struct buf *out, const char *indent, const struct insertion *insertion)
{
    buf_printf(out, "\n%s" MARK_BEGIN "\n", indent);
    if (!insertion->there)
        buf_printf(out, "  \"%s\": %c\n", insertion->name, insertion->is_object ? '{' : '[');
    buf_append(out, buf_str(&insertion->lines));
    if (!insertion->there)
        buf_printf(out, "  %c,\n", insertion->is_object ? '}' : ']');
    buf_printf(out, "%s" MARK_END "\n", indent);
}

static bool is_wanted(const struct insertion *insertion)
{
    return insertion->lines.len || (!insertion->there && strcmp(insertion->name, "grants") == 0);
}

/* Sections that base doesn't have come right after the opening brace; parts of those it has, after their bracket. The text in between is
 * copied as it is. */
static int insertions_write(struct merge *m, struct insertion *items, size_t n, struct buf *out)
{
    const char *text = m->stripped.ptr, *at = text, *end = text + m->stripped.len, *open = m->root->source.ptr + 1;
    buf_append(out, str_make(at, (size_t)(open - at)));
    at = open;
    for (size_t i = 0; i < n; i++)
        if (!items[i].there && is_wanted(&items[i]))
            block_write(out, "  ", &items[i]);
    for (;;) {
        const struct insertion *next = NULL;
        for (size_t i = 0; i < n; i++)
            if (items[i].there && is_wanted(&items[i]) && items[i].there->source.ptr >= at &&
                (!next || items[i].there->source.ptr < next->there->source.ptr))
                next = &items[i];
        if (!next)
            break;
        const char *to = next->there->source.ptr + 1;
        buf_append(out, str_make(at, (size_t)(to - at)));
        block_write(out, "    ", next);
        at = to;
    }
    buf_append(out, str_make(at, (size_t)(end - at)));
    return out->error;
}

static int insertion_prepare(struct merge *m, struct insertion *insertion, const struct buf *lines)
{
    insertion->there = hujson_find_nocase(m->root, str_of(insertion->name));
    enum hujson_kind kind = insertion->is_object ? HUJSON_OBJECT : HUJSON_ARRAY;
    if (insertion->there && insertion->there->kind != kind) {
        error_set(m->err, "%s:%u:%u: expected %s", m->path, insertion->there->at.line, insertion->there->at.column, hujson_kind_name(kind));
        return -EINVAL;
    }
    if (insertion->is_object)
        return names_filter(m, insertion->there, lines, strcmp(insertion->name, "hosts") == 0, &insertion->lines);
    buf_append(&insertion->lines, buf_str(lines));
    return insertion->lines.error;
}

static int put_in(struct merge *m, struct buf *out)
{
    struct insertion items[] = { { "tagOwners", true }, { "hosts", true }, { "grants", false }, { "tests", false } };
    const struct buf *lines[] = { &m->sections.tag_owners, &m->sections.hosts, &m->sections.grants, &m->sections.tests };
    int r = 0;
    for (size_t i = 0; i < ARRAY_SIZE(items); i++) {
        buf_init(&items[i].lines, MERGE_MEMORY_MAX);
        if (r == 0)
            r = insertion_prepare(m, &items[i], lines[i]);
    }
    if (r == 0)
        r = insertions_write(m, items, ARRAY_SIZE(items), out);
    for (size_t i = 0; i < ARRAY_SIZE(items); i++)
        buf_deinit(&items[i].lines);
    return r;
}

/* ---- what the whole lets pass ---- */

static int opened_list(const struct merge *m, const struct relation *declared, const struct relation *whole, struct error *err)
{
    struct arena arena;
    struct sources sources;
    struct difference opened = { 0 }, missing = { 0 };
    arena_init(&arena, MERGE_MEMORY_MAX);
    int r = sources_init(&sources, m->model, &arena);
    if (r == 0)
        r = difference_init(&opened, m->model, &sources, whole, declared);
    if (r == 0)
        r = difference_init(&missing, m->model, &sources, declared, whole);
    if (r == 0 && missing.n) {
        error_set(err, "%s: with the declaration's part in it, it does not let pass all that is declared", m->path);
        r = -EINVAL;
    }
    if (r == 0 && opened.n) {
        struct buf text;
        buf_init(&text, MERGE_MEMORY_MAX);
        buf_printf(&text, "postern render: beside the declaration, the rest of %s opens:\n", m->path);
        difference_write(&text, &opened, "  ", OPENED_SHOWN);
        fwrite(text.ptr, 1, text.len, stderr);
        buf_deinit(&text);
    }
    difference_deinit(&opened);
    difference_deinit(&missing);
    arena_deinit(&arena);
    return r;
}

static int whole_check(const struct merge *m, struct str whole, struct error *err)
{
    struct relation declared, actual;
    relation_init(&declared);
    relation_init(&actual);
    int r = cli_mesh_rendered_relation(m->model, &declared, err);
    if (r == 0)
        r = cli_mesh_relation(m->model, whole, "merged", &actual, err);
    if (r == 0)
        r = opened_list(m, &declared, &actual, err);
    if (r == 0 && (r = cli_mesh_test(m->model, whole, "merged", err)) == TAILSCALE_E_INVALID) {
        struct error failed = *err;
        error_set(err, "%s; a control plane refuses that: narrow the rules of %s that open it, or mend the test", failed.text, m->path);
    }
    if (r == -ENOTSUP) {
        fprintf(stderr, "postern render: what the rest of %s opens can't be told: %s\n", m->path, err->text);
        err->text[0] = 0;
        r = 0;
    }
    if (r > 0) {
        error_wrap(err, "%s with the declaration's part in it", m->path);
        r = -EINVAL;
    }
    relation_deinit(&declared);
    relation_deinit(&actual);
    return r;
}

static int merge(struct merge *m, struct str base, struct buf *out)
{
    int r = strip(m, base);
    if (r)
        return r;
    r = hujson_read(buf_str(&m->stripped), m->path, &m->arena, &m->root, m->err);
    if (r)
        return r > 0 ? -EINVAL : r;
    if (m->root->kind != HUJSON_OBJECT) {
        error_set(m->err, "%s: expected a policy, an object", m->path);
        return -EINVAL;
    }
    r = headscale_check(m);
    if (r == 0)
        r = render_mesh_sections_make(m->model, m->options, &m->sections, m->err);
    if (r)
        return r;
    r = put_in(m, out);
    render_mesh_sections_deinit(&m->sections);
    return r ? r : whole_check(m, buf_str(out), m->err);
}

int cli_mesh_merge(const struct model *model, const struct render_mesh_options *options, struct str base, const char *base_path, struct buf *out,
                   struct error *err)
{
    struct merge m = { .model = model, .options = options, .path = base_path, .err = err };
    arena_init(&m.arena, MERGE_MEMORY_MAX);
    buf_init(&m.stripped, MERGE_MEMORY_MAX);
    int r = merge(&m, base, out);
    arena_deinit(&m.arena);
    buf_deinit(&m.stripped);
    return r;
}
