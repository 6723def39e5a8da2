/* postern init: a first postern.yml from the containers and the mesh that are there. */
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <limits.h>
#include <string.h>

#include "cli/audit_engine.h"
#include "cli/files.h"
#include "cli/init_plan.h"
#include "model/reader.h"

#define INIT_FILE   "postern.yml"
/* RFC 8375: the domain that is every home's own. */
#define INIT_DOMAIN "home.arpa"

enum { INIT_OUTPUT_MAX = 16 << 20 };

struct init_arguments {
    const char *output, *docker, *tailscale, *host, *domain;
};

static void usage_write(FILE *out)
{
    fputs("usage: postern init [-o FILE] [OPTION...]\n"
          "\n"
          "Writes a first declaration from what is there: this machine, the machines of its mesh, and what its containers seem to serve. It grants\n"
          "people's devices the web services and nobody anything else, says in comments what each part is for, and is right as it is:\n"
          "'postern check' it, change it, run it. A file that is there is never written over.\n"
          "\n"
          "  -o, --output FILE        where to (default ./" INIT_FILE "; \"-\": standard output)\n"
          "      --docker ENGINE      the containers: \"engine\" (the default, if one answers), a socket, or a file as postern audit takes it\n"
          "      --tailscale FILE     the machines: what 'tailscale status --json' wrote (default: ask tailscale, if it is here)\n"
          "      --host NAME          what to call this machine, where the mesh has no name for it\n"
          "      --domain NAME        under which services are served (default " INIT_DOMAIN ")\n"
          "\n"
          "Exit status: 0 written, 1 there is such a file already, 2 it could not be written.\n", out);
}

/* 0: go on. Otherwise the exit status + 1. */
static int arguments_read(int argc, char **argv, struct init_arguments *ret)
{
    static const struct option options[] = {
        { "output", required_argument, NULL, 'o' }, { "docker", required_argument, NULL, 'd' }, { "tailscale", required_argument, NULL, 't' },
        { "host", required_argument, NULL, 'n' }, { "domain", required_argument, NULL, 'm' }, { "help", no_argument, NULL, 'h' }, { 0 }
    };
    int c;
    optind = 0;
    while ((c = getopt_long(argc, argv, "o:h", options, NULL)) != -1)
        switch (c) {
        case 'o': ret->output = optarg; break;
        case 'd': ret->docker = optarg; break;
        case 't': ret->tailscale = optarg; break;
        case 'n': ret->host = optarg; break;
        case 'm': ret->domain = optarg; break;
        default: usage_write(c == 'h' ? stdout : stderr); return (c == 'h' ? CLI_YES : CLI_UNKNOWN) + 1;
        }
    if (optind < argc) {
        fprintf(stderr, "postern init: '%s' is too much; -o names the file\n", argv[optind]);
        return CLI_UNKNOWN + 1;
    }
    return 0;
}

static bool output_is_there(const char *path)
{
    if (strcmp(path, "-") == 0 || (access(path, F_OK) < 0 && errno == ENOENT))
        return false;
    fprintf(stderr, "postern init: %s is there already, and stays as it is; -o names another, and 'postern check' judges this one\n", path);
    return true;
}

/* ---- what is there ---- */

/* What was asked for must answer; what was not may be missing. */
static bool engine_find(const char *docker, struct observe_engine *ret, bool *ret_found)
{
    struct error err = { "" };
    *ret_found = true;
    if (docker)
        return cli_engine_load("init", docker, ret);
    int r = observe_engine_ask(DOCKER_SOCKET, ret, &err);
    if (r == 0)
        return true;
    observe_engine_deinit(ret);
    *ret_found = false;
    if (r != -ENOENT && r != -ECONNREFUSED)
        fprintf(stderr, "postern init: containers are left out: %s\n", err.text[0] ? err.text : strerror(-r));
    return true;
}

static bool mesh_find(const char *file, struct observe_mesh *ret, bool *ret_found)
{
    cleanup_buf struct buf text;
    struct error err = { "" };
    buf_init(&text, OBSERVE_MESH_TEXT_MAX);
    *ret_found = true;
    if (file && !cli_file_read("init", file, &text))
        return false;
    int r = file ? 0 : observe_mesh_ask(&text, &err);
    if (r == 0)
        r = observe_mesh_read(buf_str(&text), ret, &err);
    if (r == 0)
        return true;
    observe_mesh_deinit(ret);
    *ret_found = false;
    if (file || r == -ENOMEM) {
        fprintf(stderr, "postern init: %s: %s\n", file ? file : "tailscale", err.text[0] ? err.text : strerror(-r));
        return false;
    }
    if (r != -ENOENT)
        fprintf(stderr, "postern init: the mesh's machines are left out: %s\n", err.text[0] ? err.text : strerror(-r));
    return true;
}

