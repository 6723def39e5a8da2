/* The dial block: where each instance is, and a fingerprint of how it is dialled. */
#include <errno.h>
#include <sys/un.h>

#include "policy/compiler.h"

uint32_t compiler_instance_host(const struct compiler *c, const struct model_service *service, uint32_t k)
{
    uint32_t local = 0;
    while (local < service->hosts.n && service->hosts.items[local] != c->input->gateway)
        local++;
    if (local == service->hosts.n || k > local)
        return service->hosts.items[k];
    return k == 0 ? service->hosts.items[local] : service->hosts.items[k - 1];
}

/* ---- certificate authorities ---- */

static bool needs_authorities(const struct model_service *service)
{
    return service->protocol == MODEL_PROTOCOL_HTTPS && !service->tls_insecure && (service->tls_pin.len == 0 || service->tls_ca_file.len);
}

const struct compiler_ca *compiler_find_authorities(const struct compiler *c, const struct model_service *service)
{
    uint32_t index;
    if (!needs_authorities(service) || !table_get(&c->ca_index, service->tls_ca_file, &index))
        return NULL;
    return &c->authorities[index];
}

int compiler_read_authorities(struct compiler *c)
{
    const struct model *m = c->model;
    if (!c->input->read_ca)
        return 0;
    c->authorities = arena_array(&c->arena, m->n_services, struct compiler_ca);
    if (!c->authorities)
        return -ENOMEM;
    for (uint32_t i = 0; i < m->n_services; i++) {
        const struct model_service *s = &m->services[i];
        if (!c->reach[i] || !needs_authorities(s))
            continue;
        uint32_t at = c->ca_index.n_used;
        int r = table_add(&c->ca_index, s->tls_ca_file, at, NULL);
        if (r < 0)
            return r;
        if (r == TABLE_E_EXISTS)
            continue;
        struct str pem = STR_NONE;
        r = c->input->read_ca(c->input->context, s->tls_ca_file, &pem, c->err);
        if (r < 0) {
            error_wrap(c->err, "%.*s:%u: certificate authorities of service %.*s", STR_ARG(c->file), s->name.at.line, STR_ARG(s->name.text));
            return -EINVAL;
        }
        c->authorities[at] = (struct compiler_ca){ pem, str_hash(pem) };
    }
    return 0;
}

/* ---- where an instance is ---- */

static void set_addresses(struct image_target *t, const struct model_prefixes *addresses)
{
    t->n_addresses = addresses->n < IMAGE_TARGET_ADDRESSES ? addresses->n : IMAGE_TARGET_ADDRESSES;
    for (uint32_t i = 0; i < t->n_addresses; i++)
        t->addresses[i] = addresses->items[i].address;
}

/* Of the addresses that it has of its own, those that other hosts dial. */
static void set_addresses_there(struct image_target *t, const struct model_service *service)
{
    t->n_addresses = 0;
    for (uint32_t i = 0; i < service->addresses.n && t->n_addresses < IMAGE_TARGET_ADDRESSES; i++)
        if (model_is_dialled_from_afar(service, &service->addresses.items[i].address))
            t->addresses[t->n_addresses++] = service->addresses.items[i].address;
}

static void set_loopback(struct image_target *t)
{
    static const struct address loopback[2] = {
        { { [10] = 0xff, [11] = 0xff, [12] = 127, [15] = 1 } },
        { { [15] = 1 } },
    };
    t->n_addresses = 2;
    memcpy(t->addresses, loopback, sizeof loopback);
}

/* What to dial from inside a namespace that has nothing but its loopback: the gateway's first address of each family. */
static void set_sources(const struct compiler *c, struct image_target *t)
{
    const struct model_prefixes *own = &c->model->hosts[c->input->gateway].addresses;
    bool has[2] = { false, false };
    for (uint32_t i = 0; i < own->n; i++) {
        unsigned family = address_is_v4(&own->items[i].address) ? 0 : 1;
        if (!has[family])
            t->sources[family] = own->items[i].address;
        has[family] = true;
    }
}

