/* What only the whole file shows: names that collide, ports taken twice, instances that no gateway can dial. */
#include "model/read.h"

/* ---- host names ---- */

struct names_check {
    struct reader *r;
    struct table labels; /* what stands before the domain, to the service's index; services' own names are in r->names */
    struct table wholes; /* extra names outside the domain, or deeper in it */
};

/* Whose the label is already, or MODEL_NONE after making it the service's own. */
static uint32_t label_claim(struct names_check *check, struct str label, uint32_t service)
{
    uint32_t other;
    if (table_get(&check->r->names[READ_SERVICE], label, &other) && other != service)
        return other;
    int added = table_add(&check->labels, label, service, &other);
    if (added < 0)
        check->r->error = added;
    return added == TABLE_E_EXISTS ? other : MODEL_NONE;
}

static void instance_name_check(struct names_check *check, uint32_t index, const struct model_host *host)
{
    struct reader *r = check->r;
    const struct model_service *service = &r->model->services[index];
    struct str label = arena_printf(&r->nodes, "%.*s-%.*s", STR_ARG(service->name.text), STR_ARG(host->name.text));
    if (!label.ptr) {
        r->error = -ENOMEM;
        return;
    }
    if (label.len > READ_LABEL_MAX) {
        read_error_at(r, service->name, STR("a shorter name for the service or the host"),
                      "the instance on %s would be called %s, and a name has at most %d letters", read_quote(r, host->name.text),
                      read_quote(r, label), READ_LABEL_MAX);
        return;
    }
    uint32_t other = label_claim(check, label, index);
    if (other != MODEL_NONE)
        read_error_at(r, service->name, STR("rename one of them"),
                      "its instance on %s is called %s, and so is service %s (line %u)",
                      read_quote(r, host->name.text), read_quote(r, label), read_quote(r, r->model->services[other].name.text),
                      r->model->services[other].name.at.line);
}

static void extra_name_check(struct names_check *check, uint32_t index, const struct model_text *name)
{
    struct reader *r = check->r;
    struct str domain = r->model->domain.text, label = name->text;
    uint32_t other = MODEL_NONE;
    bool is_below = label.len > domain.len + 1 && str_ends_with(label, domain) && label.ptr[label.len - domain.len - 1] == '.';
    if (is_below)
        label.len -= domain.len + 1;
    if (is_below && domain.len && str_find_char(label, '.') == label.len) {
        other = label_claim(check, label, index);
        if (other == MODEL_NONE && table_get(&r->names[READ_SERVICE], label, NULL))
            other = index;
    } else {
        int added = table_add(&check->wholes, name->text, index, &other);
        if (added < 0)
            r->error = added;
    }
    if (!is_below && !str_equal(name->text, domain) && r->model->tls.source == MODEL_TLS_INTERNAL)
        read_error_at(r, *name, STR("certificates from files or from ACME (tls:) can cover other names"),
                      "%s is not below %s, and the internal authority vouches for nothing else", read_quote(r, name->text),
                      read_quote(r, domain));
    if (other == index)
        read_error_at(r, *name, STR("leave it out"), "the service has this name already");
    else if (other != MODEL_NONE)
        read_error_at(r, *name, STR("rename one of them"), "service %s has this name already (line %u)",
                      read_quote(r, r->model->services[other].name.text), r->model->services[other].name.at.line);
}

static void check_names(struct reader *r)
{
    struct names_check check = { .r = r };
    const struct model *model = r->model;
    for (uint32_t i = 0; i < model->n_services; i++)
        for (uint32_t k = 0; k < model->services[i].hosts.n && model->services[i].kind != MODEL_KIND_INTERNAL; k++)
            instance_name_check(&check, i, &model->hosts[model->services[i].hosts.items[k]]);
    for (uint32_t i = 0; i < model->n_services; i++)
        for (uint32_t k = 0; k < model->services[i].names.n; k++)
            extra_name_check(&check, i, &model->services[i].names.items[k]);
    table_deinit(&check.labels);
    table_deinit(&check.wholes);
}

/* ---- ports of gateways ---- */

