/* Attaching to a compiled block, checking every offset and index once, and the look-ups that then trust it. */
#include "policy/image.h"

#include <errno.h>

static const uint32_t strides[IMAGE_SECTION_COUNT] = {
    [IMAGE_STRINGS] = 1,
    [IMAGE_BLOBS] = 1,
    [IMAGE_SURFACES] = sizeof(struct image_surface),
    [IMAGE_PRINCIPALS] = sizeof(struct image_principal),
    [IMAGE_ADDRESSES] = sizeof(struct image_address_slot),
    [IMAGE_PREFIXES] = sizeof(struct image_prefix),
    [IMAGE_NAMES] = sizeof(struct image_name_slot),
    [IMAGE_SERVICES] = sizeof(struct image_service),
    [IMAGE_INSTANCES] = sizeof(struct image_instance),
    [IMAGE_VERDICTS] = sizeof(uint32_t),
    [IMAGE_RULES] = sizeof(struct image_rule),
    [IMAGE_TARGETS] = sizeof(struct image_target),
    [IMAGE_LISTENERS] = sizeof(struct image_listener),
    [IMAGE_SETTINGS] = sizeof(struct image_settings),
    [IMAGE_CERTIFICATES] = sizeof(struct image_certificate),
    [IMAGE_CONTAINERS] = sizeof(struct image_container),
    [IMAGE_ENGINE] = sizeof(struct image_engine),
    [IMAGE_OFFERS] = sizeof(struct image_offer),
};

static const char *const section_names[IMAGE_SECTION_COUNT] = {
    "strings", "blobs", "surfaces", "principals", "addresses", "prefixes", "names", "services",
    "instances", "verdicts", "rules", "targets", "listeners", "settings", "certificates", "containers", "engine", "offers",
};

#define BIT(id) (1u << (id))
static const uint32_t kind_sections[] = {
    [IMAGE_VIEW] = BIT(IMAGE_STRINGS) | BIT(IMAGE_BLOBS) | BIT(IMAGE_SURFACES) | BIT(IMAGE_PRINCIPALS) | BIT(IMAGE_ADDRESSES) |
                   BIT(IMAGE_PREFIXES) | BIT(IMAGE_NAMES) | BIT(IMAGE_SERVICES) | BIT(IMAGE_INSTANCES) | BIT(IMAGE_VERDICTS) |
                   BIT(IMAGE_RULES),
    [IMAGE_DIAL] = BIT(IMAGE_STRINGS) | BIT(IMAGE_TARGETS),
    [IMAGE_PLAN] = BIT(IMAGE_STRINGS) | BIT(IMAGE_SURFACES) | BIT(IMAGE_LISTENERS) | BIT(IMAGE_SETTINGS) | BIT(IMAGE_OFFERS),
    [IMAGE_KEYS] = BIT(IMAGE_STRINGS) | BIT(IMAGE_SURFACES) | BIT(IMAGE_CERTIFICATES),
    [IMAGE_DOCKER] = BIT(IMAGE_STRINGS) | BIT(IMAGE_CONTAINERS) | BIT(IMAGE_ENGINE),
};

/* No struct may have padding: blocks are compared and hashed by their bytes. */
_Static_assert(sizeof(struct image_header) == 64 + IMAGE_SECTION_COUNT * sizeof(struct image_section), "layout");
_Static_assert(sizeof(struct image_surface) == 44 && sizeof(struct image_principal) == 32, "layout");
_Static_assert(sizeof(struct image_address_slot) == 32 && sizeof(struct image_prefix) == 24, "layout");
_Static_assert(sizeof(struct image_name_slot) == 16 && sizeof(struct image_service) == 48, "layout");
_Static_assert(sizeof(struct image_instance) == 24 && sizeof(struct image_target) == 152, "layout");
_Static_assert(sizeof(struct image_listener) == 32 && sizeof(struct image_settings) == 56, "layout");
_Static_assert(sizeof(struct image_certificate) == 72 && sizeof(struct image_rule) == 8, "layout");
_Static_assert(sizeof(struct image_container) == 24 && sizeof(struct image_engine) == 16 && sizeof(struct image_offer) == 32, "layout");

uint32_t image_section_stride(enum image_section_id id)
{
    return strides[id];
}

bool image_section_belongs(enum image_kind kind, enum image_section_id id)
{
    return kind_sections[kind] & BIT(id);
}

/* ---- attach ---- */

struct checker {
    struct image image;
    struct error *err;
};