static void set_unresolved(struct image_target *t, struct image_text why)
{
    t->kind = IMAGE_TARGET_UNRESOLVED;
    t->n_addresses = 0;
    memset(t->addresses, 0, sizeof t->addresses);
    memset(t->sources, 0, sizeof t->sources);
    t->path = why;
}

static void resolve_host_port(struct block *block, const struct model_service *service, const struct model_host *host, bool is_here, struct image_target *t)
{
    bool has_own = service->addresses.n;
    t->kind = IMAGE_TARGET_ADDRESS;
    if (has_own && is_here)
        set_addresses(t, &service->addresses);
    else if (has_own)
        set_addresses_there(t, service);
    else if (service->loopback && is_here)
        set_loopback(t);
    else if (!service->loopback)
        set_addresses(t, &host->addresses);
    if (t->n_addresses)
        return;
    if (has_own || service->loopback)
        set_unresolved(t, block_printf(block, "is on the loopback of %.*s", STR_ARG(host->name.text)));
    else
        set_unresolved(t, block_printf(block, "has no address: none is declared for %.*s", STR_ARG(host->name.text)));
}

void compile_container_file(struct buf *out, struct str place)
{
    size_t slash = str_find_char(place, '/');
    buf_append(out, str_first(place, slash));
    if (slash < place.len)
        buf_append_char(out, '@');
    buf_append(out, str_skip(place, slash < place.len ? slash + 1 : slash));
}

/* The broker opens what it finds there with privileges: a name must not lead out of the directory. */
static bool is_plain_name(struct str name)
{
    return name.len && !str_equal(name, STR(".")) && !str_equal(name, STR("..")) && !memchr(name.ptr, '/', name.len) &&
           !memchr(name.ptr, '\0', name.len);
}

static int resolve_container(struct compiler *c, struct block *block, const struct model_service *service, struct image_target *t)
{
    struct str directory = c->input->container_directory;
    cleanup_buf struct buf file;
    buf_init(&file, 4096);
    compile_container_file(&file, service->place.text);
    if (file.error || !is_plain_name(buf_str(&file)))
        return compiler_refuse(c, service->place.at, "container '%.*s' is no container's name", STR_ARG(service->place.text));
    if (directory.len) {
        t->path = block_printf(block, "%.*s/%.*s", STR_ARG(directory), STR_ARG(buf_str(&file)));
        return 0;
    }
    t->kind = IMAGE_TARGET_CONTAINER;
    t->container = image_container_number(service->place.text);
    t->path = block_text(block, service->place.text);
    return 0;
}

static int resolve_unix(struct compiler *c, struct block *block, const struct model_service *service, struct image_target *t)
{
    enum { LONGEST = sizeof ((struct sockaddr_un *)0)->sun_path - 1 };
    struct str path = service->place.text;
    if (path.len == 0 || path.len > LONGEST || path.ptr[0] != '/' || memchr(path.ptr, '\0', path.len))
        return compiler_refuse(c, service->place.at, "'%.*s' is no path of a socket: it must be absolute and at most %d bytes", STR_ARG(path),
                               (int)LONGEST);
    t->kind = IMAGE_TARGET_UNIX;
    t->path = block_text(block, path);
    return 0;
}

static int resolve(struct compiler *c, struct block *block, const struct model_service *service, uint32_t host_index, struct image_target *t)
{
    const struct model_host *host = &c->model->hosts[host_index];
    bool is_here = host_index == c->input->gateway;
    if (service->where == MODEL_WHERE_HOST) {
        resolve_host_port(block, service, host, is_here, t);
        return 0;
    }
    if (!is_here) { /* not reached over the mesh: only a gateway there could */
        set_unresolved(t, block_printf(block, "is on %.*s", STR_ARG(host->name.text)));
        return 0;
    }
    if (service->where == MODEL_WHERE_UNIX)
        return resolve_unix(c, block, service, t);
    t->kind = IMAGE_TARGET_NETNS;
    if (service->addresses.n)
        set_addresses(t, &service->addresses);
    else if (service->loopback)
        set_loopback(t);
    else
        set_sources(c, t);
    if (service->where == MODEL_WHERE_CONTAINER)
        return resolve_container(c, block, service, t);
    if (service->place.text.len == 0 || service->place.text.ptr[0] != '/' || memchr(service->place.text.ptr, '\0', service->place.text.len))
        return compiler_refuse(c, service->place.at, "'%.*s' is no absolute path of a network namespace", STR_ARG(service->place.text));
    t->path = block_text(block, service->place.text);
    return 0;
}

