/* postern lab: the declared machines as network namespaces on this one, with the real gateways and the real rules. */
#include "cli/lab.h"

#include <errno.h>
#include <getopt.h>
#include <limits.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "lab/supervise.h"
#include "policy/compile.h"

static const char usage[] =
    "usage: postern lab up [FILE]          bring up the declared machines, networks, services and gateways\n"
    "       postern lab demo [FILE]        up, try every path, show who reached what; stay up until interrupted\n"
    "       postern lab try [FILE]         the same table for a lab that is up\n"
    "       postern lab exec HOST[/CONTAINER] [-- CMD...]  run a command (a shell) on one of the machines\n"
    "       postern lab status             what runs\n"
    "       postern lab down               take it all down\n"
    "\n"
    "Every machine is a network namespace with its addresses; the mesh between them, and each machine's firewall, are filtered as the\n"
    "declaration says. Services are stand-ins that answer with their name, their host and the request they saw; gateways are real.\n"
    "The machine it runs on is not changed: all of it lives in namespaces that end with the lab. Without root, a user namespace does.\n"
    "\n"
    "  -f, --file FILE   the declaration (default ./postern.yml, then /etc/postern/postern.yml)\n"
    "  -n, --name NAME   the lab's name, when there are several (default: lab)\n"
    "      --once        demo: end after the table\n"
    "      --json        status: one JSON array; demo: every path as JSON, and end\n"
    "\n"
    "On a machine, names of services lead to their gateway and curl trusts the gateways' CA:\n"
    "  postern lab exec macbook -- curl https://grafana.home.example/\n"
    "A machine on the LAN that no declaration knows is called lan-guest.\n"
    "Exit status: 0 done (demo, try: everything as declared), 1 no, 2 it could not be done; exec: the command's own.\n";

struct lab_arguments {
    const char *file, *name;
    bool once, json;
};

/* ---- up ---- */

/* The directory that this program lies in: its roles and the stand-in lie there too, or where they were installed. */
static bool find_programs(char directory[static PATH_MAX])
{
    char beside[PATH_MAX];
    ssize_t n = readlink("/proc/self/exe", directory, PATH_MAX - 1);
    if (n <= 0)
        return false;
    while (n > 1 && directory[n - 1] != '/')
        n--;
    directory[n - 1] = '\0';
    int length = snprintf(beside, sizeof(beside), "%s/postern-standin", directory);
    return length > 0 && length < PATH_MAX && access(beside, X_OK) == 0;
}

/* The standin is looked for beside this program and in the roles' directory; postern itself is this program. */
static bool find_standin(char programs[static PATH_MAX], char standin[static PATH_MAX])
{
    bool is_beside = find_programs(programs);
    int n = snprintf(standin, PATH_MAX, "%s/postern-standin", is_beside ? programs : POSTERN_ROLE_DIRECTORY);
    if (n > 0 && n < PATH_MAX && access(standin, X_OK) == 0)
        return true;
    fprintf(stderr, "postern lab: %s is missing: install postern whole, or build it (ninja -C build)\n", standin);
    return false;
}

/* Reads the launch's report to its end; true when the lab is ready. */
static bool follow_report(int report, FILE *out)
{
    FILE *lines = fdopen(report, "r");
    char line[2048];
    bool is_ready = false, is_told = false, on_terminal = isatty(fileno(out)) == 1;
    while (lines && fgets(line, sizeof(line), lines)) {
        line[strcspn(line, "\n")] = '\0';
        if (strncmp(line, "step ", 5) == 0 && on_terminal) {
            fprintf(out, "\r\033[K%s ...", line + 5);
            fflush(out);
        } else if (strncmp(line, "error ", 6) == 0) {
            fprintf(stderr, "%spostern lab: %s\n", on_terminal ? "\r\033[K" : "", line + 6);
            is_told = true;
        } else if (strcmp(line, "ready") == 0) {
            is_ready = true;
        }
    }
    if (lines)
        fclose(lines);
    if (on_terminal)
        fputs("\r\033[K", out);
    if (!is_ready && !is_told)
        fprintf(stderr, "postern lab: the lab ended before it was ready\n");
    return is_ready;
}

