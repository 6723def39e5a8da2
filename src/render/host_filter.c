/* The declaration, host by host, as lists that a packet filter is built from. */
#include "render/host_filter.h"

#include <errno.h>
#include <netinet/in.h>

#include "render/origin.h"

static void append_once(struct buf *out, const struct address_prefix *prefix, bool v4)
{
    struct relation_range range = relation_range_of_prefix(prefix);
    if (address_is_v4(&prefix->address) != v4)
        return;
    for (size_t i = 0; i < out->len; i += sizeof range)
        if (memcmp(out->ptr + i, &range, sizeof range) == 0)
            return;
    buf_append(out, str_make((const char *)&range, sizeof range));
}

static void append_all(struct buf *out, const struct model_prefixes *prefixes, bool v4)
{
    for (uint32_t i = 0; i < prefixes->n; i++)
        append_once(out, &prefixes->items[i], v4);
}

void host_filter_mesh(const struct model *model, bool v4, struct buf *out)
{
    struct address_prefix usual;
    bool parsed = address_prefix_parse(v4 ? STR("100.64.0.0/10") : STR("fd7a:115c:a1e0::/48"), &usual);
    struct relation_range range;
    if (parsed) {
        range = relation_range_of_prefix(&usual);
        buf_append(out, str_make((const char *)&range, sizeof range));
    }
    for (uint32_t i = 0; i < model->n_hosts; i++)
        for (uint32_t k = 0; k < model->hosts[i].addresses.n; k++) {
            const struct address_prefix *one = &model->hosts[i].addresses.items[k];
            if (address_is_v4(&one->address) != v4 || (parsed && address_prefix_contains(&usual, &one->address)))
                continue;
            range = relation_range_of_prefix(one);
            buf_append(out, str_make((const char *)&range, sizeof range));
        }
}

static bool serves_on(const struct model_surface *surface, uint32_t host)
{
    for (uint32_t i = 0; i < surface->hosts.n; i++)
        if (surface->hosts.items[i] == host)
            return true;
    return false;
}

void host_filter_here(const struct model *model, uint32_t host, bool v4, struct buf *out)
{
    append_all(out, &model->hosts[host].addresses, v4);
    for (uint32_t i = 0; i < model->n_surfaces; i++)
        if (serves_on(&model->surfaces[i], host))
            append_all(out, &model->surfaces[i].addresses, v4);
}

void host_filter_lan(const struct model *model, uint32_t host, bool v4, struct buf *out)
{
    append_all(out, &model->hosts[host].lan, v4);
}

/* ---- ports ---- */

struct served {
    struct buf *out;
    uint8_t *seen;  /* bit per port, TCP's then UDP's */
};

static void add_served(struct served *s, enum model_transport transport, uint16_t port)
{
    struct host_filter_port one = { .protocol = transport == MODEL_UDP ? IPPROTO_UDP : IPPROTO_TCP, .port = port };
    uint32_t bit = (transport == MODEL_UDP ? 65536u : 0) + port;
    if (port == 0 || (s->seen[bit / 8] >> bit % 8 & 1))
        return;
    s->seen[bit / 8] |= (uint8_t)(1u << bit % 8);
    buf_append(s->out, str_make((const char *)&one, sizeof one));
}

void host_filter_served(const struct model *model, uint32_t host, struct buf *out)
{
    uint8_t seen[2 * 65536 / 8] = { 0 };
    struct served s = { out, seen };
    for (uint32_t i = 0; i < model->n_surfaces; i++)
        if (serves_on(&model->surfaces[i], host)) {
            add_served(&s, MODEL_TCP, model->surfaces[i].port);
            add_served(&s, MODEL_TCP, model->surfaces[i].redirect_port);
        }
    for (uint32_t i = 0; i < model->n_services; i++) {
        const struct model_service *service = &model->services[i];
        for (uint32_t k = 0; k < service->hosts.n; k++)
            if (service->hosts.items[k] == host && (service->where == MODEL_WHERE_HOST || service->kind == MODEL_KIND_DIRECT))
                add_served(&s, service->kind == MODEL_KIND_DIRECT ? service->transport : MODEL_TCP, service->port);
    }
}

/* ---- reasons ---- */

int host_filter_reasons_init(struct host_filter_reasons *ret, struct packet_filter *filter, const struct model *model)
{
    uint32_t *numbers = arena_array(&filter->arena, 2 * (size_t)model->n_grants + 1, uint32_t);
    if (!numbers)
        return -ENOMEM;
    for (size_t i = 0; i < 2 * (size_t)model->n_grants; i++)
        numbers[i] = PACKET_NONE;
    *ret = (struct host_filter_reasons){ filter, model, render_file_name(model), numbers };
    return 0;
}

uint32_t host_filter_reason(struct host_filter_reasons *reasons, const struct flow *flow)
{
    bool is_derived = flow->reason == FLOW_INSTANCE;
    uint32_t *number = &reasons->numbers[2 * (size_t)flow->grant + is_derived];
    if (*number == PACKET_NONE)
        *number = packet_filter_add_reason(reasons->filter, (struct relation_reason){ reasons->file, reasons->model->grants[flow->grant].at.line,
                                                                                     is_derived ? STR("a gateway to its instance") : STR_NONE });
    return *number;
}
