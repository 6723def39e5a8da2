/* Segments and hosts. */
#include "model/read.h"

#include <stdio.h>

/* As many as an instance may have (image.h: IMAGE_TARGET_ADDRESSES): all of them are dialled. */
enum { HOST_ADDRESSES_MAX = 4 };

static bool segment_range_check(struct reader *r, const struct yaml_node *node, const struct address_prefix *prefix)
{
    bool is_v4 = prefix->bits >= 96 && address_is_v4(&prefix->address);
    if (prefix->bits == (is_v4 ? 96 : 0))
        read_warning(r, node, is_v4 ? STR("say the range of the mesh, such as 100.64.0.0/10") : STR("say the range of the mesh, such as fd7a:115c:a1e0::/48"),
                     "every %s address there is belongs to this segment", is_v4 ? "IPv4" : "IPv6");
    char key[ADDRESS_PREFIX_TEXT_SIZE];
    struct str copy = arena_copy(&r->nodes, str_of(address_prefix_format(prefix, key)));
    if (!copy.ptr)
        r->error = -ENOMEM;
    return copy.ptr && read_once(r, node, &r->ranges, copy,
                                 "a range belongs to one segment; of two that overlap the narrower one counts");
}

static void read_segment_address(struct reader *r, const struct yaml_node *value, void *object)
{
    struct model_segment *segment = object;
    read_addresses(r, value, READ_ADDRESS_PREFIX, 0, segment_range_check, &segment->addresses);
}

static void read_segment_tag(struct reader *r, const struct yaml_node *value, void *object)
{
    struct model_segment *segment = object;
    read_binding_tag(r, value, &segment->binding);
}

static void read_segment_user(struct reader *r, const struct yaml_node *value, void *object)
{
    struct model_segment *segment = object;
    read_binding_user(r, value, &segment->binding);
}

static void read_segment(struct reader *r, const struct yaml_node *value, void *thing)
{
    static const struct read_field fields[] = {
        { "address", false, read_segment_address },
        { "tag", false, read_segment_tag },
        { "user", false, read_segment_user },
    };
    static const struct read_shape shape = { "a segment", "{} or { address: 100.64.0.0/24 }", fields, ARRAY_SIZE(fields) };
    if (value->kind == YAML_SCALAR && value->is_plain && yaml_text_is_null(value->text))
        return; /* "clients:" with nothing after it says as much as "clients: {}" */
    (void)read_mapping(r, value, &shape, thing);
}

void read_segments(struct reader *r, const struct yaml_node *value, void *object)
{
    static const struct read_collection collection = { READ_SEGMENT, "a segment", sizeof(struct model_segment), 0, read_segment };
    (void)object;
    r->model->segments = read_collection(r, value, &collection, &r->model->n_segments);
}

static void read_host_segment(struct reader *r, const struct yaml_node *value, void *object)
{
    struct model_host *host = object;
    host->segment = read_reference(r, value, READ_SEGMENT);
}

static bool address_is_of_a_host(const struct address *address)
{
    static const struct address unspecified = { { 0 } };
    bool v4 = address_is_v4(address);
    uint8_t first = address->bytes[v4 ? 12 : 0];
    bool is_multicast = v4 ? first >= 224 : first == 0xff;
    return !address_equal(address, &unspecified) && !is_multicast && !(v4 && first == 0);
}

bool read_reachable_check(struct reader *r, const struct yaml_node *node, const struct address_prefix *prefix)
{
    char text[ADDRESS_TEXT_SIZE];
    if (address_is_of_a_host(&prefix->address))
        return true;
    read_error(r, node, STR("say the address that the others reach it by"), "%s can't be a host's address", address_format(&prefix->address, text));
    return false;
}

/* An address tells who is asking: it must be one that can ask, and belong to one host. */
static bool host_address_check(struct reader *r, const struct yaml_node *node, const struct address_prefix *prefix)
{
    char text[ADDRESS_TEXT_SIZE];
    if (!read_reachable_check(r, node, prefix))
        return false;
    if (address_is_loopback(&prefix->address))
        read_warning(r, node, STR("fine for a trial on one machine"),
                     "%s never leaves a machine: nobody else can come from it, or reach it",
                     address_format(&prefix->address, text));
    return read_once(r, node, &r->addresses, str_make((const char *)prefix->address.bytes, sizeof prefix->address.bytes),
                     "every address belongs to one host, and is said once");
}

