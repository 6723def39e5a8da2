/* Each line that was seen becomes a grant, or a remark where no grant can say it; containers without a service get one. */
#include "cli/suggest_lines.h"

#include <errno.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "policy/containers.h"

enum { LABEL_SIZE = 64, LABEL_TRIES = 1000, PART_MAX = 4 << 20 };

struct made {
    struct str reference;
    char name[LABEL_SIZE];
};

struct suggestion {
    const struct put_declaration *declaration;
    const struct docker_containers *containers;
    struct containers granted;
    struct buf made;               /* struct made: services that the declaration lacks */
    struct buf services, grants, remarks;
    bool json;
};

/* ---- names ---- */

static struct str declared_name(const struct suggestion *s, struct str reference)
{
    const struct model *model = s->declaration->model;
    for (uint32_t i = 0; i < model->n_services; i++) {
        const struct model_service *service = &model->services[i];
        if (service->where == MODEL_WHERE_CONTAINER && model_runs_on(&service->hosts, s->declaration->host) && str_equal(service->place.text, reference))
            return service->name.text;
    }
    return STR_NONE;
}

static uint32_t made_count(const struct suggestion *s)
{
    return (uint32_t)(s->made.len / sizeof(struct made));
}

static struct made *made_at(const struct suggestion *s, uint32_t i)
{
    return (struct made *)(void *)s->made.ptr + i;
}

/* Hosts, segments and services share one space where a grant names them. */
static bool is_taken(const struct suggestion *s, struct str label)
{
    const struct model *model = s->declaration->model;
    bool taken = false;
    for (uint32_t i = 0; i < model->n_services && !taken; i++)
        taken = str_equal(model->services[i].name.text, label);
    for (uint32_t i = 0; i < model->n_hosts && !taken; i++)
        taken = str_equal(model->hosts[i].name.text, label);
    for (uint32_t i = 0; i < model->n_segments && !taken; i++)
        taken = str_equal(model->segments[i].name.text, label);
    for (uint32_t i = 0; i < made_count(s) && !taken; i++)
        taken = str_equal(str_of(made_at(s, i)->name), label);
    return taken;
}