static bool launch(struct lab_up *up, bool tied, FILE *out)
{
    char programs[PATH_MAX], standin[PATH_MAX];
    struct error err = { "" };
    char *declaration = realpath(up->declaration.path, NULL);
    int lock, report;
    bool done = false;
    struct supervise_options options = {
        .space = &up->space, .world = &up->world, .declaration = declaration, .programs = programs, .standin = standin, .tied = tied,
    };
    if (!declaration || !find_standin(programs, standin) || space_claim(&up->space, &lock, &err) < 0) {
        if (err.text[0])
            fprintf(stderr, "postern lab: %s\n", err.text);
    } else {
        fflush(NULL);
        int r = supervise_launch(&options, lock, &report, &up->lifeline, &err);
        close(lock);
        if (r < 0)
            fprintf(stderr, "postern lab: %s\n", err.text);
        else
            done = follow_report(report, out);
        if (!done && r == 0)
            close(up->lifeline);
    }
    free(declaration);
    return done;
}

bool lab_bring_up(const char *file, const char *name, bool tied, FILE *out, struct lab_up *ret)
{
    struct lab_up up = { .lifeline = -1 };
    struct error err = { "" };
    if (space_find(name, &up.space, &err) < 0) {
        fprintf(stderr, "postern lab: %s\n", err.text);
        return false;
    }
    if (!cli_declaration_load(file, &up.declaration))
        return false;
    if (world_init(&up.world, up.declaration.model) < 0) {
        fprintf(stderr, "postern lab: out of memory\n");
        cli_declaration_deinit(&up.declaration);
        return false;
    }
    if (!launch(&up, tied, out)) {
        lab_up_deinit(&up);
        return false;
    }
    *ret = up;
    return true;
}

void lab_up_deinit(struct lab_up *up)
{
    world_deinit(&up->world);
    cli_declaration_deinit(&up->declaration);
}

static int lab_up(const struct lab_arguments *arguments)
{
    struct lab_up up;
    if (!lab_bring_up(arguments->file, arguments->name, false, stdout, &up))
        return CLI_UNKNOWN;
    close(up.lifeline);
    const struct model *model = up.declaration.model;
    printf("lab '%s' is up: %u hosts, %u services. Logs are in %s.\n", up.space.name, model->n_hosts, model->n_services, up.space.directory);
    printf("Run something on a host: postern lab exec%s%s %.*s -- COMMAND\n", strcmp(up.space.name, "lab") ? " -n " : "",
           strcmp(up.space.name, "lab") ? up.space.name : "", STR_ARG(model->hosts[model->n_hosts - 1].name.text));
    lab_up_deinit(&up);
    return CLI_YES;
}

/* ---- down ---- */

/* True once the process has ended. */
static bool await_end(int process, int timeout_ms)
{
    struct pollfd wait = { .fd = process, .events = POLLIN };
    return poll(&wait, 1, timeout_ms) == 1;
}

static int lab_down(const struct lab_arguments *arguments)
{
    struct space space;
    struct error err = { "" };
    if (space_find(arguments->name, &space, &err) < 0) {
        fprintf(stderr, "postern lab: %s\n", err.text);
        return CLI_UNKNOWN;
    }
    cleanup_close int supervisor = space_open(&space, &err);
    if (supervisor < 0) {
        int lock;
        bool was_left = access(space.directory, F_OK) == 0;
        if (was_left && space_claim(&space, &lock, &err) == 0) {
            space_remove(&space);
            close(lock);
            printf("lab '%s' was not up; what it had left is removed\n", space.name);
            return CLI_YES;
        }
        fprintf(stderr, "postern lab: %s\n", err.text);
        return CLI_NO;
    }
    bool ended = syscall(SYS_pidfd_send_signal, supervisor, SIGTERM, NULL, 0) == 0 && await_end(supervisor, 10000);
    if (!ended)
        ended = syscall(SYS_pidfd_send_signal, supervisor, SIGKILL, NULL, 0) == 0 && await_end(supervisor, 5000);
    if (!ended) {
        fprintf(stderr, "postern lab: lab '%s' doesn't end\n", space.name);
        return CLI_UNKNOWN;
    }
    space_remove(&space);
    return CLI_YES;
}

/* ---- exec ---- */

