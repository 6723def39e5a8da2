/* Asking an engine, and writing what was found for a person's eye or for a script. */
#include "cli/audit_engine.h"

#include <errno.h>
#include <limits.h>
#include <string.h>
#include <sys/stat.h>

#include "cli/audit_declared.h"
#include "cli/files.h"
#include "cli/here.h"
#include "cli/paragraph.h"

enum { LABEL_COLUMN = 4, TEXT_COLUMN = 12, SHOWN_MAX = 200 };

/* ---- asking ---- */

static bool is_socket(const char *path)
{
    struct stat st;
    return stat(path, &st) == 0 && S_ISSOCK(st.st_mode);
}

static bool engine_ask(const char *command, const char *socket_path, struct observe_engine *ret)
{
    struct error err = { "" };
    int r = observe_engine_ask(socket_path, ret, &err);
    if (r == 0)
        return true;
    observe_engine_deinit(ret);
    fprintf(stderr, "postern %s: %s\n", command, err.text[0] ? err.text : strerror(-r));
    if (r == -EACCES || r == -EPERM)
        fprintf(stderr, "  only root and the group docker may ask; try: sudo postern %s ...\n", command);
    else if (r == -ENOENT || r == -ECONNREFUSED)
        fprintf(stderr, "  is Docker installed and running here? Another engine's socket is named with --docker SOCKET; of another host,\n"
                        "  --docker FILE takes what this wrote there:\n"
                        "  (docker version -f json; docker inspect $(docker ps -aq); docker network inspect $(docker network ls -q)) > FILE\n");
    return false;
}

bool cli_engine_load(const char *command, const char *source, struct observe_engine *ret)
{
    cleanup_buf struct buf text;
    struct error err = { "" };
    buf_init(&text, OBSERVE_ENGINE_TEXT_MAX);
    if (strcmp(source, "engine") == 0)
        return engine_ask(command, DOCKER_SOCKET, ret);
    if (is_socket(source))
        return engine_ask(command, source, ret);
    if (!cli_file_read(command, source, &text))
        return false;
    int r = observe_engine_read(buf_str(&text), ret, &err);
    if (r == 0)
        return true;
    observe_engine_deinit(ret);
    fprintf(stderr, "postern %s: %s: %s\n", command, source, err.text[0] ? err.text : strerror(-r));
    return false;
}

/* ---- for a person ---- */

static const char *severity_colour(enum finding_severity severity)
{
    static const char *const codes[] = { "\033[1;31m", "\033[31m", "\033[33m", "\033[36m", "\033[2m" };
    return codes[severity];
}

struct report {
    struct buf *out;
    unsigned width;
    bool colour;
};

static void coloured(const struct report *report, const char *code, const char *text)
{
    buf_printf(report->out, "%s%s%s", report->colour ? code : "", text, report->colour ? "\033[0m" : "");
}

static void labelled(const struct report *report, const char *label, struct str text)
{
    if (!text.len)
        return;
    buf_printf(report->out, "%*s", LABEL_COLUMN, "");
    coloured(report, "\033[2m", label);
    buf_printf(report->out, "%*s", (int)(TEXT_COLUMN - LABEL_COLUMN - strlen(label)), "");
    paragraph_append(report->out, text, TEXT_COLUMN, TEXT_COLUMN, report->width);
}

static void place_write(const struct report *report, const struct finding *finding)
{
    cleanup_buf struct buf place;
    buf_init(&place, PARAGRAPH_TEXT_MAX * 4);
    if (finding->service.len && finding->file.len)
        buf_printf(&place, "service %.*s in %.*s", STR_ARG(finding->service), STR_ARG(finding->file));
    else
        buf_printf(&place, "%s%.*s", finding->service.len ? "service " : "", STR_ARG(finding->service.len ? finding->service : finding->file));
    if (place.len)
        labelled(report, "change", buf_str(&place));
}

static void lines_write(const struct report *report, const struct finding *finding)
{
    bool has_place = finding->service.len || finding->file.len;
    place_write(report, finding);
    for (uint32_t i = 0; i < finding->n_lines; i++) {
        const struct finding_line *line = &finding->lines[i];
        const char *code = !report->colour ? "" : line->mark == FINDING_REMOVE ? "\033[31m" : line->mark == FINDING_ADD ? "\033[32m" : "";
        bool is_labelled = i == 0 && !has_place;
        char mark[3] = { (char)line->mark, ' ', '\0' };
        unsigned column = TEXT_COLUMN;
        if (is_labelled) {
            buf_printf(report->out, "%*s", LABEL_COLUMN, "");
            coloured(report, "\033[2m", "change");
            buf_printf(report->out, "%*s", TEXT_COLUMN - LABEL_COLUMN - 6, "");
        } else
            buf_printf(report->out, "%*s", TEXT_COLUMN, "");
        buf_printf(report->out, "%s", code);
        if (line->mark != FINDING_TEXT) {
            buf_append(report->out, str_of(mark));
            column += 2;
        }
        paragraph_append(report->out, line->text, column, column + 2, report->width);
        if (code[0]) { /* the newline stays outside */
            report->out->len--;
            buf_append(report->out, STR("\033[0m\n"));
        }
    }
}

