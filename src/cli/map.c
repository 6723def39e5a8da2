/* postern map: the picture of who reaches what, or of what one host reaches. */
#include <errno.h>
#include <getopt.h>
#include <string.h>
#include <unistd.h>

#include "cli/cli.h"
#include "cli/files.h"
#include "cli/party.h"
#include "cli/render.h"
#include "render/dot.h"
#include "render/map_json.h"
#include "render/mermaid.h"
#include "render/svg.h"
#include "roles/revision.h"

static const char usage[] =
    "usage: postern map [--from WHO] [-o FILE | --json] [-f DECLARATION]\n"
    "\n"
    "Draws what the declaration allows: segments, hosts, surfaces, services, and a line for every way between them. Point at anything\n"
    "in the picture to see who may reach it, and by which line of the declaration.\n"
    "\n"
    "  -f, --file FILE     the declaration\n"
    "  -o, --output FILE   where to; its name says what: .svg, .mmd (Mermaid), .dot (Graphviz) or .json. Standard output: SVG\n"
    "      --from WHO      show what that host, segment, service, tag or user reaches, and the rest faintly (SVG)\n"
    "      --json          the same for scripts\n"
    "\n"
    "  postern map -o lab.svg                       then open it in any browser\n"
    "  postern map --from robin -o robin.svg\n"
    "  postern map | rsvg-convert -o lab.png        as pixels\n"
    "\n"
    "Exit status: 0 drawn, 1 there is nobody of that name, 2 the declaration could not be used.\n";

enum format { FORMAT_SVG, FORMAT_MERMAID, FORMAT_DOT, FORMAT_JSON };

struct arguments {
    const char *file, *output, *from;
    enum format format;
};

/* By the name's end. False after a message. */
static bool format_of(const char *name, enum format *ret)
{
    static const struct { const char *end; enum format format; } formats[] = {
        { ".svg", FORMAT_SVG }, { ".mmd", FORMAT_MERMAID }, { ".mermaid", FORMAT_MERMAID }, { ".dot", FORMAT_DOT },
        { ".gv", FORMAT_DOT }, { ".json", FORMAT_JSON },
    };
    for (size_t i = 0; i < ARRAY_SIZE(formats); i++)
        if (str_ends_with(str_of(name), str_of(formats[i].end))) {
            *ret = formats[i].format;
            return true;
        }
    fprintf(stderr, "postern map: what is %s to be? .svg, .mmd, .dot and .json are known; for pixels: postern map | rsvg-convert -o map.png\n", name);
    return false;
}

/* 0: go on. Otherwise the exit status + 1. */
static int arguments_read(int argc, char **argv, struct arguments *ret)
{
    static const struct option options[] = {
        { "file", required_argument, NULL, 'f' }, { "output", required_argument, NULL, 'o' }, { "from", required_argument, NULL, 's' },
        { "json", no_argument, NULL, 'j' },       { "help", no_argument, NULL, 'h' },         { 0 }
    };
    bool json = false;
    int c;
    optind = 0;
    while ((c = getopt_long(argc, argv, "f:o:h", options, NULL)) != -1)
        switch (c) {
        case 'f': ret->file = optarg; break;
        case 'o': ret->output = optarg; break;
        case 's': ret->from = optarg; break;
        case 'j': json = true; break;
        case 'h': fputs(usage, stdout); return CLI_YES + 1;
        default: fputs("postern map --help says what there is\n", stderr); return CLI_UNKNOWN + 1;
        }
    if (optind != argc) {
        fprintf(stderr, "postern map: '%s' is too much; name the declaration with -f, the picture with -o\n", argv[optind]);
        return CLI_UNKNOWN + 1;
    }
    if (ret->output && !format_of(ret->output, &ret->format))
        return CLI_UNKNOWN + 1;
    if (json)
        ret->format = FORMAT_JSON;
    if (ret->from && ret->format != FORMAT_SVG) {
        fputs("postern map: --from is for the SVG; 'postern access' says in words and as JSON what a host reaches\n", stderr);
        return CLI_UNKNOWN + 1;
    }
    if (!ret->output && !json && isatty(STDOUT_FILENO)) {
        fputs("postern map: that is a picture: postern map -o map.svg\n", stderr);
        return CLI_UNKNOWN + 1;
    }
    return 0;
}

