/* postern access: who can reach what, as a table that fits the terminal, CSV or JSON. */
#include "cli/cli.h"

#include <errno.h>
#include <getopt.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>

#include "cli/access_table.h"
#include "cli/declaration.h"

static const char usage[] =
    "usage: postern access [--from WHO] [--to WHAT] [--csv | --json] [-f FILE]\n"
    "\n"
    "Shows who can reach what, as declared: web services over each surface, direct services, ports of hosts, and the ports that those need on\n"
    "the way. Who can reach the same stands in one column, what the same can be reached by in one row.\n"
    "\n"
    "      --from WHO    only what that host, segment, service, tag, user or address can reach\n"
    "      --to WHAT     only who can reach that service, HOST:PORT, host or segment\n"
    "      --csv         a line for each pair, also of what can't be reached: from, to, kind, over, protocol, port, answer, rule\n"
    "      --json        the same for scripts, what can be reached only\n"
    "  -f, --file FILE   the declaration\n"
    "\n"
    "'postern check' proves that the layers let pass exactly this; 'postern why WHO WHAT' shows the way.\n"
    "\n"
    "Exit status: 0 there is something, 1 there is nothing, 2 could not tell.\n";

struct access_options {
    const char *file, *from, *to;
    enum { FORM_TABLE, FORM_CSV, FORM_JSON } form;
};

/* 0: go on. Otherwise the exit status + 1. */
static int options_read(int argc, char **argv, struct access_options *ret)
{
    static const struct option options[] = {
        { "file", required_argument, NULL, 'f' }, { "from", required_argument, NULL, 's' }, { "to", required_argument, NULL, 't' },
        { "csv", no_argument, NULL, 'c' },        { "json", no_argument, NULL, 'j' },       { "help", no_argument, NULL, 'h' }, { 0 }
    };
    bool is_csv = false, is_json = false;
    int c;
    optind = 0;
    while ((c = getopt_long(argc, argv, "f:h", options, NULL)) != -1) {
        switch (c) {
        case 'f': ret->file = optarg; break;
        case 's': ret->from = optarg; break;
        case 't': ret->to = optarg; break;
        case 'c': is_csv = true; break;
        case 'j': is_json = true; break;
        default: fputs(usage, c == 'h' ? stdout : stderr); return (c == 'h' ? CLI_YES : CLI_UNKNOWN) + 1;
        }
    }
    if (optind < argc) {
        fprintf(stderr, "postern access: '%s' is too much; say --from WHO or --to WHAT\n", argv[optind]);
        return CLI_UNKNOWN + 1;
    }
    if (is_csv && is_json) {
        fputs("postern access: CSV or JSON? say one of --csv and --json\n", stderr);
        return CLI_UNKNOWN + 1;
    }
    ret->form = is_csv ? FORM_CSV : is_json ? FORM_JSON : FORM_TABLE;
    return 0;
}

static unsigned terminal_width(void)
{
    struct winsize size;
    const char *columns = getenv("COLUMNS");
    uint64_t n;
    if (ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col >= 40)
        return size.ws_col;
    return columns && str_to_u64(str_of(columns), 1000, &n) && n >= 40 ? (unsigned)n : 100;
}

/* ---- for scripts ---- */

static void rule_write(struct buf *out, const struct access_table *t, uint32_t subject, uint32_t object)
{
    const struct access *a = t->access;
    uint32_t rule = access_find_rule(a, &a->relation, subject, &a->objects[object]);
    if (rule != UINT32_MAX) {
        const struct relation_reason *reason = relation_reason(&a->relation, relation_rule(&a->relation, rule)->reason);
        buf_printf(out, "%.*s:%u", STR_ARG(reason->file), reason->line);
    }
}

static const char *answer_name(enum access_answer answer)
{
    static const char *const names[] = { [ACCESS_NO] = "no", [ACCESS_YES] = "yes", [ACCESS_PARTLY] = "partly", [ACCESS_NONE] = "" };
    return names[answer];
}

static const char *kind_name(enum access_kind kind)
{
    static const char *const names[ACCESS_KINDS] = {
        [ACCESS_WEB] = "web", [ACCESS_DIRECT] = "direct", [ACCESS_HOST_PORT] = "port", [ACCESS_CONTAINER] = "container",
        [ACCESS_CONTAINER_PORT] = "container", [ACCESS_INTERNET] = "internet", [ACCESS_SURFACE] = "surface", [ACCESS_INSTANCE] = "instance",
    };
    return names[kind];
}

static const char *protocol_name(const struct access_object *object)
{
    return object->protocol == 0 ? "any" : object->protocol == RELATION_UDP ? "udp" : "tcp";
}