/* What is the same for all of a kind is said once. */
static void finding_write(const struct report *report, const struct finding *finding, const struct finding *before, bool *said)
{
    buf_append(report->out, STR("\n  "));
    if (report->colour)
        buf_append(report->out, STR("\033[1m"));
    paragraph_append(report->out, finding->title, 2, LABEL_COLUMN, report->width);
    if (report->colour) {
        report->out->len--;
        buf_append(report->out, STR("\033[0m\n"));
    }
    bool is_same = before && before->kind == finding->kind && str_equal(before->who, finding->who);
    labelled(report, "who", is_same ? STR("the same") : finding->who);
    if (!said[finding->kind])
        labelled(report, "why", finding->why);
    said[finding->kind] = true;
    lines_write(report, finding);
}

/* "3 critical, 2 low", or "nothing". */
static void counts_write(const struct findings *findings, struct buf *out)
{
    size_t before = out->len;
    for (unsigned s = 0; s <= FINDING_NOTE; s++) {
        uint32_t n = 0;
        for (uint32_t i = 0; i < findings_n(findings); i++)
            n += findings_at(findings, i)->severity == s;
        if (n)
            buf_printf(out, "%s%u %s%s", out->len > before ? ", " : "", n, finding_severity_text(s), s == FINDING_NOTE && n > 1 ? "s" : "");
    }
}

static void engine_describe(const struct observe_engine *engine, struct buf *out)
{
    uint32_t n_running = 0, n_projects = 0, n_bridges = 0;
    for (uint32_t i = 0; i < engine->containers.n; i++) {
        const struct docker_container *one = &engine->containers.items[i];
        bool is_first = one->is_running && one->project.len;
        n_running += one->is_running;
        for (uint32_t k = 0; k < i && is_first; k++)
            is_first = !(engine->containers.items[k].is_running && observe_same_project(one, &engine->containers.items[k]));
        n_projects += is_first;
    }
    for (uint32_t i = 0; i < engine->networks.n; i++)
        n_bridges += engine->networks.items[i].bridge.len > 0;
    buf_printf(out, "%s%s%.*s: %u of %u container%s run%s, of %u Compose project%s, on %u bridge%s.", engine->version.is_podman ? "Podman" : "Docker",
               engine->version.version.len ? " " : "", STR_ARG(engine->version.version), n_running, engine->containers.n,
               engine->containers.n == 1 ? "" : "s", n_running == 1 ? "s" : "", n_projects, n_projects == 1 ? "" : "s", n_bridges, n_bridges == 1 ? "" : "s");
    bool is_first = true;
    for (uint32_t i = 0; i < engine->interfaces.n; i++) {
        const struct observe_interface *one = &engine->interfaces.items[i];
        char text[ADDRESS_TEXT_SIZE];
        if (one->side == OBSERVE_LOOPBACK || one->side == OBSERVE_CONTAINERS)
            continue;
        buf_printf(out, "%s %s on %s (%.*s)", is_first ? " This host is" : ",", address_format(&one->address, text),
                   one->side == OBSERVE_LAN ? "the LAN" : one->side == OBSERVE_MESH ? "the mesh" : "the internet", STR_ARG(one->name));
        is_first = false;
    }
    if (!is_first)
        buf_append_char(out, '.');
}

static const struct finding *first_open(const struct findings *findings)
{
    for (uint32_t i = 0; i < findings_n(findings); i++)
        if (findings_at(findings, i)->severity < FINDING_NOTE)
            return findings_at(findings, i);
    return NULL;
}

static void next_steps_write(const struct report *report, const struct audit_engine *given, const struct findings *findings)
{
    struct str text = STR("Next: 'postern init' writes a first postern.yml from these containers, so that it stays that way.");
    if (given->model)
        text = STR("What is meant to be is written into the declaration as a grant; 'postern why FROM TO' says which line gives what.");
    else if (first_open(findings))
        text = STR("Next: 'postern init' writes a first postern.yml from these containers. postern then serves them by name over TLS, without a "
                   "published port or a shared network, to whom you grant it and to nobody else.");
    buf_append_char(report->out, '\n');
    paragraph_append(report->out, text, 0, 0, report->width);
}

