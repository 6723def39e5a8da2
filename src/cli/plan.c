/* postern plan: what another declaration opens and closes, worst first, and what changes in the files that are rendered from it. */
#include "cli/cli.h"

#include <errno.h>
#include <getopt.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cli/declaration.h"
#include "cli/plan_files.h"
#include "policy/change.h"

#define PLAN_APPLIED "/var/lib/postern/applied.yml"

static const char usage[] =
    "usage: postern plan [[OLD] NEW] [--fail-on-gain WHO]... [--access-only] [--json]\n"
    "\n"
    "Shows who gains and who loses access to what when NEW takes the place of OLD, in names, worst first: what is gained before what is lost,\n"
    "and what crosses segments before what stays in one; each with the line that causes it. Then what changes in each rendered file.\n"
    "It compares what the two declarations let pass, every address and port, not their texts.\n"
    "\n"
    "  NEW                     the declaration to come (./postern.yml, or /etc/postern/postern.yml)\n"
    "  OLD                     the one before (that which the running postern has in force: " PLAN_APPLIED ")\n"
    "      --fail-on-gain WHO  end with 1 when that segment or host gains anything; \"*\" for anyone; may be given again\n"
    "      --access-only       leave the rendered files out\n"
    "      --json              for scripts\n"
    "\n"
    "  postern plan --fail-on-gain ai && sudo postern reload\n"
    "\n"
    "Exit status: 0 shown, 1 one of --fail-on-gain gains something, 2 a declaration could not be used.\n";

enum { FAIL_ON_MAX = 64, NAMES_SHOWN_MAX = 24, DIFF_SHOWN_MAX = 30 };

struct plan_options {
    const char *old, *new;
    const char *fail_on[FAIL_ON_MAX];
    size_t n_fail_on;
    bool json, access_only;
};

/* 0: go on. Otherwise the exit status + 1. */
static int options_read(int argc, char **argv, struct plan_options *ret)
{
    static const struct option options[] = {
        { "file", required_argument, NULL, 'f' },   { "fail-on-gain", required_argument, NULL, 'g' }, { "access-only", no_argument, NULL, 'a' },
        { "json", no_argument, NULL, 'j' },         { "help", no_argument, NULL, 'h' },               { 0 }
    };
    int c;
    optind = 0;
    while ((c = getopt_long(argc, argv, "f:h", options, NULL)) != -1) {
        switch (c) {
        case 'f': ret->new = optarg; break;
        case 'g':
            if (ret->n_fail_on == FAIL_ON_MAX) {
                fputs("postern plan: too many --fail-on-gain\n", stderr);
                return CLI_UNKNOWN + 1;
            }
            ret->fail_on[ret->n_fail_on++] = optarg;
            break;
        case 'a': ret->access_only = true; break;
        case 'j': ret->json = true; break;
        default: fputs(usage, c == 'h' ? stdout : stderr); return (c == 'h' ? CLI_YES : CLI_UNKNOWN) + 1;
        }
    }
    int n = argc - optind;
    if (n > 2 || (n == 2 && ret->new)) {
        fputs("postern plan: at most one OLD and one NEW\n", stderr);
        return CLI_UNKNOWN + 1;
    }
    if (n == 2 || (n == 1 && ret->new))
        ret->old = argv[optind++];
    if (optind < argc)
        ret->new = argv[optind];
    return 0;
}

/* ---- --fail-on-gain ---- */

static bool is_name_of(const struct model *m, const char *name)
{
    return strcmp(name, "*") == 0 || model_find_segment(m, str_of(name)) != MODEL_NONE || model_find_host(m, str_of(name)) != MODEL_NONE;
}

/* A name in a pipeline that means nobody would let everything pass: it is an error. */
static bool fail_on_check(const struct plan_options *given, const struct change *c)
{
    for (size_t i = 0; i < given->n_fail_on; i++)
        if (!is_name_of(c->after.model, given->fail_on[i]) && !is_name_of(c->before.model, given->fail_on[i])) {
            fprintf(stderr, "postern plan: --fail-on-gain %s: neither declaration has a segment or host of that name\n", given->fail_on[i]);
            return false;
        }
    return true;
}