/* A label of a container's reference: "worker" of "mail/worker", or "mail-worker" where that is somebody's. */
static void label_make(const struct suggestion *s, struct str text, char ret[static LABEL_SIZE])
{
    enum { ROOM = LABEL_SIZE - 6 };
    size_t n = 0;
    for (size_t i = 0; i < text.len && n < ROOM; i++) {
        char c = str_lower_char(text.ptr[i]);
        bool is_plain = (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9');
        if (is_plain || (n && ret[n - 1] != '-'))
            ret[n++] = is_plain ? c : '-';
    }
    while (n && ret[n - 1] == '-')
        n--;
    ret[n] = '\0';
    for (unsigned i = 2; is_taken(s, str_of(ret)) && i < LABEL_TRIES; i++)
        snprintf(ret + n, LABEL_SIZE - n, "-%u", i);
}

/* A port that the container is known to have; a service says one, also where only its questions matter. */
static uint16_t port_of(const struct suggestion *s, struct str reference)
{
    for (uint32_t i = 0; i < s->containers->n; i++)
        if (docker_container_is_called(&s->containers->items[i], reference) && s->containers->items[i].n_ports)
            return s->containers->items[i].ports[0].port;
    return 0;
}

/* The name of the service in that container, declared or made here. port 0: any. Empty: no memory. */
static struct str service_name(struct suggestion *s, struct str reference, uint16_t port)
{
    struct str name = declared_name(s, reference), tail = reference;
    struct made made = { .reference = reference };
    for (uint32_t i = 0; i < made_count(s) && !name.len; i++)
        if (str_equal(made_at(s, i)->reference, reference))
            name = str_of(made_at(s, i)->name);
    if (name.len)
        return name;
    (void)str_split(&tail, '/');
    label_make(s, tail.len && !is_taken(s, tail) ? tail : reference, made.name);
    buf_append(&s->made, str_make((const char *)&made, sizeof made));
    if (s->made.error)
        return STR_NONE;
    port = port ? port : port_of(s, reference);
    buf_printf(&s->services, s->json ? "%s{\"name\": \"%s\", \"host\": \"%.*s\", \"container\": \"%.*s\", \"port\": %u}"
                                     : "%s  %s: { host: %.*s, container: %.*s, port: %u, internal: true }\n",
               s->json && s->services.len ? ", " : "", made.name, STR_ARG(s->declaration->model->hosts[s->declaration->host].name.text),
               STR_ARG(reference), port ? port : 1u);
    return str_of(made_at(s, made_count(s) - 1)->name);
}

/* ---- lines ---- */

static const char *times(const struct seen_line *line)
{
    return line->is_denied ? (line->n == 1 ? "packet dropped" : "packets dropped") : line->n == 1 ? "connection seen" : "connections seen";
}

/* Whether a grant says it by now. */
static bool is_granted(const struct suggestion *s, const struct seen_line *line)
{
    uint32_t host = s->declaration->host, from = containers_find_reference(&s->granted, host, str_of(line->from));
    uint32_t to = containers_find_reference(&s->granted, host, str_of(line->to));
    if (from == MODEL_NONE)
        return false;
    for (uint32_t p = s->granted.first_of_pass[from]; p < s->granted.first_of_pass[from + 1]; p++) {
        const struct container_pass *pass = &s->granted.passes[p];
        bool is_port = pass->port == line->port && (pass->transport == MODEL_UDP) == (line->protocol == IPPROTO_UDP);
        if ((line->kind == SEEN_INTERNET && pass->way == CONTAINER_WAY_INTERNET) ||
            (line->kind == SEEN_CONTAINER && pass->way == CONTAINER_WAY_CONTAINER && to != MODEL_NONE && pass->to == to && is_port))
            return true;
    }
    return false;
}

/* Each grant once, also where it was seen in several ways: the most frequent comes first. */
static void grant_write(struct suggestion *s, const struct seen_line *line, struct str from, struct str to)
{
    const char *udp = line->protocol == IPPROTO_UDP ? "udp/" : "";
    const char *how = line->kind == SEEN_PUBLISHED ? ", by a port of the host: ask it by its name, on a network that both are on" : "";
    char target[2 * LABEL_SIZE + 16] = "internet", grant[512];
    if (line->kind != SEEN_INTERNET)
        snprintf(target, sizeof target, "\"%.*s:%s%u\"", STR_ARG(str_first(to, LABEL_SIZE)), udp, line->port);
    snprintf(grant, sizeof grant, s->json ? "{\"from\": \"%.*s\", \"to\": %s%s%s" : "{ from: %.*s, to: %s%s%s }", STR_ARG(from),
             s->json && line->kind == SEEN_INTERNET ? "\"" : "", target, s->json && line->kind == SEEN_INTERNET ? "\"" : "");
    if (s->grants.len && memmem(s->grants.ptr, s->grants.len, grant, strlen(grant)))
        return;
    if (s->json)
        buf_printf(&s->grants, "%s%s, \"count\": %llu, \"dropped\": %s}", s->grants.len ? ", " : "", grant, (unsigned long long)line->n,
                   line->is_denied ? "true" : "false");
    else
        buf_printf(&s->grants, "  - %s  # %llu %s%s\n", grant, (unsigned long long)line->n, times(line), how);
}

static void remark_write(struct suggestion *s, const struct seen_line *line)
{
    char text[1200];
    const char *protocol = line->protocol == IPPROTO_UDP ? "udp" : "tcp";
    if (line->kind == SEEN_SURFACE)
        snprintf(text, sizeof text, "%s asked the gateway over %s (%llu %s): grant the web services it may use, { from: NAME, to: NAME, over: %s }", line->from,
                 line->to, (unsigned long long)line->n, times(line), line->to);
    else if (line->kind == SEEN_HOST)
        snprintf(text, sizeof text, "%s asked %s port %u of the host itself (%llu %s): no grant lets a container there", line->from, protocol, line->port,
                 (unsigned long long)line->n, times(line));
    else
        snprintf(text, sizeof text, "%s asked %s port %u of %s (%llu %s): no container's, and not the internet; no grant lets a container there", line->from,
                 protocol, line->port, line->to, (unsigned long long)line->n, times(line));
    if (s->json) {
        buf_append(&s->remarks, s->remarks.len ? STR(", ") : STR_NONE);
        buf_append_json(&s->remarks, str_of(text));
    } else {
        buf_printf(&s->remarks, "# %s\n", text);
    }
}

static int line_compare(const void *a, const void *b)
{
    const struct seen_line *x = a, *y = b;
    int r = strcmp(x->from, y->from);
    return r ? r : x->n < y->n ? 1 : x->n > y->n ? -1 : strcmp(x->to, y->to);
}

static void line_suggest(struct suggestion *s, const struct seen_line *line)
{
    bool is_container = line->kind == SEEN_CONTAINER || line->kind == SEEN_PUBLISHED;
    if (is_granted(s, line) || strcmp(line->from, line->to) == 0)
        return;
    if (!is_container && line->kind != SEEN_INTERNET) {
        remark_write(s, line);
        return;
    }
    struct str from = service_name(s, str_of(line->from), 0);
    /* A copy: naming the other may move it. */
    char name[LABEL_SIZE * 4];
    str_copy(name, sizeof name, from);
    struct str to = is_container ? service_name(s, str_of(line->to), line->port) : STR_NONE;
    grant_write(s, line, str_of(name), to);
}

/* ---- the whole ---- */

static void write_all(const struct suggestion *s, struct buf *out)
{
    if (s->json) {
        buf_printf(out, "{\"services\": [%.*s], \"grants\": [%.*s], \"remarks\": [%.*s]}\n", STR_ARG(buf_str(&s->services)), STR_ARG(buf_str(&s->grants)),
                   STR_ARG(buf_str(&s->remarks)));
        return;
    }
    if (s->services.len)
        buf_printf(out, "# containers that the declaration doesn't name yet\nservices:\n%.*s\n", STR_ARG(buf_str(&s->services)));
    if (s->grants.len)
        buf_printf(out, "grants:\n%.*s", STR_ARG(buf_str(&s->grants)));
    if (s->remarks.len)
        buf_printf(out, "%s%.*s", s->grants.len ? "\n" : "", STR_ARG(buf_str(&s->remarks)));
    if (!s->grants.len && !s->remarks.len)
        buf_append(out, STR("nothing was seen that isn't granted\n"));
}

static int write_lines(struct suggestion *s, const struct seen *seen, struct buf *out, bool *ret_is_any)
{
    uint32_t n = seen_count(seen);
    cleanup_free struct seen_line *lines = malloc((n + 1) * sizeof *lines);
    if (!lines)
        return -ENOMEM;
    if (n)
        memcpy(lines, seen_at(seen, 0), n * sizeof *lines);
    qsort(lines, n, sizeof *lines, line_compare);
    for (uint32_t i = 0; i < n; i++)
        line_suggest(s, &lines[i]);
    write_all(s, out);
    *ret_is_any = s->grants.len || s->remarks.len;
    int r = s->made.error ? s->made.error : s->services.error ? s->services.error : s->grants.error;
    return r ? r : s->remarks.error ? s->remarks.error : out->error;
}

int suggest_lines_write(const struct put_declaration *declaration, const struct docker_containers *containers, const struct seen *seen, bool json,
                        struct buf *out, bool *ret_is_any)
{
    struct suggestion s = { .declaration = declaration, .containers = containers, .json = json };
    int r = containers_init(&s.granted, declaration->model);
    if (r < 0)
        return r;
    struct buf *const parts[] = { &s.made, &s.services, &s.grants, &s.remarks };
    for (size_t i = 0; i < ARRAY_SIZE(parts); i++)
        buf_init(parts[i], PART_MAX);
    r = write_lines(&s, seen, out, ret_is_any);
    for (size_t i = 0; i < ARRAY_SIZE(parts); i++)
        buf_deinit(parts[i]);
    containers_deinit(&s.granted);
    return r;
}
