/* postern audit: what is really there against the declaration, layer by layer, as access gained and lost. */
#include "cli/audit.h"

#include <errno.h>
#include <getopt.h>
#include <string.h>

#include "cli/audit_engine.h"
#include "cli/audit_nftables.h"
#include "cli/difference.h"
#include "cli/files.h"
#include "cli/mesh.h"

enum { AUDIT_FILE_MAX = 64 << 20, AUDIT_OUTPUT_MAX = 1 << 28, AUDIT_LAYERS_MAX = 8, AUDIT_OPTIONS_MAX = 10 };

/* ---- the layers ---- */

static int read_tailscale(const struct audit_given *given, struct relation *expected, struct relation *actual, struct relation *unknown, struct error *err)
{
    (void)unknown;
    cleanup_buf struct buf policy;
    cleanup_buf struct buf nodes;
    buf_init(&policy, AUDIT_FILE_MAX);
    buf_init(&nodes, AUDIT_FILE_MAX);
    if (!cli_file_read("audit", given->path, &policy) || (given->nodes_path && !cli_file_read("audit", given->nodes_path, &nodes)))
        return CLI_UNKNOWN;
    int r = cli_mesh_rendered_relation(given->model, expected, err);
    if (r == 0 && given->nodes_path)
        return cli_mesh_relation_of_nodes(buf_str(&nodes), given->nodes_path, buf_str(&policy), given->path, actual, err);
    return r ? r : cli_mesh_relation(given->model, buf_str(&policy), given->path, actual, err);
}

static const struct audit_layer layers[] = {
    { "tailscale", "tailscale", "POLICY", "a Tailscale or Headscale policy file, as it is in force", read_tailscale },
    { "nftables by the mesh", "nftables", "LISTING", "a host's rules, from 'nft -j list ruleset'; \"kernel\": ask this machine's",
      cli_audit_nftables_mesh },
    { "nftables by other interfaces", "nftables", "LISTING", NULL, cli_audit_nftables_lan },
};

/* ---- arguments ---- */

struct audit_arguments {
    struct audit_given given;
    const char *file;
    const char *paths[AUDIT_LAYERS_MAX]; /* by layer; NULL: not asked for */
    uint32_t n_asked;
    const char *docker;                  /* --docker, or NULL */
    bool json, no_declaration;
};

static void usage_write(FILE *out)
{
    fputs("usage: postern audit", out);
    for (size_t i = 0; i < ARRAY_SIZE(layers); i++)
        if (layers[i].summary)
            fprintf(out, " [--%s %s]", layers[i].option, layers[i].argument);
    fputs(" [--docker ENGINE] [-f FILE] [OPTION...]\n"
          "       postern audit --no-declaration [--docker ENGINE] [--json]\n"
          "\n"
          "Compares what is really there with what the declaration gives, and lists what may pass more, and what less, in its names.\n"
          "Without a declaration it says what this host's containers open: who can reach what, the worst first, and the line to change.\n"
          "\n", out);
    for (size_t i = 0; i < ARRAY_SIZE(layers); i++)
        if (layers[i].summary)
            fprintf(out, "      --%s %-*s  %s\n", layers[i].option, (int)(18 - strlen(layers[i].option)), layers[i].argument, layers[i].summary);
    fputs("      --docker ENGINE        a host's containers: \"engine\": this machine's, asked at " DOCKER_SOCKET "; another socket; or a file with\n"
          "                             what 'docker version -f json', 'docker inspect' and 'docker network inspect' wrote there\n"
          "      --no-declaration       judge the containers by themselves; no postern.yml is needed\n"
          "      --nodes NODES          the mesh's machines, from 'tailscale status --json'; without it they are the declared hosts\n"
          "      --host HOST            whose layer it is, where that is not this machine's\n"
          "      --interface NAME       the mesh's interface there (default " RENDER_MESH_INTERFACE ")\n"
          "      --keep-lan             its rules were rendered with that\n"
          "  -f, --file FILE            the declaration\n"
          "      --json                 for scripts: {\"holds\", \"layers\": [{layer, file, holds, gained, lost}]}\n"
          "\n"
          "Exit status: 0 it is as declared, 1 it differs, 2 it could not be told.\n", out);
}

static bool option_read(int c, struct audit_arguments *ret)
{
    switch (c) {
    case 'f': ret->file = optarg; return true;
    case 'j': ret->json = true; return true;
    case 'n': ret->given.nodes_path = optarg; return true;
    case 'o': ret->given.host = optarg; return true;
    case 'i': ret->given.nftables.mesh_interface = str_of(optarg); return true;
    case 'k': ret->given.nftables.keep_lan = true; return true;
    case 'd': ret->docker = optarg; return true;
    case 'N': ret->no_declaration = true; return true;
    default: break;
    }
    if (c < 256) {
        usage_write(c == 'h' ? stdout : stderr);
        return false;
    }
    for (size_t i = 0; i < ARRAY_SIZE(layers); i++)
        if (strcmp(layers[i].option, layers[c - 256].option) == 0)
            ret->paths[i] = optarg;
    ret->n_asked++;
    return true;
}