static bool wrong(const struct checker *c, enum image_section_id id, uint64_t index, const char *why)
{
    error_set(c->err, "image: %s[%llu]: %s", section_names[id], (unsigned long long)index, why);
    return false;
}

static bool text_fits(const struct checker *c, struct image_text text)
{
    return (uint64_t)text.offset + text.length <= c->image.header->sections[IMAGE_STRINGS].count;
}

static bool check_header(const struct checker *c, size_t size, enum image_kind kind)
{
    const struct image_header *h = c->image.header;
    if (memcmp(h->magic, IMAGE_MAGIC, sizeof h->magic) != 0)
        error_set(c->err, "image: not a postern block");
    else if (h->version != IMAGE_VERSION)
        error_set(c->err, "image: version %u where this program knows %d", h->version, IMAGE_VERSION);
    else if (h->kind != (uint32_t)kind)
        error_set(c->err, "image: a block of kind %u where %u was expected", h->kind, (unsigned)kind);
    else if (h->size != size)
        error_set(c->err, "image: its size says %llu, it has %zu bytes", (unsigned long long)h->size, size);
    else if (!memchr(h->revision, '\0', sizeof h->revision))
        error_set(c->err, "image: unterminated revision");
    else
        return true;
    return false;
}

/* Sections lie in the order of their numbers, so that comparing each with the end of the one before finds every overlap. */
static bool check_sections(const struct checker *c, enum image_kind kind)
{
    const struct image_header *h = c->image.header;
    uint64_t end = sizeof *h;
    for (unsigned id = 0; id < IMAGE_SECTION_COUNT; id++) {
        const struct image_section *s = &h->sections[id];
        uint64_t bytes;
        if (!image_section_belongs(kind, id)) {
            if (s->offset || s->count || s->stride || s->unused)
                return wrong(c, id, 0, "no section of this kind of block");
            continue;
        }
        if (s->stride != strides[id] || s->unused)
            return wrong(c, id, 0, "unknown layout");
        if (s->count >= IMAGE_NOBODY || __builtin_mul_overflow(s->count, s->stride, &bytes))
            return wrong(c, id, 0, "too many elements");
        if (s->offset % IMAGE_ALIGN || s->offset < end || s->offset > h->size || bytes > h->size - s->offset)
            return wrong(c, id, 0, "outside the block, unaligned, or over another section");
        end = s->offset + bytes;
    }
    return true;
}

static bool check_surfaces(const struct checker *c, enum image_kind kind)
{
    uint32_t n = image_count(c->image, IMAGE_SURFACES), n_certificates = image_count(c->image, IMAGE_CERTIFICATES);
    if (n > IMAGE_SURFACES_MAX || (kind == IMAGE_VIEW && n != 1))
        return wrong(c, IMAGE_SURFACES, n, "wrong number of surfaces");
    for (uint32_t i = 0; i < n; i++) {
        const struct image_surface *s = image_surface(c->image, i);
        if (!text_fits(c, s->name) || !text_fits(c, s->domain))
            return wrong(c, IMAGE_SURFACES, i, "text outside the strings");
        if (kind == IMAGE_VIEW ? s->index >= IMAGE_VIEWS_MAX : s->index != i)
            return wrong(c, IMAGE_SURFACES, i, "wrong number");
        if ((uint64_t)s->first_certificate + s->n_certificates > n_certificates)
            return wrong(c, IMAGE_SURFACES, i, "certificates out of range");
        if (kind != IMAGE_VIEW && s->n_classes)
            return wrong(c, IMAGE_SURFACES, i, "classes without verdicts");
    }
    return true;
}

static bool check_principals(const struct checker *c)
{
    uint32_t n = image_count(c->image, IMAGE_PRINCIPALS), n_classes = image_surface(c->image, 0)->n_classes;
    for (uint32_t i = 0; i < n; i++) {
        const struct image_principal *p = image_principal(c->image, i);
        if (!text_fits(c, p->host) || !text_fits(c, p->segment))
            return wrong(c, IMAGE_PRINCIPALS, i, "text outside the strings");
        if (p->class_index >= n_classes)
            return wrong(c, IMAGE_PRINCIPALS, i, "class out of range");
    }
    return true;
}

/* A hash table must have a free slot, or a look-up of what is not in it would not end. */
static bool check_table_size(const struct checker *c, enum image_section_id id)
{
    uint32_t n = image_count(c->image, id);
    return (n && (n & (n - 1)) == 0) || wrong(c, id, n, "not a power of two of slots");
}

