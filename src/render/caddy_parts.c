/* Writing ranges, upstreams and certificates for Caddy. */
#include "render/caddy_parts.h"

#include "render/map.h"

/* ---- ranges ---- */

/* The last address of the prefix of that many bits that begins at the address. */
static struct address prefix_last(const struct address *first, unsigned bits)
{
    struct address last = *first;
    for (unsigned bit = bits; bit < 128; bit++)
        last.bytes[bit / 8] |= (uint8_t)(0x80 >> bit % 8);
    return last;
}

/* From the first address on, the shortest prefix that begins there and doesn't pass the last, again and again. */
void caddy_range_write(struct buf *out, const struct address *first, const struct address *last)
{
    struct address at = *first;
    for (;;) {
        struct address_prefix prefix = { .address = at, .bits = 128 };
        char text[ADDRESS_PREFIX_TEXT_SIZE];
        while (prefix.bits > (address_is_v4(first) ? 96 : 0)) {
            struct address masked = address_mask(&at, prefix.bits - 1u), end = prefix_last(&at, prefix.bits - 1u);
            if (!address_equal(&masked, &at) || address_compare(&end, last) > 0)
                break;
            prefix.bits--;
        }
        buf_printf(out, " %s", address_prefix_format(&prefix, text));
        struct address end = prefix_last(&at, prefix.bits);
        if (address_compare(&end, last) >= 0)
            return;
        at = end;
        address_advance(&at);
    }
}

/* ---- values ---- */

/* In backticks, in which nothing is special; what a file's name hardly has and they can't hold is replaced. */
static void value_write(struct buf *out, const char *prefix, struct str value)
{
    buf_printf(out, "`%s", prefix);
    for (size_t i = 0; i < value.len; i++)
        buf_append_char(out, value.ptr[i] == '`' || (unsigned char)value.ptr[i] < 0x20 ? '_' : value.ptr[i]);
    buf_append_char(out, '`');
}

/* ---- ways to instances ---- */

static void address_write(const struct address *address, uint16_t port, struct buf *out)
{
    char text[ADDRESS_TEXT_SIZE];
    buf_printf(out, address_is_v4(address) ? " %s:%u" : " [%s]:%u", address_format(address, text), port);
}

/* Another host's loopback is not the gateway's. The instance is one that the gateway reaches, so that there is one. */
static const struct address *first_dialled(const struct model_prefixes *addresses, bool is_here)
{
    uint32_t i = 0;
    while (!is_here && i + 1 < addresses->n && address_is_loopback(&addresses->items[i].address))
        i++;
    return &addresses->items[i].address;
}

/* The instance on that host as Caddy dials it. */
/* The name by which a container of a shared network is found: its own, which Compose makes of a project and a service. */
static void container_write(struct str reference, struct buf *out)
{
    struct str service = reference, project = str_split(&service, '/');
    if (service.len > 0)
        buf_printf(out, "%.*s-%.*s-1", STR_ARG(project), STR_ARG(service));
    else
        buf_append(out, project);
}

static void upstream_write(const struct model *model, uint32_t gateway, const struct model_service *service, uint32_t host, struct buf *out)
{
    const struct model_prefixes *addresses = model_instance_addresses(model, service, host);
    switch (service->where) {
    case MODEL_WHERE_CONTAINER:
        buf_append_char(out, ' ');
        container_write(service->place.text, out);
        buf_printf(out, ":%u", service->port);
        break;
    case MODEL_WHERE_UNIX:
        buf_append_char(out, ' ');
        value_write(out, "unix/", service->place.text);
        break;
    default:
        if (service->loopback && host == gateway && !service->addresses.n)
            buf_printf(out, " 127.0.0.1:%u", service->port);
        else if (addresses->n)
            address_write(first_dialled(addresses, host == gateway), service->port, out);
        break;
    }
}

