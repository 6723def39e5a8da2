/* postern status: how the running postern is, for a person's eye: what each process may do, as the kernel says it, beside what it reported. */
#include <getopt.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "base/buf.h"
#include "cli/cli.h"
#include "cli/control.h"
#include "cli/process.h"
#include "cli/columns.h"

static const char usage[] =
    "usage: postern status [--run-directory DIR] [--json]\n"
    "\n"
    "Shows each process of the running postern with its user, its capabilities and what confines it, as the kernel has it; the surfaces with\n"
    "what passes through them; the certificates with their ends; and the revision of the declaration that is in force.\n"
    "\n"
    "      --run-directory DIR   that of the postern to ask (/run/postern)\n"
    "      --json                for scripts; what was measured is in \"measured\", what is wrong in \"problems\"\n"
    "\n"
    "Exit status: 0 all is well, 1 something is down or in trouble, 2 no postern answers.\n";

static const char *text_of(const json_t *object, const char *key)
{
    const char *text = json_string_value(json_object_get(object, key));
    return text ? text : "";
}

static json_int_t number_of(const json_t *object, const char *key)
{
    return json_integer_value(json_object_get(object, key));
}

static bool list_has(const json_t *list, const char *word)
{
    for (size_t i = 0; i < json_array_size(list); i++)
        if (strcmp(json_string_value(json_array_get(list, i)) ? json_string_value(json_array_get(list, i)) : "", word) == 0)
            return true;
    return false;
}

/* "keeper" or "worker main/0". */
static void role_name(const json_t *role, char text[static 96])
{
    if (json_object_get(role, "surface"))
        snprintf(text, 96, "worker %.64s/%lld", text_of(role, "surface"), (long long)number_of(role, "worker"));
    else
        snprintf(text, 96, "%.32s", text_of(role, "role"));
}

static void printf_like(2, 3) add_problem(json_t *problems, const char *format, ...)
{
    char text[512];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    json_array_append_new(problems, json_string(text));
}

/* ---- looking: what the kernel says goes into the answer, what is wrong into problems ---- */

static json_t *measured(const struct process *process)
{
    char user[PROCESS_USER_SIZE], capabilities[PROCESS_CAPABILITIES_SIZE];
    return json_pack("{s:i, s:s, s:s, s:b, s:b, s:I}", "uid", (int)process->uid, "user", process_format_user(process->uid, user), "capabilities",
                     process_format_capabilities(process->capabilities, capabilities), "seccomp", process->has_filter, "no_new_privileges",
                     process->no_new_privileges, "up_s", (json_int_t)process->up_s);
}

static void look_at_role(json_t *role, json_t *problems)
{
    char name[96];
    struct process process;
    const json_t *confined = json_object_get(role, "confined");
    const char *status = text_of(role, "status"), *last_exit = text_of(role, "last_exit");
    json_int_t backoff_ms = number_of(role, "backoff_ms");
    role_name(role, name);
    if (strcmp(status, "down") == 0) {
        add_problem(problems, "%s is down%s%s%s", name, last_exit[0] ? ": " : "", last_exit,
                    backoff_ms > 0 ? "; it ends again and again, so its next start waits: the log of postern run says why" : "");
        return;
    }
    if (!process_look((pid_t)number_of(role, "pid"), &process)) {
        add_problem(problems, "%s: process %lld can't be looked at", name, (long long)number_of(role, "pid"));
        return;
    }
    json_object_set_new(role, "measured", measured(&process));
    /* A starting role has not said yet what confines it. */
    if (strcmp(status, "starting") == 0)
        return;
    if (list_has(confined, "seccomp") && !process.has_filter)
        add_problem(problems, "%s says that its system calls are filtered; the kernel says they are not", name);
    if (list_has(confined, "no-new-privileges") && !process.no_new_privileges)
        add_problem(problems, "%s says that it can gain no privileges; the kernel says that it can", name);
}

static void look_at_certificate(const json_t *certificate, json_t *problems)
{
    const char *name = text_of(certificate, "name"), *trouble = text_of(certificate, "trouble");
    json_int_t not_after = number_of(certificate, "not_after");
    if (not_after == 0)
        add_problem(problems, "%s on %s has no certificate yet%s%s", name, text_of(certificate, "surface"), trouble[0] ? ": " : "", trouble);
    else if (not_after < (json_int_t)time(NULL))
        add_problem(problems, "the certificate of %s on %s has ended%s%s", name, text_of(certificate, "surface"), trouble[0] ? ": " : "", trouble);
    else if (trouble[0])
        add_problem(problems, "the certificate of %s on %s: %s", name, text_of(certificate, "surface"), trouble);
}

