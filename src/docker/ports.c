/* The ports of a container: published, asked for, exposed. */
#include "docker/ports.h"

#include <netinet/in.h>
#include <stdlib.h>

enum { PORTS_MAX = 131072 }; /* both families of every port */

static uint8_t protocol_of(struct str name)
{
    if (str_equal(name, STR("udp")))
        return IPPROTO_UDP;
    if (str_equal(name, STR("sctp")))
        return IPPROTO_SCTP;
    return str_equal(name, STR("tcp")) || name.len == 0 ? IPPROTO_TCP : 0;
}

static int compare(const void *left, const void *right)
{
    const struct docker_port *a = left, *b = right;
    if (a->protocol != b->protocol)
        return a->protocol < b->protocol ? -1 : 1;
    if (a->port != b->port)
        return a->port < b->port ? -1 : 1;
    int order = address_compare(&a->host_address, &b->host_address);
    return order ? order : (a->host_port > b->host_port) - (a->host_port < b->host_port);
}

/* ---- list ---- */

void docker_ports_of_list(struct docker_json *reader, const json_t *array, struct docker_container *container)
{
    size_t n = json_array_size(array);
    struct docker_port *ports = docker_json_room(reader, n, sizeof *ports, PORTS_MAX);
    if (!ports)
        return;
    for (size_t i = 0; i < n; i++) {
        const json_t *one = json_array_get(array, i);
        struct docker_port port = {
            .port = (uint16_t)docker_json_number(one, "PrivatePort", UINT16_MAX),
            .host_port = (uint16_t)docker_json_number(one, "PublicPort", UINT16_MAX),
            .protocol = protocol_of(str_of(json_string_value(json_object_get(one, "Type")))),
        };
        if (port.port == 0 || port.protocol == 0)
            continue;
        port.is_published = port.host_port != 0;
        const char *address = json_string_value(json_object_get(one, "IP"));
        if (address && !address_parse(str_of(address), &port.host_address))
            port.host_address = (struct address){ { 0 } };
        ports[container->n_ports++] = port;
    }
    qsort(ports, container->n_ports, sizeof *ports, compare);
    container->ports = ports;
}

/* ---- inspect ---- */

struct ports {
    struct docker_port *items;
    uint32_t n, room;
};

/* "80/tcp", or "80-90/udp" in old exposures: the first one is taken. */
static bool parse_key(const char *key, struct docker_port *ret)
{
    struct str protocol = str_of(key), number = str_split(&protocol, '/');
    uint64_t port;
    if (!str_to_u64(number, UINT16_MAX, &port) || port == 0 || (ret->protocol = protocol_of(protocol)) == 0)
        return false;
    ret->port = (uint16_t)port;
    return true;
}

static void add(struct ports *ports, struct docker_port port)
{
    if (ports->n < ports->room)
        ports->items[ports->n++] = port;
}

static void add_binding(struct ports *ports, struct docker_port port, const json_t *binding)
{
    const char *address = json_string_value(json_object_get(binding, "HostIp"));
    struct str last = str_of(json_string_value(json_object_get(binding, "HostPort"))), first = str_split(&last, '-');
    uint64_t number;
    port.is_published = true;
    if (address && !address_parse(str_of(address), &port.host_address))
        port.host_address = (struct address){ { 0 } };
    if (str_to_u64(first, UINT16_MAX, &number))
        port.host_port = (uint16_t)number;
    if (last.len > 0 && str_to_u64(last, UINT16_MAX, &number) && number > port.host_port) {
        port.is_range = true;
        port.host_port_last = (uint16_t)number;
    }
    add(ports, port);
}

/* Of {"80/tcp": [{"HostIp": ..., "HostPort": ...}, ...] or null, ...}; null: only exposed. */
static void add_bindings(struct ports *ports, const json_t *object)
{
    const char *key;
    json_t *bindings;
    json_object_foreach((json_t *)object, key, bindings) {
        struct docker_port port = { 0 };
        if (!parse_key(key, &port))
            continue;
        if (json_array_size(bindings) == 0)
            add(ports, port);
        for (size_t i = 0; i < json_array_size(bindings); i++)
            add_binding(ports, port, json_array_get(bindings, i));
    }
}

static size_t count_bindings(const json_t *object)
{
    const char *key;
    json_t *bindings;
    size_t n = 0;
    json_object_foreach((json_t *)object, key, bindings)
        n += json_array_size(bindings) ? json_array_size(bindings) : 1;
    return n;
}

static int compare_port(const void *left, const void *right)
{
    const struct docker_port *a = left, *b = right;
    return a->protocol != b->protocol ? a->protocol - b->protocol : a->port - b->port;
}

static void add_exposed(struct ports *ports, const json_t *exposed, bool are_published)
{
    const char *key;
    json_t *unused;
    uint32_t n_bound = ports->n;
    qsort(ports->items, n_bound, sizeof *ports->items, compare_port); /* an image may expose all there are */
    json_object_foreach((json_t *)exposed, key, unused) {
        struct docker_port port = { .is_published = are_published };
        if (parse_key(key, &port) && !bsearch(&port, ports->items, n_bound, sizeof port, compare_port))
            add(ports, port);
    }
}

void docker_ports_of_inspect(struct docker_json *reader, const json_t *object, struct docker_container *container)
{
    const json_t *host_config = json_object_get(object, "HostConfig");
    const json_t *exposed = json_object_get(json_object_get(object, "Config"), "ExposedPorts");
    const json_t *bound = container->is_running ? json_object_get(json_object_get(object, "NetworkSettings"), "Ports")
                                                : json_object_get(host_config, "PortBindings");
    size_t n = count_bindings(bound) + json_object_size(exposed);
    struct ports ports = { .items = docker_json_room(reader, n, sizeof *ports.items, PORTS_MAX), .room = (uint32_t)n };
    if (!ports.items)
        return;
    add_bindings(&ports, bound);
    add_exposed(&ports, exposed, !container->is_running && docker_json_true(host_config, "PublishAllPorts"));
    qsort(ports.items, ports.n, sizeof *ports.items, compare);
    container->ports = ports.items;
    container->n_ports = ports.n;
}
