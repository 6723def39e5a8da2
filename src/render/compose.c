/* Writing a Compose project's override file. */
#include "render/compose.h"

#include <errno.h>

#include "render/compose_plan.h"
#include "render/origin.h"

/* ---- words ---- */

/* As a key or a value; a name that some YAML reader takes for a number or a truth value has quotes. */
static void name_write(struct buf *out, struct str name)
{
    static const char *const typed[] = { "y", "n", "yes", "no", "on", "off", "true", "false", "null" };
    bool is_typed = !((name.ptr[0] >= 'a' && name.ptr[0] <= 'z') || (name.ptr[0] >= 'A' && name.ptr[0] <= 'Z'));
    for (size_t i = 0; i < ARRAY_SIZE(typed); i++)
        is_typed |= str_equal_nocase(name, str_of(typed[i]));
    buf_printf(out, "%s%.*s%s", is_typed ? "\"" : "", STR_ARG(name), is_typed ? "\"" : "");
}

static const char *transport_text(uint8_t transport)
{
    return transport == MODEL_UDP ? "udp" : "tcp";
}

static void place_write(struct buf *out, const struct compose_plan *plan, struct model_place at)
{
    buf_printf(out, " (%.*s:%u)", STR_ARG(render_file_name(plan->input->model)), at.line);
}

static struct str grant_name(const struct compose_plan *plan, uint32_t container)
{
    const struct container *one = &plan->containers.items[container];
    return plan->input->model->services[one->services[0]].name.text;
}

/* ---- one service ---- */

static void line_begin(struct buf *out)
{
    buf_append(out, STR("    # "));
}

/* Why it is where it is: what it may reach, who may reach it, each with the line that says so. */
static void reasons_write(const struct compose_plan *plan, uint32_t service, struct buf *out)
{
    const struct containers *containers = &plan->containers;
    const struct model *model = plan->input->model;
    uint32_t own = plan->declared[service], n_inside = 0;
    for (uint32_t i = 0; i < plan->input->n_services; i++)
        if (i != service && plan->input->services[i].mode != COMPOSE_LEFT && compose_is_inside(plan, service, i)) {
            buf_printf(out, "%s%.*s", n_inside ? ", " : "    # open inside: ", STR_ARG(plan->input->services[i].name));
            n_inside++;
        }
    buf_append(out, n_inside ? STR("\n") : STR(""));
    for (uint32_t i = 0; i < containers->n_passes && own != MODEL_NONE; i++) {
        const struct container_pass *pass = &containers->passes[i];
        if (pass->from != own && !(pass->way == CONTAINER_WAY_CONTAINER && pass->to == own))
            continue;
        line_begin(out);
        if (pass->way == CONTAINER_WAY_INTERNET)
            buf_append(out, STR("may use the internet"));
        else if (pass->way == CONTAINER_WAY_SURFACE)
            buf_printf(out, "asks the gateway, over %.*s", STR_ARG(model->surfaces[pass->to].name.text));
        else if (pass->from == own)
            buf_printf(out, "reaches %.*s on %s %u", STR_ARG(grant_name(plan, pass->to)), transport_text(pass->transport), pass->port);
        else
            buf_printf(out, "is reached by %.*s on %s %u", STR_ARG(grant_name(plan, pass->from)), transport_text(pass->transport), pass->port);
        place_write(out, plan, model->grants[pass->grant].at);
        buf_append_char(out, '\n');
    }
    if (own == MODEL_NONE)
        return;
    for (uint32_t i = 0; i < containers->items[own].n_services; i++) {
        const struct model_service *one = &model->services[containers->items[own].services[i]];
        line_begin(out);
        buf_printf(out, "%s: %.*s", one->kind == MODEL_KIND_INTERNAL ? "no gate reaches it" : "the gate reaches it", STR_ARG(one->name.text));
        place_write(out, plan, one->name.at);
        buf_append_char(out, '\n');
    }
}

static void networks_write(const struct compose_plan *plan, uint32_t service, struct buf *out)
{
    const struct compose_service *one = &plan->input->services[service];
    buf_append(out, STR("    networks: !override\n"));
    for (uint32_t i = 0; i < plan->n_networks; i++) {
        if (!compose_is_on(&plan->networks[i], service))
            continue;
        buf_append(out, STR("      "));
        name_write(out, plan->networks[i].key);
        uint32_t n = 0;
        buf_append(out, STR(":"));
        for (uint32_t k = 0; k < one->n_aliases && plan->networks[i].kind != COMPOSE_OUT; k++) {
            if (!compose_text_is_plain(one->aliases[k]))
                continue;
            buf_append(out, n++ ? STR(", ") : STR(" { aliases: ["));
            name_write(out, one->aliases[k]);
        }
        buf_append(out, n ? STR("] }\n") : STR(" {}\n"));
    }
}

static bool has_network(const struct compose_plan *plan, uint32_t service)
{
    for (uint32_t i = 0; i < plan->n_networks; i++)
        if (compose_is_on(&plan->networks[i], service))
            return true;
    return false;
}

