/* postern render: what the declaration says, in the words of one layer. */
#include "cli/render.h"

#include <errno.h>
#include <getopt.h>
#include <string.h>

#include "base/uids.h"
#include "cli/cli.h"
#include "cli/compose_input.h"
#include "cli/files.h"
#include "cli/mesh_base.h"
#include "render/caddy.h"
#include "render/containers.h"
#include "render/dot.h"
#include "render/hosts.h"
#include "render/mermaid.h"
#include "render/pf.h"
#include "roles/revision.h"

enum { BASE_MAX = (16 << 20) + (64 << 10), FILE_NAME_SIZE = 200 };

/* ---- the targets ---- */

static int write_nftables(const struct render_given *given, struct buf *out, struct error *err)
{
    struct render_nftables_options options = given->nftables;
    if (given->model->hosts[given->host].gateway && !options.worker_uid_last) {
        options.worker_uid_first = UIDS_BASE + UIDS_OF_WORKERS;
        options.worker_uid_last = UIDS_BASE + UIDS_N - 1;
    }
    return render_nftables_host(given->model, given->host, &options, out, err);
}

static int write_containers(const struct render_given *given, struct buf *out, struct error *err)
{
    return render_containers(given->model, given->host, given->revision, out, err);
}

static int write_pf(const struct render_given *given, struct buf *out, struct error *err)
{
    struct render_nftables_options options = given->nftables;
    /* The usual name is Linux's; on macOS it is a utun, of which the number can't be known here. */
    if (str_equal(options.mesh_interface, STR(RENDER_MESH_INTERFACE)))
        options.mesh_interface = STR_NONE;
    return render_pf_host(given->model, given->host, &options, out, err);
}

static int write_mesh(const struct render_given *given, struct buf *out, struct error *err)
{
    return render_nftables_mesh(given->model, &given->nftables, out, err);
}

static int write_policy(const struct render_given *given, enum render_mesh_dialect dialect, struct buf *out, struct error *err)
{
    struct render_mesh_options options = { .dialect = dialect, .revision = given->revision, .is_part = given->base.ptr != NULL };
    if (given->base.ptr)
        return cli_mesh_merge(given->model, &options, given->base, given->base_path, out, err);
    return dialect == RENDER_HEADSCALE ? render_headscale(given->model, given->revision, out, err)
                                       : render_tailscale(given->model, given->revision, out, err);
}

static int write_tailscale(const struct render_given *given, struct buf *out, struct error *err)
{
    return write_policy(given, RENDER_TAILSCALE, out, err);
}

static int write_headscale(const struct render_given *given, struct buf *out, struct error *err)
{
    return write_policy(given, RENDER_HEADSCALE, out, err);
}

/* Targets that are drawn from the map. */
static int write_map(const struct render_given *given, struct buf *out, struct error *err,
                     int (*write)(const struct map *map, struct str revision, struct buf *out))
{
    struct map map;
    int r = map_init(&map, given->model, err);
    if (r < 0)
        return r;
    r = write(&map, given->revision, out);
    map_deinit(&map);
    return r;
}

static int write_hosts(const struct render_given *given, struct buf *out, struct error *err)
{
    return write_map(given, out, err, render_hosts);
}

static int write_mermaid(const struct render_given *given, struct buf *out, struct error *err)
{
    return write_map(given, out, err, render_mermaid);
}

static int write_dot(const struct render_given *given, struct buf *out, struct error *err)
{
    return write_map(given, out, err, render_dot);
}

static int write_svg(const struct render_given *given, struct buf *out, struct error *err)
{
    return cli_svg_write(given->model, given->from, given->revision, out, err);
}

static int write_caddy(const struct render_given *given, struct buf *out, struct error *err)
{
    struct map map;
    int r = map_init(&map, given->model, err);
    if (r < 0)
        return r;
    r = render_caddy(&map, given->host, given->surface, given->revision, out, err);
    map_deinit(&map);
    return r;
}