static bool check_addresses(const struct checker *c)
{
    const struct image_address_slot *slots = image_section(c->image, IMAGE_ADDRESSES);
    uint32_t n = image_count(c->image, IMAGE_ADDRESSES), n_principals = image_count(c->image, IMAGE_PRINCIPALS), n_empty = 0;
    if (!check_table_size(c, IMAGE_ADDRESSES))
        return false;
    for (uint32_t i = 0; i < n; i++) {
        n_empty += slots[i].principal == IMAGE_NONE;
        if (slots[i].principal < IMAGE_NOBODY && slots[i].principal >= n_principals)
            return wrong(c, IMAGE_ADDRESSES, i, "principal out of range");
    }
    return n_empty || wrong(c, IMAGE_ADDRESSES, n, "no empty slot");
}

/* Longest first, then by address: the order that look-ups search in. */
static int prefix_order(const struct address_prefix *a, unsigned bits, const struct address *address)
{
    if (a->bits != bits)
        return a->bits > bits ? -1 : 1;
    return address_compare(&a->address, address);
}

static bool check_prefixes(const struct checker *c)
{
    const struct image_prefix *p = image_section(c->image, IMAGE_PREFIXES);
    uint32_t n = image_count(c->image, IMAGE_PREFIXES), n_principals = image_count(c->image, IMAGE_PRINCIPALS);
    for (uint32_t i = 0; i < n; i++) {
        if (p[i].principal != IMAGE_NOBODY && p[i].principal >= n_principals)
            return wrong(c, IMAGE_PREFIXES, i, "principal out of range");
        if (p[i].prefix.bits > 128)
            return wrong(c, IMAGE_PREFIXES, i, "more bits than an address has");
        if (i && prefix_order(&p[i - 1].prefix, p[i].prefix.bits, &p[i].prefix.address) >= 0)
            return wrong(c, IMAGE_PREFIXES, i, "not in order");
    }
    return true;
}

static bool check_names(const struct checker *c)
{
    const struct image_name_slot *slots = image_section(c->image, IMAGE_NAMES);
    uint32_t n = image_count(c->image, IMAGE_NAMES), n_empty = 0;
    if (!check_table_size(c, IMAGE_NAMES))
        return false;
    for (uint32_t i = 0; i < n; i++) {
        if (!text_fits(c, slots[i].name))
            return wrong(c, IMAGE_NAMES, i, "text outside the strings");
        if (slots[i].name.length == 0) {
            n_empty++;
            continue;
        }
        if (slots[i].service >= image_count(c->image, IMAGE_SERVICES))
            return wrong(c, IMAGE_NAMES, i, "service out of range");
        if (slots[i].instance == IMAGE_NONE)
            continue;
        if (slots[i].instance >= image_count(c->image, IMAGE_INSTANCES) ||
            image_instance(c->image, slots[i].instance)->service != slots[i].service)
            return wrong(c, IMAGE_NAMES, i, "no instance of its service");
    }
    return n_empty || wrong(c, IMAGE_NAMES, n, "no empty slot");
}

static bool check_services(const struct checker *c)
{
    uint32_t n = image_count(c->image, IMAGE_SERVICES), next_instance = 0;
    for (uint32_t i = 0; i < n; i++) {
        const struct image_service *s = image_service(c->image, i);
        if (!text_fits(c, s->name) || !text_fits(c, s->tls_name) || !text_fits(c, s->tls_pin))
            return wrong(c, IMAGE_SERVICES, i, "text outside the strings");
        if ((uint64_t)s->tls_ca_offset + s->tls_ca_length > image_count(c->image, IMAGE_BLOBS))
            return wrong(c, IMAGE_SERVICES, i, "certificate authorities outside the blobs");
        if (s->protocol > IMAGE_PROTOCOL_UDP || (s->flags & ~(uint32_t)IMAGE_SERVICE_TLS_INSECURE))
            return wrong(c, IMAGE_SERVICES, i, "unknown protocol or flag");
        if (s->first_instance != next_instance || s->n_instances > image_count(c->image, IMAGE_INSTANCES) - next_instance)
            return wrong(c, IMAGE_SERVICES, i, "instances out of range");
        next_instance += s->n_instances;
        for (uint32_t k = 0; k < s->n_instances; k++)
            if (image_instance(c->image, s->first_instance + k)->service != i)
                return wrong(c, IMAGE_SERVICES, i, "an instance of another service");
    }
    return next_instance == image_count(c->image, IMAGE_INSTANCES) || wrong(c, IMAGE_INSTANCES, next_instance, "no service's");
}

