/* One compilation: who reaches what on the surfaces that this gateway serves, then a block for each role. */
#include "policy/compile.h"

#include <errno.h>
#include <stdio.h>

#include "policy/compiler.h"

enum { REFUSED_NAME_MAX = 300, REFUSED_MAX = 2 * (OFFERS_MAX + 1) * (6 * 2 * REFUSED_NAME_MAX + 500) };

int compiler_refuse(const struct compiler *c, struct model_place at, const char *format, ...)
{
    char text[400];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    error_set(c->err, "%.*s:%u: %s", STR_ARG(c->file), at.line, text);
    return -EINVAL;
}

static struct str last_component(struct str path)
{
    for (size_t i = path.len; i > 0; i--)
        if (path.ptr[i - 1] == '/')
            return str_skip(path, i);
    return path;
}

static bool serves(const struct model_surface *surface, uint32_t gateway)
{
    for (uint32_t i = 0; i < surface->hosts.n; i++)
        if (surface->hosts.items[i] == gateway)
            return true;
    return false;
}

static int find_reach(struct compiler *c)
{
    const struct grants *g = &c->grants;
    c->reach = arena_array(&c->arena, c->model->n_services, uint64_t);
    if (!c->reach)
        return -ENOMEM;
    for (uint32_t i = 0; i < c->model->n_grants; i++) {
        if (!grants_has_source_at(g, i, c->input->gateway))
            continue;
        for (uint32_t t = 0; t < c->model->grants[i].n_to; t++) {
            const struct model_indexes *services = grants_target(g, i, t);
            for (uint32_t k = 0; k < services->n; k++)
                c->reach[services->items[k]] |= g->grant_surfaces[i] & g->service_surfaces[services->items[k]] & c->served;
        }
    }
    return 0;
}

/* ---- plan ---- */

static int add_listener(struct compiler *c, struct block *block, const struct image_listener *listener)
{
    const struct image_listener *before = (const void *)block->sections[IMAGE_LISTENERS].ptr;
    for (uint32_t i = 0; i < block_count(block, IMAGE_LISTENERS); i++) {
        const struct model_surface *s = &c->model->surfaces[listener->surface];
        char text[ADDRESS_TEXT_SIZE];
        if (before[i].port == listener->port && address_equal(&before[i].address, &listener->address))
            return compiler_refuse(c, s->name.at, "surface %.*s listens on port %u of %s, which is taken by surface %.*s", STR_ARG(s->name.text),
                                   listener->port, address_format(&listener->address, text),
                                   STR_ARG(c->model->surfaces[before[i].surface].name.text));
    }
    block_add(block, IMAGE_LISTENERS, listener);
    return 0;
}

static int add_listeners(struct compiler *c, struct block *block, uint32_t surface)
{
    const struct model_surface *s = &c->model->surfaces[surface];
    const struct model_host *host = &c->model->hosts[c->input->gateway];
    const struct model_prefixes *addresses = s->addresses.n ? &s->addresses : &host->addresses;
    if (addresses->n == 0)
        return compiler_refuse(c, host->name.at, "gateway %.*s has no address to listen on; give it one with address:", STR_ARG(host->name.text));
    for (uint32_t i = 0; i < addresses->n; i++) {
        struct image_listener listener = { .surface = surface, .address = addresses->items[i].address, .port = s->port };
        int r = add_listener(c, block, &listener);
        if (r == 0 && s->redirect_port) {
            listener.kind = IMAGE_LISTENER_REDIRECT;
            listener.port = s->redirect_port;
            r = add_listener(c, block, &listener);
        }
        if (r < 0)
            return r;
    }
    return 0;
}

static void add_surface(struct compiler *c, struct block *block, uint32_t surface, uint32_t first_certificate)
{
    const struct model_surface *s = &c->model->surfaces[surface];
    struct image_surface image = {
        .name = block_text(block, s->name.text),
        .domain = block_text(block, c->model->domain.text),
        .port = s->port,
        .redirect_port = s->redirect_port,
        .n_workers = s->n_workers,
        .max_connections_per_principal = s->max_connections_per_principal,
        .first_certificate = first_certificate,
        .n_certificates = block_count(block, IMAGE_CERTIFICATES) - first_certificate,
        .index = surface,
    };
    block_add(block, IMAGE_SURFACES, &image);
}

