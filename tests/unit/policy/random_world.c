/* Declarations from a seed. Addresses come from a few small networks, so that collisions of all kinds are common. */
#include "random_world.h"

#include <stdio.h>

static const char *const prefixes[] = {
    "10.0.0.0/24", "10.0.0.0/28", "10.0.0.8/29", "10.0.0.8/30", "10.0.1.0/24", "10.0.0.21", "10.0.0.35",
    "fd00::7", "fd00::/64", "fd00::/120", "fd00::40/122", "::/0", "0.0.0.0/0",
};
static const char *const service_names[] = { "a", "ab", "abc", "mcp-a", "mcp-b", "mcp", "x-mcp", "b", "b-x", "c" };
static const char *const patterns[] = { "*", "a*", "*b", "mcp-*", "*-*", "x*p", "zz*" };

static bool chance(uint64_t *seed, uint32_t percent)
{
    return random_below(seed, 100) < percent;
}

/* Each prefix once at most: two segments may not share one. */
static void add_segments(struct world *w, uint64_t *seed)
{
    uint32_t n = 1 + random_below(seed, 4);
    char lists[4][256] = { "", "", "", "" };
    for (size_t i = 0; i < ARRAY_SIZE(prefixes); i++) {
        if (!chance(seed, 35))
            continue;
        char *list = lists[random_below(seed, n)];
        size_t len = strlen(list);
        snprintf(list + len, sizeof lists[0] - len, "%s%s", len ? "," : "", prefixes[i]);
    }
    for (uint32_t i = 0; i < n; i++) {
        char name[16];
        snprintf(name, sizeof name, "seg%u", i);
        world_segment(w, name, lists[i]);
    }
}

static void add_hosts(struct world *w, uint64_t *seed)
{
    uint32_t n = 2 + random_below(seed, 10), offset = random_below(seed, 64);
    for (uint32_t i = 0; i < n; i++) {
        char name[16], segment[16], addresses[96] = "";
        snprintf(name, sizeof name, "h%u", i);
        snprintf(segment, sizeof segment, "seg%u", random_below(seed, w->model.n_segments));
        uint32_t last = (offset + i * 7) % 64; /* distinct: 7 and 64 share no divisor */
        if (i == 0 || chance(seed, 80))
            snprintf(addresses, sizeof addresses, chance(seed, 50) ? "10.0.0.%u" : "10.0.0.%u,fd00::%x", last, last);
        if (addresses[0] == '\0' && chance(seed, 60))
            snprintf(addresses, sizeof addresses, "fd00::%x", last);
        uint32_t index = world_host(w, name, segment, addresses);
        w->model.hosts[index].gateway = i == 0 || chance(seed, 25);
    }
}

static void add_surfaces(struct world *w, uint64_t *seed)
{
    uint32_t n = 1 + random_below(seed, 4);
    for (uint32_t i = 0; i < n; i++) {
        char name[16];
        snprintf(name, sizeof name, "sur%u", i);
        struct model_surface *s = &w->model.surfaces[world_surface(w, name, (uint16_t)(443 + i))];
        if (chance(seed, 30))
            s->redirect_port = (uint16_t)(80 + i);
        if (chance(seed, 15))
            s->addresses = world_prefixes(w, "10.9.9.9");
    }
}

/* The reader lets no two direct services have one port of a host. */
static bool is_direct_port(const struct world *w, uint16_t port)
{
    for (uint32_t i = 0; i < w->model.n_services; i++)
        if (w->model.services[i].kind == MODEL_KIND_DIRECT && w->model.services[i].port == port)
            return true;
    return false;
}