static bool prefixes_meet(const struct model_prefixes *a, const struct model_prefixes *b)
{
    for (uint32_t i = 0; i < a->n; i++)
        for (uint32_t k = 0; k < b->n; k++)
            if (address_equal(&a->items[i].address, &b->items[k].address))
                return true;
    return false;
}

static const struct model_prefixes *listen_addresses(const struct model *model, const struct model_surface *surface, uint32_t host)
{
    return surface->addresses.n ? &surface->addresses : &model->hosts[host].addresses;
}

/* The first gateway where the two listen on one address, or MODEL_NONE. */
static uint32_t shared_gateway(const struct model *model, const struct model_surface *a, const struct model_surface *b)
{
    for (uint32_t i = 0; i < a->hosts.n; i++)
        for (uint32_t k = 0; k < b->hosts.n; k++) {
            uint32_t host = a->hosts.items[i];
            if (host == b->hosts.items[k] && prefixes_meet(listen_addresses(model, a, host), listen_addresses(model, b, host)))
                return host;
        }
    return MODEL_NONE;
}

static uint16_t shared_port(const struct model_surface *a, const struct model_surface *b)
{
    const uint16_t of_a[] = { a->port, a->redirect_port }, of_b[] = { b->port, b->redirect_port };
    for (unsigned i = 0; i < ARRAY_SIZE(of_a); i++)
        for (unsigned k = 0; k < ARRAY_SIZE(of_b); k++)
            if (of_a[i] && of_a[i] == of_b[k])
                return of_a[i];
    return 0;
}

static void check_surface_ports(struct reader *r)
{
    const struct model *model = r->model;
    for (uint32_t i = 0; i < model->n_surfaces; i++) {
        for (uint32_t k = 0; k < i; k++) {
            const struct model_surface *later = &model->surfaces[i], *earlier = &model->surfaces[k];
            uint16_t port = shared_port(later, earlier);
            uint32_t host = port ? shared_gateway(model, later, earlier) : MODEL_NONE;
            if (host != MODEL_NONE)
                read_error_at(r, later->name, STR("another port, or hosts: or address: that keep them apart"),
                              "port %u of %s belongs to surface %s (line %u)", port, read_quote(r, model->hosts[host].name.text),
                              read_quote(r, earlier->name.text), earlier->name.at.line);
        }
    }
}

struct port_key {
    uint32_t host;
    uint16_t port;
    uint16_t transport;
};

/* A direct port belongs to one service of its host, and to no surface of it. */
static void check_direct_port(struct reader *r, struct table *ports, uint32_t index, uint32_t host)
{
    const struct model *model = r->model;
    const struct model_service *service = &model->services[index];
    struct port_key key = { host, service->port, (uint16_t)service->transport };
    struct str text = arena_copy(&r->nodes, str_make((const char *)&key, sizeof key));
    uint32_t other = MODEL_NONE;
    int added = text.ptr ? table_add(ports, text, index, &other) : -ENOMEM;
    if (added < 0)
        r->error = added;
    if (added == TABLE_E_EXISTS)
        read_error_at(r, service->name, STR("another port, or one service for both"),
                      "service %s has this port of %s already (line %u)",
                      read_quote(r, model->services[other].name.text), read_quote(r, model->hosts[host].name.text),
                      model->services[other].name.at.line);
    for (uint32_t i = 0; i < model->n_surfaces && service->transport == MODEL_TCP; i++) {
        const struct model_surface *surface = &model->surfaces[i];
        bool is_shared = surface->port == service->port || surface->redirect_port == service->port;
        for (uint32_t k = 0; is_shared && k < surface->hosts.n; k++)
            if (surface->hosts.items[k] == host)
                read_error_at(r, service->name, STR("another port"), "port %u of %s belongs to surface %s (line %u)", service->port,
                              read_quote(r, model->hosts[host].name.text), read_quote(r, surface->name.text),
                              surface->name.at.line);
    }
}

static void check_direct_ports(struct reader *r)
{
    const struct model *model = r->model;
    struct table ports = { 0 };
    for (uint32_t i = 0; i < model->n_services; i++)
        for (uint32_t k = 0; k < model->services[i].hosts.n && model->services[i].kind == MODEL_KIND_DIRECT; k++)
            check_direct_port(r, &ports, i, model->services[i].hosts.items[k]);
    table_deinit(&ports);
}