/* In the order of the layers, from the packet up; options are the short letters below. */
static const struct render_target targets[] = {
    { "nftables", "ipkuC", RENDER_EACH_HOST, ".nft", "a host's firewall, for \"nft -f\"; it replaces table inet postern and touches no other", write_nftables },
    { "pf", "ipk", RENDER_EACH_HOST, ".pf.conf", "a macOS host's firewall, for \"pfctl -a postern -f\"; --interface utunN adds the guard", write_pf },
    { "containers", "", RENDER_EACH_HOST, ".containers.nft", "the rules for a host's containers; 'postern apply' fills them in and loads them",
      write_containers },
    { "mesh", "i", RENDER_ONCE, "mesh.nft", "the filter between all hosts, for a network namespace that stands for the mesh", write_mesh },
    { "compose", "dcqn", RENDER_OF_PROJECT, ".compose.override.yml", "a Compose project's networks, each service on those it needs, as an override file",
      cli_compose_write },
    { "tailscale", "b", RENDER_ONCE, "tailscale.hujson", "a Tailscale policy file: grants, hosts, tests", write_tailscale },
    { "headscale", "b", RENDER_ONCE, "headscale.hujson", "the same in the subset that Headscale takes", write_headscale },
    { "hosts", "", RENDER_ONCE, "hosts", "names as plain records: \"ADDRESS NAME\", at the gateways that serve them", write_hosts },
    { "caddy", "", RENDER_EACH_HOST | RENDER_EACH_SURFACE, ".Caddyfile", "a gateway's surface for Caddy, if you keep that one", write_caddy },
    { "svg", "s", RENDER_ONCE, "map.svg", "the map as a picture; --from WHO shows what that one reaches", write_svg },
    { "mermaid", "", RENDER_ONCE, "map.mmd", "the map as a Mermaid flowchart, for pages that draw those", write_mermaid },
    { "dot", "", RENDER_ONCE, "map.dot", "the map for Graphviz: \"dot -Tsvg\"", write_dot },
};

const struct render_target *cli_render_targets(size_t *ret_n)
{
    *ret_n = ARRAY_SIZE(targets);
    return targets;
}

/* ---- help ---- */

static const struct option options[] = {
    { "file", required_argument, NULL, 'f' },        { "output", required_argument, NULL, 'o' },
    { "interface", required_argument, NULL, 'i' },   { "mesh-port", required_argument, NULL, 'p' },
    { "keep-lan", no_argument, NULL, 'k' },          { "worker-uids", required_argument, NULL, 'u' },
    { "containers", required_argument, NULL, 'C' },
    { "base", required_argument, NULL, 'b' },        { "from", required_argument, NULL, 's' },
    { "docker", required_argument, NULL, 'd' },      { "compose", required_argument, NULL, 'c' },
    { "pool", required_argument, NULL, 'q' },        { "host", required_argument, NULL, 'n' },
    { "help", no_argument, NULL, 'h' },              { 0 }
};

static const char *arguments_of(const struct render_target *target)
{
    static const char *const arguments[] = { "", " HOST", " SURFACE", " HOST SURFACE", " PROJECT" };
    return arguments[target->each];
}

static void help_write(FILE *out)
{
    fputs("usage: postern render TARGET [HOST] [SURFACE] [-f FILE] [-o DIR] [OPTION...]\n"
          "\n"
          "Writes what the declaration says in the words of one layer, to standard output, or with -o as files with their usual names.\n"
          "The same declaration gives the same bytes: keep them in version control, and see in a diff what a change opens.\n"
          "\n", out);
    for (size_t i = 0; i < ARRAY_SIZE(targets); i++) {
        char name[64];
        snprintf(name, sizeof name, "%s%s", targets[i].name, arguments_of(&targets[i]));
        fprintf(out, "  %-22s %s\n", name, targets[i].summary);
    }
    fputs("\n"
          "  -f, --file FILE          the declaration\n"
          "  -o, --output DIR         write files in DIR, each whole or not at all; without HOST or SURFACE: for every one\n"
          "      --base FILE          your own file, which the rendered part is put into (targets that say so)\n"
          "      --from WHO           show what that host or segment reaches, and the rest faintly (svg)\n"
          "      --interface NAME     the mesh's interface (default tailscale0; \"\": none, know the mesh by its addresses only)\n"
          "      --mesh-port PORT     the mesh's own UDP port, kept open on the LAN (default 41641; 0: none)\n"
          "      --keep-lan           leave what listens on declared LAN addresses alone, but for ports that are served on the mesh\n"
          "      --docker ENGINE          where the project runs, as for postern audit (default: this machine's engine) (compose)\n"
          "      --compose FILE           what 'docker compose config' writes of it, where it doesn't run (compose)\n"
          "      --pool RANGE             where its networks' addresses are cut from (default " COMPOSE_POOL ") (compose)\n"
          "      --host HOST              which declared host it runs on (default: this machine) (compose)\n"
          "      --containers NAMES       bridges of containers, from which a granted surface's port is reached (default " RENDER_CONTAINER_INTERFACES ")\n"
          "      --worker-uids A-B    users that may start no connection: the gateway's workers, where postern run was given another --uid-base\n"
          "\n"
          "To put a host's firewall in force, and to see what all hosts' files would be:\n"
          "\n"
          "  postern render nftables roc > postern.nft && sudo nft -f postern.nft\n"
          "  postern render nftables -o rendered\n"
          "\n"
          "Exit status: 0 written, 1 there is none for that host or surface, 2 the declaration could not be used.\n", out);
}