/* Several services may share a container, and a project's name says nothing of a host on which it isn't listed. */
static void add_projects(struct world *w, uint64_t *seed)
{
    for (uint32_t i = 0; i < 3; i++) {
        char name[16], host[32];
        snprintf(name, sizeof name, "p%u", i);
        snprintf(host, sizeof host, "h%u", random_below(seed, 3) ? 0 : random_below(seed, w->model.n_hosts));
        if (chance(seed, 60))
            world_project(w, name, host, chance(seed, 70) ? MODEL_MODE_ENFORCE : MODEL_MODE_OBSERVE,
                          chance(seed, 50) ? MODEL_INSIDE_OPEN : MODEL_INSIDE_DECLARED);
    }
}

static void add_container(struct world *w, uint64_t *seed, struct model_service *s)
{
    char text[32];
    snprintf(text, sizeof text, chance(seed, 70) ? "p%u/s%u" : "c%u%u", random_below(seed, 3), random_below(seed, 5));
    s->where = MODEL_WHERE_CONTAINER;
    s->place.text = world_text(w, text);
    for (uint32_t i = 0; i < w->model.n_projects; i++)
        if (str_equal(w->model.projects[i].name.text, model_service_project(s)))
            s->project = i;
}

static void add_services(struct world *w, uint64_t *seed)
{
    for (size_t i = 0; i < ARRAY_SIZE(service_names); i++) {
        if (!chance(seed, 60))
            continue;
        char host[16];
        snprintf(host, sizeof host, "h%u", random_below(seed, w->model.n_hosts));
        struct model_service *s = world_service(w, service_names[i], host, (uint16_t)(1000 + random_below(seed, 3)));
        if (chance(seed, 30) && s->hosts.items[0] != 0) {
            s->hosts = (struct model_indexes){ arena_array(&w->model.arena, 2, uint32_t), 2 };
            s->hosts.items[0] = world_find_host(w, host);
        }
        s->loopback = chance(seed, 10);
        if (chance(seed, 40))
            add_container(w, seed, s);
        if (chance(seed, 30))
            s->surfaces = world_surfaces(w, "sur0");
        if (chance(seed, 10))
            s->kind = MODEL_KIND_INTERNAL;
        else if (chance(seed, 15) && !is_direct_port(w, s->port))
            s->kind = MODEL_KIND_DIRECT;
        s->transport = s->kind == MODEL_KIND_DIRECT && chance(seed, 50) ? MODEL_UDP : MODEL_TCP;
    }
}

static void append(char *list, size_t size, const char *item)
{
    size_t len = strlen(list);
    snprintf(list + len, size - len, "%s%s", len ? "," : "", item);
}

static uint32_t random_container(const struct world *w, uint64_t *seed)
{
    uint32_t first = w->model.n_services ? random_below(seed, w->model.n_services) : 0;
    for (uint32_t i = 0; i < w->model.n_services; i++)
        if (w->model.services[(first + i) % w->model.n_services].where == MODEL_WHERE_CONTAINER)
            return (first + i) % w->model.n_services;
    return MODEL_NONE;
}

/* What a service may be granted; hosts and segments have grants of their own, as the reader would have it. */
static void add_container_grants(struct world *w, uint64_t *seed)
{
    for (uint32_t i = 0, n = random_below(seed, 6); i < n; i++) {
        char from[128] = "", to[256] = "", over[128] = "", item[48];
        bool is_web = chance(seed, 50);
        for (uint32_t k = 1 + random_below(seed, 2); k; k--) {
            uint32_t asks = random_container(w, seed), asked = random_container(w, seed);
            if (asks == MODEL_NONE)
                return;
            append(from, sizeof from, w->model.services[asks].name.text.ptr);
            snprintf(item, sizeof item, chance(seed, 70) ? "%s:%u" : "%s:udp/%u", w->model.services[asked].name.text.ptr, 1000 + random_below(seed, 3));
            append(to, sizeof to, is_web ? chance(seed, 50) ? patterns[random_below(seed, ARRAY_SIZE(patterns))] :
                                                              w->model.services[random_below(seed, w->model.n_services)].name.text.ptr :
                                           chance(seed, 25) ? "internet" : item);
        }
        for (uint32_t k = 0; is_web && k < w->model.n_surfaces; k++) {
            snprintf(item, sizeof item, "sur%u", k);
            if (chance(seed, 60))
                append(over, sizeof over, item);
        }
        if (chance(seed, 30) && is_web)
            append(from, sizeof from, "h1");
        world_grant(w, 60 + i, from, to, over);
    }
}

