/* Rendering every target from both declarations and comparing what has one name. */
#include "cli/plan_files.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "cli/render.h"
#include "cli/text_diff.h"
#include "policy/declared.h"

enum { FILES_MAX = 4096, TEXT_MAX = 256 << 20, DIFF_MAX = 4 << 20, NAME_SIZE = 200 };

struct rendering {
    struct plan_files *files;
    const struct cli_declaration *before, *after;
    struct buf items;  /* struct plan_file */
    bool colour;
    int error;
};

static bool is_picture(const struct render_target *target)
{
    static const char *const names[] = { "svg", "mermaid", "dot", "mesh" };
    for (size_t i = 0; i < ARRAY_SIZE(names); i++)
        if (strcmp(target->name, names[i]) == 0)
            return true;
    return false;
}

/* The number of a grant's line says nothing here: one line put in above moves all of them. */
static void drop_lines(struct buf *text, struct str file)
{
    size_t to = 0;
    for (size_t at = 0; at < text->len;) {
        bool is_place = at + file.len < text->len && memcmp(text->ptr + at, file.ptr, file.len) == 0 && text->ptr[at + file.len] == ':';
        if (!is_place) {
            text->ptr[to++] = text->ptr[at++];
            continue;
        }
        memmove(text->ptr + to, text->ptr + at, file.len);
        to += file.len;
        for (at += file.len + 1; at < text->len && text->ptr[at] >= '0' && text->ptr[at] <= '9';)
            at++;
    }
    text->len = to;
}

/* False: there is no such file of that declaration. The revision is left out: it differs always and says nothing. */
static bool write_side(struct rendering *r, const struct cli_declaration *side, const struct render_target *target, struct str host, struct str surface,
                       struct buf *out)
{
    struct model model = *side->model;
    model.file = r->after->model->file; /* the name of the one to come, in both */
    struct render_given given = {
        .declaration = side, .model = &model, .host = MODEL_NONE, .surface = MODEL_NONE,
        .nftables = { .mesh_interface = STR("tailscale0"), .mesh_transport_port = 41641 },
    };
    struct error err;
    if (host.len && (given.host = model_find_host(side->model, host)) == MODEL_NONE)
        return false;
    if (surface.len && (given.surface = model_find_surface(side->model, surface)) == MODEL_NONE)
        return false;
    int e = target->write(&given, out, &err);
    if (e < 0 && e != -EINVAL)
        r->error = e;
    if (e == 0 && !out->error && out->len)
        drop_lines(out, declared_file(&model));
    return e == 0 && !out->error;
}

static void compare(struct rendering *r, const struct render_target *target, struct str host, struct str surface)
{
    const struct text_diff_options options = { .n_context = 1, .indent = "    ", .colour = r->colour };
    cleanup_buf struct buf before, after, diff;
    buf_init(&before, TEXT_MAX);
    buf_init(&after, TEXT_MAX);
    buf_init(&diff, DIFF_MAX);
    bool was = write_side(r, r->before, target, host, surface, &before), is = write_side(r, r->after, target, host, surface, &after);
    if (r->error || (!was && !is))
        return;
    struct plan_file file = { .is_new = !was, .is_gone = !is };
    if (was && is)
        file.n_lines = text_diff_write(&diff, buf_str(&before), buf_str(&after), &options);
    if (was && is && file.n_lines == 0)
        return;
    file.name = arena_printf(&r->files->arena, "%.*s%s%.*s%s", STR_ARG(host), host.len && surface.len ? "-" : "", STR_ARG(surface), target->file);
    file.diff = arena_copy(&r->files->arena, diff.error ? STR("    too many lines to show\n") : buf_str(&diff));
    if (!file.name.ptr || !file.diff.ptr)
        r->error = -ENOMEM;
    buf_append(&r->items, str_make((const char *)&file, sizeof file));
    if (r->items.error)
        r->error = r->items.error;
}

static void compare_surfaces(struct rendering *r, const struct render_target *target, struct str host)
{
    if (!(target->each & RENDER_EACH_SURFACE)) {
        compare(r, target, host, STR_NONE);
        return;
    }
    const struct model *b = r->before->model, *a = r->after->model;
    for (uint32_t i = 0; !r->error && i < a->n_surfaces; i++)
        compare(r, target, host, a->surfaces[i].name.text);
    for (uint32_t i = 0; !r->error && i < b->n_surfaces; i++)
        if (model_find_surface(a, b->surfaces[i].name.text) == MODEL_NONE)
            compare(r, target, host, b->surfaces[i].name.text);
}

static void compare_target(struct rendering *r, const struct render_target *target)
{
    if (!(target->each & RENDER_EACH_HOST)) {
        compare_surfaces(r, target, STR_NONE);
        return;
    }
    const struct model *b = r->before->model, *a = r->after->model;
    for (uint32_t i = 0; !r->error && i < a->n_hosts; i++)
        compare_surfaces(r, target, a->hosts[i].name.text);
    for (uint32_t i = 0; !r->error && i < b->n_hosts; i++)
        if (model_find_host(a, b->hosts[i].name.text) == MODEL_NONE)
            compare_surfaces(r, target, b->hosts[i].name.text);
}

int plan_files_init(struct plan_files *ret, const struct cli_declaration *before, const struct cli_declaration *after, bool colour)
{
    struct plan_files files = { 0 };
    struct rendering r = { .files = &files, .before = before, .after = after, .colour = colour };
    size_t n_targets;
    const struct render_target *targets = cli_render_targets(&n_targets);
    arena_init(&files.arena, TEXT_MAX);
    buf_init(&r.items, FILES_MAX * sizeof(struct plan_file));
    for (size_t i = 0; !r.error && i < n_targets; i++)
        if (!is_picture(&targets[i]) && !(targets[i].each & RENDER_OF_PROJECT)) /* of those the declaration alone doesn't tell */
            compare_target(&r, &targets[i]);
    files.n = (uint32_t)(r.items.len / sizeof *files.items);
    files.items = arena_array(&files.arena, files.n, struct plan_file);
    if (!files.items)
        r.error = -ENOMEM;
    else if (files.n)
        memcpy(files.items, r.items.ptr, r.items.len);
    buf_deinit(&r.items);
    if (r.error)
        plan_files_deinit(&files);
    else
        *ret = files;
    return r.error;
}

void plan_files_deinit(struct plan_files *files)
{
    arena_deinit(&files->arena);
}