/* ---- the command line ---- */

struct arguments {
    const struct render_target *target;
    const char *file, *directory, *host, *surface, *project;
    char used[16];   /* letters of the options that were given */
    size_t n_used;
};

static bool number_read(const char *text, uint64_t max, uint64_t *ret)
{
    if (str_to_u64(str_of(text), max, ret))
        return true;
    fprintf(stderr, "postern render: '%s' is no number up to %llu\n", text, (unsigned long long)max);
    return false;
}

static bool uids_read(const char *text, struct render_nftables_options *ret)
{
    uint64_t first, last;
    struct str rest = str_of(text), head = str_split(&rest, '-');
    if (!str_to_u64(head, UINT32_MAX - 1, &first) || !str_to_u64(rest, UINT32_MAX - 1, &last) || first == 0 || first > last) {
        fprintf(stderr, "postern render: '%s' is no range of user ids; write 990-997\n", text);
        return false;
    }
    ret->worker_uid_first = (uint32_t)first;
    ret->worker_uid_last = (uint32_t)last;
    return true;
}

/* One option. False: a message or the help was printed. */
static bool option_read(int c, struct arguments *ret, struct render_given *given)
{
    uint64_t port;
    if (c != 'f' && c != 'o' && c != 'h' && c != '?' && ret->n_used < sizeof ret->used - 1 && !strchr(ret->used, c))
        ret->used[ret->n_used++] = (char)c;
    switch (c) {
    case 'f': ret->file = optarg; return true;
    case 'o': ret->directory = optarg; return true;
    case 's': given->from = optarg; return true;
    case 'd': given->docker = optarg; return true;
    case 'c': given->compose_path = optarg; return true;
    case 'q': given->pool = optarg; return true;
    case 'n': given->host_name = optarg; return true;
    case 'b': given->base_path = optarg; return true;
    case 'i': given->nftables.mesh_interface = str_of(optarg); return true;
    case 'C': given->nftables.container_interfaces = str_of(optarg); return true;
    case 'k': given->nftables.keep_lan = true; return true;
    case 'u': return uids_read(optarg, &given->nftables);
    case 'p':
        if (!number_read(optarg, UINT16_MAX, &port))
            return false;
        given->nftables.mesh_transport_port = (uint16_t)port;
        return true;
    case 'h': help_write(stdout); return false;
    default: fputs("postern render --help says what there is\n", stderr); return false;
    }
}

static const struct render_target *target_find(const char *name)
{
    const struct render_target *near = NULL;
    for (size_t i = 0; i < ARRAY_SIZE(targets); i++) {
        if (strcmp(targets[i].name, name) == 0)
            return &targets[i];
        if (!near && str_distance(str_of(targets[i].name), str_of(name), 2) <= 2)
            near = &targets[i];
    }
    fprintf(stderr, "postern render: there is no target '%s'", name);
    if (near)
        fprintf(stderr, "; did you mean '%s'?\n", near->name);
    else
        fputs("; postern render --help lists them\n", stderr);
    return NULL;
}

static const char *option_name(char letter)
{
    for (size_t i = 0; options[i].name; i++)
        if (options[i].val == letter)
            return options[i].name;
    return "?";
}

