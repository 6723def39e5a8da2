/* Writing the map as JSON. */
#include "render/map_json.h"

#include "render/origin.h"

static void name_write(struct buf *out, const char *key, struct str value)
{
    buf_printf(out, "\"%s\": ", key);
    buf_append_json(out, value);
}

static void rule_write(const struct map *map, uint32_t grant, struct buf *out)
{
    struct str file = render_file_name(map->model);
    struct buf text;
    buf_init(&text, 4096);
    buf_printf(&text, "%.*s:%u", STR_ARG(file), map->model->grants[grant].at.line);
    buf_append(out, STR(", "));
    name_write(out, "rule", buf_str(&text));
    buf_deinit(&text);
}

static void parties_write(const struct map *map, const uint64_t *parties, struct buf *out)
{
    bool is_first = true;
    buf_append(out, STR("\"from\": ["));
    for (uint32_t party = 0; party < map->n_parties; party++) {
        if (!map_has(parties, party))
            continue;
        bool is_host = party < map->model->n_hosts;
        buf_append(out, is_first ? STR("{") : STR(", {"));
        if (is_host)
            name_write(out, "host", map->model->hosts[party].name.text);
        else
            name_write(out, "others-in", map->model->segments[party - map->model->n_hosts].name.text);
        buf_append(out, STR("}"));
        is_first = false;
    }
    buf_append(out, STR("]"));
}

static void port_write(const struct map *map, const struct map_port *port, struct buf *out)
{
    buf_append(out, STR("{"));
    name_write(out, "host", map->model->hosts[port->host].name.text);
    buf_printf(out, ", \"protocol\": \"%s\", \"port\": %u", port->transport == MODEL_UDP ? "udp" : "tcp", port->port);
    if (port->redirect_port)
        buf_printf(out, ", \"redirect\": %u", port->redirect_port);
    if (port->service != MODEL_NONE) {
        buf_append(out, STR(", "));
        name_write(out, "service", map->model->services[port->service].name.text);
    }
    rule_write(map, port->grant, out);
    buf_append(out, STR("}"));
}

static void bundle_write(const struct map *map, const struct map_bundle *bundle, struct buf *out)
{
    static const char *const reasons[] = { [FLOW_SURFACE] = "surface", [FLOW_DIRECT] = "direct", [FLOW_HOST_PORT] = "host-port", [FLOW_INSTANCE] = "derived" };
    buf_printf(out, "{\"why\": \"%s\", ", reasons[bundle->reason]);
    if (bundle->surface != MODEL_NONE) {
        name_write(out, "surface", map->model->surfaces[bundle->surface].name.text);
        buf_append(out, STR(", "));
    }
    parties_write(map, bundle->parties, out);
    buf_append(out, STR(", \"to\": ["));
    for (uint32_t i = 0; i < bundle->n_ports; i++) {
        buf_append(out, i ? STR(", ") : STR(""));
        port_write(map, &map->ports[bundle->first_port + i], out);
    }
    buf_append(out, STR("]}"));
}

static void service_write(const struct map *map, uint32_t number, struct buf *out)
{
    const struct model *m = map->model;
    const struct model_service *s = &m->services[number];
    bool is_first = true;
    buf_append(out, STR("{"));
    name_write(out, "service", s->name.text);
    buf_append(out, STR(", \"hosts\": ["));
    for (uint32_t k = 0; k < s->hosts.n; k++) {
        buf_append(out, k ? STR(", ") : STR(""));
        buf_append_json(out, m->hosts[s->hosts.items[k]].name.text);
    }
    buf_append(out, STR("], \"surfaces\": ["));
    for (uint32_t i = 0; i < m->n_surfaces; i++)
        if (map->services[number].surfaces >> i & 1) {
            buf_append(out, is_first ? STR("") : STR(", "));
            buf_append_json(out, m->surfaces[i].name.text);
            is_first = false;
        }
    buf_append(out, STR("]"));
    if (map->services[number].grant != MODEL_NONE)
        rule_write(map, map->services[number].grant, out);
    buf_append(out, STR("}"));
}

int render_map_json(const struct map *map, struct str revision, struct buf *out)
{
    buf_append(out, STR("{"));
    name_write(out, "domain", map->model->domain.text);
    buf_append(out, STR(", "));
    name_write(out, "revision", revision);
    buf_append(out, STR(",\n \"ways\": ["));
    for (uint32_t i = 0; i < map->n_bundles; i++) {
        buf_append(out, i ? STR(",\n  ") : STR("\n  "));
        bundle_write(map, &map->bundles[i], out);
    }
    buf_append(out, STR("],\n \"services\": ["));
    for (uint32_t i = 0; i < map->model->n_services; i++) {
        buf_append(out, i ? STR(",\n  ") : STR("\n  "));
        service_write(map, i, out);
    }
    buf_append(out, STR("]}\n"));
    return out->error;
}