static void look_at_container(const json_t *container, json_t *problems)
{
    const char *status = text_of(container, "status"), *name = text_of(container, "container"), *trouble = text_of(container, "trouble");
    json_int_t wait_ms = number_of(container, "wait_ms");
    if (strcmp(status, "waiting") == 0)
        add_problem(problems, "container %s ends again and again: next look within %lld ms", name, (long long)wait_ms);
    else if (strcmp(status, "refused") == 0)
        add_problem(problems, "container %s is not entered: %s", name, trouble);
    else if (trouble[0])
        add_problem(problems, "container %s: %s", name, trouble);
}

static void look_at_engine(const json_t *answer, json_t *problems)
{
    const json_t *engine = json_object_get(answer, "engine"), *containers = json_object_get(answer, "containers");
    bool is_away = strcmp(text_of(engine, "status"), "away") == 0;
    if (is_away)
        add_problem(problems, "%s: what runs is served on, what starts is not found", text_of(engine, "trouble"));
    for (size_t i = 0; i < json_array_size(containers); i++)
        look_at_container(json_array_get(containers, i), problems);
    const json_t *offers = json_object_get(answer, "offers");
    for (size_t i = 0; i < json_array_size(offers); i++) {
        const json_t *offer = json_array_get(offers, i);
        if (!json_is_true(json_object_get(offer, "taken")))
            add_problem(problems, "container %s offers service '%s' in vain: %s", text_of(offer, "container"), text_of(offer, "service"),
                        text_of(offer, "trouble"));
    }
}

static json_t *look(json_t *answer)
{
    json_t *problems = json_array();
    const json_t *roles = json_object_get(answer, "roles"), *certificates = json_object_get(answer, "certificates");
    for (size_t i = 0; i < json_array_size(roles); i++)
        look_at_role(json_array_get(roles, i), problems);
    for (size_t i = 0; i < json_array_size(certificates); i++)
        look_at_certificate(json_array_get(certificates, i), problems);
    look_at_engine(answer, problems);
    json_object_set(answer, "problems", problems);
    return problems;
}

/* ---- showing ---- */

static void format_duration(json_int_t seconds, char text[static 32])
{
    long long s = seconds;
    if (s < 120)
        snprintf(text, 32, "%lld s", s);
    else if (s < 120 * 60)
        snprintf(text, 32, "%lld min", s / 60);
    else if (s < 48 * 3600)
        snprintf(text, 32, "%lld h", s / 3600);
    else
        snprintf(text, 32, "%lld days", s / 86400);
}

/* What confines it, measured where the kernel tells, else as it reported. */
static void format_confinement(const json_t *role, struct buf *out)
{
    static const char *const reported[] = { "landlock", "rlimits" };
    const json_t *kernel = json_object_get(role, "measured");
    const json_t *confined = json_object_get(role, "confined");
    if (json_is_true(json_object_get(kernel, "seccomp")))
        buf_append(out, STR(" seccomp"));
    if (json_is_true(json_object_get(kernel, "no_new_privileges")))
        buf_append(out, STR(" no-new-privileges"));
    for (size_t i = 0; i < ARRAY_SIZE(reported); i++)
        if (list_has(confined, reported[i]))
            buf_printf(out, " %s", reported[i]);
    buf_append_char(out, '\0');
}

static int rank(const json_t *role)
{
    static const char *const order[] = { "parent", "keeper", "broker", "docker", "watcher", "logger", "porter", "relay", "worker" };
    size_t i = 0;
    while (i < ARRAY_SIZE(order) && strcmp(order[i], text_of(role, "role")) != 0)
        i++;
    return (int)i;
}

static int compare_roles(const void *a, const void *b)
{
    const json_t *one = *(json_t *const *)a, *other = *(json_t *const *)b;
    int r = rank(one) - rank(other);
    if (r == 0)
        r = strcmp(text_of(one, "surface"), text_of(other, "surface"));
    if (r == 0)
        r = (int)(number_of(one, "worker") - number_of(other, "worker"));
    return r;
}

