/* From projects, grants, containers and networks to elements of sets. */
#include "enforce/holding.h"

#include <errno.h>
#include <netinet/in.h>

#include "enforce/holding_parts.h"

void holding_note(struct holding *h, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    buf_vprintf(&h->notes->text, format, arguments);
    va_end(arguments);
    buf_append_char(&h->notes->text, '\n');
    h->notes->n++;
}

/* ---- who is whose ---- */

const struct model_project *holding_project(const struct model *model, uint32_t host, struct str name)
{
    for (uint32_t i = 0; name.len && i < model->n_projects; i++)
        if (str_equal(model->projects[i].name.text, name) && model_runs_on(&model->projects[i].hosts, host))
            return &model->projects[i];
    return NULL;
}

static const struct model_project *enforced_project(const struct holding *h, struct str name)
{
    const struct model_project *project = holding_project(h->in->model, h->in->host, name);
    return project && project->mode == MODEL_MODE_ENFORCE ? project : NULL;
}

static struct net *net_find(const struct holding *h, const struct docker_endpoint *endpoint)
{
    for (uint32_t i = 0; i < h->n_nets; i++) {
        const struct docker_network *network = h->nets[i].network;
        if (endpoint->network_id.len ? str_equal(network->id, endpoint->network_id) : str_equal(network->name, endpoint->network))
            return &h->nets[i];
    }
    return NULL;
}

/* The container whose namespace it is; NULL: the host's, or nobody's that is listed. */
const struct docker_container *holding_owner(const struct holding *h, const struct docker_container *container)
{
    const struct docker_container *owner = docker_container_network_owner(h->in->containers, container);
    return owner && owner->network_mode != DOCKER_NETWORK_HOST ? owner : NULL;
}

static void find_members(struct holding *h)
{
    const struct docker_containers *list = h->in->containers;
    for (uint32_t i = 0; i < list->n; i++)
        h->members[i] = (struct member){ .container = &list->items[i], .namespace = h->in->namespaces ? h->in->namespaces[i] : LINKS_NO_NAMESPACE };
    for (uint32_t i = 0; i < list->n; i++) {
        const struct docker_container *container = &list->items[i], *owner = holding_owner(h, container);
        const struct model_project *project = enforced_project(h, container->project);
        struct member *member = owner ? &h->members[owner - list->items] : NULL;
        if (container->network_mode == DOCKER_NETWORK_HOST && project && container->is_running)
            holding_note(h, "%.*s of project %.*s uses the host's network: it is the host, and nothing here holds it", STR_ARG(container->name),
                 STR_ARG(container->project));
        if (!member)
            continue;
        member->project = project ? project : member->project;
    }
}

/* ---- networks ---- */

static bool is_enforced_network(const struct holding *h, const struct net *net)
{
    if (net->project && net->project->mode == MODEL_MODE_ENFORCE)
        return true;
    for (uint32_t i = 0; i < h->in->containers->n; i++)
        for (uint32_t k = 0; h->members[i].project && k < h->members[i].container->n_endpoints; k++)
            if (h->members[i].nets[k] == net)
                return true;
    return false;
}

/* Containers that were created count too: what is known before they start holds from their first packet. */
static void look_at_members(struct holding *h, bool *ret_has_projects, struct net *net)
{
    for (uint32_t i = 0; i < h->in->containers->n; i++) {
        const struct docker_container *container = h->members[i].container;
        for (uint32_t k = 0; k < container->n_endpoints; k++) {
            if (h->members[i].nets[k] != net)
                continue;
            net->has_strangers |= !net->network->project.len || !str_equal(container->project, net->network->project);
            *ret_has_projects |= container->project.len > 0;
        }
    }
}

static int find_nets(struct holding *h)
{
    for (uint32_t i = 0; i < h->in->networks->n; i++) {
        const struct docker_network *network = &h->in->networks->items[i];
        if (str_equal(network->driver, STR("bridge")) && network->bridge.len)
            h->nets[h->n_nets++] = (struct net){ .network = network, .project = holding_project(h->in->model, h->in->host, network->project) };
    }
    for (uint32_t i = 0; i < h->in->containers->n; i++) {
        const struct docker_container *container = h->members[i].container;
        h->members[i].nets = arena_array(&h->arena, container->n_endpoints + 1, struct net *);
        if (!h->members[i].nets)
            return -ENOMEM;
        for (uint32_t k = 0; k < container->n_endpoints; k++)
            h->members[i].nets[k] = net_find(h, &container->endpoints[k]);
    }
    for (uint32_t i = 0; i < h->n_nets; i++) {
        struct net *net = &h->nets[i];
        bool has_projects = net->network->project.len > 0;
        look_at_members(h, &has_projects, net);
        net->class = is_enforced_network(h, net) ? CONTAINER_ENFORCED : has_projects ? CONTAINER_OBSERVED : CONTAINER_LEFT;
        net->is_judged = net->class != CONTAINER_LEFT && (net->has_strangers || (net->project && net->project->inside == MODEL_INSIDE_DECLARED));
    }
    return 0;
}