/* 0: go on. Otherwise the exit status + 1. Layers' options are 256 and their position. */
static int arguments_read(int argc, char **argv, struct audit_arguments *ret)
{
    struct option options[AUDIT_LAYERS_MAX + AUDIT_OPTIONS_MAX] = {
        { "file", required_argument, NULL, 'f' }, { "json", no_argument, NULL, 'j' }, { "nodes", required_argument, NULL, 'n' },
        { "host", required_argument, NULL, 'o' }, { "interface", required_argument, NULL, 'i' }, { "keep-lan", no_argument, NULL, 'k' },
        { "docker", required_argument, NULL, 'd' }, { "no-declaration", no_argument, NULL, 'N' }, { "help", no_argument, NULL, 'h' }
    };
    size_t n_options = 9;
    _Static_assert(ARRAY_SIZE(layers) <= AUDIT_LAYERS_MAX, "room for every layer");
    for (size_t i = 0; i < ARRAY_SIZE(layers); i++)
        if (layers[i].summary)
            options[n_options++] = (struct option){ layers[i].option, required_argument, NULL, 256 + (int)i };
    int c;
    optind = 0;
    while ((c = getopt_long(argc, argv, "f:h", options, NULL)) != -1)
        if (!option_read(c, ret))
            return (c == 'h' ? CLI_YES : CLI_UNKNOWN) + 1;
    if (ret->no_declaration && !ret->docker)
        ret->docker = "engine";
    if (ret->no_declaration && (ret->n_asked || ret->file)) {
        fprintf(stderr, "postern audit: %s is compared with a declaration; leave --no-declaration out\n",
                ret->file ? "what -f names" : "a policy or a listing");
        return CLI_UNKNOWN + 1;
    }
    if (optind < argc || (ret->n_asked == 0 && !ret->docker)) {
        if (optind < argc)
            fprintf(stderr, "postern audit: '%s' is too much; a policy or a listing follows its option\n", argv[optind]);
        else
            usage_write(stderr);
        return CLI_UNKNOWN + 1;
    }
    return 0;
}

/* ---- one layer ---- */

struct compared {
    struct difference gained, lost, unknown;
};

static void text_write(struct buf *out, const struct audit_layer *layer, const struct audit_given *given, const struct compared *c)
{
    if (!c->gained.n && !c->lost.n && !c->unknown.n) {
        buf_printf(out, "%s: %s lets pass what is declared, and nothing else\n", layer->name, given->path);
        return;
    }
    buf_printf(out, "%s: %s %s\n", layer->name, given->path,
               c->gained.n || c->lost.n ? "differs from the declaration" : "lets pass what is declared, as far as can be told");
    if (c->gained.n)
        buf_append(out, STR("  gained: it may pass, and is not declared\n"));
    difference_write(out, &c->gained, "    + ", 0);
    if (c->lost.n)
        buf_append(out, STR("  lost: it is declared, and may not pass\n"));
    difference_write(out, &c->lost, "    - ", 0);
    if (c->unknown.n)
        buf_append(out, STR("  unknown: it depends on what postern can't judge\n"));
    difference_write(out, &c->unknown, "    ? ", 0);
}

static void json_write(struct buf *out, const struct audit_layer *layer, const struct audit_given *given, const struct compared *c)
{
    buf_printf(out, "%s  {\"layer\": \"%s\", \"file\": ", out->len ? ",\n" : "", layer->name);
    buf_append_json(out, str_of(given->path));
    buf_printf(out, ", \"holds\": %s,\n   \"gained\": ", c->gained.n || c->lost.n ? "false" : c->unknown.n ? "null" : "true");
    difference_write_json(out, &c->gained);
    buf_append(out, STR(",\n   \"lost\": "));
    difference_write_json(out, &c->lost);
    buf_append(out, STR(",\n   \"unknown\": "));
    difference_write_json(out, &c->unknown);
    buf_append_char(out, '}');
}