static void show_role(const json_t *role, struct columns *columns)
{
    char name[96], pid[24] = "-", up[32] = "-", restarts[64] = "";
    const json_t *kernel = json_object_get(role, "measured");
    const char *status = text_of(role, "status");
    cleanup_buf struct buf confinement;
    buf_init(&confinement, 256);
    role_name(role, name);
    if (number_of(role, "pid") > 0)
        snprintf(pid, sizeof pid, "%lld", (long long)number_of(role, "pid"));
    if (kernel) {
        format_confinement(role, &confinement);
        format_duration(number_of(kernel, "up_s"), up);
    }
    json_int_t n = number_of(role, "restarts"), backoff_ms = number_of(role, "backoff_ms");
    if (n > 0)
        snprintf(restarts, sizeof restarts, "restarted %lld times%s%.40s", (long long)n, text_of(role, "last_exit")[0] ? ", " : "",
                 text_of(role, "last_exit"));
    char state[64];
    str_copy(state, sizeof state, str_of(status));
    if (backoff_ms > 0 && strcmp(status, "down") == 0)
        snprintf(state, sizeof state, "down, next start within %lld ms", (long long)backoff_ms);
    enum columns_mark mark = strcmp(status, "down") == 0 ? COLUMNS_BAD : strcmp(status, "running") == 0 ? COLUMNS_GOOD : COLUMNS_PLAIN;
    columns_cell(columns, COLUMNS_PLAIN, name);
    columns_cell(columns, mark, state);
    columns_cell(columns, COLUMNS_PLAIN, pid);
    columns_cell(columns, COLUMNS_PLAIN, kernel ? text_of(kernel, "user") : "-");
    columns_cell(columns, COLUMNS_PLAIN, kernel ? text_of(kernel, "capabilities") : "-");
    columns_cell(columns, COLUMNS_PLAIN, confinement.len > 1 ? confinement.ptr + 1 : "-");
    columns_cell(columns, COLUMNS_PLAIN, up);
    columns_cell(columns, COLUMNS_PLAIN, restarts);
}

static void show_roles(const json_t *roles)
{
    static const char *const heads[] = { "ROLE", "STATE", "PID", "USER", "CAPABILITIES", "CONFINED BY", "UP", "", NULL };
    const json_t *sorted[1024] = { NULL };
    size_t n = 0;
    for (; n < json_array_size(roles) && n < ARRAY_SIZE(sorted); n++)
        sorted[n] = json_array_get(roles, n);
    qsort(sorted, n, sizeof sorted[0], compare_roles);
    struct columns columns;
    columns_begin(&columns, heads, cli_colour(stdout));
    for (size_t i = 0; i < n; i++)
        show_role(sorted[i], &columns);
    columns_end(&columns, stdout);
}

static void show_surfaces(const json_t *surfaces)
{
    static const char *const heads[] = { "SURFACE", "PORT", "CONNECTIONS", "REQUESTS", "DENIED", "5XX", "NOT LOGGED", NULL };
    struct columns columns;
    columns_begin(&columns, heads, cli_colour(stdout));
    for (size_t i = 0; i < json_array_size(surfaces); i++) {
        const json_t *surface = json_array_get(surfaces, i);
        char text[96];
        columns_cell(&columns, COLUMNS_PLAIN, text_of(surface, "name"));
        snprintf(text, sizeof text, "%lld", (long long)number_of(surface, "port"));
        columns_cell(&columns, COLUMNS_PLAIN, number_of(surface, "port") > 0 ? text : "gone");
        snprintf(text, sizeof text, "%lld open, %lld in all", (long long)number_of(surface, "connections_open"),
                 (long long)number_of(surface, "connections"));
        columns_cell(&columns, COLUMNS_PLAIN, text);
        snprintf(text, sizeof text, "%lld open, %lld in all", (long long)number_of(surface, "requests_open"), (long long)number_of(surface, "requests"));
        columns_cell(&columns, COLUMNS_PLAIN, text);
        static const char *const counts[] = { "requests_denied", "requests_5xx", "records_dropped" };
        for (size_t j = 0; j < ARRAY_SIZE(counts); j++) {
            snprintf(text, sizeof text, "%lld", (long long)number_of(surface, counts[j]));
            columns_cell(&columns, COLUMNS_PLAIN, text);
        }
    }
    columns_end(&columns, stdout);
}