static void add_offers(const struct compiler *c, struct block *block)
{
    for (uint32_t i = 0; i < c->input->n_offers && i <= OFFERS_MAX; i++) {
        const struct offer *offer = &c->input->offers[i];
        struct image_offer image = {
            .name = block_text(block, str_first(offer->name, REFUSED_NAME_MAX)),
            .reference = block_text(block, str_first(offer->reference, REFUSED_NAME_MAX)),
            .port = offer->port,
        };
        if (!c->verdicts[i].is_taken)
            image.why = block_text(block, c->verdicts[i].why);
        block_add(block, IMAGE_OFFERS, &image);
    }
}

int compiler_build_plan(struct compiler *c, struct compile_block *ret)
{
    const struct model *m = c->model;
    cleanup_block struct block block;
    block_init(&block, IMAGE_PLAN);
    struct image_settings settings = {
        .host = block_text(&block, m->hosts[c->input->gateway].name.text),
        .domain = block_text(&block, m->domain.text),
        .metrics_unix = block_text(&block, m->metrics_unix),
    };
    if (m->log_to == MODEL_LOG_FILE)
        settings.log_file = block_text(&block, m->log_file);
    if (m->metrics_address.n) {
        settings.metrics_address = m->metrics_address.items[0].address;
        settings.metrics_port = m->metrics_port;
    }
    block_add(&block, IMAGE_SETTINGS, &settings);
    add_offers(c, &block);
    for (uint32_t i = 0; i < m->n_surfaces; i++) {
        add_surface(c, &block, i, 0);
        int r = c->served >> i & 1 ? add_listeners(c, &block, i) : 0;
        if (r < 0)
            return r;
    }
    int r = compiler_add_direct_listeners(c, &block);
    return r < 0 ? r : block_finish(&block, c->input->generation, c->input->revision, ret);
}

/* ---- keys ---- */

static void add_certificate(struct compiler *c, struct block *block, uint32_t surface, struct image_text name)
{
    const struct model_tls *tls = &c->model->tls;
    struct image_certificate image = { .surface = surface, .name = name };
    switch (tls->source) {
    case MODEL_TLS_INTERNAL: image.source = IMAGE_CERTIFICATE_INTERNAL; break;
    case MODEL_TLS_FILES:
        image.source = IMAGE_CERTIFICATE_FILES;
        image.certificate_file = block_text(block, tls->certificate_file);
        image.key_file = block_text(block, tls->key_file);
        break;
    case MODEL_TLS_ACME:
        image.source = IMAGE_CERTIFICATE_ACME;
        image.acme_directory = block_text(block, tls->acme_directory);
        image.acme_email = block_text(block, tls->acme_email);
        image.acme_provider = block_text(block, tls->acme_provider);
        image.acme_environment_file = block_text(block, tls->acme_environment_file);
        image.acme_ca_file = block_text(block, tls->acme_ca_file);
        break;
    }
    block_add(block, IMAGE_CERTIFICATES, &image);
}

/* RFC 9525 section 6.3: the wildcard stands for one whole label. The default certificate has the domain itself too. */
static bool is_covered_by_wildcard(struct str name, struct str domain)
{
    if (str_equal(name, domain))
        return true;
    struct str rest = name, label = str_split(&rest, '.');
    return label.len && str_equal(rest, domain);
}

static int add_certificates(struct compiler *c, struct block *block, uint32_t surface)
{
    const struct model *m = c->model;
    cleanup_table struct table seen = { 0 };
    add_certificate(c, block, surface, block_printf(block, "*.%.*s", STR_ARG(m->domain.text)));
    for (uint32_t i = 0; i < m->n_services; i++)
        for (uint32_t k = 0; (c->reach[i] >> surface & 1) && k < m->services[i].names.n; k++) {
            struct str name = m->services[i].names.items[k].text;
            if (is_covered_by_wildcard(name, m->domain.text))
                continue;
            int r = table_add(&seen, name, 0, NULL);
            if (r < 0)
                return r;
            if (r == 0)
                add_certificate(c, block, surface, block_text(block, name));
        }
    return 0;
}

int compiler_build_keys(struct compiler *c, struct compile_block *ret)
{
    cleanup_block struct block block;
    block_init(&block, IMAGE_KEYS);
    for (uint32_t i = 0; i < c->model->n_surfaces; i++) {
        uint32_t first = block_count(&block, IMAGE_CERTIFICATES);
        int r = c->served >> i & 1 ? add_certificates(c, &block, i) : 0;
        if (r < 0)
            return r;
        add_surface(c, &block, i, first);
    }
    return block_finish(&block, c->input->generation, c->input->revision, ret);
}