static bool is_meant(const struct access *a, const struct access_subject *s, const char *name)
{
    return strcmp(name, "*") == 0 || (s->host != MODEL_NONE && str_equal(a->model->hosts[s->host].name.text, str_of(name))) ||
           (s->segment != MODEL_NONE && str_equal(a->model->segments[s->segment].name.text, str_of(name)));
}

/* A host that leaves a segment still counts as one of it: what it takes along is gained by who it was. */
static bool was_meant(const struct change *c, const struct access_subject *s, const char *name)
{
    for (uint32_t i = 0; s->host != MODEL_NONE && i < c->before.n_subjects; i++) {
        const struct access_subject *before = &c->before.subjects[i];
        if (before->host != MODEL_NONE && str_equal(c->before.model->hosts[before->host].name.text, c->after.model->hosts[s->host].name.text))
            return is_meant(&c->before, before, name);
    }
    return false;
}

static bool is_forbidden(const struct plan_options *given, const struct change *c, const struct change_entry *e)
{
    const struct access_subject *s = &c->after.subjects[e->subject];
    for (size_t i = 0; e->is_gain && !e->is_moved && i < given->n_fail_on; i++)
        if (is_meant(&c->after, s, given->fail_on[i]) || was_meant(c, s, given->fail_on[i]))
            return true;
    return false;
}

static uint32_t forbidden_count(const struct plan_options *given, const struct change *c)
{
    uint32_t n = 0;
    for (uint32_t i = 0; i < c->n; i++)
        n += is_forbidden(given, c, &c->items[i]);
    return n;
}

/* ---- words ---- */

static const char *cause_text(const struct change_entry *e)
{
    static const char *const gains[] = {
        [CHANGE_BY_GRANT] = "grant", [CHANGE_BY_HOST] = "host changed", [CHANGE_BY_SEGMENT] = "segment changed", [CHANGE_BY_SERVICE] = "service changed",
        [CHANGE_BY_SURFACE] = "surface changed", [CHANGE_BY_TARGET] = "its host changed",
    };
    return gains[e->cause];
}

static void write_cause(struct buf *out, const struct change *c, const struct change_entry *e)
{
    const struct model *m = e->is_in_before ? c->before.model : c->after.model;
    buf_printf(out, "%.*s:%u %s", STR_ARG(declared_file(m)), e->line, cause_text(e));
}

static void write_object(struct buf *out, const struct change *c, const struct change_entry *e)
{
    const struct access *a = change_side(c, e);
    const struct access_object *o = &a->objects[e->object];
    access_write_object(out, a, e->object);
    if (o->kind == ACCESS_WEB)
        buf_printf(out, " over %.*s", STR_ARG(a->model->surfaces[o->surface].name.text));
}

static struct str segment_name(const struct model *m, uint32_t segment)
{
    return segment == MODEL_NONE ? STR("no segment") : m->segments[segment].name.text;
}

struct plan {
    const struct plan_options *given;
    const struct cli_declaration *before, *after;
    const struct change *change;
    const struct plan_files *files;
    bool colour;
    struct buf out;
};

static const char *shade(const struct plan *p, const char *code)
{
    return p->colour ? code : "";
}

/* ---- for a person ---- */

/* One line of the picture: entries of one subject and one cause, whose objects are named together. */
static bool is_one_line(const struct change *c, const struct change_entry *a, const struct change_entry *b)
{
    const struct access_object *x = &change_side(c, a)->objects[a->object], *y = &change_side(c, b)->objects[b->object];
    return a->is_gain == b->is_gain && a->is_moved == b->is_moved && a->is_derived == b->is_derived && a->is_across == b->is_across &&
           a->subject == b->subject && a->line == b->line && a->cause == b->cause && a->is_in_before == b->is_in_before && x->kind == y->kind &&
           (x->kind != ACCESS_WEB || x->surface == y->surface) &&
           access_object_segment(change_side(c, a), a->object) == access_object_segment(change_side(c, b), b->object);
}