/* "direct ports 30000/udp: 2 connections and 3 flows open, 40 relayed; refused 1 connection and 20 datagrams" */
static void show_direct(const json_t *direct)
{
    const json_t *ports = json_object_get(direct, "ports");
    json_int_t last = -1;
    if (!direct)
        return;
    printf("\ndirect ports");
    for (size_t i = 0; i < json_array_size(ports); i++) {
        const json_t *port = json_array_get(ports, i);
        if (number_of(port, "port") != last || strcmp(text_of(port, "protocol"), text_of(json_array_get(ports, i - 1), "protocol")) != 0)
            printf("%s %s/%lld", last < 0 ? "" : ",", text_of(port, "protocol"), (long long)number_of(port, "port"));
        last = number_of(port, "port"); /* one address after the other */
    }
    printf(": %lld connections and %lld flows open, %lld relayed in all; refused: %lld connections, %lld datagrams\n",
           (long long)number_of(direct, "connections_open"), (long long)number_of(direct, "flows_open"), (long long)number_of(direct, "relayed"),
           (long long)number_of(direct, "connections_refused"), (long long)number_of(direct, "datagrams_refused"));
}

static void show_certificates(const json_t *certificates)
{
    static const char *const heads[] = { "CERTIFICATE", "SURFACE", "FROM", "ENDS", NULL };
    struct columns columns;
    columns_begin(&columns, heads, cli_colour(stdout));
    for (size_t i = 0; i < json_array_size(certificates); i++) {
        const json_t *certificate = json_array_get(certificates, i);
        json_int_t left_s = number_of(certificate, "not_after") - (json_int_t)time(NULL);
        char left[32], ends[48] = "none yet";
        if (number_of(certificate, "not_after") > 0) {
            format_duration(left_s < 0 ? -left_s : left_s, left);
            snprintf(ends, sizeof ends, left_s < 0 ? "%s ago" : "in %s", left);
        }
        columns_cell(&columns, COLUMNS_PLAIN, text_of(certificate, "name"));
        columns_cell(&columns, COLUMNS_PLAIN, text_of(certificate, "surface"));
        columns_cell(&columns, COLUMNS_PLAIN, text_of(certificate, "source"));
        columns_cell(&columns, left_s < 0 ? COLUMNS_BAD : COLUMNS_PLAIN, ends);
    }
    columns_end(&columns, stdout);
}

static void show_offers(const json_t *offers)
{
    static const char *const heads[] = { "OFFERED BY LABEL", "PORT", "CONTAINER", "", NULL };
    if (json_array_size(offers) == 0)
        return;
    struct columns columns;
    putchar('\n');
    columns_begin(&columns, heads, cli_colour(stdout));
    for (size_t i = 0; i < json_array_size(offers); i++) {
        const json_t *offer = json_array_get(offers, i);
        bool is_taken = json_is_true(json_object_get(offer, "taken"));
        char port[24];
        snprintf(port, sizeof port, "%lld", (long long)number_of(offer, "port"));
        columns_cell(&columns, COLUMNS_PLAIN, text_of(offer, "service"));
        columns_cell(&columns, COLUMNS_PLAIN, port);
        columns_cell(&columns, COLUMNS_PLAIN, text_of(offer, "container"));
        columns_cell(&columns, is_taken ? COLUMNS_GOOD : COLUMNS_BAD, is_taken ? "taken" : "refused");
    }
    columns_end(&columns, stdout);
}

static void show_containers(const json_t *answer)
{
    static const char *const heads[] = { "CONTAINER", "STATE", "ID", "SINCE", "STARTS", "", NULL };
    const json_t *engine = json_object_get(answer, "engine"), *containers = json_object_get(answer, "containers");
    if (!engine)
        return;
    const char *version = text_of(engine, "version");
    printf("\ncontainers, by the word of %s at %s%s\n", version[0] ? version : "the engine", text_of(engine, "socket"),
           strcmp(text_of(engine, "status"), "there") == 0 ? "" : " (which is away)");
    struct columns columns;
    columns_begin(&columns, heads, cli_colour(stdout));
    for (size_t i = 0; i < json_array_size(containers); i++) {
        const json_t *container = json_array_get(containers, i);
        char text[96], since[32];
        bool runs = strcmp(text_of(container, "status"), "running") == 0;
        json_int_t replicas = number_of(container, "replicas");
        format_duration((json_int_t)time(NULL) - number_of(container, "since"), since);
        columns_cell(&columns, COLUMNS_PLAIN, text_of(container, "container"));
        columns_cell(&columns, runs ? COLUMNS_GOOD : COLUMNS_BAD, text_of(container, "status"));
        columns_cell(&columns, COLUMNS_PLAIN, text_of(container, "id")[0] ? text_of(container, "id") : "-");
        columns_cell(&columns, COLUMNS_PLAIN, since);
        snprintf(text, sizeof text, "%lld", (long long)number_of(container, "starts"));
        columns_cell(&columns, COLUMNS_PLAIN, text);
        snprintf(text, sizeof text, "the first of %lld replicas", (long long)replicas);
        columns_cell(&columns, COLUMNS_PLAIN, replicas > 1 ? text : "");
    }
    columns_end(&columns, stdout);
}