static bool plan_find(const struct init_arguments *arguments, const struct observe_engine *engine, const struct observe_mesh *mesh, struct arena *arena,
                      struct init_plan *ret)
{
    char name[HOST_NAME_MAX + 1] = "gateway";
    struct observe_interfaces interfaces = { 0 };
    /* A saved state is another host's: this one's addresses would be wrong there. */
    bool is_here = !engine || engine->is_live;
    int r = is_here ? observe_interfaces_read(arena, &interfaces) : 0;
    if (engine && engine->is_live && engine->interfaces.n)
        interfaces = engine->interfaces;
    if (is_here && gethostname(name, sizeof name - 1) == 0)
        name[strcspn(name, ".")] = '\0';
    if (r == 0)
        r = init_plan_make(engine, &interfaces, mesh, str_of(arguments->host ? arguments->host : name),
                           str_of(arguments->domain ? arguments->domain : INIT_DOMAIN), arena, ret);
    if (r < 0)
        fprintf(stderr, "postern init: can't look at this machine: %s\n", strerror(-r));
    return r == 0;
}

/* ---- writing ---- */

/* What is wrong in it would be wrong in ours to write: of a domain or host name that was given, or of something nobody thought of. */
static bool text_check(struct str text, const char *path)
{
    struct model *model = NULL;
    struct model_findings findings = { 0 };
    cleanup_buf struct buf out;
    buf_init(&out, INIT_OUTPUT_MAX);
    int r = model_read(text, str_of(path), &model, &findings);
    if (r == MODEL_E_INVALID) {
        for (uint32_t i = 0; i < findings.n; i++)
            if (findings.items[i].severity == MODEL_ERROR)
                model_finding_write(&out, &findings.items[i], str_of(path), text, cli_colour(stderr));
        fprintf(stderr, "postern init: what would be written is no declaration:\n%.*s", STR_ARG(buf_str(&out)));
    } else if (r < 0)
        fprintf(stderr, "postern init: %s\n", strerror(-r));
    model = model_free(model);
    model_findings_deinit(&findings);
    return r == 0;
}

/* New or not at all: somebody else's file of that name is never touched. */
static int file_write(const char *path, struct str text)
{
    cleanup_close int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0644);
    if (fd < 0) {
        fprintf(stderr, "postern init: can't write %s: %s\n", path, strerror(errno));
        return errno == EEXIST ? CLI_NO : CLI_UNKNOWN;
    }
    while (text.len) {
        ssize_t n = write(fd, text.ptr, text.len);
        if (n < 0 && errno != EINTR) {
            fprintf(stderr, "postern init: can't write %s: %s\n", path, strerror(errno));
            (void)unlink(path);
            return CLI_UNKNOWN;
        }
        text = str_skip(text, n > 0 ? (size_t)n : 0);
    }
    return CLI_YES;
}

static void summary_write(const struct init_plan *plan, const char *path)
{
    uint32_t n[INIT_PROXY + 1] = { 0 };
    for (uint32_t i = 0; i < plan->n_services; i++)
        n[plan->services[i].kind]++;
    printf("%s: %u host%s, %u web service%s, %u database%s, %u other port%s", path, plan->n_hosts, plan->n_hosts == 1 ? "" : "s",
           n[INIT_WEB] + n[INIT_HOST_PORT], n[INIT_WEB] + n[INIT_HOST_PORT] == 1 ? "" : "s", n[INIT_DATABASE], n[INIT_DATABASE] == 1 ? "" : "s",
           n[INIT_DIRECT], n[INIT_DIRECT] == 1 ? "" : "s");
    if (n[INIT_UNKNOWN])
        printf("; of %u container%s no port is known", n[INIT_UNKNOWN], n[INIT_UNKNOWN] == 1 ? "" : "s");
    printf(".\n%sNext: read it, then 'postern check'%s.\n",
           plan->has_placeholder ? "This machine's address is not known: put it in the place of 100.64.0.1.\n" : "",
           strcmp(path, INIT_FILE) == 0 ? "" : " -f FILE");
}

int cli_init(int argc, char **argv)
{
    struct init_arguments arguments = { .output = INIT_FILE };
    int status = arguments_read(argc, argv, &arguments);
    if (status)
        return status - 1;
    if (output_is_there(arguments.output))
        return CLI_NO;
    cleanup_observe_engine struct observe_engine engine = { 0 };
    cleanup_observe_mesh struct observe_mesh mesh = { 0 };
    cleanup(arena_deinit) struct arena arena;
    cleanup_buf struct buf text;
    struct init_plan plan;
    bool has_engine, has_mesh;
    arena_init(&arena, OBSERVE_ENGINE_MEMORY_MAX);
    buf_init(&text, INIT_OUTPUT_MAX);
    if (!engine_find(arguments.docker, &engine, &has_engine) || !mesh_find(arguments.tailscale, &mesh, &has_mesh) ||
        !plan_find(&arguments, has_engine ? &engine : NULL, has_mesh ? &mesh : NULL, &arena, &plan))
        return CLI_UNKNOWN;
    init_plan_write(&plan, &text);
    if (text.error || !text_check(buf_str(&text), arguments.output))
        return CLI_UNKNOWN;
    if (strcmp(arguments.output, "-") == 0)
        return fwrite(text.ptr, 1, text.len, stdout) == text.len && fflush(stdout) == 0 ? CLI_YES : CLI_UNKNOWN;
    status = file_write(arguments.output, buf_str(&text));
    if (status == CLI_YES)
        summary_write(&plan, arguments.output);
    return status;
}