static size_t subject_width(const struct plan *p)
{
    size_t width = 0;
    cleanup_buf struct buf text;
    buf_init(&text, 4096);
    for (uint32_t i = 0; i < p->change->n; i++) {
        buf_clear(&text);
        access_write_subject(&text, change_side(p->change, &p->change->items[i]), p->change->items[i].subject);
        width = text.len > width ? text.len : width;
    }
    return width < 40 ? width : 40;
}

static void write_line(struct plan *p, const struct change_entry *first, const struct change_entry *end, size_t width)
{
    const struct change *c = p->change;
    const struct access *a = change_side(c, first);
    cleanup_buf struct buf text;
    uint32_t n = 0;
    bool is_bad = is_forbidden(p->given, c, first);
    buf_init(&text, 1 << 16);
    access_write_subject(&text, a, first->subject);
    const char *colour = first->is_moved ? "" : first->is_gain ? "\033[31m" : "\033[32m";
    buf_printf(&p->out, "  %s%s %-*.*s%s  ", shade(p, colour), is_bad ? "!" : first->is_moved ? "~" : first->is_gain ? "+" : "-", (int)width, (int)text.len,
               text.ptr ? text.ptr : "", shade(p, "\033[0m"));
    for (const struct change_entry *e = first; e < end; e++, n++) {
        if (n == NAMES_SHOWN_MAX) {
            buf_printf(&p->out, " and %zu more", (size_t)(end - e));
            break;
        }
        buf_append(&p->out, n ? STR(", ") : STR(""));
        access_write_object(&p->out, a, e->object);
    }
    if (a->objects[first->object].kind == ACCESS_WEB)
        buf_printf(&p->out, " over %.*s", STR_ARG(a->model->surfaces[a->objects[first->object].surface].name.text));
    buf_printf(&p->out, "  %s", shade(p, "\033[2m"));
    write_cause(&p->out, c, first);
    buf_printf(&p->out, "%s\n", shade(p, "\033[0m"));
}

static void write_heading(struct plan *p, const struct change_entry *e)
{
    const struct access *a = change_side(p->change, e);
    struct str from = segment_name(a->model, access_subject_segment(a, e->subject)), to = segment_name(a->model, access_object_segment(a, e->object));
    buf_append(&p->out, str_of(shade(p, "\033[1m")));
    if (e->is_moved)
        buf_append(&p->out, STR("the same, by other addresses"));
    else if (e->is_derived)
        buf_printf(&p->out, "%s on the way, derived", e->is_gain ? "gained" : "lost");
    else if (e->is_across)
        buf_printf(&p->out, "%s, from %.*s into %.*s", e->is_gain ? "gained" : "lost", STR_ARG(from), STR_ARG(to));
    else
        buf_printf(&p->out, "%s, within %.*s", e->is_gain ? "gained" : "lost", STR_ARG(from));
    buf_printf(&p->out, "%s\n", shade(p, "\033[0m"));
}

static bool is_one_heading(const struct change *c, const struct change_entry *a, const struct change_entry *b)
{
    const struct access *x = change_side(c, a), *y = change_side(c, b);
    if (a->is_gain != b->is_gain || a->is_moved != b->is_moved || a->is_derived != b->is_derived || a->is_across != b->is_across)
        return false;
    return a->is_moved || a->is_derived || (access_subject_segment(x, a->subject) == access_subject_segment(y, b->subject) &&
                                            access_object_segment(x, a->object) == access_object_segment(y, b->object));
}

static void write_changes(struct plan *p)
{
    const struct change *c = p->change;
    size_t width = subject_width(p);
    for (uint32_t i = 0, end; i < c->n; i = end) {
        if (i == 0 || !is_one_heading(c, &c->items[i - 1], &c->items[i])) {
            if (i)
                buf_append_char(&p->out, '\n');
            write_heading(p, &c->items[i]);
        }
        for (end = i + 1; end < c->n && is_one_line(c, &c->items[i], &c->items[end]);)
            end++;
        write_line(p, &c->items[i], &c->items[end], width);
    }
}

