/* Reading a declaration again, working out its tables, loading them. */
#include "enforce/putting.h"

#include <errno.h>
#include <string.h>

#include "base/program.h"
#include "enforce/conntrack.h"
#include "model/reader.h"
#include "render/containers.h"
#include "render/origin.h"

enum { TEXT_MAX = 128 << 20, NOTES_MAX = 64 << 10, NFT_TIMEOUT_MS = 20000 };

void put_result_deinit(struct put_result *result)
{
    container_filter_deinit(&result->filter);
    buf_deinit(&result->notes.text);
}

void put_declaration_make(struct model *model, uint32_t host, struct put_declaration *ret)
{
    struct str socket = model->hosts[host].docker.text;
    *ret = (struct put_declaration){ .model = model, .host = host };
    str_copy(ret->docker_socket, sizeof ret->docker_socket, socket.len ? socket : STR(DOCKER_SOCKET));
}

int put_declaration_read(const struct state_declaration *declaration, struct put_declaration *ret, struct error *err)
{
    struct model_findings findings = { 0 };
    struct model *model = NULL;
    int r = model_read(buf_str(&declaration->source), str_of(declaration->path), &model, &findings);
    model_findings_deinit(&findings);
    if (r < 0 || !model) {
        error_set(err, "%s, as it was applied, can't be used any more: 'postern check' says why", declaration->path);
        return r < 0 ? r : -EINVAL;
    }
    for (uint32_t i = 0; i < model->n_hosts; i++)
        if (str_equal(model->hosts[i].name.text, str_of(declaration->host))) {
            put_declaration_make(model, i, ret);
            return 0;
        }
    model_free(model);
    error_set(err, "%s has no host '%s'", declaration->path, declaration->host);
    return -EINVAL;
}

int put_work_out(const struct put_declaration *declaration, struct put_result *ret, struct error *err)
{
    cleanup_scene struct scene scene = { .n_resolvers = 0 };
    struct put_result result = { .n_cut = 0 };
    int r = scene_read(declaration->docker_socket, &scene, err);
    if (r < 0)
        return r;
    buf_init(&result.notes.text, NOTES_MAX);
    const struct holding_input input = scene_input(&scene, declaration->model, declaration->host);
    r = holding_init(&result.filter, &input, &result.notes, &result.counts, err);
    if (r < 0) {
        buf_deinit(&result.notes.text);
        return r;
    }
    *ret = result;
    return 0;
}

void put_write_origin(const struct put_declaration *declaration, struct buf *out)
{
    buf_printf(out, "From %.*s, for host %.*s, by postern apply. Changed as containers come and go: edit the declaration instead.",
               STR_ARG(render_file_name(declaration->model)), STR_ARG(declaration->model->hosts[declaration->host].name.text));
}

/* ---- loading ---- */

int put_rules(struct str text, pid_t *ret_nft, struct error *err)
{
    static const char *const arguments[] = { "-f", "-", NULL };
    static const struct program nft = { "nft", "Debian's package nftables", arguments, NFT_TIMEOUT_MS };
    return program_run(&nft, text, NULL, ret_nft, err);
}

int put_load(const struct put_declaration *declaration, struct put_result *result, struct error *err)
{
    cleanup_buf struct buf origin;
    cleanup_buf struct buf text;
    buf_init(&origin, 1024);
    buf_init(&text, TEXT_MAX);
    put_write_origin(declaration, &origin);
    container_filter_write(&result->filter, buf_str(&origin), &text);
    int r = text.error ? text.error : put_rules(buf_str(&text), &result->nft, err);
    int n = r == 0 ? conntrack_cut(&result->filter, err) : r;
    result->n_cut = n > 0 ? (uint32_t)n : 0;
    return n < 0 ? n : 0;
}

bool put_is_there(void)
{
    static const char *const arguments[] = { "-t", "list", "table", "inet", CONTAINER_TABLE, NULL };
    static const struct program nft = { "nft", "Debian's package nftables", arguments, NFT_TIMEOUT_MS };
    return program_run(&nft, STR_NONE, NULL, NULL, NULL) == 0;
}

int put_away(pid_t *ret_nft, struct error *err)
{
    cleanup_buf struct buf text;
    buf_init(&text, 1024);
    container_filter_write_removal(&text);
    return text.error ? text.error : put_rules(buf_str(&text), ret_nft, err);
}
