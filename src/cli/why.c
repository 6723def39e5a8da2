/* postern why: one question, layer by layer, and on no what would make it yes. */
#include "cli/cli.h"

#include <errno.h>
#include <getopt.h>
#include <string.h>

#include "cli/declaration.h"
#include "cli/remedy.h"

static const char usage[] =
    "usage: postern why FROM TO[:PORT] [--over SURFACE] [-f FILE] [--json]\n"
    "\n"
    "Says whether FROM reaches TO, and what each layer on the way answers, with the line of the declaration that makes it answer so.\n"
    "On no, says the smallest change to the declaration that would make it yes; it was tried before it is shown.\n"
    "\n"
    "  FROM   a host, a segment, a service in a container, a tag, a user, an address, or \"anyone\"\n"
    "  TO     a service, by its name or host name; HOST:PORT or HOST:udp/PORT; ADDRESS:PORT; a host or a segment: all that is known of it;\n"
    "         of a container that asks also SERVICE:PORT, a port of another container beside it, and internet\n"
    "         A name of two kinds is written host/NAME, segment/NAME or service/NAME.\n"
    "\n"
    "      --over SURFACE   a web service over that surface; without it, any that it may be served on\n"
    "  -f, --file FILE      the declaration\n"
    "      --json           for scripts: the answer, and every layer's\n"
    "\n"
    "  postern why iphone grafana\n"
    "  postern why robin grafana --over agents\n"
    "  postern why clients roc:22\n"
    "  postern why 100.64.0.77 roc:udp/53\n"
    "  postern why grafana prometheus:9090\n"
    "  postern why notes internet\n"
    "\n"
    "Exit status: 0 yes, 1 no, or not for all, 2 could not tell.\n";

struct why_options {
    const char *file, *from, *to, *over;
    bool json;
};

/* 0: go on. Otherwise the exit status + 1. */
static int options_read(int argc, char **argv, struct why_options *ret)
{
    static const struct option options[] = {
        { "file", required_argument, NULL, 'f' }, { "over", required_argument, NULL, 'o' }, { "json", no_argument, NULL, 'j' },
        { "help", no_argument, NULL, 'h' }, { 0 }
    };
    int c;
    optind = 0;
    while ((c = getopt_long(argc, argv, "f:h", options, NULL)) != -1) {
        switch (c) {
        case 'f': ret->file = optarg; break;
        case 'o': ret->over = optarg; break;
        case 'j': ret->json = true; break;
        default: fputs(usage, c == 'h' ? stdout : stderr); return (c == 'h' ? CLI_YES : CLI_UNKNOWN) + 1;
        }
    }
    if (argc - optind != 2) {
        fputs(argc - optind < 2 ? "postern why: who asks, and what for? 'postern why FROM TO'\n" : "postern why: one FROM and one TO\n", stderr);
        return CLI_UNKNOWN + 1;
    }
    ret->from = argv[optind];
    ret->to = argv[optind + 1];
    return 0;
}

/* ---- all questions ---- */

struct asking {
    const struct why_options *given;
    const struct layers *layers;
    const struct parties *parties;
    struct question_result *results; /* asker by asker */
    enum question_answer answer;     /* of all together */
    uint32_t n_yes, n_told;          /* those that have an answer */
    uint32_t over;
    struct remedy remedy;
    bool has_remedy;
    bool colour;
    struct buf out;
};

static const struct question_result *result_of(const struct asking *a, uint32_t asker, uint32_t asked)
{
    return &a->results[(size_t)asker * a->parties->n_asked + asked];
}