static void add_grants(struct world *w, uint64_t *seed)
{
    uint32_t n = random_below(seed, 9);
    for (uint32_t i = 0; i < n; i++) {
        char from[128] = "", to[256] = "", over[128] = "", item[32];
        for (uint32_t k = 1 + random_below(seed, 3); k; k--) {
            bool is_host = chance(seed, 60);
            snprintf(item, sizeof item, is_host ? "h%u" : "seg%u", random_below(seed, is_host ? w->model.n_hosts : w->model.n_segments));
            append(from, sizeof from, item);
        }
        for (uint32_t k = 1 + random_below(seed, 3); k; k--) {
            uint32_t kind = random_below(seed, 4);
            snprintf(item, sizeof item, "h%u:%u", random_below(seed, w->model.n_hosts), 1000 + random_below(seed, 3));
            if (kind == 0)
                append(to, sizeof to, patterns[random_below(seed, ARRAY_SIZE(patterns))]);
            else if (kind == 1 || w->model.n_services == 0)
                append(to, sizeof to, item);
            else
                append(to, sizeof to, w->model.services[random_below(seed, w->model.n_services)].name.text.ptr);
        }
        for (uint32_t k = 0; k < w->model.n_surfaces; k++) {
            snprintf(item, sizeof item, "sur%u", k);
            if (chance(seed, 50))
                append(over, sizeof over, item);
        }
        world_grant(w, 40 + i, from, to, over);
    }
}

void random_world(struct world *w, uint64_t seed)
{
    world_init(w);
    add_segments(w, &seed);
    add_hosts(w, &seed);
    add_surfaces(w, &seed);
    add_projects(w, &seed);
    add_services(w, &seed);
    add_grants(w, &seed);
    add_container_grants(w, &seed);
}

static struct address neighbour(struct address a, bool up)
{
    for (unsigned i = 16; i-- > 0;) {
        a.bytes[i] = (uint8_t)(up ? a.bytes[i] + 1 : a.bytes[i] - 1);
        if (a.bytes[i] != (up ? 0 : 0xff))
            break;
    }
    return a;
}

uint32_t random_probes(const struct world *w, uint64_t seed, struct address probes[static PROBES_MAX])
{
    uint32_t n = 0;
    for (uint32_t i = 0; i < w->model.n_hosts; i++)
        for (uint32_t k = 0; k < w->model.hosts[i].addresses.n; k++)
            probes[n++] = w->model.hosts[i].addresses.items[k].address;
    for (uint32_t i = 0; i < w->model.n_segments; i++)
        for (uint32_t k = 0; k < w->model.segments[i].addresses.n; k++) {
            const struct address_prefix *p = &w->model.segments[i].addresses.items[k];
            struct address last = p->address;
            for (unsigned bit = p->bits; bit < 128; bit++)
                last.bytes[bit / 8] |= (uint8_t)(0x80 >> bit % 8);
            probes[n++] = p->address;
            probes[n++] = last;
            probes[n++] = neighbour(p->address, false);
            probes[n++] = neighbour(last, true);
        }
    for (unsigned i = 0; i < 24; i++) {
        char text[ADDRESS_TEXT_SIZE];
        snprintf(text, sizeof text, i % 2 ? "fd00::%x" : "10.0.0.%u", random_below(&seed, 128));
        n += address_parse(str_of(text), &probes[n]);
    }
    n += address_parse(STR("10.9.9.9"), &probes[n]);
    n += address_parse(STR("2001:db8::1"), &probes[n]);
    return n;
}
