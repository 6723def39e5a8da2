/* Guessing what each container serves: a web page on its likeliest port, a database, ports of its own, or nothing known. */
#include <errno.h>
#include <netinet/in.h>
#include <string.h>

#include "base/table.h"
#include "cli/init_plan.h"

enum { CANDIDATES_MAX = 256, DIRECT_MAX = 6 };

struct making {
    const struct observe_engine *engine;
    struct table *names, references;
    struct init_plan *plan;
    uint32_t cap;
    int error;
};

/* ---- names ---- */

static bool is_alphanumeric(char c)
{
    char lower = str_lower_char(c);
    return (lower >= 'a' && lower <= 'z') || (c >= '0' && c <= '9');
}

static bool is_written_plainly(struct str text, const char *more)
{
    for (size_t i = 0; i < text.len; i++)
        if (!is_alphanumeric(text.ptr[i]) && (i == 0 || !strchr(more, text.ptr[i])))
            return false;
    return text.len > 0 && text.len <= 128;
}

/* As postern.yml names it, or "" where it can't: labels are whatever somebody wrote. */
static struct str reference_of(struct making *making, const struct docker_container *one)
{
    if (one->project.len && one->service.len && is_written_plainly(one->project, "_-") && is_written_plainly(one->service, "_.-"))
        return arena_printf(making->plan->arena, "%.*s/%.*s", STR_ARG(one->project), STR_ARG(one->service));
    return is_written_plainly(one->name, "_.-") ? one->name : STR("");
}

static void service_add(struct making *making, struct str name, struct init_service service)
{
    struct init_plan *plan = making->plan;
    if (plan->n_services == making->cap) {
        uint32_t cap = making->cap ? making->cap * 2 : 64;
        struct init_service *moved = arena_array(plan->arena, cap, struct init_service);
        if (!moved) {
            making->error = -ENOMEM;
            return;
        }
        if (plan->n_services)
            memcpy(moved, plan->services, plan->n_services * sizeof *moved);
        plan->services = moved;
        making->cap = cap;
    }
    service.name = init_name_take(plan->arena, making->names, name, plan->hosts[0].name, &making->error);
    plan->services[plan->n_services++] = service;
}

/* ---- ports ---- */

struct candidate {
    uint8_t protocol;
    uint16_t port;
    bool is_published, is_exposed, is_heard;
};

struct candidates {
    struct candidate items[CANDIDATES_MAX];
    uint32_t n;
};

static void candidate_add(struct candidates *list, struct candidate what)
{
    uint32_t i = 0;
    while (i < list->n && (list->items[i].protocol != what.protocol || list->items[i].port != what.port))
        i++;
    if (i == CANDIDATES_MAX)
        return;
    if (i == list->n)
        list->items[list->n++] = what;
    list->items[i].is_published |= what.is_published;
    list->items[i].is_exposed |= what.is_exposed;
    list->items[i].is_heard |= what.is_heard;
}

/* Docker's own resolver listens in every container; and what asks from a high UDP port serves nothing. */
static bool serves(const struct observe_listener *one)
{
    struct address resolver = { { [10] = 0xff, 0xff, 127, 0, 0, 11 } };
    return !address_equal(&one->address, &resolver) && !(one->protocol == IPPROTO_UDP && one->port >= 32768);
}

/* Loopback counts: postern opens its sockets inside. Of a container in another's namespace nobody can tell which of them listens. */
static void candidates_find(const struct observe_engine *engine, uint32_t container, struct candidates *ret)
{
    const struct docker_container *of = &engine->containers.items[container];
    const struct observe_container *detail = &engine->details[container];
    ret->n = 0;
    for (uint32_t i = 0; i < of->n_ports; i++)
        candidate_add(ret, (struct candidate){ of->ports[i].protocol, of->ports[i].port, of->ports[i].is_published, true, false });
    for (uint32_t i = 0; detail->owner == container && i < detail->listeners.n; i++)
        if (serves(&detail->listeners.items[i]))
            candidate_add(ret, (struct candidate){ detail->listeners.items[i].protocol, detail->listeners.items[i].port, .is_heard = true });
    for (uint32_t i = 0; of->network_mode == DOCKER_NETWORK_HOST && i < engine->listeners.n; i++)
        if (str_equal(engine->listeners.items[i].container, of->id) && serves(&engine->listeners.items[i]))
            candidate_add(ret, (struct candidate){ engine->listeners.items[i].protocol, engine->listeners.items[i].port, .is_heard = true });
}