/* Fills in the parties that the name means. 0 or a negative errno; -EINVAL with err. */
static int parties_find(const struct map *map, const char *from, uint64_t *set, struct error *err)
{
    struct access access;
    struct parties parties = { 0 };
    int r = access_init(&access, map->model, NULL);
    if (r < 0)
        return r;
    r = parties_read(&access, from, NULL, &parties, err);
    for (uint32_t i = 0; r == 0 && i < parties.n_askers; i++) {
        const struct party_asker *asker = &parties.askers[i];
        uint32_t party = asker->host != MODEL_NONE ? asker->host : asker->segment != MODEL_NONE ? map->model->n_hosts + asker->segment : MODEL_NONE;
        if (party != MODEL_NONE)
            set[party / 64] |= UINT64_C(1) << party % 64;
    }
    if (r == 0)
        parties_deinit(&parties);
    access_deinit(&access);
    return r;
}

static int svg_draw(const struct map *map, const char *from, struct str revision, struct buf *out, struct error *err)
{
    struct render_svg_options options = { .revision = revision, .from_name = str_of(from) };
    cleanup_free uint64_t *set = calloc(map->n_words, sizeof *set);
    int r = set ? 0 : -ENOMEM;
    if (r == 0 && from)
        r = parties_find(map, from, set, err);
    options.from = from ? set : NULL;
    return r < 0 ? r : render_svg(map, &options, out);
}

int cli_svg_write(const struct model *model, const char *from, struct str revision, struct buf *out, struct error *err)
{
    struct map map;
    int r = map_init(&map, model, err);
    if (r < 0)
        return r;
    r = svg_draw(&map, from, revision, out, err);
    map_deinit(&map);
    return r;
}

static int draw(const struct model *model, const struct arguments *given, struct str revision, struct buf *out, struct error *err)
{
    if (given->format == FORMAT_SVG)
        return cli_svg_write(model, given->from, revision, out, err);
    struct map map;
    int r = map_init(&map, model, err);
    if (r < 0)
        return r;
    r = given->format == FORMAT_MERMAID ? render_mermaid(&map, revision, out) :
        given->format == FORMAT_DOT ? render_dot(&map, revision, out) : render_map_json(&map, revision, out);
    map_deinit(&map);
    return r;
}

static int output_write(const char *path, const struct buf *out)
{
    if (path) {
        const char *slash = strrchr(path, '/');
        struct buf directory;
        buf_init(&directory, 1 << 16);
        buf_printf(&directory, "%.*s", slash ? slash == path ? 1 : (int)(slash - path) : 1, slash ? path : ".");
        buf_append_char(&directory, '\0');
        bool written = !directory.error && cli_file_replace("map", directory.ptr, slash ? slash + 1 : path, buf_str(out), 0644);
        buf_deinit(&directory);
        return written ? CLI_YES : CLI_UNKNOWN;
    }
    if (fwrite(out->ptr, 1, out->len, stdout) == out->len && fflush(stdout) == 0)
        return CLI_YES;
    fprintf(stderr, "postern map: could not write: %s\n", strerror(errno));
    return CLI_UNKNOWN;
}

int cli_map(int argc, char **argv)
{
    struct arguments given = { .format = FORMAT_SVG };
    int status = arguments_read(argc, argv, &given);
    if (status)
        return status - 1;
    cleanup_declaration struct cli_declaration declaration = { 0 };
    if (!cli_declaration_load(given.file, &declaration))
        return CLI_UNKNOWN;
    char revision[REVISION_DIGITS + 1] = "";
    revision_of(buf_str(&declaration.source), revision);
    struct error err = { "" };
    cleanup_buf struct buf out;
    buf_init(&out, RENDER_OUTPUT_MAX);
    int r = draw(declaration.model, &given, str_of(revision), &out, &err);
    if (r == 0)
        return output_write(given.output, &out);
    fprintf(stderr, "postern map: %s\n", err.text[0] ? err.text : strerror(-r));
    return r == -EINVAL && given.from ? CLI_NO : CLI_UNKNOWN;
}