static void set_trust(void)
{
    static const char *const bundles[] = { "CURL_CA_BUNDLE", "SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", "NODE_EXTRA_CA_CERTS" };
    static const char *const proxies[] = { "http_proxy", "https_proxy", "all_proxy", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY" };
    for (size_t i = 0; i < ARRAY_SIZE(bundles); i++)
        setenv(bundles[i], "/run/ca.pem", 1);
    for (size_t i = 0; i < ARRAY_SIZE(proxies); i++)
        unsetenv(proxies[i]);
}

static void exec_in_host(const char *host, const char *container, char **command)
{
    struct error err = { "" };
    const char *shell = getenv("SHELL");
    char *const interactive[] = { (char *)(uintptr_t)(shell ? shell : "/bin/sh"), NULL };
    prctl(PR_SET_PDEATHSIG, SIGTERM);
    if (space_enter_host(host, container, &err) < 0) {
        fprintf(stderr, "postern lab: %s\n", err.text);
        _exit(CLI_UNKNOWN);
    }
    set_trust();
    execvp(command[0] ? command[0] : interactive[0], command[0] ? command : interactive);
    int status = errno == ENOENT ? 127 : 126;
    fprintf(stderr, "postern lab: %s: %s\n", command[0] ? command[0] : interactive[0], strerror(errno));
    _exit(status);
}

static int lab_exec(const struct lab_arguments *arguments, const char *where, char **command)
{
    struct space space;
    struct error err = { "" };
    int status;
    cleanup_close int supervisor = space_find(arguments->name, &space, &err) < 0 ? -1 : space_open(&space, &err);
    if (supervisor < 0 || space_enter(supervisor, &err) < 0) {
        fprintf(stderr, "postern lab: %s\n", err.text);
        return CLI_UNKNOWN;
    }
    char host[SPACE_NAME_MAX * 4], container[PATH_MAX] = "";
    int error = 0;
    struct str name = str_of(where), host_name = str_split(&name, '/');
    str_copy(host, sizeof(host), host_name);
    if (name.len) {
        cleanup_buf struct buf file;
        buf_init(&file, sizeof container - 1);
        buf_append(&file, STR("containers/"));
        compile_container_file(&file, name);
        str_copy(container, sizeof container, buf_str(&file));
        error = file.error;
    }
    if (error || !space_has_host(host, name.len ? container : NULL)) {
        fprintf(stderr, "postern lab: the lab has no host '%s'; 'postern lab status' lists them\n", where);
        return CLI_UNKNOWN;
    }
    pid_t pid = fork();
    if (pid == 0)
        exec_in_host(host, name.len ? container : NULL, command);
    /* The terminal's signals are for the command, which is in our process group. */
    sigaction(SIGINT, &(struct sigaction){ .sa_handler = SIG_IGN }, NULL);
    sigaction(SIGQUIT, &(struct sigaction){ .sa_handler = SIG_IGN }, NULL);
    while (pid < 0 || waitpid(pid, &status, 0) < 0)
        if (pid < 0 || errno != EINTR) {
            fprintf(stderr, "postern lab: %s\n", strerror(errno));
            return CLI_UNKNOWN;
        }
    return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

/* ---- status ---- */

static void split_status(struct str line, struct str fields[static SUPERVISE_STATUS_FIELDS])
{
    for (unsigned i = 0; i < SUPERVISE_STATUS_FIELDS; i++)
        fields[i] = str_split(&line, '\t');
}

static void status_write_json(struct str text)
{
    static const char *const names[SUPERVISE_STATUS_FIELDS] = { "kind", "host", "name", "where", "pid", "state" };
    cleanup_buf struct buf out = { .max = CLI_OUTPUT_MAX };
    buf_append_char(&out, '[');
    while (text.len) {
        struct str fields[SUPERVISE_STATUS_FIELDS];
        split_status(str_split(&text, '\n'), fields);
        buf_printf(&out, "%s\n  {", out.len > 1 ? "," : "");
        for (unsigned i = 0; i < SUPERVISE_STATUS_FIELDS; i++) {
            buf_printf(&out, "%s\"%s\": ", i ? ", " : "", names[i]);
            buf_append_json(&out, fields[i]);
        }
        buf_append_char(&out, '}');
    }
    buf_append(&out, STR("\n]\n"));
    fwrite(out.ptr, 1, out.len, stdout);
}

/* True when everything is up. */
static bool status_write(struct str text, bool colour)
{
    unsigned widths[SUPERVISE_STATUS_FIELDS] = { 8, 4, 4, 5, 3, 5 };
    static const struct str heads[SUPERVISE_STATUS_FIELDS] = { { "KIND", 4 }, { "HOST", 4 }, { "NAME", 4 }, { "WHERE", 5 }, { "PID", 3 }, { "STATE", 5 } };
    bool all_up = true;
    for (struct str rest = text; rest.len;) {
        struct str fields[SUPERVISE_STATUS_FIELDS];
        split_status(str_split(&rest, '\n'), fields);
        for (unsigned i = 0; i < SUPERVISE_STATUS_FIELDS; i++)
            if (fields[i].len > widths[i])
                widths[i] = (unsigned)fields[i].len;
    }
    for (unsigned i = 0; i < SUPERVISE_STATUS_FIELDS; i++)
        printf("%s%-*s%s", colour ? "\033[1m" : "", (int)widths[i] + 2, heads[i].ptr, colour ? "\033[0m" : "");
    putchar('\n');
    while (text.len) {
        struct str fields[SUPERVISE_STATUS_FIELDS];
        split_status(str_split(&text, '\n'), fields);
        bool is_up = str_equal(fields[5], STR("up"));
        all_up &= is_up;
        for (unsigned i = 0; i < SUPERVISE_STATUS_FIELDS; i++)
            printf("%s%-*.*s%s", colour && i == 5 ? (is_up ? "\033[32m" : "\033[31m") : "", i == 5 ? 0 : (int)widths[i] + 2, STR_ARG(fields[i]),
                   colour && i == 5 ? "\033[0m" : "");
        putchar('\n');
    }
    return all_up;
}

static int lab_status(const struct lab_arguments *arguments)
{
    struct space space;
    struct error err = { "" };
    cleanup_close int supervisor = space_find(arguments->name, &space, &err) < 0 ? -1 : space_open(&space, &err);
    if (supervisor < 0 || space_enter(supervisor, &err) < 0) {
        fprintf(stderr, "postern lab: %s\n", err.text);
        return supervisor < 0 ? CLI_NO : CLI_UNKNOWN;
    }
    cleanup_buf struct buf text = { .max = CLI_OUTPUT_MAX };
    FILE *file = fopen(SPACE_STATUS, "re");
    for (char *room; file && (room = buf_reserve(&text, 4096));) {
        size_t n = fread(room, 1, 4096, file);
        if (n == 0)
            break;
        text.len += n;
    }
    if (!file) {
        fprintf(stderr, "postern lab: lab '%s' is still coming up\n", space.name);
        return CLI_UNKNOWN;
    }
    fclose(file);
    if (arguments->json) {
        status_write_json(buf_str(&text));
        return CLI_YES;
    }
    return status_write(buf_str(&text), cli_colour(stdout)) ? CLI_YES : CLI_NO;
}

/* ---- arguments ---- */

int cli_lab(int argc, char **argv)
{
    enum { ONCE = 256, JSON };
    static const struct option options[] = {
        { "file", required_argument, NULL, 'f' }, { "name", required_argument, NULL, 'n' }, { "once", no_argument, NULL, ONCE },
        { "json", no_argument, NULL, JSON },      { "help", no_argument, NULL, 'h' },       { 0 },
    };
    struct lab_arguments arguments = { .name = "lab" };
    const char *what = argc > 1 ? argv[1] : NULL;
    optind = what && what[0] != '-' ? 2 : 1;
    /* '+': options end at the first other word, so that a command's own options are its own. */
    for (int option; (option = getopt_long(argc, argv, "+f:n:h", options, NULL)) != -1;)
        switch (option) {
        case 'f': arguments.file = optarg; break;
        case 'n': arguments.name = optarg; break;
        case ONCE: arguments.once = true; break;
        case JSON: arguments.json = true; break;
        case 'h': fputs(usage, stdout); return CLI_YES;
        default: fputs(usage, stderr); return CLI_UNKNOWN;
        }
    char **rest = argv + optind;
    int n_rest = argc - optind;
    if (what && strcmp(what, "exec") == 0 && n_rest > 0) {
        char **command = rest + 1;
        if (command[0] && strcmp(command[0], "--") == 0)
            command++;
        return lab_exec(&arguments, rest[0], command);
    }
    /* FILE may stand before options as well as after them. */
    if (n_rest > 0 && what && (strcmp(what, "up") == 0 || strcmp(what, "demo") == 0 || strcmp(what, "try") == 0)) {
        arguments.file = rest[0];
        optind++;
        for (int option; (option = getopt_long(argc, argv, "+n:", options, NULL)) != -1;) {
            if (option == '?')
                return CLI_UNKNOWN;
            arguments.once |= option == ONCE;
            arguments.json |= option == JSON;
            arguments.name = option == 'n' ? optarg : arguments.name;
        }
        n_rest = argc - optind;
    }
    if (!what || n_rest > 0) {
        fputs(usage, stderr);
        return CLI_UNKNOWN;
    }
    if (strcmp(what, "up") == 0)
        return lab_up(&arguments);
    if (strcmp(what, "demo") == 0)
        return lab_demo(arguments.file, arguments.name, &(struct lab_demo_options){ arguments.once || arguments.json, arguments.json });
    if (strcmp(what, "try") == 0)
        return lab_try(arguments.file, arguments.name, arguments.json);
    if (strcmp(what, "status") == 0)
        return lab_status(&arguments);
    if (strcmp(what, "down") == 0)
        return lab_down(&arguments);
    fputs(usage, stderr);
    return CLI_UNKNOWN;
}
