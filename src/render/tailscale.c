/* A Tailscale policy file from the declaration. */
#include "render/tailscale.h"

#include <errno.h>

#include "render/mesh_tests.h"
#include "render/origin.h"

enum { SECTION_MAX = 1 << 29 };

struct writer {
    const struct model *model;
    struct mesh_text text;
    struct mesh_grants grants;
    struct render_mesh_sections *sections;
    struct buf *list;             /* being written */
    struct table said;            /* tags and names in "hosts" that are there already; keys are the model's or the arena's */
    struct arena arena;
};

/* ---- grants ---- */

static void item_write(void *context, struct str item)
{
    struct writer *w = context;
    if (w->list->ptr[w->list->len - 1] != '[')
        buf_append(w->list, STR(", "));
    buf_append_json(w->list, item);
}

static void selectors_write(struct writer *w, const char *name, const struct mesh_selector *items, uint32_t n)
{
    buf_printf(w->list, "\"%s\": [", name);
    for (uint32_t i = 0; i < n; i++)
        mesh_text_each(&w->text, &items[i], item_write, w);
    buf_append(w->list, STR("], "));
}

/* The line of the grant says where it comes from: whoever explains a policy finds the declaration by it. */
static void grant_write(struct writer *w, const struct mesh_grant *grant)
{
    enum { LINES_SHOWN = 6 };
    struct str file = render_file_name(w->model);
    buf_printf(w->list, "    // %.*s:", STR_ARG(file));
    for (uint32_t i = 0; i < grant->n_lines && i < LINES_SHOWN; i++)
        buf_printf(w->list, "%s%u", i ? ", " : "", grant->lines[i]);
    if (grant->n_lines > LINES_SHOWN)
        buf_printf(w->list, " and %u more", grant->n_lines - LINES_SHOWN);
    buf_append(w->list, grant->is_derived ? STR(", derived: gateway to instance\n    { ") : STR("\n    { "));
    selectors_write(w, "src", grant->sources, grant->n_sources);
    selectors_write(w, "dst", grant->destinations, grant->n_destinations);
    buf_append(w->list, STR("\"ip\": ["));
    for (uint32_t i = 0; i < grant->n_services; i++)
        buf_printf(w->list, "%s\"%s:%u\"", i ? ", " : "", grant->services[i].transport == MODEL_UDP ? "udp" : "tcp", grant->services[i].port);
    buf_append(w->list, STR("] },\n"));
}

/* ---- tagOwners and hosts: what grants and tests speak of ---- */

static int name_write(struct writer *w, const struct mesh_selector *selector)
{
    char alias[80], address[ADDRESS_TEXT_SIZE];
    struct str binding = mesh_text_binding(&w->text, selector);
    bool is_tag = str_starts_with(binding, STR("tag:"));
    if (selector->kind == MESH_RANGE || (binding.len && !is_tag) || (!is_tag && !mesh_text_alias(&w->text, selector, alias)))
        return 0;
    struct str key = is_tag ? binding : arena_copy(&w->arena, str_of(alias));
    int added = key.ptr ? table_add(&w->said, key, 0, NULL) : -ENOMEM;
    if (added != 0)
        return added < 0 ? added : 0;
    struct buf *out = is_tag ? &w->sections->tag_owners : &w->sections->hosts;
    buf_append(out, STR("    "));
    buf_append_json(out, key);
    if (is_tag)
        buf_append(out, STR(": [],\n"));
    else
        buf_printf(out, ": \"%s\",\n", address_format(&selector->first, address));
    return out->error;
}

/* In the order of the declaration: segments' and hosts' tags, then every address that nothing else speaks for. */
static int names_write(struct writer *w)
{
    int r = 0;
    for (uint32_t i = 0; i < w->model->n_segments && r == 0; i++)
        if (w->model->segments[i].binding.tag.text.len)
            r = name_write(w, &(struct mesh_selector){ .kind = MESH_SEGMENT, .index = i });
    for (uint32_t i = 0; i < w->model->n_hosts && r == 0; i++) {
        const struct model_host *host = &w->model->hosts[i];
        if (host->binding.tag.text.len)
            r = name_write(w, &(struct mesh_selector){ .kind = MESH_HOST, .index = i });
        for (uint32_t k = 0; k < host->addresses.n && r == 0; k++)
            r = name_write(w, &(struct mesh_selector){ MESH_ADDRESS, i, k, host->addresses.items[k].address, host->addresses.items[k].address });
    }
    return r;
}

/* ---- in all ---- */

static int dialect_check(const struct model *model, const struct render_mesh_options *options, const struct model_binding *binding,
                         struct str name, struct error *err)
{
    bool is_headscale = str_ends_with(binding->user.text, STR("@"));
    if (!is_headscale || options->dialect == RENDER_HEADSCALE)
        return 0;
    error_set(err, "%.*s:%u:%u: '%.*s', the user of %.*s, is one of Headscale's own; Tailscale knows users by their mail address",
              STR_ARG(model->file), binding->user.at.line, binding->user.at.column, STR_ARG(binding->user.text), STR_ARG(name));
    return -EINVAL;
}