static bool check_instances(const struct checker *c)
{
    uint32_t n = image_count(c->image, IMAGE_INSTANCES);
    for (uint32_t i = 0; i < n; i++)
        if (!text_fits(c, image_instance(c->image, i)->name))
            return wrong(c, IMAGE_INSTANCES, i, "text outside the strings");
    return true;
}

static bool check_verdicts(const struct checker *c)
{
    const uint32_t *verdicts = image_section(c->image, IMAGE_VERDICTS);
    uint64_t n = c->image.header->sections[IMAGE_VERDICTS].count;
    uint32_t n_rules = image_count(c->image, IMAGE_RULES);
    if ((uint64_t)image_surface(c->image, 0)->n_classes * image_count(c->image, IMAGE_SERVICES) != n)
        return wrong(c, IMAGE_VERDICTS, n, "not one for each class and service");
    for (uint64_t i = 0; i < n; i++)
        if (verdicts[i] > n_rules)
            return wrong(c, IMAGE_VERDICTS, i, "rule out of range");
    for (uint32_t i = 0; i < n_rules; i++)
        if (!text_fits(c, image_rule(c->image, i)->place))
            return wrong(c, IMAGE_RULES, i, "text outside the strings");
    return true;
}

static bool check_targets(const struct checker *c)
{
    uint32_t n = image_count(c->image, IMAGE_TARGETS);
    for (uint32_t i = 0; i < n; i++) {
        const struct image_target *t = image_target(c->image, i);
        if (!text_fits(c, t->path) || !text_fits(c, t->name))
            return wrong(c, IMAGE_TARGETS, i, "text outside the strings");
        if (t->kind > IMAGE_TARGET_CONTAINER || t->n_addresses > IMAGE_TARGET_ADDRESSES)
            return wrong(c, IMAGE_TARGETS, i, "unknown kind or too many addresses");
        if (t->direct > IMAGE_DIRECT_UDP || (t->direct && t->surfaces))
            return wrong(c, IMAGE_TARGETS, i, "an unknown kind of direct port, or one that is a surface's too");
        if (t->kind == IMAGE_TARGET_ADDRESS && t->n_addresses == 0)
            return wrong(c, IMAGE_TARGETS, i, "no address");
        if ((t->kind == IMAGE_TARGET_ADDRESS || t->kind == IMAGE_TARGET_NETNS || t->kind == IMAGE_TARGET_CONTAINER) && t->port == 0)
            return wrong(c, IMAGE_TARGETS, i, "no port");
        if ((t->kind == IMAGE_TARGET_CONTAINER) != (t->container != 0))
            return wrong(c, IMAGE_TARGETS, i, "a container without a number, or a number without a container");
        if (t->kind != IMAGE_TARGET_ADDRESS && t->path.length == 0)
            return wrong(c, IMAGE_TARGETS, i, "no path");
        if (memchr(image_str(c->image, t->path).ptr, '\0', t->path.length))
            return wrong(c, IMAGE_TARGETS, i, "a path with a NUL in it");
    }
    return true;
}

static bool check_listeners(const struct checker *c)
{
    uint32_t n = image_count(c->image, IMAGE_LISTENERS), n_surfaces = image_count(c->image, IMAGE_SURFACES);
    for (uint32_t i = 0; i < n; i++) {
        const struct image_listener *l = image_listener(c->image, i);
        bool is_direct = l->kind == IMAGE_LISTENER_DIRECT_TCP || l->kind == IMAGE_LISTENER_DIRECT_UDP;
        if (is_direct ? l->surface != IMAGE_SURFACE_DIRECT : l->surface >= n_surfaces)
            return wrong(c, IMAGE_LISTENERS, i, "surface out of range");
        if (l->kind > IMAGE_LISTENER_DIRECT_UDP || l->port == 0)
            return wrong(c, IMAGE_LISTENERS, i, "unknown kind or no port");
    }
    if (image_count(c->image, IMAGE_SETTINGS) != 1)
        return wrong(c, IMAGE_SETTINGS, image_count(c->image, IMAGE_SETTINGS), "not exactly one");
    const struct image_settings *s = image_settings(c->image, 0);
    return (text_fits(c, s->host) && text_fits(c, s->domain) && text_fits(c, s->log_file) && text_fits(c, s->metrics_unix)) ||
           wrong(c, IMAGE_SETTINGS, 0, "text outside the strings");
}