static struct container_element named(struct str name)
{
    struct container_element element = { .to_bits = 0 };
    str_copy(element.name, sizeof element.name, name);
    return element;
}

static void add_inside(struct holding *h, const struct net *net)
{
    struct container_element element = named(net->network->bridge);
    const struct address_prefix link_local = { .address.bytes = { 0xfe, 0x80 }, .bits = 10 };
    container_filter_add(h->filter, CONTAINER_OPEN, &element);
    for (uint32_t i = 0; i <= net->network->n_subnets; i++) {
        const struct address_prefix *prefix = i < net->network->n_subnets ? &net->network->subnets[i].prefix : &link_local;
        element.to = prefix->address;
        element.to_bits = prefix->bits;
        container_filter_add(h->filter, CONTAINER_INSIDE4, &element);
    }
}

static void add_judged(struct holding *h, const struct net *net)
{
    const struct link *bridge = links_find(h->in->links, net->network->bridge);
    for (uint32_t i = 0; bridge && i < links_count(h->in->links); i++) {
        const struct link *port = links_at(h->in->links, i);
        struct container_element element = named(str_of(port->name));
        element.class = (uint8_t)net->class;
        if (port->master == bridge->index)
            container_filter_add(h->filter, CONTAINER_PORTS, &element);
    }
    for (uint32_t i = 0; net->class == CONTAINER_ENFORCED && i < net->network->n_subnets; i++) {
        struct container_element element = { .to = net->network->subnets[i].prefix.address, .to_bits = net->network->subnets[i].prefix.bits };
        container_filter_add(h->filter, CONTAINER_JUDGED4, &element);
    }
}

static void add_subnets(struct holding *h, const struct net *net)
{
    for (uint32_t i = 0; i < net->network->n_subnets; i++) {
        struct container_element element = named(net->network->bridge);
        element.to = net->network->subnets[i].prefix.address;
        element.to_bits = net->network->subnets[i].prefix.bits;
        element.comment = net->network->name;
        container_filter_add(h->filter, CONTAINER_SUBNETS4, &element);
    }
}

bool holding_is_docker_name(struct str name)
{
    enum { DOCKERS_DIGITS = 12, OUR_DIGITS = 8 };
    size_t n_digits = str_starts_with(name, STR("br-")) ? DOCKERS_DIGITS : str_starts_with(name, STR("pn-")) ? OUR_DIGITS : 0;
    size_t i = 3;
    if (!n_digits || name.len != 3 + n_digits)
        return false;
    while (i < name.len && ((name.ptr[i] >= '0' && name.ptr[i] <= '9') || (name.ptr[i] >= 'a' && name.ptr[i] <= 'f')))
        i++;
    return i == name.len;
}

static bool is_unsettled(const struct holding *h, struct str name)
{
    uint32_t i = 0;
    while (i < h->in->n_unsettled && !str_equal(str_of(h->in->unsettled[i]), name))
        i++;
    return i < h->in->n_unsettled;
}

static void add_nets(struct holding *h)
{
    for (uint32_t i = 0; i < links_count(h->in->links); i++) {
        const struct link *link = links_at(h->in->links, i);
        const struct container_element element = named(str_of(link->name));
        if (link->is_bridge && container_is_interface(str_of(element.name)) && !is_unsettled(h, str_of(element.name)))
            container_filter_add(h->filter, CONTAINER_BRIDGES, &element);
    }
    for (uint32_t i = 0; i < h->n_nets; i++) {
        const struct net *net = &h->nets[i];
        struct container_element element = named(net->network->bridge), plain = element;
        element.class = (uint8_t)net->class;
        container_filter_add(h->filter, CONTAINER_BRIDGES, &element);
        container_filter_add(h->filter, CONTAINER_DOCKERS, &plain);
        if (net->class == CONTAINER_ENFORCED) {
            container_filter_add(h->filter, CONTAINER_HELD, &plain);
            container_filter_add(h->filter, CONTAINER_ITSELF, &plain);
            add_subnets(h, net);
        }
        if (net->is_judged)
            add_judged(h, net);
        else if (net->class != CONTAINER_LEFT)
            add_inside(h, net);
    }
}

/* ---- containers on them ---- */

/* The addresses of an endpoint: how many, at most two. */
static uint32_t addresses_of(const struct docker_endpoint *endpoint, struct address ret[static 2])
{
    uint32_t n = 0;
    if (endpoint->has_v4)
        ret[n++] = endpoint->v4;
    if (endpoint->has_v6)
        ret[n++] = endpoint->v6;
    return n;
}

