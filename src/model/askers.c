/* What a container may be granted: other containers of its host, web services by its own host's gateway, the internet. Anything else would
 * be granted to its host, too, whose address a container has outside. */
#include "model/read.h"

struct asking {
    struct reader *r;
    const struct model *model;
    const struct model_indexes *over;
    enum read_asking asking;
};

/* Lists of lists: a file made for it would take hours. */
static bool spend(struct asking *a, const struct model_text *at, uint64_t n, uint64_t times)
{
    if (n && a->r->n_matches / n < times) {
        if (a->r->n_matches)
            read_error_at(a->r, *at, STR("name fewer at once"), "too many containers that ask for too many others");
        a->r->n_matches = 0;
        return false;
    }
    a->r->n_matches -= n * times;
    return true;
}

static bool share_host(const struct model_indexes *a, const struct model_indexes *b)
{
    for (uint32_t i = 0; i < a->n; i++)
        if (model_runs_on(b, a->items[i]))
            return true;
    return false;
}

/* ---- a container and a surface, or a port of another ---- */

static void check_surfaces(struct asking *a, const struct model_principal *from)
{
    const struct model_service *service = &a->model->services[from->service];
    for (uint32_t i = 0; i < a->over->n; i++) {
        const struct model_surface *surface = &a->model->surfaces[a->over->items[i]];
        if (spend(a, &from->text, service->hosts.n, surface->hosts.n) && !share_host(&service->hosts, &surface->hosts))
            read_error_at(a->r, from->text, STR("a container is told from its host by the gateway beside it, and by no other"),
                          "no gateway on a host of %s serves surface %s", read_quote(a->r, service->name.text),
                          read_quote(a->r, surface->name.text));
    }
}

static void check_container_port(struct asking *a, const struct model_principal *from, const struct model_target *target)
{
    struct reader *r = a->r;
    const struct model_service *asks = &a->model->services[from->service], *asked = &a->model->services[target->service];
    if (!spend(a, &target->text, asks->hosts.n, asked->hosts.n))
        return;
    if (!share_host(&asks->hosts, &asked->hosts))
        read_error_at(r, target->text, STR("grant it as a web service, over a surface"),
                      "%s and %s run on no host together, and containers reach each other's ports on one host only",
                      read_quote(r, asks->name.text), read_quote(r, asked->name.text));
    else if (str_equal(asks->place.text, asked->place.text) && a->asking == READ_FOR_GRANT)
        read_warning_at(r, target->text, STR("leave it out"), "%s and %s are in one container: nothing stands between them",
                        read_quote(r, asks->name.text), read_quote(r, asked->name.text));
}

/* ---- a target that none of them can be granted ---- */

static struct str port_hint(struct asking *a, const struct model_service *asked)
{
    if (asked->where != MODEL_WHERE_CONTAINER)
        return STR("a container can be granted containers of its host, web services over a surface, and the internet");
    return read_hint(a->r, "write \"%.*s:%s%u\" for the port of its container", STR_ARG(asked->name.text),
                     asked->transport == MODEL_UDP ? "udp/" : "", asked->port);
}

static void check_for_containers(struct asking *a, const struct model_principal *from, const struct model_target *target)
{
    struct reader *r = a->r;
    const struct model_service *asks = &a->model->services[from->service];
    if (target->kind == MODEL_TARGET_HOST_PORT)
        read_error_at(r, target->text, STR("a container can be granted containers of its host, web services over a surface, and the internet"),
                      "outside, %s has its host's address: whoever lets it in lets its host in, too", read_quote(r, asks->name.text));
    if (target->kind == MODEL_TARGET_SERVICE && a->model->services[target->service].kind == MODEL_KIND_DIRECT)
        read_error_at(r, target->text, port_hint(a, &a->model->services[target->service]),
                      "%s is a port of its host, and outside, %s has the address of its own host",
                      read_quote(r, a->model->services[target->service].name.text), read_quote(r, asks->name.text));
}

static void check_for_hosts(struct asking *a, const struct model_principal *from, const struct model_target *target)
{
    struct reader *r = a->r;
    if (target->kind == MODEL_TARGET_SERVICE_PORT)
        read_error_at(r, target->text, read_hint(r, "write %.*s", STR_ARG(a->model->services[target->service].name.text)),
                      "%s is a port inside a container, which only containers of that host can be granted, not %s",
                      read_quote(r, target->text.text), read_quote(r, from->text.text));
    if (target->kind == MODEL_TARGET_INTERNET)
        read_error_at(r, target->text, STR("only a container can be kept from the internet, and so be granted it"),
                      "no rule of postern stands between %s and the internet", read_quote(r, from->text.text));
}

void check_askers(struct reader *r, const struct model_principal *from, uint32_t n_from, const struct model_target *to, uint32_t n_to,
                  const struct model_indexes *over, enum read_asking asking)
{
    struct asking a = { r, r->model, over, asking };
    const struct model_principal *container = NULL, *host = NULL;
    bool has_web = false;
    for (uint32_t i = n_from; i-- > 0;) {
        if (from[i].service != MODEL_NONE)
            container = &from[i];
        else
            host = &from[i];
    }
    for (uint32_t t = 0; t < n_to; t++) {
        has_web |= to[t].kind == MODEL_TARGET_PATTERN || (to[t].kind == MODEL_TARGET_SERVICE && r->model->services[to[t].service].kind == MODEL_KIND_WEB);
        if (container && asking == READ_FOR_GRANT)
            check_for_containers(&a, container, &to[t]);
        if (host)
            check_for_hosts(&a, host, &to[t]);
        for (uint32_t i = 0; container && to[t].kind == MODEL_TARGET_SERVICE_PORT && i < n_from; i++)
            if (from[i].service != MODEL_NONE)
                check_container_port(&a, &from[i], &to[t]);
    }
    for (uint32_t i = 0; container && has_web && i < n_from; i++)
        if (from[i].service != MODEL_NONE)
            check_surfaces(&a, &from[i]);
}
