/* Services: where each runs, what it speaks, and under which names it is served. */
#include "model/read.h"

/* image.h: IMAGE_TARGET_ADDRESSES. */
enum { SERVICE_ADDRESSES_MAX = 4, SERVICE_NAMES_MAX = 64 };

enum service_field {
    FIELD_HOST, FIELD_CONTAINER, FIELD_UNIX, FIELD_NETNS, FIELD_PORT, FIELD_DIRECT, FIELD_INTERNAL, FIELD_PROTOCOL, FIELD_TLS, FIELD_NAMES,
    FIELD_OVER, FIELD_ADDRESS, FIELD_LOOPBACK, FIELD_COUNT
};

static void read_service_host(struct reader *r, const struct yaml_node *value, void *object)
{
    struct model_service *service = object;
    read_references(r, value, READ_HOST, 0, &service->hosts);
}

static void read_service_container(struct reader *r, const struct yaml_node *value, void *object)
{
    struct model_service *service = object;
    struct str text;
    if (!read_text(r, value, "a container's name", &text))
        return;
    if (!read_is_container_place(text))
        read_error(r, value, STR("NAME as 'docker ps' shows it, or PROJECT/SERVICE of a Compose project: letters, digits, '_', '.' and '-'"),
                   "%s is no container's name", read_quote(r, text));
    service->where = MODEL_WHERE_CONTAINER;
    service->place = (struct model_text){ text, value->at };
}

static void read_service_unix(struct reader *r, const struct yaml_node *value, void *object)
{
    struct model_service *service = object;
    service->where = MODEL_WHERE_UNIX;
    service->place.at = value->at;
    (void)!read_path(r, value, READ_UNIX_PATH_MAX, &service->place.text);
}

static void read_service_netns(struct reader *r, const struct yaml_node *value, void *object)
{
    struct model_service *service = object;
    service->where = MODEL_WHERE_NETNS;
    service->place.at = value->at;
    (void)!read_path(r, value, READ_PATH_MAX, &service->place.text);
}

static void read_service_port(struct reader *r, const struct yaml_node *value, void *object)
{
    struct model_service *service = object;
    (void)!read_port(r, value, &service->port);
}

static void read_service_direct(struct reader *r, const struct yaml_node *value, void *object)
{
    struct model_service *service = object;
    struct str text, transport;
    uint64_t port = 0;
    service->kind = MODEL_KIND_DIRECT;
    if (!read_text(r, value, "tcp/PORT or udp/PORT", &text))
        return;
    struct str rest = text;
    transport = str_split(&rest, '/');
    bool is_udp = str_equal(transport, STR("udp"));
    bool is_number = str_to_u64(rest, UINT16_MAX, &port) && port > 0 && rest.ptr[0] != '0';
    if ((!is_udp && !str_equal(transport, STR("tcp"))) || !is_number) {
        read_expected(r, value, "tcp/PORT or udp/PORT, PORT from 1 to 65535");
        return;
    }
    service->transport = is_udp ? MODEL_UDP : MODEL_TCP;
    service->port = (uint16_t)port;
}

static void read_service_internal(struct reader *r, const struct yaml_node *value, void *object)
{
    struct model_service *service = object;
    bool is_internal = false;
    if (read_bool(r, value, &is_internal) && is_internal)
        service->kind = MODEL_KIND_INTERNAL;
}

static void read_service_protocol(struct reader *r, const struct yaml_node *value, void *object)
{
    static const char *const words[] = {
        [MODEL_PROTOCOL_HTTP] = "http", [MODEL_PROTOCOL_H2C] = "h2c", [MODEL_PROTOCOL_HTTPS] = "https"
    };
    struct model_service *service = object;
    uint32_t protocol;
    if (read_word(r, value, words, ARRAY_SIZE(words), &protocol))
        service->protocol = (enum model_protocol)protocol;
}

static void read_service_names(struct reader *r, const struct yaml_node *value, void *object)
{
    struct model_service *service = object;
    uint32_t n = 0;
    const struct yaml_node *item = read_items(r, value, "a host name", SERVICE_NAMES_MAX, &n);
    struct model_text *names = item ? read_alloc(r, n, sizeof *names) : NULL;
    if (!names)
        return;
    uint32_t n_good = 0;
    for (uint32_t i = 0; i < n; i++, item = item->next)
        n_good += read_host_name(r, item, READ_HOST_NAME_MAX, &names[n_good]);
    service->names = (struct model_texts){ names, n_good };
}

static void read_service_over(struct reader *r, const struct yaml_node *value, void *object)
{
    struct model_service *service = object;
    read_references(r, value, READ_SURFACE, READ_SURFACES_MAX, &service->surfaces);
}