static void service_write(const struct compose_plan *plan, uint32_t service, struct buf *out)
{
    const struct compose_service *one = &plan->input->services[service];
    if (one->mode == COMPOSE_LEFT) {
        buf_append(out, STR("  # "));
        name_write(out, one->name);
        struct str mode = compose_text_is_plain(one->mode_text) ? one->mode_text : STR("of another container");
        buf_printf(out, " is left as it is: network_mode %.*s\n", STR_ARG(mode));
        return;
    }
    buf_append(out, STR("  "));
    name_write(out, one->name);
    buf_append(out, STR(":\n"));
    reasons_write(plan, service, out);
    if (one->publishes)
        buf_append(out, STR("    ports: !reset []\n"));
    if (has_network(plan, service)) {
        if (one->mode == COMPOSE_ON_NONE)
            buf_append(out, STR("    network_mode: !reset null\n"));
        networks_write(plan, service, out);
        return;
    }
    if (one->names_networks)
        buf_append(out, STR("    networks: !reset null\n"));
    buf_append(out, STR("    network_mode: none\n"));
}

/* ---- networks ---- */

static void network_write(const struct compose_plan *plan, const struct compose_network *network, struct buf *out)
{
    char subnet[ADDRESS_PREFIX_TEXT_SIZE];
    buf_append(out, STR("  "));
    name_write(out, network->key);
    if (network->kind == COMPOSE_BETWEEN) {
        buf_append(out, STR(":\n    external: true\n"));
        return;
    }
    buf_printf(out, ":\n    driver: bridge\n%s    driver_opts:\n      com.docker.network.bridge.name: %s\n",
               network->kind == COMPOSE_INSIDE ? "    internal: true\n" : "", network->bridge);
    if (network->kind == COMPOSE_INSIDE && plan->input->isolates)
        buf_append(out, STR("      com.docker.network.bridge.gateway_mode_ipv4: isolated   # no address of the host's on it\n"));
    if (network->kind == COMPOSE_OUT)
        buf_append(out, STR("      com.docker.network.bridge.enable_icc: \"false\"\n"));
    buf_printf(out, "    ipam: { config: [{ subnet: %s }] }\n", address_prefix_format(&network->subnet, subnet));
}

static bool has_kind(const struct compose_plan *plan, enum compose_network_kind kind)
{
    for (uint32_t i = 0; i < plan->n_networks; i++)
        if (plan->networks[i].kind == kind)
            return true;
    return false;
}

static bool peer_is_of_a_project(const struct compose_plan *plan, const struct compose_network *network)
{
    return plan->containers.items[network->peer].project.len > 0;
}

/* What Compose can't do in this file: networks of two projects, and containers of no project. */
static void before_write(const struct compose_plan *plan, struct buf *out)
{
    if (!has_kind(plan, COMPOSE_BETWEEN))
        return;
    buf_append(out, STR("#\n# Before: these networks belong to two projects, so neither makes them. Once for each, and render the other project, too:\n"));
    for (uint32_t i = 0; i < plan->n_networks; i++) {
        const struct compose_network *network = &plan->networks[i];
        char subnet[ADDRESS_PREFIX_TEXT_SIZE];
        if (network->kind != COMPOSE_BETWEEN)
            continue;
        buf_printf(out, "#   docker network create --internal --subnet %s -o com.docker.network.bridge.name=%s%s %.*s\n",
                   address_prefix_format(&network->subnet, subnet), network->bridge,
                   plan->input->isolates ? " -o com.docker.network.bridge.gateway_mode_ipv4=isolated" : "", STR_ARG(network->name));
        if (!peer_is_of_a_project(plan, network))
            buf_printf(out, "#   docker network connect %.*s %.*s\n", STR_ARG(network->name), STR_ARG(plan->containers.items[network->peer].reference));
    }
}

static void cut_off_write(const struct compose_plan *plan, struct buf *out)
{
    uint32_t n = 0;
    for (uint32_t i = 0; i < plan->input->n_services; i++) {
        bool has_out = plan->input->services[i].mode != COMPOSE_ON_NETWORKS;
        for (uint32_t k = 0; k < plan->n_networks; k++)
            has_out |= plan->networks[k].kind == COMPOSE_OUT && compose_is_on(&plan->networks[k], i);
        if (has_out)
            continue;
        buf_printf(out, "%s%.*s", n++ ? ", " : "#\n# With this file in force these no longer reach the internet: ", STR_ARG(plan->input->services[i].name));
    }
    if (n)
        buf_append(out, STR(".\n# Whoever needs it is granted it in the declaration, { from: SERVICE, to: internet }; then render this anew.\n"));
}

static void head_write(const struct compose_plan *plan, struct buf *out)
{
    buf_printf(out, "# Compose project %.*s: the networks that each service needs, and no published port.\n# ", STR_ARG(plan->input->project));
    render_origin_write(out, plan->input->model, plan->input->revision);
    buf_append(out, STR(" Edit the declaration, not this file.\n#\n"
                        "# Put it beside the Compose file as docker-compose.override.yml (compose.override.yml beside a compose.yml), then:\n"
                        "# docker compose up -d\n"
                        "# It needs Docker Compose 2.24.4 or later, which knows !reset and !override. With an older one, take ports: and networks: of these\n"
                        "# services out of your own file, and the words !reset [], !reset null and !override with what they empty out of this one.\n"));
    before_write(plan, out);
    cut_off_write(plan, out);
}

int render_compose(const struct compose_input *input, struct buf *out, struct error *err)
{
    struct compose_plan plan;
    int r = compose_plan_make(&plan, input, err);
    if (r == 0) {
        head_write(&plan, out);
        buf_append(out, STR("\nservices:\n"));
        for (uint32_t i = 0; i < input->n_services; i++)
            service_write(&plan, i, out);
        if (plan.n_networks)
            buf_append(out, STR("\nnetworks:\n"));
        for (uint32_t i = 0; i < plan.n_networks; i++)
            network_write(&plan, &plan.networks[i], out);
        r = out->error;
    }
    compose_plan_deinit(&plan);
    return r;
}