static bool is_among(uint16_t port, const uint16_t *ports, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (ports[i] == port)
            return true;
    return false;
}

/* Ports on which something speaks that is no HTTP. */
static bool is_other(uint16_t port)
{
    static const uint16_t ports[] = { 21, 22, 23, 25, 53, 110, 111, 123, 139, 143, 161, 389, 445, 465, 514, 587, 636, 853, 993, 995, 1194, 1433, 1883, 2022,
                                      2049, 2222, 3306, 3389, 4222, 5060, 5432, 5672, 6379, 6667, 6881, 8883, 9418, 11211, 25565, 27017, 51413, 51820 };
    return is_among(port, ports, ARRAY_SIZE(ports));
}

static bool is_tls(uint16_t port)
{
    static const uint16_t ports[] = { 443, 4443, 5001, 8443, 9443, 10443 };
    return is_among(port, ports, ARRAY_SIZE(ports));
}

static int score(const struct candidate *one, const struct observe_image_kind *kind)
{
    static const uint16_t usual[] = { 80, 3000, 5000, 8000, 8080, 8081, 8096, 8123, 9000, 9090 };
    if (one->protocol != IPPROTO_TCP || is_other(one->port))
        return -1;
    return 1 + (kind && kind->kind != OBSERVE_IMAGE_OTHER && kind->port == one->port ? 32 : 0) + (one->is_published ? 8 : 0) + (one->is_heard ? 6 : 0) +
           (one->is_exposed ? 3 : 0) + (is_among(one->port, usual, ARRAY_SIZE(usual)) ? 2 : 0) - (is_tls(one->port) ? 4 : 0);
}

/* 0: none seems to be a web page's. */
static uint16_t web_port_of(const struct candidates *list, const struct observe_image_kind *kind)
{
    int best = 0;
    uint16_t port = 0;
    for (uint32_t i = 0; i < list->n; i++) {
        int one = score(&list->items[i], kind);
        if (one > best || (one == best && one > 0 && list->items[i].port < port)) {
            best = one;
            port = list->items[i].port;
        }
    }
    return port ? port : kind && kind->kind == OBSERVE_IMAGE_WEB && list->n == 0 ? kind->port : 0;
}

static uint16_t database_port_of(const struct candidates *list, const struct observe_image_kind *kind)
{
    for (uint32_t i = 0; i < list->n; i++)
        if (list->items[i].protocol == IPPROTO_TCP && list->items[i].port == kind->port)
            return kind->port;
    for (uint32_t i = 0; i < list->n; i++)
        if (list->items[i].protocol == IPPROTO_TCP)
            return list->items[i].port;
    return kind->port;
}

/* ---- services ---- */

/* Published ports that are no web page's: a game's, a mail server's. */
static void direct_add(struct making *making, const struct candidates *list, struct str name, struct init_service service, uint16_t web_port, bool is_game)
{
    uint32_t n = 0;
    service.kind = INIT_DIRECT;
    for (uint32_t i = 0; i < list->n && n < DIRECT_MAX; i++) {
        const struct candidate *one = &list->items[i];
        bool is_wanted = one->is_published && (one->protocol == IPPROTO_UDP || is_other(one->port) || is_game) && one->port != web_port;
        if (!is_wanted || (one->protocol != IPPROTO_TCP && one->protocol != IPPROTO_UDP))
            continue;
        service.port = one->port;
        service.protocol = one->protocol;
        struct str own = n == 0 && !web_port ? name
                                             : arena_printf(making->plan->arena, "%.*s-%s-%u", STR_ARG(name), one->protocol == IPPROTO_UDP ? "udp" : "tcp",
                                                            one->port);
        service_add(making, own, service);
        n++;
    }
}

static bool is_proxy(struct str image)
{
    static const char *const images[] = { "traefik", "caddy", "caddy-docker-proxy", "nginx-proxy", "nginx-proxy-manager", "swag", "haproxy" };
    for (size_t i = image.len; i > 0; i--)
        if (image.ptr[i - 1] == '/') {
            image = str_skip(image, i);
            break;
        }
    image = str_first(image, str_find_char(image, ':'));
    for (size_t i = 0; i < ARRAY_SIZE(images); i++)
        if (str_equal(image, str_of(images[i])))
            return true;
    return false;
}