static void warn_of_loopback(struct reader *r, const struct yaml_node *node)
{
    read_warning(r, node, STR("many programs take whoever comes from there for their administrator"),
                 "the service sees every caller as 127.0.0.1");
}

static bool service_address_check(struct reader *r, const struct yaml_node *node, const struct address_prefix *prefix)
{
    if (address_is_loopback(&prefix->address))
        warn_of_loopback(r, node);
    return read_reachable_check(r, node, prefix);
}

static void read_service_address(struct reader *r, const struct yaml_node *value, void *object)
{
    struct model_service *service = object;
    read_addresses(r, value, READ_ADDRESS_WHOLE, SERVICE_ADDRESSES_MAX, service_address_check, &service->addresses);
}

static void read_service_loopback(struct reader *r, const struct yaml_node *value, void *object)
{
    struct model_service *service = object;
    if (read_bool(r, value, &service->loopback) && service->loopback)
        warn_of_loopback(r, value);
}

/* ---- tls: of a service that speaks https itself ---- */

static void read_tls_name(struct reader *r, const struct yaml_node *value, void *object)
{
    struct model_service *service = object;
    struct model_text name;
    if (read_host_name(r, value, READ_HOST_NAME_MAX, &name))
        service->tls_name = name.text;
}

static void read_tls_ca(struct reader *r, const struct yaml_node *value, void *object)
{
    struct model_service *service = object;
    (void)!read_path(r, value, READ_PATH_MAX, &service->tls_ca_file);
}

/* "sha256/" and the base64 of 32 bytes: 43 characters, the last of which holds four bits, and one "=". */
static bool pin_is_valid(struct str pin)
{
    static const char last[] = "AEIMQUYcgkosw048";
    if (pin.len != 44 || pin.ptr[43] != '=' || !strchr(last, pin.ptr[42]))
        return false;
    for (size_t i = 0; i < 43; i++) {
        char c = pin.ptr[i], lower = str_lower_char(c);
        if (!(lower >= 'a' && lower <= 'z') && !(c >= '0' && c <= '9') && c != '+' && c != '/')
            return false;
    }
    return true;
}

static void read_tls_pin(struct reader *r, const struct yaml_node *value, void *object)
{
    struct model_service *service = object;
    struct str text, prefix = STR("sha256/");
    if (!read_text(r, value, "\"sha256/...\"", &text))
        return;
    if (!str_starts_with(text, prefix) || !pin_is_valid(str_skip(text, prefix.len)))
        read_error(r, value, STR("the SHA-256 of the public key, in base64: 44 characters after 'sha256/'"), "%s is no pin",
                   read_quote(r, text));
    else
        service->tls_pin = str_skip(text, prefix.len);
}

static void read_tls_insecure(struct reader *r, const struct yaml_node *value, void *object)
{
    struct model_service *service = object;
    if (read_bool(r, value, &service->tls_insecure) && service->tls_insecure)
        read_warning(r, value, STR("pin: its key, or ca: the authority that signed it, costs one line"),
                     "whoever sits between the gateway and %s can read and change everything", read_quote(r, service->name.text));
}

static void read_service_tls(struct reader *r, const struct yaml_node *value, void *object)
{
    static const struct read_field fields[] = {
        { "name", false, read_tls_name },
        { "ca", false, read_tls_ca },
        { "pin", false, read_tls_pin },
        { "insecure", false, read_tls_insecure },
    };
    static const struct read_shape shape = { "tls", "{ ca: /etc/postern/backend-ca.pem }", fields, ARRAY_SIZE(fields) };
    struct model_service *service = object;
    const struct yaml_node *const *given = read_mapping(r, value, &shape, service);
    if (given && service->tls_insecure && (given[1] || given[2]))
        read_error(r, value->key, STR("leave out insecure:"), "insecure: verifies nothing, so ca: and pin: mean nothing beside it");
}

/* ---- what goes together ---- */

static void forbid(struct reader *r, const struct yaml_node *const *given, const enum service_field *fields, size_t n,
                   const char *why)
{
    for (size_t i = 0; i < n; i++)
        if (given[fields[i]])
            read_error(r, given[fields[i]]->key, STR("leave it out"), "'%.*s:' means nothing for %s",
                       STR_ARG(given[fields[i]]->key->text), why);
}