static int ask_all(struct asking *a, struct arena *arena)
{
    const struct parties *p = a->parties;
    uint32_t n_no = 0;
    a->results = arena_alloc(arena, (size_t)p->n_askers * p->n_asked, sizeof *a->results);
    if (!a->results)
        return -ENOMEM;
    for (uint32_t i = 0; i < p->n_askers; i++)
        for (uint32_t k = 0; k < p->n_asked; k++) {
            struct question_result *result = &a->results[(size_t)i * p->n_asked + k];
            question_ask(a->layers, &p->askers[i], &p->asked[k], a->over, result);
            a->n_told += result->answer != QUESTION_UNKNOWN;
            a->n_yes += result->answer == QUESTION_YES;
            n_no += result->answer == QUESTION_NO;
        }
    a->answer = a->n_told == 0 ? QUESTION_UNKNOWN : a->n_yes == a->n_told ? QUESTION_YES : n_no == a->n_told ? QUESTION_NO : QUESTION_MIXED;
    return 0;
}

/* A change is looked for where one thing is asked for, be it at several hosts. */
static bool is_one_thing(const struct parties *p)
{
    for (uint32_t i = 1; i < p->n_asked; i++)
        if (p->asked[i].service == MODEL_NONE || p->asked[i].service != p->asked[0].service)
            return false;
    return p->n_asked > 0 && p->n_askers > 0;
}

static const struct question_result *first_refused(const struct asking *a)
{
    for (uint32_t i = 0; i < a->parties->n_askers * a->parties->n_asked; i++)
        if (a->results[i].answer == QUESTION_NO || a->results[i].answer == QUESTION_MIXED)
            return &a->results[i];
    return &a->results[0];
}

/* ---- for a person ---- */

static const char *shade(const struct asking *a, const char *code)
{
    return a->colour ? code : "";
}

struct line {
    const char *layer;
    enum explain_answer answer;
    struct buf text, place;
};

static const char *answer_colour(const struct asking *a, enum explain_answer answer)
{
    static const char *const colours[] = {
        [EXPLAIN_NO] = "\033[31m", [EXPLAIN_YES] = "\033[32m", [EXPLAIN_ABSENT] = "\033[33m", [EXPLAIN_NOT_ASKED] = "\033[2m",
    };
    return a->colour ? colours[answer] : "";
}

static size_t width_of(const struct buf *text)
{
    size_t n = 0;
    for (size_t i = 0; i < text->len; i++)
        n += ((unsigned char)text->ptr[i] & 0xc0) != 0x80;
    return n;
}

static void write_asker_line(const struct asking *a, const struct party_asker *asker, const struct explain_path *path, struct line *line)
{
    const struct model *m = a->layers->access->model;
    char text[ADDRESS_TEXT_SIZE];
    line->layer = "who";
    line->answer = EXPLAIN_YES;
    const char *address = address_format(&path->from, text);
    if (asker->container != MODEL_NONE) {
        const struct container *c = &a->layers->access->containers.items[asker->container];
        buf_printf(&line->text, "container %.*s on %.*s", STR_ARG(c->reference), STR_ARG(m->hosts[c->host].name.text));
        buf_printf(&line->place, "%.*s:%u", STR_ARG(declared_file(m)), m->services[c->services[0]].name.at.line);
        return;
    }
    if (asker->host == MODEL_NONE && asker->segment == MODEL_NONE) {
        buf_printf(&line->text, "%s is nobody that the declaration knows", address);
        line->answer = EXPLAIN_ABSENT;
        return;
    }
    struct str segment = asker->segment != MODEL_NONE ? m->segments[asker->segment].name.text : STR_NONE;
    if (asker->host != MODEL_NONE)
        buf_printf(&line->text, "%.*s, by %s%s%.*s", STR_ARG(m->hosts[asker->host].name.text), address, segment.len ? ", of " : "", STR_ARG(segment));
    else
        buf_printf(&line->text, "%s, of %.*s", address, STR_ARG(segment));
    buf_printf(&line->place, "%.*s:%u", STR_ARG(declared_file(m)),
               asker->host != MODEL_NONE ? m->hosts[asker->host].name.at.line : m->segments[asker->segment].name.at.line);
}