/* ---- all of them ---- */

static int build_blocks(struct compiler *c, struct compile_output *out)
{
    out->n_views = c->model->n_surfaces;
    int r = find_reach(c);
    if (r == 0)
        r = compiler_find_relayed(c);
    if (r == 0)
        r = compiler_read_authorities(c);
    if (r == 0)
        r = compiler_build_plan(c, &out->plan);
    if (r == 0)
        r = compiler_build_keys(c, &out->keys);
    if (r == 0)
        r = compiler_build_dial(c, &out->dial);
    if (r == 0)
        r = compiler_build_docker(c, &out->docker);
    for (uint32_t i = 0; r == 0 && i < c->model->n_surfaces; i++)
        if (c->served >> i & 1)
            r = compiler_build_view(c, i, &out->views[i]);
    if (r == 0 && c->has_relayed)
        r = compiler_build_view(c, IMAGE_SURFACE_DIRECT, &out->views[IMAGE_SURFACE_DIRECT]);
    return r;
}

static int check_input(const struct compiler *c)
{
    const struct model *m = c->model;
    if (m->n_surfaces > IMAGE_SURFACES_MAX)
        return compiler_refuse(c, m->surfaces[IMAGE_SURFACES_MAX].name.at, "more than %d surfaces", IMAGE_SURFACES_MAX);
    if (c->input->gateway >= m->n_hosts) {
        error_set(c->err, "%.*s: this gateway is no host of the declaration", STR_ARG(c->file));
        return -EINVAL;
    }
    const struct model_host *host = &m->hosts[c->input->gateway];
    if (!host->gateway)
        return compiler_refuse(c, host->name.at, "host %.*s is no gateway; declare 'gateway: true' to run one there", STR_ARG(host->name.text));
    return 0;
}

static int report_refused(const struct compile_input *input, const struct offers *offers, struct buf *out)
{
    for (uint32_t i = 0; i < input->n_offers && i <= OFFERS_MAX; i++) /* the first past them says it for all */
        if (!offers->verdicts[i].is_taken) {
            buf_append_json(out, str_first(input->offers[i].name, REFUSED_NAME_MAX));
            buf_append(out, STR(" of container "));
            buf_append_json(out, str_first(input->offers[i].reference, REFUSED_NAME_MAX));
            buf_printf(out, ": %.*s\n", STR_ARG(offers->verdicts[i].why));
        }
    return out->error;
}

static int compile(struct compiler *c, struct compile_output *out)
{
    int r = grants_init(&c->grants, c->model);
    if (r < 0)
        return r;
    r = containers_init(&c->containers, c->model);
    if (r == 0)
        r = build_blocks(c, out);
    containers_deinit(&c->containers);
    grants_deinit(&c->grants);
    return r;
}

int compile_model(const struct compile_input *input, struct compile_output *ret, struct error *err)
{
    struct compiler c = { .input = input, .model = input->model, .err = err, .file = last_component(input->model->file) };
    struct compile_output out = { 0 };
    cleanup_offers struct offers offers = { 0 };
    int r = check_input(&c);
    if (r < 0)
        return r;
    buf_init(&out.refused, REFUSED_MAX);
    for (uint32_t i = 0; i < c.model->n_surfaces; i++)
        c.served |= (uint64_t)serves(&c.model->surfaces[i], input->gateway) << i;
    if (input->n_offers) {
        r = offers_init(&offers, input->model, input->gateway, input->offers, input->n_offers);
        c.model = &offers.model;
        c.verdicts = offers.verdicts;
        if (r == 0)
            r = report_refused(input, &offers, &out.refused);
    }
    arena_init(&c.arena, 0);
    if (r == 0)
        r = compile(&c, &out);
    if (r == -E2BIG) {
        error_set(err, "%.*s: too large: a compiled part would pass %d MiB", STR_ARG(c.file), BLOCK_SIZE_MAX >> 20);
        r = -EINVAL;
    }
    table_deinit(&c.ca_index);
    arena_deinit(&c.arena);
    if (r < 0)
        compile_output_deinit(&out);
    else
        *ret = out;
    return r;
}

void compile_output_deinit(struct compile_output *output)
{
    free(output->plan.data);
    free(output->dial.data);
    free(output->keys.data);
    free(output->docker.data);
    for (uint32_t i = 0; i < IMAGE_VIEWS_MAX; i++)
        free(output->views[i].data);
    buf_deinit(&output->refused);
    *output = (struct compile_output){ 0 };
}