static void read_host_address(struct reader *r, const struct yaml_node *value, void *object)
{
    struct model_host *host = object;
    read_addresses(r, value, READ_ADDRESS_WHOLE, HOST_ADDRESSES_MAX, host_address_check, &host->addresses);
}

static void read_host_lan(struct reader *r, const struct yaml_node *value, void *object)
{
    struct model_host *host = object;
    read_addresses(r, value, READ_ADDRESS_WHOLE, HOST_ADDRESSES_MAX, host_address_check, &host->lan);
}

static void read_host_os(struct reader *r, const struct yaml_node *value, void *object)
{
    static const char *const words[] = { [MODEL_OS_LINUX] = "linux", [MODEL_OS_MACOS] = "macos" };
    struct model_host *host = object;
    uint32_t os;
    if (read_word(r, value, words, ARRAY_SIZE(words), &os))
        host->os = (enum model_os)os;
    if (host->os != MODEL_OS_LINUX)
        host->firewall = MODEL_FIREWALL_NONE;
}

static void read_host_gateway(struct reader *r, const struct yaml_node *value, void *object)
{
    struct model_host *host = object;
    (void)!read_bool(r, value, &host->gateway);
    if (host->gateway && host->os != MODEL_OS_LINUX)
        read_error(r, value, STR("a gateway runs on Linux; this host can be served by another one"), "%s can't be a gateway",
                   read_quote(r, host->name.text));
}

static void read_host_tag(struct reader *r, const struct yaml_node *value, void *object)
{
    struct model_host *host = object;
    read_binding_tag(r, value, &host->binding);
}

static void read_host_user(struct reader *r, const struct yaml_node *value, void *object)
{
    struct model_host *host = object;
    read_binding_user(r, value, &host->binding);
}

static void read_host_firewall(struct reader *r, const struct yaml_node *value, void *object)
{
    static const char *const words[] = {
        [MODEL_FIREWALL_NFTABLES] = "nftables", [MODEL_FIREWALL_PF] = "pf", [MODEL_FIREWALL_NONE] = "none"
    };
    struct model_host *host = object;
    uint32_t firewall;
    if (!read_word(r, value, words, ARRAY_SIZE(words), &firewall))
        return;
    bool is_linux = host->os == MODEL_OS_LINUX;
    if (firewall != MODEL_FIREWALL_NONE && (firewall == MODEL_FIREWALL_NFTABLES) != is_linux)
        read_error(r, value, is_linux ? STR("write nftables, or none") : STR("write pf, or none"), "%s runs %s, which has no %s",
                   read_quote(r, host->name.text), is_linux ? "Linux" : "macOS", words[firewall]);
    else
        host->firewall = (enum model_firewall)firewall;
}

static void read_host_docker(struct reader *r, const struct yaml_node *value, void *object)
{
    struct model_host *host = object;
    host->docker.at = value->at;
    (void)!read_path(r, value, READ_UNIX_PATH_MAX, &host->docker.text);
}

static void read_host(struct reader *r, const struct yaml_node *value, void *thing)
{
    static const struct read_field fields[] = {
        { "segment", true, read_host_segment },
        { "address", true, read_host_address },
        { "lan", false, read_host_lan },
        { "tag", false, read_host_tag },
        { "user", false, read_host_user },
        { "tailscale", false, read_host_tailscale },
        { "os", false, read_host_os },
        { "firewall", false, read_host_firewall },
        { "gateway", false, read_host_gateway },
        { "docker", false, read_host_docker },
    };
    static const struct read_shape shape = { "a host", "{ segment: prod, address: 100.64.0.1 }", fields, ARRAY_SIZE(fields) };
    struct model_host *host = thing;
    host->segment = MODEL_NONE;
    (void)read_mapping(r, value, &shape, host);
}

void read_hosts(struct reader *r, const struct yaml_node *value, void *object)
{
    static const struct read_collection collection = { READ_HOST, "a host", sizeof(struct model_host), 0, read_host };
    (void)object;
    if (value->kind == YAML_MAPPING && value->n == 0)
        read_error(r, value->key, STR("for example { roc: { segment: prod, address: 100.64.0.1, gateway: true } }"),
                   "there is no host");
    r->model->hosts = read_collection(r, value, &collection, &r->model->n_hosts);
    check_bindings(r);
}