static const char *answer_word(enum explain_answer answer)
{
    static const char *const words[] = { [EXPLAIN_NO] = "no", [EXPLAIN_YES] = "yes", [EXPLAIN_ABSENT] = "-", [EXPLAIN_NOT_ASKED] = "-" };
    return words[answer];
}

static void write_path(struct asking *a, const struct party_asker *asker, const struct question_result *result)
{
    struct line lines[EXPLAIN_HOPS_MAX + 1] = { 0 };
    uint32_t n = 0;
    size_t widest = 0;
    for (size_t i = 0; i < ARRAY_SIZE(lines); i++) {
        buf_init(&lines[i].text, 4096);
        buf_init(&lines[i].place, 4096);
    }
    write_asker_line(a, asker, &result->path, &lines[n++]);
    for (uint32_t i = 0; i < result->path.n_hops; i++, n++) {
        const struct explain_hop *hop = &result->path.hops[i];
        lines[n].layer = question_layer_name(hop->layer);
        lines[n].answer = hop->answer;
        if (hop->answer == EXPLAIN_NOT_ASKED)
            buf_append(&lines[n].text, STR("not asked"));
        else
            question_write_hop(&lines[n].text, a->layers, result, hop);
        if (hop->answer == EXPLAIN_YES)
            question_write_place(&lines[n].place, a->layers, hop);
    }
    for (uint32_t i = 0; i < n; i++)
        widest = width_of(&lines[i].text) > widest ? width_of(&lines[i].text) : widest;
    for (uint32_t i = 0; i < n; i++) {
        const struct line *line = &lines[i];
        size_t gap = line->place.len ? widest - width_of(&line->text) + 3 : 0;
        buf_printf(&a->out, "  %s%-9s %-4s%.*s%s%*s%s%.*s%s\n", answer_colour(a, line->answer), line->layer, answer_word(line->answer), (int)line->text.len,
                   line->text.ptr ? line->text.ptr : "", shade(a, "\033[0m"), (int)gap, "", shade(a, "\033[2m"), (int)line->place.len,
                   line->place.ptr ? line->place.ptr : "", shade(a, "\033[0m"));
    }
    for (size_t i = 0; i < ARRAY_SIZE(lines); i++) {
        buf_deinit(&lines[i].text);
        buf_deinit(&lines[i].place);
    }
}

/* "https://grafana.home.example:8443" */
static void write_url(struct asking *a, const struct party_asked *asked, const struct question_result *result)
{
    const struct model *m = a->layers->access->model;
    uint16_t port = m->surfaces[result->surface].port;
    buf_printf(&a->out, ": https://%.*s.%.*s", STR_ARG(m->services[asked->service].name.text), STR_ARG(m->domain.text));
    if (port != 443)
        buf_printf(&a->out, ":%u", port);
}

static void write_verdict(struct asking *a, struct str from, const struct party_asked *asked, const struct question_result *result)
{
    static const char *const verbs[] = {
        [QUESTION_NO] = " can't reach ", [QUESTION_YES] = " can reach ", [QUESTION_MIXED] = " can reach by some addresses only: ", [QUESTION_UNKNOWN] = " and ",
    };
    bool is_no = result->answer == QUESTION_NO;
    buf_append(&a->out, str_of(shade(a, result->answer == QUESTION_YES ? "\033[1;32m" : "\033[1;31m")));
    buf_append(&a->out, from);
    buf_append(&a->out, str_of(verbs[result->answer]));
    question_write_asked(&a->out, a->layers, asked, is_no && a->over == MODEL_NONE ? MODEL_NONE : result->surface);
    buf_append(&a->out, str_of(shade(a, "\033[0m")));
    if (result->answer == QUESTION_YES && asked->is_web)
        write_url(a, asked, result);
    buf_append(&a->out, STR("\n"));
}