static void check_kind(struct reader *r, const struct yaml_node *const *given, const struct model_service *service)
{
    static const enum service_field not_direct[] = {
        FIELD_UNIX, FIELD_PORT, FIELD_INTERNAL, FIELD_PROTOCOL, FIELD_TLS, FIELD_NAMES, FIELD_OVER, FIELD_ADDRESS
    };
    static const enum service_field not_of_host[] = { FIELD_LOOPBACK };
    static const enum service_field not_internal[] = { FIELD_PROTOCOL, FIELD_TLS, FIELD_NAMES, FIELD_OVER };
    if (given[FIELD_DIRECT])
        forbid(r, given, not_direct, ARRAY_SIZE(not_direct), "a service whose port is reached directly");
    if (given[FIELD_DIRECT] && !given[FIELD_CONTAINER] && !given[FIELD_NETNS])
        forbid(r, given, not_of_host, ARRAY_SIZE(not_of_host), "a port of the host itself, which nobody relays");
    if (given[FIELD_DIRECT])
        return;
    if (service->kind == MODEL_KIND_INTERNAL)
        forbid(r, given, not_internal, ARRAY_SIZE(not_internal), "an internal service, which nobody is served");
    if (given[FIELD_TLS] && service->protocol != MODEL_PROTOCOL_HTTPS && service->kind == MODEL_KIND_WEB)
        read_error(r, given[FIELD_TLS]->key, STR("say 'protocol: https' if the service itself speaks TLS"),
                   "'tls:' is for a service with protocol https");
}

static void check_where(struct reader *r, const struct yaml_node *node, const struct yaml_node *const *given)
{
    static const enum service_field places[] = { FIELD_CONTAINER, FIELD_UNIX, FIELD_NETNS };
    static const enum service_field not_unix[] = { FIELD_PORT, FIELD_ADDRESS, FIELD_LOOPBACK };
    const struct yaml_node *first = NULL;
    for (size_t i = 0; i < ARRAY_SIZE(places); i++) {
        const struct yaml_node *place = given[places[i]];
        if (place && first)
            read_error(r, place->key, STR("keep one of them"), "a service runs in one place, and '%.*s:' says another",
                       STR_ARG(first->key->text));
        first = first ? first : place;
    }
    if (given[FIELD_UNIX] && !given[FIELD_DIRECT])
        forbid(r, given, not_unix, ARRAY_SIZE(not_unix), "a service on a unix socket");
    else if (!given[FIELD_PORT] && !given[FIELD_DIRECT])
        read_error(r, node->key, STR("port: N, unix: /PATH, or direct: tcp/N for what isn't HTTP"), "%s needs 'port:'",
                   read_quote(r, node->key->text));
    if (given[FIELD_ADDRESS] && given[FIELD_LOOPBACK])
        read_error(r, given[FIELD_LOOPBACK]->key, STR("keep one of them"), "'address:' says where the service listens already");
}

static void read_service(struct reader *r, const struct yaml_node *value, void *thing)
{
    static const struct read_field fields[FIELD_COUNT] = {
        [FIELD_HOST] = { "host", true, read_service_host },
        [FIELD_CONTAINER] = { "container", false, read_service_container },
        [FIELD_UNIX] = { "unix", false, read_service_unix },
        [FIELD_NETNS] = { "netns", false, read_service_netns },
        [FIELD_PORT] = { "port", false, read_service_port },
        [FIELD_INTERNAL] = { "internal", false, read_service_internal },
        [FIELD_DIRECT] = { "direct", false, read_service_direct },
        [FIELD_PROTOCOL] = { "protocol", false, read_service_protocol },
        [FIELD_TLS] = { "tls", false, read_service_tls },
        [FIELD_NAMES] = { "names", false, read_service_names },
        [FIELD_OVER] = { "over", false, read_service_over },
        [FIELD_ADDRESS] = { "address", false, read_service_address },
        [FIELD_LOOPBACK] = { "loopback", false, read_service_loopback },
    };
    static const struct read_shape shape = { "a service", "{ host: roc, container: grafana, port: 3000 }", fields, FIELD_COUNT };
    struct model_service *service = thing;
    service->project = MODEL_NONE;
    if (str_equal(service->name.text, STR("internet")))
        read_error_at(r, service->name, STR("another name"), "'internet' is what grants call everything outside, so no service can have that name");
    const struct yaml_node *const *given = read_mapping(r, value, &shape, service);
    if (!given)
        return;
    check_kind(r, given, service);
    check_where(r, value, given);
}

void read_services(struct reader *r, const struct yaml_node *value, void *object)
{
    static const struct read_collection collection = { READ_SERVICE, "a service", sizeof(struct model_service), 0, read_service };
    (void)object;
    r->model->services = read_collection(r, value, &collection, &r->model->n_services);
    for (uint32_t i = 0; i < r->model->n_services; i++)
        if (r->model->services[i].kind == MODEL_KIND_WEB)
            r->web_surfaces |= read_service_surfaces(&r->model->services[i]);
    fill_docker(r);
}