static int find_places(struct holding *h, struct places *ret)
{
    uint32_t max = 0;
    for (uint32_t i = 0; i < h->in->containers->n; i++)
        max += h->in->containers->items[i].n_endpoints * 2;
    ret->items = arena_array(&h->arena, max ? max : 1, struct place);
    ret->n = 0;
    if (!ret->items)
        return -ENOMEM;
    for (uint32_t i = 0; i < h->in->containers->n; i++) {
        const struct member *member = &h->members[i];
        for (uint32_t k = 0; k < member->container->n_endpoints; k++) {
            struct address addresses[2];
            const struct net *net = member->nets[k];
            uint32_t n = net ? addresses_of(&member->container->endpoints[k], addresses) : 0;
            for (uint32_t a = 0; a < n; a++)
                ret->items[ret->n++] = (struct place){ member, net, addresses[a] };
            if (!net && member->project && member->container->is_running)
                holding_note(h, "%.*s is on network %.*s, which is no bridge of this host: nothing here holds it there", STR_ARG(member->container->name),
                     STR_ARG(member->container->endpoints[k].network));
        }
    }
    return 0;
}

struct container_element holding_at(const struct place *place)
{
    struct container_element element = named(place->net->network->bridge);
    element.from = place->address;
    return element;
}

/* Two that are on one judged network may talk when neither is held, or both are of one project that is open inside. Where nothing is enforced
 * yet: as if everything were, so that it is counted. */
static bool may_talk(const struct holding *h, const struct net *net, const struct member *a, const struct member *b)
{
    struct str name = a->container->project;
    const struct model_project *project = holding_project(h->in->model, h->in->host, name);
    if (net->class == CONTAINER_ENFORCED ? !a->project && !b->project : !name.len && !b->container->project.len)
        return true;
    return name.len && str_equal(name, b->container->project) && (!project || project->inside == MODEL_INSIDE_OPEN);
}

static void add_pairs(struct holding *h, const struct places *places)
{
    for (uint32_t i = 0; i < places->n; i++)
        for (uint32_t k = 0; places->items[i].net->is_judged && k < places->n; k++) {
            const struct place *a = &places->items[i], *b = &places->items[k];
            const struct container_element element = { .from = a->address, .to = b->address };
            if (a->net == b->net && a->member != b->member && address_is_v4(&a->address) == address_is_v4(&b->address) &&
                may_talk(h, a->net, a->member, b->member))
                container_filter_add(h->filter, CONTAINER_PAIRS4, &element);
        }
}

/* The same in table inet, where a bridged packet comes by, too, with br_netfilter. */
static void add_exempt(struct holding *h, const struct places *places)
{
    for (uint32_t i = 0; i < places->n; i++) {
        const struct place *place = &places->items[i];
        const struct container_element element = holding_at(place);
        if (place->net->class == CONTAINER_ENFORCED && !place->member->project)
            container_filter_add(h->filter, CONTAINER_EXEMPT4, &element);
    }
}

/* Ports of bridges behind which it is known which container is. */
static void add_owners(struct holding *h, const struct places *places)
{
    for (uint32_t i = 0; i < places->n; i++) {
        const struct place *place = &places->items[i];
        const struct link *bridge = links_find(h->in->links, place->net->network->bridge);
        if (place->net->class != CONTAINER_ENFORCED || !bridge || place->member->namespace == LINKS_NO_NAMESPACE)
            continue;
        for (uint32_t k = 0; k < links_count(h->in->links); k++) {
            const struct link *port = links_at(h->in->links, k);
            struct container_element element = named(str_of(port->name));
            if (port->master != bridge->index || port->peer_namespace != place->member->namespace)
                continue;
            container_filter_add(h->filter, CONTAINER_OWNED, &element);
            element.from = place->address;
            container_filter_add(h->filter, CONTAINER_OWNER4, &element);
        }
    }
}

static void add_published(struct holding *h)
{
    for (uint32_t i = 0; i < h->in->containers->n; i++) {
        const struct docker_container *container = &h->in->containers->items[i];
        for (uint32_t k = 0; h->members[i].project && container->is_running && k < container->n_ports; k++) {
            const struct docker_port *port = &container->ports[k];
            const struct container_element element = { .protocol = port->protocol, .port = port->host_port };
            if (port->is_published && port->host_port && (port->protocol == IPPROTO_TCP || port->protocol == IPPROTO_UDP))
                container_filter_add(h->filter, CONTAINER_PUBLISHED, &element);
        }
    }
}

/* ---- what isn't the internet ---- */