static bool check_offers(const struct checker *c)
{
    for (uint32_t i = 0; i < image_count(c->image, IMAGE_OFFERS); i++) {
        const struct image_offer *o = image_offer(c->image, i);
        if (!text_fits(c, o->name) || !text_fits(c, o->reference) || !text_fits(c, o->why))
            return wrong(c, IMAGE_OFFERS, i, "text outside the strings");
    }
    return true;
}

static bool check_certificates(const struct checker *c)
{
    uint32_t n = image_count(c->image, IMAGE_CERTIFICATES), n_surfaces = image_count(c->image, IMAGE_SURFACES);
    for (uint32_t i = 0; i < n; i++) {
        const struct image_certificate *k = image_certificate(c->image, i);
        if (k->surface >= n_surfaces || k->source > IMAGE_CERTIFICATE_ACME)
            return wrong(c, IMAGE_CERTIFICATES, i, "surface out of range or unknown source");
        const struct image_surface *s = image_surface(c->image, k->surface);
        if (i < s->first_certificate || i - s->first_certificate >= s->n_certificates)
            return wrong(c, IMAGE_CERTIFICATES, i, "outside its surface's slice");
        if (!text_fits(c, k->name) || !text_fits(c, k->certificate_file) || !text_fits(c, k->key_file) || !text_fits(c, k->acme_directory) ||
            !text_fits(c, k->acme_email) || !text_fits(c, k->acme_provider) || !text_fits(c, k->acme_environment_file) ||
            !text_fits(c, k->acme_ca_file))
            return wrong(c, IMAGE_CERTIFICATES, i, "text outside the strings");
    }
    return true;
}

static bool check_containers(const struct checker *c)
{
    uint32_t n = image_count(c->image, IMAGE_CONTAINERS);
    if (image_count(c->image, IMAGE_ENGINE) != 1)
        return wrong(c, IMAGE_ENGINE, image_count(c->image, IMAGE_ENGINE), "not exactly one");
    const struct image_engine *engine = image_engine(c->image, 0);
    if (!text_fits(c, engine->socket))
        return wrong(c, IMAGE_ENGINE, 0, "text outside the strings");
    struct str socket = image_str(c->image, engine->socket);
    if (socket.len == 0 || socket.ptr[0] != '/' || memchr(socket.ptr, '\0', socket.len) || engine->wants_offers > 1)
        return wrong(c, IMAGE_ENGINE, 0, "no absolute path, or an unknown wish");
    for (uint32_t i = 0; i < n; i++) {
        const struct image_container *k = image_container(c->image, i);
        if (!text_fits(c, k->reference))
            return wrong(c, IMAGE_CONTAINERS, i, "text outside the strings");
        if (k->number != image_container_number(image_str(c->image, k->reference)) || (i && image_container(c->image, i - 1)->number >= k->number))
            return wrong(c, IMAGE_CONTAINERS, i, "another name's number, or not in order");
        if (k->flags == 0 || k->flags & ~(uint32_t)(IMAGE_CONTAINER_DIALLED | IMAGE_CONTAINER_GUEST))
            return wrong(c, IMAGE_CONTAINERS, i, "unknown flags");
    }
    return true;
}

static bool check_contents(const struct checker *c, enum image_kind kind)
{
    switch (kind) {
    case IMAGE_VIEW:
        return check_surfaces(c, kind) && check_principals(c) && check_addresses(c) && check_prefixes(c) && check_instances(c) &&
               check_services(c) && check_names(c) && check_verdicts(c);
    case IMAGE_DIAL: return check_targets(c);
    case IMAGE_PLAN: return check_surfaces(c, kind) && check_listeners(c) && check_offers(c);
    case IMAGE_KEYS: return check_surfaces(c, kind) && check_certificates(c);
    case IMAGE_DOCKER: return check_containers(c);
    }
    return false;
}

int image_attach(const void *data, size_t size, enum image_kind kind, struct image *ret, struct error *err)
{
    struct checker c = { .image = { .header = data }, .err = err };
    if (size < sizeof(struct image_header) || (uintptr_t)data % IMAGE_ALIGN) {
        error_set(err, "image: smaller than a header, or unaligned");
        return -EINVAL;
    }
    if (!check_header(&c, size, kind) || !check_sections(&c, kind) || !check_contents(&c, kind))
        return -EINVAL;
    *ret = c.image;
    return 0;
}