static void write_one(struct asking *a)
{
    const struct party_asker *asker = &a->parties->askers[0];
    const struct party_asked *asked = &a->parties->asked[0];
    const struct question_result *result = &a->results[0];
    if (result->answer == QUESTION_UNKNOWN && result->is_unheld) {
        buf_printf(&a->out, "%.*s is granted no way to %.*s, and nothing holds them to that: enforce their projects (projects:) to keep them apart\n",
                   STR_ARG(asker->text), STR_ARG(asked->text));
        return;
    }
    if (result->answer == QUESTION_UNKNOWN && asker->container != MODEL_NONE) {
        buf_printf(&a->out, result->stays_on_host ? "%.*s is that container itself\n" : "%.*s has no gateway beside it that could serve it\n",
                   STR_ARG(asker->text));
        return;
    }
    if (result->answer == QUESTION_UNKNOWN) {
        buf_printf(&a->out, result->stays_on_host ? "%.*s is on that host itself: what stays on a host passes no layer, so nothing here can tell\n" :
                            asker->n_addresses == 0 ? "%.*s has no address to ask by: give it one with address:\n" :
                                                      "%.*s shares no address family (IPv4, IPv6) with it\n", STR_ARG(asker->text));
        return;
    }
    write_verdict(a, asker->text, asked, result);
    buf_append(&a->out, STR("\n"));
    write_path(a, asker, result);
}

/* One line per question, of a segment or of a host's things. */
static void write_table(struct asking *a)
{
    const struct parties *p = a->parties;
    size_t from_width = 0, to_width = 0;
    cleanup_buf struct buf text;
    buf_init(&text, 4096);
    const char *verb = a->answer == QUESTION_YES ? "can reach" : a->answer == QUESTION_NO ? "can't reach" : "can reach some of";
    buf_printf(&a->out, "%s%s %s %s%s: %u of %u\n\n", shade(a, a->answer == QUESTION_YES ? "\033[1;32m" : "\033[1;31m"), a->given->from, verb,
               a->given->to, shade(a, "\033[0m"), a->n_yes, a->n_told);
    for (uint32_t i = 0; i < p->n_askers; i++)
        from_width = p->askers[i].text.len > from_width ? p->askers[i].text.len : from_width;
    for (uint32_t k = 0; k < p->n_asked; k++)
        to_width = p->asked[k].text.len > to_width ? p->asked[k].text.len : to_width;
    for (uint32_t i = 0; i < p->n_askers; i++)
        for (uint32_t k = 0; k < p->n_asked; k++) {
            const struct question_result *result = result_of(a, i, k);
            const struct explain_hop *hop = explain_closed(&result->path);
            if (result->answer == QUESTION_UNKNOWN)
                continue;
            buf_clear(&text);
            if (hop) {
                buf_printf(&text, "%s: ", question_layer_name(hop->layer));
                question_write_hop(&text, a->layers, result, hop);
            } else if (result->path.n_hops) {
                const struct explain_hop *last = &result->path.hops[result->path.gateway != MODEL_NONE ? result->path.n_hops - 1 : 0];
                for (uint32_t h = 0; h < result->path.n_hops; h++)
                    last = result->path.hops[h].layer == EXPLAIN_GATEWAY ? &result->path.hops[h] : last;
                if (result->surface != MODEL_NONE)
                    buf_printf(&text, "over %.*s, ", STR_ARG(a->layers->access->model->surfaces[result->surface].name.text));
                question_write_place(&text, a->layers, last);
            }
            buf_append(&a->out, STR("  "));
            if (p->n_askers > 1)
                buf_printf(&a->out, "%-*.*s  ", (int)from_width, STR_ARG(p->askers[i].text));
            if (p->n_asked > 1)
                buf_printf(&a->out, "%-*.*s  ", (int)to_width, STR_ARG(p->asked[k].text));
            buf_printf(&a->out, "%s%-5s%s  %s%.*s%s\n", answer_colour(a, result->answer == QUESTION_YES ? EXPLAIN_YES : EXPLAIN_NO),
                       question_answer_name(result->answer), shade(a, "\033[0m"), shade(a, "\033[2m"), (int)text.len, text.ptr ? text.ptr : "",
                       shade(a, "\033[0m"));
        }
}