/* Mechanisms that are wanted and not to be had, each with the roles that go without. */
static void show_missing(const json_t *roles)
{
    static const struct {
        const char *name, *why;
    } mechanisms[] = {
        { "seccomp", "the kernel or a sanitizer's build has no filter for system calls" },
        { "landlock", "the kernel has no Landlock, or it isn't switched on (lsm=...,landlock)" },
        { "capabilities", "capabilities could not be given up" },
        { "uid", "no users of their own: postern was not started as root" },
        { "rlimits", "limits could not be set" },
        { "no-new-privileges", "the kernel can't forbid new privileges" },
    };
    for (size_t i = 0; i < ARRAY_SIZE(mechanisms); i++) {
        unsigned n = 0;
        for (size_t j = 0; j < json_array_size(roles); j++)
            n += list_has(json_object_get(json_array_get(roles, j), "missing"), mechanisms[i].name);
        if (n > 0)
            printf("without %s: %u of %zu processes (%s)\n", mechanisms[i].name, n, json_array_size(roles), mechanisms[i].why);
    }
}

static void show(const json_t *answer, const json_t *problems)
{
    printf("postern %s on %s (%s): revision %.12s, generation %lld\n\n", text_of(answer, "version"), text_of(answer, "host"),
           text_of(answer, "domain"), text_of(answer, "revision"), (long long)number_of(answer, "generation"));
    show_roles(json_object_get(answer, "roles"));
    putchar('\n');
    show_surfaces(json_object_get(answer, "surfaces"));
    show_direct(json_object_get(answer, "direct"));
    if (json_array_size(json_object_get(answer, "certificates")) > 0) {
        putchar('\n');
        show_certificates(json_object_get(answer, "certificates"));
    }
    show_containers(answer);
    show_offers(json_object_get(answer, "offers"));
    putchar('\n');
    show_missing(json_object_get(answer, "roles"));
    for (size_t i = 0; i < json_array_size(problems); i++)
        printf("%sproblem:%s %s\n", cli_colour(stdout) ? "\033[31m" : "", cli_colour(stdout) ? "\033[0m" : "",
               json_string_value(json_array_get(problems, i)));
    if (json_array_size(problems) == 0)
        puts("all is well");
}

int cli_status(int argc, char **argv)
{
    static const struct option options[] = {
        { "run-directory", required_argument, NULL, 'r' }, { "json", no_argument, NULL, 'j' }, { "help", no_argument, NULL, 'h' }, { 0 }
    };
    const char *run_directory = CLI_RUN_DIRECTORY;
    bool as_json = false;
    int c;
    optind = 0;
    while ((c = getopt_long(argc, argv, "h", options, NULL)) != -1) {
        if (c == 'r') {
            run_directory = optarg;
        } else if (c == 'j') {
            as_json = true;
        } else {
            fputs(usage, c == 'h' ? stdout : stderr);
            return c == 'h' ? CLI_YES : CLI_UNKNOWN;
        }
    }
    if (optind < argc) {
        fprintf(stderr, "postern status: '%s' is too much\n", argv[optind]);
        return CLI_UNKNOWN;
    }
    struct error err = { "" };
    json_t *answer = NULL;
    if (control_ask(run_directory, "status", &answer, &err) < 0) {
        fprintf(stderr, "postern status: %s\n", err.text);
        return CLI_UNKNOWN;
    }
    if (!json_is_array(json_object_get(answer, "roles"))) {
        fprintf(stderr, "postern status: the running postern did not understand: %s\n", text_of(answer, "error"));
        json_decref(answer);
        return CLI_UNKNOWN;
    }
    json_t *problems = look(answer);
    int status = json_array_size(problems) > 0 ? CLI_NO : CLI_YES;
    if (as_json) {
        json_dumpf(answer, stdout, JSON_COMPACT);
        putchar('\n');
    } else {
        show(answer, problems);
    }
    json_decref(problems);
    json_decref(answer);
    return status;
}