/* ---- look-ups ---- */

/* The first prefix that is not before (bits, address) in order. */
static uint32_t prefix_lower_bound(const struct image_prefix *prefixes, uint32_t first, uint32_t n, unsigned bits, const struct address *address)
{
    uint32_t end = n;
    while (first < end) {
        uint32_t middle = first + (end - first) / 2;
        if (prefix_order(&prefixes[middle].prefix, bits, address) < 0)
            first = middle + 1;
        else
            end = middle;
    }
    return first;
}

/* Two searches per length in use, so that many prefixes cost their logarithm only. */
const struct image_prefix *image_find_prefix(const struct image_prefix *prefixes, uint32_t n, const struct address *address, unsigned max_bits)
{
    static const struct address lowest = { { 0 } };
    uint32_t at = prefix_lower_bound(prefixes, 0, n, max_bits, &lowest);
    const unsigned least = address_is_v4(address) ? 96 : 0; /* a prefix of IPv6 holds no address of IPv4, however short it is */
    while (at < n && prefixes[at].prefix.bits >= least) {
        unsigned bits = prefixes[at].prefix.bits;
        struct address masked = address_mask(address, bits);
        at = prefix_lower_bound(prefixes, at, n, bits, &masked);
        if (at < n && prefix_order(&prefixes[at].prefix, bits, &masked) == 0)
            return &prefixes[at];
        if (bits == 0)
            break;
        at = prefix_lower_bound(prefixes, at, n, bits - 1, &lowest);
    }
    return NULL;
}

uint64_t image_container_number(struct str reference)
{
    uint64_t number = str_hash(reference);
    return number ? number : 1;
}

uint32_t image_find_container(struct image docker, uint64_t number)
{
    uint32_t first = 0, end = image_count(docker, IMAGE_CONTAINERS);
    while (first < end) {
        uint32_t middle = first + (end - first) / 2;
        if (image_container(docker, middle)->number < number)
            first = middle + 1;
        else
            end = middle;
    }
    return first < image_count(docker, IMAGE_CONTAINERS) && image_container(docker, first)->number == number ? first : IMAGE_NONE;
}

uint32_t image_find_guest(struct image view, uint64_t container)
{
    for (uint32_t i = 0; container && i < image_count(view, IMAGE_PRINCIPALS); i++)
        if (image_principal(view, i)->container == container)
            return i;
    return IMAGE_NONE;
}

uint32_t image_find_declared(struct image view, const struct address *address)
{
    const struct image_address_slot *slots = image_section(view, IMAGE_ADDRESSES);
    uint32_t mask = image_count(view, IMAGE_ADDRESSES) - 1;
    uint32_t at = (uint32_t)address_hash(address) & mask;
    while (slots[at].principal != IMAGE_NONE && !address_equal(&slots[at].address, address))
        at = (at + 1) & mask;
    return slots[at].principal;
}

uint32_t image_find_principal(struct image view, const struct address *address)
{
    uint32_t found = image_find_declared(view, address);
    if (found == IMAGE_NONE) {
        const struct image_prefix *prefix =
            image_find_prefix(image_section(view, IMAGE_PREFIXES), image_count(view, IMAGE_PREFIXES), address, 128);
        found = prefix ? prefix->principal : IMAGE_NOBODY;
    }
    return found == IMAGE_NOBODY ? IMAGE_NONE : found;
}

const struct image_name_slot *image_find_name(struct image view, struct str name)
{
    const struct image_name_slot *slots = image_section(view, IMAGE_NAMES);
    uint32_t mask = image_count(view, IMAGE_NAMES) - 1;
    uint32_t at = (uint32_t)str_hash(name) & mask;
    while (slots[at].name.length && !str_equal(image_str(view, slots[at].name), name))
        at = (at + 1) & mask;
    return slots[at].name.length ? &slots[at] : NULL;
}

uint32_t image_verdict(struct image view, uint32_t principal, uint32_t service)
{
    uint32_t n_services = image_count(view, IMAGE_SERVICES);
    if (principal >= image_count(view, IMAGE_PRINCIPALS) || service >= n_services)
        return IMAGE_NONE;
    const uint32_t *verdicts = image_section(view, IMAGE_VERDICTS);
    uint32_t verdict = verdicts[(size_t)image_principal(view, principal)->class_index * n_services + service];
    return verdict ? verdict - 1 : IMAGE_NONE;
}