static int users_check(const struct model *model, const struct render_mesh_options *options, struct error *err)
{
    int r = 0;
    for (uint32_t i = 0; i < model->n_segments && r == 0; i++)
        r = dialect_check(model, options, &model->segments[i].binding, model->segments[i].name.text, err);
    for (uint32_t i = 0; i < model->n_hosts && r == 0; i++)
        r = dialect_check(model, options, &model->hosts[i].binding, model->hosts[i].name.text, err);
    return r;
}

static int sections_write(struct writer *w, const struct flows *flows, const struct render_mesh_options *options)
{
    int r = mesh_grants_init(&w->grants, w->model, flows);
    if (r)
        return r;
    w->list = &w->sections->grants;
    for (uint32_t i = 0; i < w->grants.n; i++)
        grant_write(w, &w->grants.items[i]);
    r = w->list->error;
    if (r == 0 && !options->without_tests)
        r = mesh_tests_write(&w->text, flows, &w->grants, options->is_part, &w->sections->tests);
    if (r == 0)
        r = names_write(w);
    mesh_grants_deinit(&w->grants);
    return r;
}

static int sections_of_flows(struct writer *w, const struct render_mesh_options *options)
{
    struct grants grants;
    int r = grants_init(&grants, w->model);
    if (r)
        return r;
    struct flows flows;
    r = flows_init(&flows, &grants, MODEL_NONE);
    if (r == 0) {
        r = sections_write(w, &flows, options);
        flows_deinit(&flows);
    }
    grants_deinit(&grants);
    return r;
}

int render_mesh_sections_make(const struct model *model, const struct render_mesh_options *options, struct render_mesh_sections *ret,
                              struct error *err)
{
    struct render_mesh_sections sections;
    struct buf *all[] = { &sections.tag_owners, &sections.hosts, &sections.grants, &sections.tests };
    for (size_t i = 0; i < ARRAY_SIZE(all); i++)
        buf_init(all[i], SECTION_MAX);
    struct writer w = { .model = model, .sections = &sections };
    arena_init(&w.arena, SECTION_MAX);
    int r = users_check(model, options, err);
    if (r == 0)
        r = mesh_text_init(&w.text, model);
    if (r == 0)
        r = sections_of_flows(&w, options);
    mesh_text_deinit(&w.text);
    table_deinit(&w.said);
    arena_deinit(&w.arena);
    if (r == 0)
        *ret = sections;
    else
        render_mesh_sections_deinit(&sections);
    return r;
}

void render_mesh_sections_deinit(struct render_mesh_sections *sections)
{
    struct buf *all[] = { &sections->tag_owners, &sections->hosts, &sections->grants, &sections->tests };
    for (size_t i = 0; i < ARRAY_SIZE(all); i++)
        buf_deinit(all[i]);
}

void render_mesh_header_write(struct buf *out, const struct model *model, const struct render_mesh_options *options)
{
    buf_append(out, STR("// "));
    render_origin_write(out, model, options->revision);
    buf_append(out, options->dialect == RENDER_HEADSCALE
                        ? STR("\n// Headscale's policy (0.29 or newer): what may pass between machines on the mesh. What no grant names is denied.\n")
                        : STR("\n// Tailscale's policy: what may pass between machines on the mesh. What no grant names is denied.\n"));
}

static void section_write(struct buf *out, const char *name, const char *open, const char *close, const struct buf *lines, const char *end)
{
    if (lines->len == 0 && strcmp(name, "grants") != 0)
        return;
    buf_printf(out, "  \"%s\": %s", name, open);
    if (lines->len)
        buf_append_char(out, '\n');
    buf_append(out, buf_str(lines));
    buf_printf(out, "%s%s%s\n", lines->len ? "  " : "", close, end);
}

int render_mesh_policy(const struct model *model, const struct render_mesh_options *options, struct buf *out, struct error *err)
{
    struct render_mesh_sections sections;
    int r = render_mesh_sections_make(model, options, &sections, err);
    if (r)
        return r;
    render_mesh_header_write(out, model, options);
    buf_append(out, STR("{\n"));
    section_write(out, "tagOwners", "{", "}", &sections.tag_owners, ",");
    section_write(out, "hosts", "{", "}", &sections.hosts, ",");
    section_write(out, "grants", "[", "]", &sections.grants, ",");
    section_write(out, "tests", "[", "]", &sections.tests, ",");
    buf_append(out, STR("}\n"));
    render_mesh_sections_deinit(&sections);
    return out->error;
}

int render_tailscale(const struct model *model, struct str revision, struct buf *out, struct error *err)
{
    return render_mesh_policy(model, &(struct render_mesh_options){ .dialect = RENDER_TAILSCALE, .revision = revision }, out, err);
}

int render_headscale(const struct model *model, struct str revision, struct buf *out, struct error *err)
{
    return render_mesh_policy(model, &(struct render_mesh_options){ .dialect = RENDER_HEADSCALE, .revision = revision }, out, err);
}