static void write_aside(struct asking *a)
{
    const struct change *c = &a->remedy.change;
    uint32_t n = 0;
    for (uint32_t i = 0; i < c->n; i++) {
        if (!remedy_is_aside(&a->remedy, &c->items[i], a->parties, a->layers->access))
            continue;
        if (n++ == 10) {
            buf_append(&a->out, STR(", ..."));
            break;
        }
        buf_append(&a->out, n == 1 ? STR("It also opens: ") : STR(", "));
        access_write_subject(&a->out, change_side(c, &c->items[i]), c->items[i].subject);
        buf_append(&a->out, STR(" to "));
        access_write_object(&a->out, change_side(c, &c->items[i]), c->items[i].object);
    }
    buf_append(&a->out, n ? STR("\n") : STR("It opens nothing else.\n"));
}

static void write_remedy(struct asking *a)
{
    const struct remedy *r = &a->remedy;
    const struct model *m = a->layers->access->model;
    if (!r->is_found) {
        buf_printf(&a->out, "\nNo line of the declaration would make it yes: %s\n", r->why_not);
        return;
    }
    if (r->amend.kind == AMEND_NEW_GRANT && !r->amend.declares_host && !r->amend.opens_internal)
        buf_printf(&a->out, "\nThis line under grants: in %.*s would make it yes:\n\n", STR_ARG(declared_file(m)));
    else if (r->amend.kind == AMEND_NEW_GRANT)
        buf_printf(&a->out, "\nThese lines in %.*s would make it yes, %sthe last under grants:\n\n", STR_ARG(declared_file(m)),
                   r->amend.declares_host ? "the host under hosts, " : "");
    else
        buf_printf(&a->out, "\nA word in line %u of %.*s would make it yes:\n\n", m->grants[r->amend.grant].at.line, STR_ARG(declared_file(m)));
    buf_append(&a->out, buf_str(&r->diff));
    buf_append(&a->out, STR("\nTried: with it, every layer on the way says yes. "));
    write_aside(a);
}

/* ---- for a script ---- */

static void json_text(struct buf *out, const char *key, const struct buf *text)
{
    buf_printf(out, ", \"%s\": ", key);
    buf_append_json(out, buf_str(text));
}

static void json_hop(struct asking *a, const struct question_result *result, const struct explain_hop *hop)
{
    static const char *const answers[] = { [EXPLAIN_NO] = "no", [EXPLAIN_YES] = "yes", [EXPLAIN_ABSENT] = "absent", [EXPLAIN_NOT_ASKED] = "not asked" };
    const struct model *m = a->layers->access->model;
    cleanup_buf struct buf text;
    buf_init(&text, 4096);
    buf_printf(&a->out, "{\"layer\": \"%s\", \"answer\": \"%s\", \"host\": ", question_layer_name(hop->layer), answers[hop->answer]);
    if (hop->host != MODEL_NONE)
        buf_append_json(&a->out, m->hosts[hop->host].name.text);
    else
        buf_append(&a->out, STR("null"));
    question_write_hop(&text, a->layers, result, hop);
    json_text(&a->out, "text", &text);
    buf_clear(&text);
    if (hop->answer != EXPLAIN_NO)
        question_write_place(&text, a->layers, hop);
    json_text(&a->out, "place", &text);
    buf_clear(&text);
    if (hop->rule)
        buf_printf(&text, hop->rule->line ? "%.*s:%u%s%.*s" : "%.*s%.0u%s%.*s", STR_ARG(hop->rule->file), hop->rule->line,
                   hop->rule->text.len ? " " : "", STR_ARG(hop->rule->text));
    json_text(&a->out, "rule", &text);
    buf_append_char(&a->out, '}');
}

