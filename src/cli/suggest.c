/* postern suggest: what was seen between containers, as lines that the declaration could have. */
#include <errno.h>
#include <getopt.h>
#include <netinet/in.h>
#include <stdio.h>
#include <string.h>

#include "cli/apply.h"
#include "cli/suggest_lines.h"

enum { TEXT_MAX = 16 << 20 };

static void help_write(FILE *out)
{
    fputs("usage: postern suggest [--json] [--state-directory DIR]\n"
          "\n"
          "Writes the grants for what containers were seen to do that no grant lets them: of observed projects what went on, of enforced ones what\n"
          "was dropped. Paste what is right under services: and grants: of the declaration. What no grant can say comes as a remark.\n"
          "Counting begins with 'postern apply'; 'postern apply --watch' also remembers what containers did that are gone.\n"
          "\n"
          "      --json                the same for scripts\n"
          "      --state-directory DIR where postern apply remembers what is in force (default " STATE_DIRECTORY ")\n"
          "\n"
          "Exit status: 0 there is something, 1 there is nothing, 2 could not tell.\n", out);
}

/* What was gathered before, and what the tables count now. */
static int look(const struct state *state, const struct put_declaration *declaration, const struct scene *scene, struct seen *seen, struct error *err)
{
    cleanup_container_filter struct container_filter filter;
    cleanup_container_counts struct container_counts counts;
    cleanup_buf struct buf text;
    struct seen_places places;
    buf_init(&counts.items, OBSERVE_CONTAINERS_MAX);
    buf_init(&text, STATE_FILE_MAX);
    container_filter_init(&filter);
    int r = state_read_text(state, "observed", &text, err);
    if (r >= 0)
        r = observe_containers(&filter, &counts, err);
    if (r == OBSERVE_CONTAINERS_NONE) {
        error_set(err, "nothing is in force here, so that nothing is counted; 'postern apply' begins it");
        return -ENOENT;
    }
    if (r == 0)
        r = container_filter_seal(&filter);
    if (r == 0)
        r = seen_places_init(&places, &scene->containers, &scene->networks);
    if (r < 0)
        return r;
    seen_read(seen, buf_str(&text));
    seen_add(seen, &counts, &places, &filter, declaration->model, declaration->host);
    seen_places_deinit(&places);
    return 0;
}

static int suggest(const struct state *state, bool json, struct buf *out, bool *ret_is_any, struct error *err)
{
    cleanup_state_declaration struct state_declaration in_force = { .deadline_ms = 0 };
    cleanup_scene struct scene scene = { .n_resolvers = 0 };
    struct put_declaration declaration;
    struct seen seen;
    int r = state_read(state, "in-force", &in_force, err);
    if (r == STATE_E_NONE) {
        error_set(err, "nothing is in force here, so that nothing is counted; 'postern apply' begins it");
        return -ENOENT;
    }
    if (r == 0)
        r = put_declaration_read(&in_force, &declaration, err);
    if (r != 0)
        return r;
    seen_init(&seen);
    r = scene_read(declaration.docker_socket, &scene, err);
    if (r == 0)
        r = look(state, &declaration, &scene, &seen, err);
    if (r == 0)
        r = suggest_lines_write(&declaration, &scene.containers, &seen, json, out, ret_is_any);
    seen_deinit(&seen);
    model_free(declaration.model);
    return r;
}

int cli_suggest(int argc, char **argv)
{
    static const struct option options[] = {
        { "json", no_argument, NULL, 'j' }, { "state-directory", required_argument, NULL, 's' }, { "help", no_argument, NULL, 'h' }, { 0 }
    };
    const char *directory = STATE_DIRECTORY;
    cleanup_state struct state state = { .directory = -1, .lock = -1 };
    cleanup_buf struct buf out;
    struct error err = { "" };
    bool json = false, is_any = false;
    int c;
    buf_init(&out, TEXT_MAX);
    optind = 0;
    while ((c = getopt_long(argc, argv, "h", options, NULL)) != -1)
        switch (c) {
        case 'j': json = true; break;
        case 's': directory = optarg; break;
        case 'h': help_write(stdout); return CLI_YES;
        default: fputs("postern suggest --help says what there is\n", stderr); return CLI_UNKNOWN;
        }
    if (optind < argc) {
        fputs("postern suggest: it takes options only\n", stderr);
        return CLI_UNKNOWN;
    }
    int r = state_open(directory, &state, &err);
    if (r == 0)
        r = suggest(&state, json, &out, &is_any, &err);
    if (r == 0)
        r = out.error;
    if (r < 0 || fwrite(out.ptr ? out.ptr : "", 1, out.len, stdout) != out.len || fflush(stdout) != 0) {
        fprintf(stderr, "postern suggest: %s\n", err.text[0] ? err.text : strerror(r < 0 ? -r : errno));
        return CLI_UNKNOWN;
    }
    return is_any ? CLI_YES : CLI_NO;
}