static void container_add(struct making *making, uint32_t container)
{
    const struct docker_container *one = &making->engine->containers.items[container];
    const struct observe_image_kind *kind = observe_image_find(one->image);
    struct candidates list;
    struct str reference = reference_of(making, one), name = observe_suggested_name(one, making->plan->arena);
    if (!reference.len) {
        making->plan->n_unnamed++;
        return;
    }
    int r = table_add(&making->references, reference, container, NULL);
    if (r != 0) { /* another copy of the same service is the same service */
        making->error = r < 0 ? r : making->error;
        return;
    }
    candidates_find(making->engine, container, &list);
    struct init_service service = { .reference = reference, .protocol = IPPROTO_TCP, .remark = kind ? str_of(kind->title) : one->image };
    if (is_proxy(one->image)) {
        service.kind = INIT_PROXY;
        service_add(making, name, service);
        return;
    }
    if (kind && kind->kind == OBSERVE_IMAGE_DATABASE) {
        service.kind = INIT_DATABASE;
        service.port = database_port_of(&list, kind);
        service_add(making, name, service);
        return;
    }
    bool is_game = kind && kind->kind == OBSERVE_IMAGE_GAME;
    uint16_t web_port = is_game ? 0 : web_port_of(&list, kind);
    uint32_t before = making->plan->n_services;
    service.kind = one->network_mode == DOCKER_NETWORK_HOST ? INIT_HOST_PORT : INIT_WEB;
    service.port = web_port;
    service.is_https = is_tls(web_port);
    if (web_port)
        service_add(making, name, service);
    direct_add(making, &list, name, service, web_port, is_game);
    service.kind = INIT_UNKNOWN;
    if (making->plan->n_services == before)
        service_add(making, name, service);
}

static int service_compare(const void *left, const void *right)
{
    const struct init_service *a = left, *b = right;
    return a->kind != b->kind ? (a->kind < b->kind ? -1 : 1) : str_compare(a->name, b->name);
}

/* Containers by what they are called, so that the same ones give the same file. */
static int order_compare(const void *left, const void *right, void *context)
{
    const struct docker_container *items = context, *a = &items[*(const uint32_t *)left], *b = &items[*(const uint32_t *)right];
    int order = str_compare(a->project, b->project);
    if (order == 0)
        order = str_compare(a->service, b->service);
    if (order == 0)
        order = a->number < b->number ? -1 : a->number > b->number;
    return order ? order : str_compare(a->name, b->name);
}

/* Who has that port on every address of this host, so that a surface can't. */
static struct str holder_find(const struct observe_engine *engine, uint16_t port, struct arena *arena)
{
    for (uint32_t i = 0; i < engine->containers.n; i++)
        for (uint32_t k = 0; k < engine->containers.items[i].n_ports; k++) {
            const struct docker_port *one = &engine->containers.items[i].ports[k];
            if (engine->containers.items[i].is_running && one->is_published && one->host_port == port && observe_address_is_any(&one->host_address))
                return observe_container_name(&engine->containers.items[i], arena);
        }
    for (uint32_t i = 0; i < engine->listeners.n; i++)
        if (engine->listeners.items[i].protocol == IPPROTO_TCP && engine->listeners.items[i].port == port &&
            observe_address_is_any(&engine->listeners.items[i].address))
            return engine->listeners.items[i].program.len ? engine->listeners.items[i].program : STR("another program");
    return STR("");
}

int init_services_make(const struct observe_engine *engine, struct table *names, struct init_plan *plan)
{
    struct making making = { .engine = engine, .names = names, .plan = plan };
    uint32_t *order = arena_array(plan->arena, engine->containers.n + 1, uint32_t);
    if (!order)
        return -ENOMEM;
    for (uint32_t i = 0; i < engine->containers.n; i++)
        order[i] = i;
    qsort_r(order, engine->containers.n, sizeof *order, order_compare, engine->containers.items);
    for (uint32_t i = 0; i < engine->containers.n && making.error == 0; i++) {
        const struct docker_container *one = &engine->containers.items[order[i]];
        if (one->is_running && !one->is_oneoff)
            container_add(&making, order[i]);
        plan->n_stopped += !one->is_running && !one->is_oneoff;
    }
    table_deinit(&making.references);
    if (plan->n_services)
        qsort(plan->services, plan->n_services, sizeof *plan->services, service_compare);
    plan->holder443 = holder_find(engine, 443, plan->arena);
    plan->holder80 = holder_find(engine, 80, plan->arena);
    return making.error;
}