static void json_result(struct asking *a, const struct party_asker *asker, const struct party_asked *asked, const struct question_result *result)
{
    const struct model *m = a->layers->access->model;
    char text[ADDRESS_TEXT_SIZE];
    buf_append(&a->out, STR("{\"from\": "));
    buf_append_json(&a->out, asker->text);
    buf_append(&a->out, STR(", \"to\": "));
    buf_append_json(&a->out, asked->text);
    buf_append(&a->out, STR(", \"over\": "));
    if (asked->is_web && result->surface != MODEL_NONE)
        buf_append_json(&a->out, m->surfaces[result->surface].name.text);
    else
        buf_append(&a->out, STR("null"));
    buf_printf(&a->out, ", \"answer\": \"%s\"", question_answer_name(result->answer));
    if (result->n_asked && asker->container == MODEL_NONE)
        buf_printf(&a->out, ", \"address\": \"%s\"", address_format(&result->path.from, text));
    buf_append(&a->out, STR(", \"hops\": ["));
    for (uint32_t i = 0; i < result->path.n_hops; i++) {
        buf_append(&a->out, i ? STR(",\n    ") : STR("\n    "));
        json_hop(a, result, &result->path.hops[i]);
    }
    buf_append(&a->out, STR("]}"));
}

static void json_remedy(struct asking *a)
{
    static const char *const kinds[] = { [AMEND_NEW_GRANT] = "grant", [AMEND_GRANT_TO] = "to", [AMEND_GRANT_FROM] = "from" };
    const struct remedy *r = &a->remedy;
    uint32_t n_aside = 0;
    if (!r->is_found) {
        buf_append(&a->out, STR("{\"found\": false, \"why\": "));
        buf_append_json(&a->out, str_of(r->why_not));
        buf_append_char(&a->out, '}');
        return;
    }
    for (uint32_t i = 0; i < r->change.n; i++)
        n_aside += remedy_is_aside(r, &r->change.items[i], a->parties, a->layers->access);
    buf_printf(&a->out, "{\"found\": true, \"tried\": true, \"kind\": \"%s\", \"line\": ", kinds[r->amend.kind]);
    if (r->amend.kind == AMEND_NEW_GRANT)
        buf_append(&a->out, STR("null"));
    else
        buf_printf(&a->out, "%u", a->layers->access->model->grants[r->amend.grant].at.line);
    json_text(&a->out, "grant", &r->amend.grant_text);
    json_text(&a->out, "diff", &r->diff);
    buf_printf(&a->out, ", \"opens_besides\": %u}", n_aside);
}

static void json_write(struct asking *a)
{
    buf_append(&a->out, STR("{\"from\": "));
    buf_append_json(&a->out, str_of(a->given->from));
    buf_append(&a->out, STR(", \"to\": "));
    buf_append_json(&a->out, str_of(a->given->to));
    buf_printf(&a->out, ", \"answer\": \"%s\", \"results\": [", question_answer_name(a->answer));
    for (uint32_t i = 0; i < a->parties->n_askers; i++)
        for (uint32_t k = 0; k < a->parties->n_asked; k++) {
            buf_append(&a->out, i || k ? STR(",\n  ") : STR("\n  "));
            json_result(a, &a->parties->askers[i], &a->parties->asked[k], result_of(a, i, k));
        }
    buf_append(&a->out, STR("], \"change\": "));
    if (a->has_remedy)
        json_remedy(a);
    else
        buf_append(&a->out, STR("null"));
    buf_append(&a->out, STR("}\n"));
}

/* ---- the whole ---- */