/* What can't be told is neither gained nor lost. */
static int relations_compare(const struct audit_layer *layer, const struct audit_arguments *arguments, const struct relation *expected,
                             const struct relation *actual, const struct relation *unknown, struct buf *out)
{
    const struct model *model = arguments->given.model;
    struct arena arena;
    struct sources sources;
    struct relation nothing, possible;
    struct compared c = { 0 };
    arena_init(&arena, AUDIT_OUTPUT_MAX);
    relation_init(&nothing);
    relation_init(&possible);
    int r = sources_init(&sources, model, &arena);
    if (r == 0)
        r = relation_append(&possible, actual);
    if (r == 0)
        r = relation_append(&possible, unknown);
    if (r == 0)
        r = difference_init(&c.gained, model, &sources, actual, expected);
    if (r == 0)
        r = difference_init(&c.lost, model, &sources, expected, &possible);
    if (r == 0)
        r = difference_init(&c.unknown, model, &sources, unknown, &nothing);
    if (r == 0)
        (arguments->json ? json_write : text_write)(out, layer, &arguments->given, &c);
    if (r == 0)
        r = out->error ? out->error : c.gained.n || c.lost.n ? CLI_NO : c.unknown.n ? CLI_UNKNOWN : CLI_YES;
    difference_deinit(&c.gained);
    difference_deinit(&c.lost);
    difference_deinit(&c.unknown);
    relation_deinit(&nothing);
    relation_deinit(&possible);
    arena_deinit(&arena);
    return r;
}

/* An exit status; a message was printed where it is CLI_UNKNOWN. */
static int layer_audit(const struct audit_layer *layer, const struct audit_arguments *arguments, struct buf *out)
{
    struct relation expected, actual, unknown;
    struct error err = { "" };
    relation_init(&expected);
    relation_init(&actual);
    relation_init(&unknown);
    int r = layer->read(&arguments->given, &expected, &actual, &unknown, &err);
    if (r == 0)
        r = relations_compare(layer, arguments, &expected, &actual, &unknown, out);
    else if (r > 0)
        r = CLI_UNKNOWN;
    if (err.text[0] || r < 0)
        fprintf(stderr, "postern audit: %s\n", err.text[0] ? err.text : strerror(-r));
    relation_deinit(&expected);
    relation_deinit(&actual);
    relation_deinit(&unknown);
    return r < 0 ? CLI_UNKNOWN : r;
}

/* A difference that is certain says more than what couldn't be told. */
static int status_worse(int a, int b)
{
    return a == CLI_NO || b == CLI_NO ? CLI_NO : a > b ? a : b;
}

/* Every layer that was asked for, in the table's order; its exit status. */
static int layers_audit(struct audit_arguments *arguments, struct buf *body)
{
    int status = CLI_YES;
    for (size_t i = 0; i < ARRAY_SIZE(layers); i++) {
        if (!(arguments->given.path = arguments->paths[i]))
            continue;
        size_t before = body->len;
        int one = layer_audit(&layers[i], arguments, body);
        /* What could not be read is not read again for another layer, to be complained of twice. */
        while (body->len == before && i + 1 < ARRAY_SIZE(layers) && strcmp(layers[i].option, layers[i + 1].option) == 0)
            i++;
        status = status_worse(status, one);
    }
    return status;
}

int cli_audit(int argc, char **argv)
{
    struct audit_arguments arguments = {
        .given.nftables = { .mesh_interface = STR(RENDER_MESH_INTERFACE), .mesh_transport_port = RENDER_MESH_PORT },
    };
    int status = arguments_read(argc, argv, &arguments);
    if (status)
        return status - 1;
    cleanup_declaration struct cli_declaration declaration = { 0 };
    if (!arguments.no_declaration && !cli_declaration_load(arguments.file, &declaration))
        return CLI_UNKNOWN;
    arguments.given.declaration = &declaration;
    arguments.given.model = declaration.model;
    cleanup_buf struct buf body;
    cleanup_buf struct buf out;
    buf_init(&body, AUDIT_OUTPUT_MAX);
    buf_init(&out, AUDIT_OUTPUT_MAX);
    status = layers_audit(&arguments, &body);
    if (arguments.docker) {
        struct audit_engine engine = { arguments.docker, arguments.given.host, declaration.model, arguments.json };
        if (body.len && !arguments.json)
            buf_append_char(&body, '\n');
        status = status_worse(status, cli_audit_engine(&engine, &body));
    }
    if (arguments.json)
        buf_printf(&out, "{\"holds\": %s, \"layers\": [\n%.*s]}\n", status == CLI_YES ? "true" : "false", STR_ARG(buf_str(&body)));
    const struct buf *text = arguments.json ? &out : &body;
    if (text->error || (text->len && fwrite(text->ptr, 1, text->len, stdout) != text->len) || fflush(stdout) != 0) {
        fprintf(stderr, "postern audit: could not write the answer: %s\n", strerror(text->error ? -text->error : errno));
        return CLI_UNKNOWN;
    }
    return status;
}