/* Whether what was given fits the target; a message otherwise. */
static bool arguments_check(const struct arguments *given, int n_left)
{
    const struct render_target *target = given->target;
    for (size_t i = 0; i < given->n_used; i++)
        if (!strchr(target->options, given->used[i])) {
            fprintf(stderr, "postern render: --%s means nothing for %s\n", option_name(given->used[i]), target->name);
            return false;
        }
    if (n_left) {
        fprintf(stderr, "postern render: too much; 'postern render %s%s' it is\n", target->name, arguments_of(target));
        return false;
    }
    if ((target->each & RENDER_OF_PROJECT) && !given->project) {
        fprintf(stderr, "postern render: %s for which Compose project? 'postern render %s%s'\n", target->name, target->name, arguments_of(target));
        return false;
    }
    if ((target->each & RENDER_EACH_HOST) && !given->host && !given->directory) {
        fprintf(stderr, "postern render: %s for which host? 'postern render %s%s', or -o DIR for a file of each\n", target->name, target->name,
                arguments_of(target));
        return false;
    }
    return true;
}

/* 0: go on. Otherwise the exit status + 1. */
static int arguments_read(int argc, char **argv, struct arguments *ret, struct render_given *given)
{
    int c;
    optind = 0;
    while ((c = getopt_long(argc, argv, "f:o:h", options, NULL)) != -1)
        if (!option_read(c, ret, given))
            return (c == 'h' ? CLI_YES : CLI_UNKNOWN) + 1;
    if (optind == argc) {
        help_write(stderr);
        return CLI_UNKNOWN + 1;
    }
    ret->target = target_find(argv[optind++]);
    if (!ret->target)
        return CLI_UNKNOWN + 1;
    if (ret->target->each & RENDER_EACH_HOST && optind < argc)
        ret->host = argv[optind++];
    if (ret->target->each & RENDER_OF_PROJECT && optind < argc)
        ret->project = given->project = argv[optind++];
    if (ret->target->each & RENDER_EACH_SURFACE && optind < argc)
        ret->surface = argv[optind++];
    return arguments_check(ret, argc - optind) ? 0 : CLI_UNKNOWN + 1;
}

/* ---- hosts and surfaces ---- */

static uint32_t near_message(const char *command, const char *kind, struct str name, struct str near)
{
    fprintf(stderr, "postern %s: the declaration has no %s '%.*s'", command, kind, STR_ARG(name));
    if (near.len)
        fprintf(stderr, "; did you mean '%.*s'?\n", STR_ARG(near));
    else
        fputc('\n', stderr);
    return MODEL_NONE;
}

uint32_t cli_host_find(const char *command, const struct model *model, struct str name)
{
    struct str near = STR_NONE;
    uint32_t found = model_find_host(model, name);
    for (uint32_t i = 0; found == MODEL_NONE && near.len == 0 && i < model->n_hosts; i++)
        if (str_distance(model->hosts[i].name.text, name, 2) <= 2)
            near = model->hosts[i].name.text;
    return found != MODEL_NONE ? found : near_message(command, "host", name, near);
}

static uint32_t surface_find(const struct model *model, struct str name)
{
    struct str near = STR_NONE;
    uint32_t found = model_find_surface(model, name);
    for (uint32_t i = 0; found == MODEL_NONE && near.len == 0 && i < model->n_surfaces; i++)
        if (str_distance(model->surfaces[i].name.text, name, 2) <= 2)
            near = model->surfaces[i].name.text;
    return found != MODEL_NONE ? found : near_message("render", "surface", name, near);
}

/* ---- writing ---- */

static int output_write(const struct buf *out)
{
    if (fwrite(out->ptr, 1, out->len, stdout) == out->len && fflush(stdout) == 0)
        return CLI_YES;
    fprintf(stderr, "postern render: could not write: %s\n", strerror(errno));
    return CLI_UNKNOWN;
}

static void name_make(const struct arguments *arguments, const struct render_given *given, char ret[static FILE_NAME_SIZE])
{
    unsigned each = arguments->target->each;
    struct str host = each & RENDER_EACH_HOST ? given->model->hosts[given->host].name.text : STR("");
    struct str surface = each & RENDER_EACH_SURFACE ? given->model->surfaces[given->surface].name.text : STR("");
    if (each & RENDER_OF_PROJECT)
        host = str_of(given->project);
    snprintf(ret, FILE_NAME_SIZE, "%.*s%s%.*s%s", STR_ARG(host), host.len && surface.len ? "-" : "", STR_ARG(surface), arguments->target->file);
}