/* A name that is no word by itself (an address with commas, never; quotes, never) stands as it is: names are labels. */
static void csv_write(struct buf *out, const struct access_table *t)
{
    const struct access *a = t->access;
    buf_append(out, STR("from,to,kind,over,protocol,port,answer,rule\n"));
    for (uint32_t s = 0; s < t->n_subjects; s++)
        for (uint32_t o = 0; o < t->n_objects; o++) {
            const struct access_object *object = &a->objects[t->objects[o]];
            enum access_answer answer = access_table_answer(t, s, o);
            if (answer == ACCESS_NONE)
                continue;
            access_write_subject(out, a, t->subjects[s]);
            buf_append_char(out, ',');
            access_write_object(out, a, t->objects[o]);
            const struct model_surface *surface = object->surface != MODEL_NONE ? &a->model->surfaces[object->surface] : NULL;
            unsigned port = object->kind == ACCESS_WEB && surface ? surface->port : object->port;
            buf_printf(out, ",%s,%.*s,%s,%u,%s,", kind_name(object->kind), STR_ARG(surface ? surface->name.text : STR_NONE),
                       protocol_name(object), port, answer_name(answer));
            if (answer != ACCESS_NO)
                rule_write(out, t, t->subjects[s], t->objects[o]);
            buf_append_char(out, '\n');
        }
}

static void json_cell(struct buf *out, const struct access_table *t, uint32_t s, uint32_t o, enum access_answer answer)
{
    const struct access *a = t->access;
    const struct access_object *object = &a->objects[t->objects[o]];
    cleanup_buf struct buf text;
    buf_init(&text, 4096);
    access_write_subject(&text, a, t->subjects[s]);
    buf_append(out, STR("{\"from\": "));
    buf_append_json(out, buf_str(&text));
    buf_clear(&text);
    access_write_object(&text, a, t->objects[o]);
    buf_append(out, STR(", \"to\": "));
    buf_append_json(out, buf_str(&text));
    buf_printf(out, ", \"kind\": \"%s\", \"over\": ", kind_name(object->kind));
    if (object->surface != MODEL_NONE)
        buf_append_json(out, a->model->surfaces[object->surface].name.text);
    else
        buf_append(out, STR("null"));
    uint16_t port = object->kind == ACCESS_WEB ? a->model->surfaces[object->surface].port : object->port;
    buf_printf(out, ", \"protocol\": \"%s\", \"port\": %u, \"answer\": \"%s\", \"rule\": ", protocol_name(object), port,
               answer_name(answer));
    buf_clear(&text);
    rule_write(&text, t, t->subjects[s], t->objects[o]);
    buf_append_json(out, buf_str(&text));
    buf_append_char(out, '}');
}

static void json_write(struct buf *out, const struct access_table *t)
{
    uint32_t n = 0;
    buf_append(out, STR("{\"access\": ["));
    for (uint32_t s = 0; s < t->n_subjects; s++)
        for (uint32_t o = 0; o < t->n_objects; o++) {
            enum access_answer answer = access_table_answer(t, s, o);
            if (answer == ACCESS_NO || answer == ACCESS_NONE)
                continue;
            buf_append(out, n++ ? STR(",\n  ") : STR("\n  "));
            json_cell(out, t, s, o, answer);
        }
    buf_append(out, STR("\n]}\n"));
}

/* ---- the whole ---- */

static int show(const struct access_options *given, const struct access_table *t)
{
    cleanup_buf struct buf out;
    buf_init(&out, CLI_OUTPUT_MAX * 4);
    if (given->form == FORM_CSV)
        csv_write(&out, t);
    else if (given->form == FORM_JSON)
        json_write(&out, t);
    else
        access_table_write(&out, t, terminal_width(), cli_colour(stdout));
    if (out.error == -E2BIG) {
        fputs("postern access: that is more than fits; ask --from WHO or --to WHAT\n", stderr);
        return CLI_UNKNOWN;
    }
    if (out.error || fwrite(out.ptr, 1, out.len, stdout) != out.len || fflush(stdout) != 0) {
        fprintf(stderr, "postern access: could not write: %s\n", strerror(out.error ? -out.error : errno));
        return CLI_UNKNOWN;
    }
    return access_table_is_empty(t) ? CLI_NO : CLI_YES;
}

static int access_of(const struct access_options *given, const struct model *model)
{
    cleanup_access struct access access = { 0 };
    cleanup_access_table struct access_table table = { 0 };
    struct error err = { "out of memory" };
    int r = access_init(&access, model, NULL);
    if (r == 0)
        r = access_table_init(&table, &access, given->from, given->to, &err);
    if (r < 0) {
        fprintf(stderr, "postern access: %s\n", err.text);
        return CLI_UNKNOWN;
    }
    return show(given, &table);
}

int cli_access(int argc, char **argv)
{
    struct access_options given = { 0 };
    int status = options_read(argc, argv, &given);
    if (status)
        return status - 1;
    cleanup_declaration struct cli_declaration declaration = { 0 };
    if (!cli_declaration_load(given.file, &declaration))
        return CLI_UNKNOWN;
    return access_of(&given, declaration.model);
}