/* The way in by which hosts are administered: the one loss that may not be mendable afterwards. */
static void write_cuts(struct plan *p)
{
    const struct change *c = p->change;
    for (uint32_t i = 0; i < c->n; i++) {
        const struct change_entry *e = &c->items[i];
        const struct access *a = change_side(c, e);
        const struct access_object *o = &a->objects[e->object];
        if (e->is_gain || o->kind == ACCESS_WEB || o->protocol != RELATION_TCP || o->port != 22)
            continue;
        buf_printf(&p->out, "%swarning:%s ", shade(p, "\033[1;35m"), shade(p, "\033[0m"));
        access_write_subject(&p->out, a, e->subject);
        buf_printf(&p->out, " loses ssh to %.*s; if Ansible or its administrator comes from there, try another way in first\n",
                   STR_ARG(a->model->hosts[o->host].name.text));
    }
}

/* The beginning of a long difference; "postern render" and --json have it whole. */
static void write_diff(struct plan *p, struct str diff)
{
    unsigned n = 0;
    while (diff.len && n++ < DIFF_SHOWN_MAX) {
        struct str line = str_split(&diff, '\n');
        buf_printf(&p->out, "%.*s\n", STR_ARG(line));
    }
    if (diff.len)
        buf_append(&p->out, STR("    ... and more: postern render writes it\n"));
}

static void write_files(struct plan *p)
{
    for (uint32_t i = 0; p->files && i < p->files->n; i++) {
        const struct plan_file *file = &p->files->items[i];
        buf_printf(&p->out, "\n%s%.*s%s", shade(p, "\033[1m"), STR_ARG(file->name), shade(p, "\033[0m"));
        if (file->is_new || file->is_gone)
            buf_printf(&p->out, ": %s\n", file->is_new ? "a new file" : "no longer written");
        else
            buf_printf(&p->out, ": %zu line%s\n", file->n_lines, file->n_lines == 1 ? "" : "s");
        write_diff(p, file->diff);
    }
    if (p->files && p->files->n == 0)
        buf_append(&p->out, STR("\nNo rendered file changes.\n"));
}

static void text_write(struct plan *p)
{
    const struct change *c = p->change;
    uint32_t n_gains = 0, n_losses = 0, n_forbidden = forbidden_count(p->given, c);
    for (uint32_t i = 0; i < c->n; i++)
        if (!c->items[i].is_derived && !c->items[i].is_moved) {
            n_gains += c->items[i].is_gain;
            n_losses += !c->items[i].is_gain;
        }
    if (c->n == 0)
        buf_append(&p->out, STR("Nobody gains anything, nobody loses anything.\n"));
    else
        buf_printf(&p->out, "%u gained, %u lost\n\n", n_gains, n_losses);
    write_changes(p);
    write_cuts(p);
    write_files(p);
    if (n_forbidden)
        buf_printf(&p->out, "\n%s%u of these gains must not be (--fail-on-gain)%s\n", shade(p, "\033[1;31m"), n_forbidden, shade(p, "\033[0m"));
}

/* ---- for a script ---- */

static void json_entry(struct plan *p, const struct change_entry *e)
{
    const struct change *c = p->change;
    const struct access *a = change_side(c, e);
    const struct access_object *o = &a->objects[e->object];
    cleanup_buf struct buf text;
    buf_init(&text, 4096);
    buf_printf(&p->out, "{\"change\": \"%s\", \"from\": ", e->is_moved ? "moved" : e->is_gain ? "gained" : "lost");
    access_write_subject(&text, a, e->subject);
    buf_append_json(&p->out, buf_str(&text));
    buf_clear(&text);
    write_object(&text, c, e);
    buf_append(&p->out, STR(", \"to\": "));
    buf_append_json(&p->out, buf_str(&text));
    buf_append(&p->out, STR(", \"from_segment\": "));
    buf_append_json(&p->out, segment_name(a->model, access_subject_segment(a, e->subject)));
    buf_append(&p->out, STR(", \"to_segment\": "));
    buf_append_json(&p->out, segment_name(a->model, access_object_segment(a, e->object)));
    buf_printf(&p->out, ", \"protocol\": \"%s\", \"port\": %u, \"derived\": %s, \"across\": %s, \"forbidden\": %s",
               o->protocol == 0 ? "any" : o->protocol == RELATION_UDP ? "udp" : "tcp", o->kind == ACCESS_WEB ? a->model->surfaces[o->surface].port : o->port,
               e->is_derived ? "true" : "false", e->is_across ? "true" : "false", is_forbidden(p->given, c, e) ? "true" : "false");
    buf_printf(&p->out, ", \"cause\": \"%s\", \"in\": \"%s\", \"line\": %u}", cause_text(e), e->is_in_before ? "old" : "new", e->line);
}

