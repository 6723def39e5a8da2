/* The top of the declaration: what a file may contain, and the order in which it is understood. */
#include "model/reader.h"

#include <errno.h>

#include "model/read.h"

enum {
    READER_MODEL_MAX = 512 << 20,
    READER_NODES_MAX = 512 << 20,
    READER_COMPARISONS = 2000000,
    READER_MATCHES = 20000000,
    READER_VERSION = 1,
};

struct model *model_free(struct model *model)
{
    if (model) {
        arena_deinit(&model->arena);
        free(model);
    }
    return NULL;
}

static void read_version(struct reader *r, const struct yaml_node *value, void *object)
{
    (void)object;
    if (value->kind != YAML_SCALAR || !value->is_plain || !str_equal(value->text, STR("1")))
        read_error(r, value, STR("write 'postern: 1'"),
                   "this postern reads version %d of the declaration, and the file says another", READER_VERSION);
}

/* In the order of who refers to whom, whatever the order in the file. */
static const struct read_field top_fields[] = {
    { "postern", true, read_version },
    { "domain", true, read_domain },
    { "tls", false, read_tls },
    { "log", false, read_log },
    { "metrics", false, read_metrics },
    { "segments", true, read_segments },
    { "hosts", true, read_hosts },
    { "surfaces", false, read_surfaces },
    { "services", false, read_services },
    { "projects", false, read_projects },
    { "grants", false, read_grants },
    { "expect", false, read_expectations },
};
static const struct read_shape top_shape = {
    "the declaration", "{ postern: 1, domain: home.example, ... }", top_fields, ARRAY_SIZE(top_fields)
};

static void read_tree(struct reader *r)
{
    struct yaml_node *root = NULL;
    int result = yaml_read(r->model->source, &r->nodes, &r->model->arena, &r->d, &root);
    if (result < 0)
        r->error = result;
    if (result != 0)
        return;
    if (read_mapping(r, root, &top_shape, NULL))
        check_whole(r);
}

/* Some editors put a byte order mark before the text. */
static struct str without_mark(struct str text)
{
    struct str mark = STR("\xef\xbb\xbf");
    return str_starts_with(text, mark) ? str_skip(text, mark.len) : text;
}

static struct model *model_new(struct str text, struct str file)
{
    struct model *model = calloc(1, sizeof *model);
    if (!model)
        return NULL;
    arena_init(&model->arena, READER_MODEL_MAX);
    model->source = arena_copy(&model->arena, without_mark(text));
    model->file = arena_copy(&model->arena, file);
    if (!model->source.ptr || !model->file.ptr)
        model = model_free(model);
    return model;
}

static int reader_finish(struct reader *r, struct model **ret_model, struct model_findings *ret_findings)
{
    int error = r->error ? r->error : r->d.error;
    if (error < 0)
        return error;
    diagnose_sort(&r->d);
    *ret_findings = r->d.found;
    r->d.found = (struct model_findings){ 0 };
    if (ret_findings->n_errors)
        return MODEL_E_INVALID;
    *ret_model = TAKE(r->model);
    return 0;
}

int model_read(struct str text, struct str file, struct model **ret_model, struct model_findings *ret_findings)
{
    struct reader r = { .model = model_new(text, file), .n_comparisons = READER_COMPARISONS, .n_matches = READER_MATCHES };
    if (!r.model)
        return -ENOMEM;
    arena_init(&r.nodes, READER_NODES_MAX);
    diagnose_init(&r.d);
    if (source_check(&r.d, r.model->source))
        read_tree(&r);
    int result = reader_finish(&r, ret_model, ret_findings);
    for (unsigned i = 0; i < READ_KINDS; i++)
        table_deinit(&r.names[i]);
    table_deinit(&r.addresses);
    table_deinit(&r.ranges);
    table_deinit(&r.bindings);
    table_deinit(&r.machines);
    arena_deinit(&r.nodes);
    diagnose_deinit(&r.d);
    model_free(r.model);
    return result;
}