/* One file. *n_written counts it, unless there is none for what was only one of all. */
static int one_write(const struct arguments *arguments, const struct render_given *given, bool is_one_of_all, uint32_t *n_written)
{
    char name[FILE_NAME_SIZE];
    cleanup_buf struct buf out;
    struct error err = { "" };
    buf_init(&out, RENDER_OUTPUT_MAX);
    int r = arguments->target->write(given, &out, &err);
    if (r == -EINVAL && is_one_of_all)
        return CLI_YES;
    if (r == 0)
        r = out.error;
    if (r < 0) {
        if (r != -EIO || err.text[0]) /* else it was said */
            fprintf(stderr, "postern render: %s\n", err.text[0] ? err.text : strerror(-r));
        return r == -EINVAL ? CLI_NO : CLI_UNKNOWN;
    }
    ++*n_written;
    if (!arguments->directory)
        return output_write(&out);
    name_make(arguments, given, name);
    if (!cli_file_replace("render", arguments->directory, name, buf_str(&out), 0644))
        return CLI_UNKNOWN;
    printf("%s/%s\n", arguments->directory, name);
    return CLI_YES;
}

/* Every host and surface that was not named, one after the other. */
static int all_write(const struct arguments *arguments, struct render_given *given)
{
    const struct model *model = given->model;
    unsigned each = arguments->target->each;
    bool all_hosts = each & RENDER_EACH_HOST && given->host == MODEL_NONE;
    bool all_surfaces = each & RENDER_EACH_SURFACE && given->surface == MODEL_NONE;
    uint32_t host = given->host, surface = given->surface, n_written = 0;
    for (uint32_t h = 0; h < (all_hosts ? model->n_hosts : 1); h++)
        for (uint32_t s = 0; s < (all_surfaces ? model->n_surfaces : 1); s++) {
            given->host = all_hosts ? h : host;
            given->surface = all_surfaces ? s : surface;
            int status = one_write(arguments, given, all_hosts || all_surfaces, &n_written);
            if (status != CLI_YES)
                return status;
        }
    if (n_written)
        return CLI_YES;
    fprintf(stderr, "postern render: the declaration gives no file for %s\n", arguments->target->name);
    return CLI_NO;
}

/* Names to numbers; without -o, where there is one surface only, it need not be named. */
static int given_resolve(const struct arguments *arguments, struct render_given *given)
{
    const struct model *model = given->model;
    if (arguments->host && (given->host = cli_host_find("render", model, str_of(arguments->host))) == MODEL_NONE)
        return CLI_NO;
    if (arguments->surface && (given->surface = surface_find(model, str_of(arguments->surface))) == MODEL_NONE)
        return CLI_NO;
    if (arguments->target->each & RENDER_EACH_SURFACE && !arguments->surface && !arguments->directory) {
        if (model->n_surfaces != 1) {
            fprintf(stderr, "postern render: %s for which surface? 'postern render %s%s', or -o DIR for a file of each\n", arguments->target->name,
                    arguments->target->name, arguments_of(arguments->target));
            return CLI_UNKNOWN;
        }
        given->surface = 0;
    }
    return CLI_YES;
}

int cli_render(int argc, char **argv)
{
    struct arguments arguments = { 0 };
    struct render_given given = {
        .host = MODEL_NONE, .surface = MODEL_NONE, .nftables = { .mesh_interface = STR(RENDER_MESH_INTERFACE), .mesh_transport_port = RENDER_MESH_PORT },
    };
    int status = arguments_read(argc, argv, &arguments, &given);
    if (status)
        return status - 1;
    cleanup_declaration struct cli_declaration declaration = { 0 };
    if (!cli_declaration_load(arguments.file, &declaration))
        return CLI_UNKNOWN;
    given.declaration = &declaration;
    given.model = declaration.model;
    char revision[REVISION_DIGITS + 1];
    revision_of(buf_str(&declaration.source), revision);
    given.revision = given.nftables.revision = str_of(revision);
    cleanup_buf struct buf base;
    buf_init(&base, BASE_MAX);
    if (given.base_path && !cli_file_read("render", given.base_path, &base))
        return CLI_UNKNOWN;
    if (given.base_path)
        given.base = base.len ? buf_str(&base) : STR("");
    status = given_resolve(&arguments, &given);
    if (status == CLI_YES && arguments.directory && !cli_directory_make("render", arguments.directory))
        status = CLI_UNKNOWN;
    return status == CLI_YES ? all_write(&arguments, &given) : status;
}