/* ---- addresses that are another host's ---- */

static void own_addresses(struct reader *r, struct table *owners, const struct model_prefixes *addresses, uint32_t host)
{
    for (uint32_t i = 0; i < addresses->n; i++) {
        int added = table_add(owners, str_make((const char *)addresses->items[i].address.bytes, 16), host, NULL);
        if (added < 0)
            r->error = added;
    }
}

/* The first of the addresses that is a host's, and of none of these. A loopback is everybody's. */
static bool find_foreign(const struct table *owners, const struct model_prefixes *addresses, const struct model_indexes *hosts,
                         struct address *ret, uint32_t *ret_host)
{
    for (uint32_t i = 0; i < addresses->n; i++) {
        const struct address *address = &addresses->items[i].address;
        uint32_t owner, k = 0;
        if (address_is_loopback(address) || !table_get(owners, str_make((const char *)address->bytes, 16), &owner))
            continue;
        while (k < hosts->n && hosts->items[k] != owner)
            k++;
        if (k < hosts->n)
            continue;
        *ret = *address;
        *ret_host = owner;
        return true;
    }
    return false;
}

/* What is dialled or listened on at another host's address isn't here, and that host's layers would not know of it. */
static void check_owners(struct reader *r)
{
    const struct model *model = r->model;
    cleanup_table struct table owners = { 0 };
    struct address foreign;
    char text[ADDRESS_TEXT_SIZE];
    uint32_t owner;
    for (uint32_t i = 0; i < model->n_hosts; i++) {
        own_addresses(r, &owners, &model->hosts[i].addresses, i);
        own_addresses(r, &owners, &model->hosts[i].lan, i);
    }
    for (uint32_t i = 0; i < model->n_services; i++)
        if (model->services[i].where == MODEL_WHERE_HOST &&
            find_foreign(&owners, &model->services[i].addresses, &model->services[i].hosts, &foreign, &owner))
            read_error_at(r, model->services[i].name, read_hint(r, "say 'host: %.*s'", STR_ARG(model->hosts[owner].name.text)),
                          "its address %s is that of %s", address_format(&foreign, text), read_quote(r, model->hosts[owner].name.text));
    for (uint32_t i = 0; i < model->n_surfaces; i++)
        if (find_foreign(&owners, &model->surfaces[i].addresses, &model->surfaces[i].hosts, &foreign, &owner))
            read_error_at(r, model->surfaces[i].name, STR("leave the address out, or name that gateway under hosts:"),
                          "its address %s is that of %s, which doesn't serve it", address_format(&foreign, text),
                          read_quote(r, model->hosts[owner].name.text));
}

/* ---- instances that no gateway can dial ---- */

static bool service_is_on_loopback(const struct model_service *service)
{
    bool is_loopback = service->loopback;
    for (uint32_t i = 0; i < service->addresses.n; i++)
        is_loopback |= address_is_loopback(&service->addresses.items[i].address);
    return is_loopback;
}

static void check_places(struct reader *r)
{
    static const char *const wheres[] = {
        [MODEL_WHERE_HOST] = "on its loopback", [MODEL_WHERE_CONTAINER] = "in a container", [MODEL_WHERE_UNIX] = "behind a unix socket",
        [MODEL_WHERE_NETNS] = "in a network namespace",
    };
    const struct model *model = r->model;
    for (uint32_t i = 0; i < model->n_services; i++) {
        const struct model_service *service = &model->services[i];
        bool is_inside = service->where != MODEL_WHERE_HOST || service_is_on_loopback(service);
        for (uint32_t k = 0; k < service->hosts.n && is_inside && service->kind == MODEL_KIND_WEB; k++) {
            const struct model_host *host = &model->hosts[service->hosts.items[k]];
            if (!host->gateway)
                read_error_at(r, service->name,
                              STR("make the host a gateway, or let the service listen on a port of the host and say only port:"),
                              "%s is no gateway, so nobody can reach a service %s there", read_quote(r, host->name.text),
                              wheres[service->where]);
        }
    }
}

void check_whole(struct reader *r)
{
    check_names(r);
    check_surface_ports(r);
    check_direct_ports(r);
    check_owners(r);
    check_places(r);
    check_reach(r);
}