static void text_write(const struct audit_engine *given, const struct observe_engine *engine, const struct findings *findings, struct buf *out)
{
    struct report report = { out, paragraph_width(stdout), cli_colour(stdout) };
    cleanup_buf struct buf line;
    bool said[FINDING_N_KINDS] = { false };
    int before = -1;
    buf_init(&line, PARAGRAPH_TEXT_MAX * 4);
    engine_describe(engine, &line);
    paragraph_append(out, buf_str(&line), 0, 0, report.width);
    for (uint32_t i = 0; i < findings_n(findings); i++) {
        const struct finding *finding = findings_at(findings, i);
        char head[16];
        if ((int)finding->severity != before) {
            snprintf(head, sizeof head, "%s", finding_severity_text(finding->severity));
            for (char *c = head; *c; c++)
                *c = (char)(*c - ('a' - 'A'));
            buf_append_char(out, '\n');
            coloured(&report, severity_colour(finding->severity), head);
            buf_append_char(out, '\n');
        }
        before = (int)finding->severity;
        finding_write(&report, finding, i ? findings_at(findings, i - 1) : NULL, said);
    }
    buf_append_char(out, '\n');
    if (findings_n(findings)) {
        counts_write(findings, out);
        buf_append(out, STR(".\n"));
    } else
        paragraph_append(out, given->model ? STR("Nothing is open that the declaration doesn't say.")
                                           : STR("Nothing is open that need not be: no published port, no shared network, no container with rights over "
                                                 "this host."), 0, 0, report.width);
    next_steps_write(&report, given, findings);
}

/* ---- for a script ---- */

static void json_string(struct buf *out, const char *key, struct str text, const char *before)
{
    buf_printf(out, "%s\"%s\": ", before, key);
    buf_append_json(out, text);
}

static void json_finding(struct buf *out, const struct observe_engine *engine, const struct finding *finding)
{
    buf_printf(out, "    {\"severity\": \"%s\", \"kind\": \"%s\"", finding_severity_text(finding->severity), finding_kind_text(finding->kind));
    if (finding->container != UINT32_MAX) {
        const struct docker_container *of = &engine->containers.items[finding->container];
        json_string(out, "container", of->name, ", ");
        json_string(out, "project", of->project, ", ");
    }
    if (finding->network != UINT32_MAX)
        json_string(out, "network", engine->networks.items[finding->network].name, ", ");
    json_string(out, "what", finding->title, ",\n     ");
    json_string(out, "who", finding->who, ",\n     ");
    json_string(out, "why", finding->why, ",\n     ");
    buf_append(out, STR(",\n     \"change\": {"));
    json_string(out, "file", finding->file, "");
    json_string(out, "service", finding->service, ", ");
    buf_append(out, STR(", \"lines\": ["));
    for (uint32_t i = 0; i < finding->n_lines; i++) {
        cleanup_buf struct buf line;
        buf_init(&line, PARAGRAPH_TEXT_MAX * 4);
        if (finding->lines[i].mark != FINDING_TEXT)
            buf_printf(&line, "%c ", finding->lines[i].mark);
        buf_append(&line, finding->lines[i].text);
        buf_append(out, i ? STR(", ") : STR(""));
        buf_append_json(out, buf_str(&line));
    }
    buf_append(out, STR("]}}"));
}

static void json_write(const struct audit_engine *given, const struct observe_engine *engine, const struct findings *findings, bool holds, struct buf *out)
{
    buf_append(out, out->len ? STR(",\n  {\"layer\": \"containers\"") : STR("  {\"layer\": \"containers\""));
    json_string(out, "file", str_of(given->source), ", ");
    json_string(out, "engine", engine->version.version, ", ");
    buf_printf(out, ", \"containers\": %u, \"holds\": %s,\n   \"findings\": [", engine->containers.n, holds ? "true" : "false");
    for (uint32_t i = 0; i < findings_n(findings); i++) {
        buf_append(out, i ? STR(",\n") : STR("\n"));
        json_finding(out, engine, findings_at(findings, i));
    }
    buf_append(out, STR("]}"));
}

int cli_audit_engine(const struct audit_engine *given, struct buf *out)
{
    cleanup_observe_engine struct observe_engine engine = { 0 };
    cleanup_findings struct findings findings = { 0 };
    uint32_t host = MODEL_NONE;
    char name[HOST_NAME_MAX + 1] = "HOST";
    if (given->model && (host = cli_host_here("audit", given->model, given->host)) == MODEL_NONE)
        return CLI_UNKNOWN;
    if (!cli_engine_load("audit", given->source, &engine))
        return CLI_UNKNOWN;
    if (!given->host && engine.is_live && gethostname(name, sizeof name - 1) == 0)
        name[strcspn(name, ".")] = '\0';
    struct str gateway = given->model ? given->model->hosts[host].name.text : str_of(given->host ? given->host : name);
    int r = findings_find(&engine, gateway, &findings);
    if (r == 0 && given->model)
        r = cli_audit_declared(given->model, host, &engine, &findings);
    if (r < 0) {
        fprintf(stderr, "postern audit: %s: %s\n", given->source, strerror(-r));
        return CLI_UNKNOWN;
    }
    bool holds = !first_open(&findings);
    if (given->json)
        json_write(given, &engine, &findings, holds, out);
    else
        text_write(given, &engine, &findings, out);
    return holds ? CLI_YES : CLI_NO;
}