/* ---- the fingerprint ---- */

static void fingerprint_text(struct buf *buf, struct str s)
{
    uint64_t len = s.len; /* before the text, so that no two lists of texts look alike */
    buf_append(buf, str_make((const char *)&len, sizeof len));
    buf_append(buf, s);
}

/* Over all that decides what a connection is connected to and how it is trusted: kind, place, port, protocol and TLS's demands. */
static int fingerprint(struct compiler *c, const struct block *block, const struct model_service *service, const struct image_target *t, uint64_t *ret)
{
    const struct compiler_ca *ca = compiler_find_authorities(c, service);
    uint64_t numbers[] = { t->kind, t->port, t->n_addresses, service->protocol, service->tls_insecure, ca ? ca->hash : 0, t->direct };
    cleanup_buf struct buf buf;
    buf_init(&buf, 1 << 20);
    buf_append(&buf, str_make((const char *)numbers, sizeof numbers));
    buf_append(&buf, str_make((const char *)t->addresses, sizeof t->addresses));
    buf_append(&buf, str_make((const char *)t->sources, sizeof t->sources));
    fingerprint_text(&buf, block_str(block, t->path));
    if (service->protocol == MODEL_PROTOCOL_HTTPS) {
        fingerprint_text(&buf, service->tls_name.len ? service->tls_name : service->name.text);
        fingerprint_text(&buf, service->tls_pin);
    }
    if (buf.error)
        return buf.error;
    *ret = str_hash(buf_str(&buf));
    return 0;
}

static int add_target(struct compiler *c, struct block *block, uint32_t service_index, uint32_t k)
{
    const struct model_service *service = &c->model->services[service_index];
    uint32_t host = compiler_instance_host(c, service, k);
    struct image_target t = { .surfaces = c->reach[service_index], .port = service->where == MODEL_WHERE_UNIX ? 0 : service->port };
    if (c->is_relayed[service_index])
        t.direct = service->transport == MODEL_UDP ? IMAGE_DIRECT_UDP : IMAGE_DIRECT_TCP;
    t.name = block_printf(block, "%.*s@%.*s", STR_ARG(service->name.text), STR_ARG(c->model->hosts[host].name.text));
    int r = resolve(c, block, service, host, &t);
    if (r == 0)
        r = fingerprint(c, block, service, &t, &t.identity);
    if (r < 0)
        return r;
    c->identities[block_add(block, IMAGE_TARGETS, &t)] = t.identity;
    return 0;
}

int compiler_build_dial(struct compiler *c, struct compile_block *ret)
{
    const struct model *m = c->model;
    cleanup_block struct block block;
    block_init(&block, IMAGE_DIAL);
    size_t n = 0;
    for (uint32_t i = 0; i < m->n_services; i++)
        n += compiler_n_targets(c, i);
    c->first_target = arena_array(&c->arena, m->n_services, uint32_t);
    c->identities = arena_array(&c->arena, n, uint64_t);
    if (!c->first_target || !c->identities)
        return -ENOMEM;
    for (uint32_t i = 0; i < m->n_services; i++) {
        c->first_target[i] = block_count(&block, IMAGE_TARGETS);
        for (uint32_t k = 0; k < compiler_n_targets(c, i); k++) {
            int r = add_target(c, &block, i, k);
            if (r < 0)
                return r;
        }
    }
    return block_finish(&block, c->input->generation, c->input->revision, ret);
}
