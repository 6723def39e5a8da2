/* Surfaces: what a gateway listens on, and for whom. */
#include "model/read.h"

enum { SURFACE_ADDRESSES_MAX = 16, SURFACE_WORKERS_MAX = 256, SURFACE_CONNECTIONS_MAX = 1000000 };

static void read_surface_port(struct reader *r, const struct yaml_node *value, void *object)
{
    struct model_surface *surface = object;
    (void)!read_port(r, value, &surface->port);
}

static void read_surface_redirect(struct reader *r, const struct yaml_node *value, void *object)
{
    struct model_surface *surface = object;
    if (read_port(r, value, &surface->redirect_port) && surface->redirect_port == surface->port)
        read_error(r, value, STR("80 is what browsers try first"), "redirect: is the surface's own port");
}

static void read_surface_workers(struct reader *r, const struct yaml_node *value, void *object)
{
    struct model_surface *surface = object;
    (void)!read_number(r, value, 1, SURFACE_WORKERS_MAX, &surface->n_workers);
}

static void read_surface_connections(struct reader *r, const struct yaml_node *value, void *object)
{
    struct model_surface *surface = object;
    (void)!read_number(r, value, 1, SURFACE_CONNECTIONS_MAX, &surface->max_connections_per_principal);
}

static bool surface_address_check(struct reader *r, const struct yaml_node *node, const struct address_prefix *prefix)
{
    char text[ADDRESS_TEXT_SIZE];
    if (!read_reachable_check(r, node, prefix))
        return false;
    if (address_is_loopback(&prefix->address))
        read_warning(r, node, STR("fine for a trial on one machine"), "%s never leaves a machine: nobody else can reach the surface there",
                     address_format(&prefix->address, text));
    return true;
}

static void read_surface_address(struct reader *r, const struct yaml_node *value, void *object)
{
    struct model_surface *surface = object;
    read_addresses(r, value, READ_ADDRESS_WHOLE, SURFACE_ADDRESSES_MAX, surface_address_check, &surface->addresses);
}

static void read_surface_hosts(struct reader *r, const struct yaml_node *value, void *object)
{
    struct model_surface *surface = object;
    read_references(r, value, READ_HOST, 0, &surface->hosts);
    for (uint32_t i = 0; i < surface->hosts.n; i++) {
        const struct model_host *host = &r->model->hosts[surface->hosts.items[i]];
        if (!host->gateway)
            read_error(r, value, read_hint(r, "give it 'gateway: true' under hosts:, or leave it out here"), "%s is no gateway",
                       read_quote(r, host->name.text));
    }
}

/* Every gateway serves a surface that names none. */
static void surface_fill_hosts(struct reader *r, struct model_surface *surface)
{
    const struct model *model = r->model;
    uint32_t *hosts = read_alloc(r, model->n_hosts, sizeof *hosts), n = 0;
    if (!hosts)
        return;
    for (uint32_t i = 0; i < model->n_hosts; i++)
        if (model->hosts[i].gateway)
            hosts[n++] = i;
    surface->hosts = (struct model_indexes){ hosts, n };
    if (n == 0 && model->n_hosts)
        read_error_at(r, surface->name, STR("say 'gateway: true' at the host that serves it"),
                      "no host is a gateway for surface %s",
                      read_quote(r, surface->name.text));
}

static void read_surface(struct reader *r, const struct yaml_node *value, void *thing)
{
    static const struct read_field fields[] = {
        { "port", true, read_surface_port },
        { "redirect", false, read_surface_redirect },
        { "workers", false, read_surface_workers },
        { "hosts", false, read_surface_hosts },
        { "address", false, read_surface_address },
        { "connections-per-principal", false, read_surface_connections },
    };
    static const struct read_shape shape = { "a surface", "{ port: 443 }", fields, ARRAY_SIZE(fields) };
    struct model_surface *surface = thing;
    const struct yaml_node *const *given = read_mapping(r, value, &shape, surface);
    if (given && !given[3])
        surface_fill_hosts(r, surface);
    if (str_equal(surface->name.text, STR("direct")))
        read_error_at(r, surface->name, STR("another name"), "'direct' is what logs and metrics call the direct ports, so no surface can have that name");
}

void read_surfaces(struct reader *r, const struct yaml_node *value, void *object)
{
    static const struct read_collection collection = {
        READ_SURFACE, "a surface", sizeof(struct model_surface), READ_SURFACES_MAX, read_surface
    };
    (void)object;
    r->model->surfaces = read_collection(r, value, &collection, &r->model->n_surfaces);
}