static int answer_write(struct asking *a)
{
    static const int statuses[] = { [QUESTION_NO] = CLI_NO, [QUESTION_YES] = CLI_YES, [QUESTION_MIXED] = CLI_NO, [QUESTION_UNKNOWN] = CLI_UNKNOWN };
    const struct parties *p = a->parties;
    if (p->n_askers == 0 || p->n_asked == 0) {
        fprintf(stderr, "postern why: there is nobody in '%s', or nothing known of '%s'\n", a->given->from, a->given->to);
        return CLI_UNKNOWN;
    }
    if (a->given->json)
        json_write(a);
    else if (p->n_askers == 1 && p->n_asked == 1)
        write_one(a);
    else
        write_table(a);
    if (!a->given->json && a->has_remedy)
        write_remedy(a);
    if (a->out.error || fwrite(a->out.ptr, 1, a->out.len, stdout) != a->out.len || fflush(stdout) != 0) {
        fprintf(stderr, "postern why: could not write the answer: %s\n", strerror(a->out.error ? -a->out.error : errno));
        return CLI_UNKNOWN;
    }
    return statuses[a->answer];
}

static int explain(struct asking *a, struct arena *arena)
{
    int r = ask_all(a, arena);
    bool is_refused = a->answer == QUESTION_NO || a->answer == QUESTION_MIXED;
    if (r == 0 && is_refused && is_one_thing(a->parties)) {
        r = remedy_find(a->layers, a->parties, a->given->from, a->given->to, a->over, first_refused(a)->surface, &a->remedy);
        a->has_remedy = r == 0;
    }
    return r;
}

static bool surface_find(const struct model *m, const char *name, uint32_t *ret)
{
    *ret = MODEL_NONE;
    for (uint32_t i = 0; name && i < m->n_surfaces; i++)
        if (str_equal(m->surfaces[i].name.text, str_of(name)))
            *ret = i;
    if (name && *ret == MODEL_NONE) {
        struct str near = STR_NONE;
        for (uint32_t i = 0; i < m->n_surfaces && !near.len; i++)
            if (str_distance(m->surfaces[i].name.text, str_of(name), 2) <= 2)
                near = m->surfaces[i].name.text;
        fprintf(stderr, "postern why: the declaration has no surface '%s'", name);
        fprintf(stderr, near.len ? "; did you mean '%.*s'?\n" : "\n", STR_ARG(near));
    }
    return !name || *ret != MODEL_NONE;
}

static int why(const struct why_options *given, const struct model *model, struct arena *arena)
{
    cleanup_access struct access access = { 0 };
    cleanup_layers struct layers layers = { 0 };
    cleanup_parties struct parties parties = { 0 };
    struct error err = { "out of memory" };
    struct asking a = { .given = given, .layers = &layers, .parties = &parties, .colour = cli_colour(stdout) };
    if (!surface_find(model, given->over, &a.over))
        return CLI_UNKNOWN;
    int r = access_init(&access, model, NULL);
    if (r == 0)
        r = parties_read(&access, given->from, given->to, &parties, &err);
    if (r == 0)
        r = question_layers_init(&layers, &access, &parties, &err);
    if (r == 0)
        r = explain(&a, arena);
    buf_init(&a.out, CLI_OUTPUT_MAX);
    if (r < 0)
        fprintf(stderr, "postern why: %s\n", err.text);
    int status = r < 0 ? CLI_UNKNOWN : answer_write(&a);
    if (a.has_remedy)
        remedy_deinit(&a.remedy);
    buf_deinit(&a.out);
    return status;
}

int cli_why(int argc, char **argv)
{
    struct why_options given = { 0 };
    int status = options_read(argc, argv, &given);
    if (status)
        return status - 1;
    cleanup_declaration struct cli_declaration declaration = { 0 };
    if (!cli_declaration_load(given.file, &declaration))
        return CLI_UNKNOWN;
    struct arena arena;
    arena_init(&arena, RELATION_MEMORY_MAX);
    status = why(&given, declaration.model, &arena);
    arena_deinit(&arena);
    return status;
}