static void transport_write(const struct model *model, const struct model_service *service, struct buf *out)
{
    if (service->protocol == MODEL_PROTOCOL_H2C)
        buf_append(out, STR("\t\ttransport http {\n\t\t\tversions h2c\n\t\t}\n"));
    if (service->protocol != MODEL_PROTOCOL_HTTPS)
        return;
    buf_append(out, STR("\t\ttransport http {\n\t\t\ttls\n\t\t\ttls_server_name "));
    if (service->tls_name.len)
        value_write(out, "", service->tls_name);
    else
        buf_printf(out, "%.*s.%.*s", STR_ARG(service->name.text), STR_ARG(model->domain.text));
    if (service->tls_ca_file.len) {
        buf_append(out, STR("\n\t\t\ttls_trusted_ca_certs "));
        value_write(out, "", service->tls_ca_file);
    }
    if (service->tls_insecure)
        buf_append(out, STR("\n\t\t\ttls_insecure_skip_verify"));
    buf_append(out, STR("\n\t\t}\n"));
}

/* Why there is no way for Caddy, or NULL. */
static const char *obstacle(const struct model_service *service)
{
    if (service->where == MODEL_WHERE_NETNS)
        return "it is in a network namespace, which postern's broker enters and Caddy can't";
    if (service->where == MODEL_WHERE_CONTAINER && service->loopback)
        return "it listens on its container's own loopback, which postern's broker enters and Caddy can't";
    if (service->protocol == MODEL_PROTOCOL_HTTPS && service->tls_pin.len)
        return "its key is pinned, which Caddy can't check";
    return NULL;
}

void caddy_snippet_write(const struct model *model, uint32_t gateway, const struct model_service *service, uint32_t instance_host, struct buf *out)
{
    struct str name = service->name.text;
    uint32_t n = 0;
    if (service->where == MODEL_WHERE_CONTAINER && !obstacle(service))
        buf_printf(out, "# Container %.*s: Caddy must be a container, too, and share a network with it.\n", STR_ARG(service->place.text));
    buf_printf(out, "(%.*s", STR_ARG(name));
    if (instance_host != MODEL_NONE)
        buf_printf(out, "-%.*s", STR_ARG(model->hosts[instance_host].name.text));
    buf_append(out, STR(") {\n"));
    if (obstacle(service)) {
        buf_printf(out, "\t# No way for Caddy: %s.\n\trespond 502\n}\n", obstacle(service));
        return;
    }
    buf_append(out, STR("\treverse_proxy"));
    for (unsigned pass = 0; pass < 2; pass++)
        for (uint32_t k = 0; k < service->hosts.n; k++) {
            uint32_t host = service->hosts.items[k];
            if ((host == gateway) != (pass == 0) || (instance_host != MODEL_NONE && host != instance_host) ||
                !map_gateway_reaches(model, gateway, service, host))
                continue;
            upstream_write(model, gateway, service, host, out);
            n++;
        }
    buf_append(out, STR(" {\n\t\theader_up -Postern-*\n"));
    if (n > 1)
        buf_append(out, STR("\t\tlb_policy first\n\t\tlb_try_duration 3s\n\t\tfail_duration 10s\n"));
    transport_write(model, service, out);
    buf_append(out, STR("\t}\n}\n"));
}

/* ---- certificates ---- */

void caddy_tls_write(const struct model_tls *tls, struct buf *out)
{
    switch (tls->source) {
    case MODEL_TLS_INTERNAL: buf_append(out, STR("\ttls internal\n")); break;
    case MODEL_TLS_FILES:
        buf_append(out, STR("\ttls "));
        value_write(out, "", tls->certificate_file);
        buf_append_char(out, ' ');
        value_write(out, "", tls->key_file);
        buf_append_char(out, '\n');
        break;
    case MODEL_TLS_ACME:
        buf_append(out, STR("\t# A wildcard certificate is proved by DNS: this needs a Caddy built with its module for that provider, and the\n"
                            "\t# provider's token in the environment variable POSTERN_DNS_TOKEN.\n\ttls "));
        value_write(out, "", tls->acme_email);
        buf_append(out, STR(" {\n\t\tca "));
        value_write(out, "", tls->acme_directory);
        if (tls->acme_ca_file.len) {
            buf_append(out, STR("\n\t\tca_root "));
            value_write(out, "", tls->acme_ca_file);
        }
        buf_append(out, STR("\n\t\tdns "));
        value_write(out, "", tls->acme_provider);
        buf_append(out, STR(" {env.POSTERN_DNS_TOKEN}\n\t}\n"));
        break;
    }
}