static int add_near(struct holding *h)
{
    static const char *const prefixes[] = {
        "0.0.0.0/8", "10.0.0.0/8", "100.64.0.0/10", "127.0.0.0/8", "169.254.0.0/16", "172.16.0.0/12", "192.0.0.0/24", "192.168.0.0/16",
        "198.18.0.0/15", "224.0.0.0/3", "2001::/32", "2002::/16",
    };
    const struct model *model = h->in->model;
    struct container_element element = { .to_bits = 0 };
    for (size_t i = 0; i < ARRAY_SIZE(prefixes); i++) {
        struct address_prefix prefix;
        if (!address_prefix_parse(str_of(prefixes[i]), &prefix))
            return -EINVAL;
        element.to = prefix.address;
        element.to_bits = prefix.bits;
        container_filter_add(h->filter, CONTAINER_NEAR4, &element);
    }
    for (uint32_t i = 0; i < model->n_hosts; i++)
        for (uint32_t k = 0; k < model->hosts[i].addresses.n + model->hosts[i].lan.n; k++) {
            const struct model_host *host = &model->hosts[i];
            const struct address_prefix *p = k < host->addresses.n ? &host->addresses.items[k] : &host->lan.items[k - host->addresses.n];
            element.to = p->address;
            element.to_bits = p->bits;
            container_filter_add(h->filter, CONTAINER_NEAR4, &element);
        }
    for (uint32_t i = 0; i < model->n_segments; i++)
        for (uint32_t k = 0; k < model->segments[i].addresses.n; k++) {
            element.to = model->segments[i].addresses.items[k].address;
            element.to_bits = model->segments[i].addresses.items[k].bits;
            container_filter_add(h->filter, CONTAINER_NEAR4, &element);
        }
    /* Whoever is on a network of this host is a neighbour, whatever the address. */
    for (size_t i = 0; i < h->in->links->prefixes.len / sizeof(struct address_prefix); i++) {
        const struct address_prefix *p = (const struct address_prefix *)(const void *)h->in->links->prefixes.ptr + i;
        element.to = p->address;
        element.to_bits = p->bits;
        container_filter_add(h->filter, CONTAINER_NEAR4, &element);
    }
    return 0;
}

/* ---- the whole ---- */

static void count(const struct holding *h, struct holding_counts *counts)
{
    const struct docker_containers *list = h->in->containers;
    for (uint32_t i = 0; i < list->n; i++) {
        struct str project = list->items[i].project;
        bool is_first = project.len > 0, is_enforced = enforced_project(h, project) != NULL;
        for (uint32_t k = 0; k < i && is_first; k++)
            is_first = !str_equal(list->items[k].project, project);
        counts->n_enforced += is_first && is_enforced;
        counts->n_observed += is_first && !is_enforced;
        counts->n_containers += is_enforced && list->items[i].is_running;
    }
}

static void note_missing(struct holding *h)
{
    const struct model *model = h->in->model;
    for (uint32_t i = 0; i < model->n_projects; i++) {
        bool is_there = !model_runs_on(&model->projects[i].hosts, h->in->host);
        for (uint32_t k = 0; k < h->in->containers->n && !is_there; k++)
            is_there = str_equal(h->in->containers->items[k].project, model->projects[i].name.text);
        if (!is_there)
            holding_note(h, "Docker knows no container of project %.*s yet", STR_ARG(model->projects[i].name.text));
    }
}

static int fill(struct holding *h, struct holding_counts *counts, struct error *err)
{
    struct places places;
    find_members(h);
    int r = find_nets(h);
    if (r == 0)
        r = find_places(h, &places);
    if (r < 0)
        return r;
    add_nets(h);
    add_exempt(h, &places);
    add_pairs(h, &places);
    add_owners(h, &places);
    add_published(h);
    r = add_near(h);
    if (r == 0)
        r = holding_add_grants(h, &places, &counts->n_grants);
    count(h, counts);
    note_missing(h);
    if (r == 0)
        r = container_filter_seal(h->filter);
    if (r == -EINVAL)
        error_set(err, "Docker has a bridge whose name nft can't be told");
    else if (r == -E2BIG)
        error_set(err, "more than %d entries for one set: too many containers on one network that isn't open inside", CONTAINER_ELEMENTS_MAX);
    return r;
}

int holding_init(struct container_filter *ret, const struct holding_input *input, struct holding_notes *notes, struct holding_counts *ret_counts,
                 struct error *err)
{
    struct container_filter filter;
    struct holding_counts counts = { 0 };
    struct holding h = { .in = input, .filter = &filter, .notes = notes };
    container_filter_init(&filter);
    arena_init(&h.arena, 1 << 30);
    h.nets = arena_array(&h.arena, input->networks->n + 1, struct net);
    h.members = arena_array(&h.arena, input->containers->n + 1, struct member);
    int r = h.nets && h.members ? fill(&h, &counts, err) : -ENOMEM;
    arena_deinit(&h.arena);
    if (r < 0) {
        container_filter_deinit(&filter);
        return r;
    }
    *ret = filter;
    *ret_counts = counts;
    return 0;
}