static void json_write(struct plan *p)
{
    buf_append(&p->out, STR("{\"old\": "));
    buf_append_json(&p->out, str_of(p->before->path));
    buf_append(&p->out, STR(", \"new\": "));
    buf_append_json(&p->out, str_of(p->after->path));
    buf_append(&p->out, STR(", \"changes\": ["));
    for (uint32_t i = 0; i < p->change->n; i++) {
        buf_append(&p->out, i ? STR(",\n  ") : STR("\n  "));
        json_entry(p, &p->change->items[i]);
    }
    buf_append(&p->out, STR("], \"files\": ["));
    for (uint32_t i = 0; p->files && i < p->files->n; i++) {
        const struct plan_file *file = &p->files->items[i];
        buf_append(&p->out, i ? STR(",\n  {\"name\": ") : STR("\n  {\"name\": "));
        buf_append_json(&p->out, file->name);
        buf_printf(&p->out, ", \"change\": \"%s\", \"lines\": %zu, \"diff\": ", file->is_new ? "new" : file->is_gone ? "gone" : "changed", file->n_lines);
        buf_append_json(&p->out, file->diff);
        buf_append_char(&p->out, '}');
    }
    buf_printf(&p->out, "], \"forbidden\": %u}\n", forbidden_count(p->given, p->change));
}

/* ---- the whole ---- */

static int show(struct plan *p)
{
    buf_init(&p->out, CLI_OUTPUT_MAX * 4);
    if (p->given->json)
        json_write(p);
    else
        text_write(p);
    bool is_written = !p->out.error && fwrite(p->out.ptr, 1, p->out.len, stdout) == p->out.len && fflush(stdout) == 0;
    if (!is_written)
        fprintf(stderr, "postern plan: could not write: %s\n", strerror(p->out.error ? -p->out.error : errno));
    buf_deinit(&p->out);
    if (!is_written)
        return CLI_UNKNOWN;
    return forbidden_count(p->given, p->change) ? CLI_NO : CLI_YES;
}

static int plan(const struct plan_options *given, const struct cli_declaration *before, const struct cli_declaration *after)
{
    cleanup_change struct change change = { 0 };
    cleanup_plan_files struct plan_files files = { 0 };
    bool colour = cli_colour(stdout) && !given->json;
    int r = change_init(&change, before->model, after->model);
    if (r == 0 && !fail_on_check(given, &change))
        return CLI_UNKNOWN;
    if (r == 0 && !given->access_only)
        r = plan_files_init(&files, before, after, colour);
    if (r < 0) {
        fprintf(stderr, "postern plan: %s\n", r == -E2BIG ? "the two declarations are too much to compare" : strerror(-r));
        return CLI_UNKNOWN;
    }
    struct plan p = { .given = given, .before = before, .after = after, .change = &change, .files = given->access_only ? NULL : &files, .colour = colour };
    return show(&p);
}

int cli_plan(int argc, char **argv)
{
    struct plan_options given = { 0 };
    int status = options_read(argc, argv, &given);
    if (status)
        return status - 1;
    cleanup_declaration struct cli_declaration before = { 0 }, after = { 0 };
    if (!given.old && access(PLAN_APPLIED, F_OK) != 0) {
        fputs("postern plan: no postern has put a declaration in force here (there is no " PLAN_APPLIED "): name the one before, 'postern plan OLD NEW'\n",
              stderr);
        return CLI_UNKNOWN;
    }
    if (!cli_declaration_load(given.old ? given.old : PLAN_APPLIED, &before) || !cli_declaration_load(given.new, &after))
        return CLI_UNKNOWN;
    return plan(&given, &before, &after);
}
