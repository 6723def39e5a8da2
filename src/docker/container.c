/* Containers out of list and inspect answers. */
#include "docker/container.h"

#include <errno.h>
#include <limits.h>
#include <netinet/in.h>
#include <stdlib.h>

#include "docker/json.h"
#include "docker/ports.h"

enum { ITEMS_MAX = 65536 };

bool docker_id_is_valid(struct str id)
{
    if (id.len != DOCKER_ID_LEN)
        return false;
    for (size_t i = 0; i < id.len; i++)
        if (!((id.ptr[i] >= '0' && id.ptr[i] <= '9') || (id.ptr[i] >= 'a' && id.ptr[i] <= 'f')))
            return false;
    return true;
}

/* ---- what both answers say in the same way ---- */

static enum docker_state state_of(struct str text)
{
    static const struct {
        struct str text;
        enum docker_state state;
    } states[] = {
        { STR("created"), DOCKER_CREATED },   { STR("running"), DOCKER_RUNNING }, { STR("paused"), DOCKER_PAUSED },
        { STR("restarting"), DOCKER_RESTARTING }, { STR("removing"), DOCKER_REMOVING }, { STR("exited"), DOCKER_EXITED },
        { STR("dead"), DOCKER_DEAD },
    };
    for (size_t i = 0; i < ARRAY_SIZE(states); i++)
        if (str_equal(states[i].text, text))
            return states[i].state;
    return DOCKER_STATE_UNKNOWN;
}

static void read_network_mode(struct docker_json *reader, const json_t *host_config, struct docker_container *ret)
{
    struct str mode = docker_json_text(reader, host_config, "NetworkMode");
    ret->network_mode_text = mode;
    ret->network_mode = DOCKER_NETWORKS;
    if (str_equal(mode, STR("none"))) {
        ret->network_mode = DOCKER_NETWORK_NONE;
    } else if (str_equal(mode, STR("host"))) {
        ret->network_mode = DOCKER_NETWORK_HOST;
    } else if (str_starts_with(mode, STR("container:"))) {
        ret->network_mode = DOCKER_NETWORK_CONTAINER;
        ret->network_peer = str_skip(mode, strlen("container:"));
    }
}

static bool read_address(const json_t *object, const char *address_key, const char *bits_key, bool wants_v4, struct address *ret_address,
                         uint8_t *ret_bits)
{
    struct address address;
    const char *text = json_string_value(json_object_get(object, address_key));
    if (!text || !address_parse(str_of(text), &address) || address_is_v4(&address) != wants_v4)
        return false;
    *ret_address = address;
    if (bits_key)
        *ret_bits = (uint8_t)(docker_json_number(object, bits_key, wants_v4 ? 32 : 128) + (wants_v4 ? 96 : 0));
    return true;
}

static int compare_endpoints(const void *a, const void *b)
{
    return str_compare(((const struct docker_endpoint *)a)->network, ((const struct docker_endpoint *)b)->network);
}

static void read_endpoints(struct docker_json *reader, const json_t *networks, struct docker_container *ret)
{
    struct docker_endpoint *endpoints = docker_json_room(reader, json_object_size(networks), sizeof *endpoints, ITEMS_MAX);
    if (!endpoints)
        return;
    const char *key;
    json_t *one;
    json_object_foreach((json_t *)networks, key, one) {
        json_t *name = json_string(key);
        struct docker_endpoint *e = &endpoints[ret->n_endpoints++];
        e->network = docker_json_value(reader, name, false);
        json_decref(name);
        e->network_id = docker_json_text(reader, one, "NetworkID");
        e->endpoint_id = docker_json_text(reader, one, "EndpointID");
        e->has_v4 = read_address(one, "IPAddress", "IPPrefixLen", true, &e->v4, &e->v4_bits);
        e->has_v6 = read_address(one, "GlobalIPv6Address", "GlobalIPv6PrefixLen", false, &e->v6, &e->v6_bits);
        (void)read_address(one, "Gateway", NULL, true, &e->gateway_v4, NULL);
        (void)read_address(one, "IPv6Gateway", NULL, false, &e->gateway_v6, NULL);
        e->aliases = docker_json_texts(reader, json_object_get(one, "Aliases"), &e->n_aliases);
    }
    qsort(endpoints, ret->n_endpoints, sizeof *endpoints, compare_endpoints);
    ret->endpoints = endpoints;
}

static int compare_mounts(const void *a, const void *b)
{
    return str_compare(((const struct docker_mount *)a)->destination, ((const struct docker_mount *)b)->destination);
}

static void read_mounts(struct docker_json *reader, const json_t *array, struct docker_container *ret)
{
    size_t n = json_array_size(array);
    struct docker_mount *mounts = docker_json_room(reader, n, sizeof *mounts, ITEMS_MAX);
    if (!mounts)
        return;
    for (size_t i = 0; i < n; i++) {
        const json_t *one = json_array_get(array, i);
        mounts[ret->n_mounts++] = (struct docker_mount){
            .type = docker_json_text(reader, one, "Type"),
            .source = docker_json_path(reader, one, "Source"),
            .destination = docker_json_path(reader, one, "Destination"),
            .is_writable = docker_json_true(one, "RW"),
        };
    }
    qsort(mounts, ret->n_mounts, sizeof *mounts, compare_mounts);
    ret->mounts = mounts;
}

static struct str label_or_empty(const struct docker_container *container, const char *key)
{
    struct str value = docker_container_label(container, str_of(key));
    return value.ptr ? value : STR("");
}

/* Names that go into messages and keys: what has a control character in it is no name. */
static struct str name_label(const struct docker_container *container, const char *key)
{
    struct str value = label_or_empty(container, key);
    for (size_t i = 0; i < value.len; i++)
        if ((unsigned char)value.ptr[i] <= 0x20 || value.ptr[i] == 0x7f || value.ptr[i] == '/')
            return STR("");
    return value;
}

static void read_labels(struct docker_json *reader, const json_t *object, struct docker_container *ret)
{
    uint64_t number = 0;
    ret->labels = docker_json_labels(reader, object, &ret->n_labels);
    ret->is_oneoff = str_equal_nocase(label_or_empty(ret, "com.docker.compose.oneoff"), STR("true"));
    /* An image built by Compose carries project and service, too: only what Compose started is numbered. */
    if (str_to_u64(label_or_empty(ret, "com.docker.compose.container-number"), UINT32_MAX, &number))
        ret->number = (uint32_t)number;
    ret->project = ret->service = STR("");
    if (ret->number > 0 || ret->is_oneoff) {
        ret->project = name_label(ret, "com.docker.compose.project");
        ret->service = name_label(ret, "com.docker.compose.service");
    }
    ret->project_directory = label_or_empty(ret, "com.docker.compose.project.working_dir");
    ret->project_files = label_or_empty(ret, "com.docker.compose.project.config_files");
}

static int check_id(struct docker_json *reader, const json_t *object, struct docker_container *ret, struct error *err)
{
    ret->id = docker_json_text(reader, object, "Id");
    if (reader->error || docker_id_is_valid(ret->id))
        return reader->error;
    error_set(err, "a container without an ID of %d hexadecimal digits", DOCKER_ID_LEN);
    return -EINVAL;
}

/* ---- list ---- */

/* Its own name is the one without a second slash; the others are links'. */
static struct str own_name(struct docker_json *reader, const json_t *names)
{
    for (size_t i = 0; i < json_array_size(names); i++) {
        struct str name = docker_json_value(reader, json_array_get(names, i), false);
        if (str_starts_with(name, STR("/")))
            name = str_skip(name, 1);
        if (name.len > 0 && str_find_char(name, '/') == name.len)
            return name;
    }
    return STR("");
}

static int read_listed(struct docker_json *reader, const json_t *object, struct docker_container *ret, struct error *err)
{
    int r = check_id(reader, object, ret, err);
    if (r < 0)
        return r;
    ret->name = own_name(reader, json_object_get(object, "Names"));
    ret->image = docker_json_text(reader, object, "Image");
    ret->image_id = docker_json_text(reader, object, "ImageID");
    ret->state = state_of(docker_json_text(reader, object, "State"));
    ret->is_running = ret->state == DOCKER_RUNNING || ret->state == DOCKER_PAUSED;
    read_labels(reader, json_object_get(object, "Labels"), ret);
    read_network_mode(reader, json_object_get(object, "HostConfig"), ret);
    read_endpoints(reader, json_object_get(json_object_get(object, "NetworkSettings"), "Networks"), ret);
    docker_ports_of_list(reader, json_object_get(object, "Ports"), ret);
    read_mounts(reader, json_object_get(object, "Mounts"), ret);
    return reader->error;
}

static int read_list(struct docker_json *reader, const json_t *root, struct docker_containers *ret, struct error *err)
{
    struct docker_containers list = { 0 };
    size_t n = json_array_size(root);
    if (!json_is_array(root)) {
        error_set(err, "not a list of containers");
        return -EINVAL;
    }
    list.items = docker_json_room(reader, n, sizeof *list.items, DOCKER_CONTAINERS_MAX);
    if (reader->error == -E2BIG)
        error_set(err, "%zu containers, more than %d", n, DOCKER_CONTAINERS_MAX);
    for (size_t i = 0; list.items && i < n; i++) {
        int r = read_listed(reader, json_array_get(root, i), &list.items[list.n++], err);
        if (r < 0)
            return r;
    }
    if (!reader->error)
        *ret = list;
    return reader->error;
}

int docker_containers_parse(struct str body, struct arena *arena, struct docker_containers *ret, struct error *err)
{
    struct docker_json reader = { .arena = arena };
    json_t *root;
    int r = docker_json_load(body, &root, err);
    if (r < 0)
        return r;
    r = read_list(&reader, root, ret, err);
    json_decref(root);
    return r;
}

/* ---- inspect ---- */

static void read_state(struct docker_json *reader, const json_t *state, struct docker_container *ret)
{
    ret->state = state_of(docker_json_text(reader, state, "Status"));
    ret->pid = (pid_t)docker_json_number(state, "Pid", INT_MAX);
    ret->is_running = docker_json_true(state, "Running") && ret->pid > 0;
    ret->started_at = docker_json_text(reader, state, "StartedAt");
}

static void read_host_config(struct docker_json *reader, const json_t *config, struct docker_container *ret)
{
    read_network_mode(reader, config, ret);
    ret->is_privileged = docker_json_true(config, "Privileged");
    ret->is_read_only = docker_json_true(config, "ReadonlyRootfs");
    ret->pid_mode = docker_json_text(reader, config, "PidMode");
    ret->ipc_mode = docker_json_text(reader, config, "IpcMode");
    ret->userns_mode = docker_json_text(reader, config, "UsernsMode");
    ret->cap_add = docker_json_texts(reader, json_object_get(config, "CapAdd"), &ret->n_cap_add);
    ret->security_opt = docker_json_texts(reader, json_object_get(config, "SecurityOpt"), &ret->n_security_opt);
    ret->dns = docker_json_texts(reader, json_object_get(config, "Dns"), &ret->n_dns);
    ret->restart_policy = docker_json_text(reader, json_object_get(config, "RestartPolicy"), "Name");
}

static int read_inspected(struct docker_json *reader, const json_t *object, struct docker_container *ret, struct error *err)
{
    int r = check_id(reader, object, ret, err);
    if (r < 0)
        return r;
    const json_t *config = json_object_get(object, "Config"), *settings = json_object_get(object, "NetworkSettings");
    ret->is_inspected = true;
    ret->name = docker_json_text(reader, object, "Name");
    if (str_starts_with(ret->name, STR("/")))
        ret->name = str_skip(ret->name, 1);
    ret->image = docker_json_text(reader, config, "Image");
    ret->image_id = docker_json_text(reader, object, "Image");
    ret->hostname = docker_json_text(reader, config, "Hostname");
    ret->user = docker_json_text(reader, config, "User");
    ret->restart_count = (uint32_t)docker_json_number(object, "RestartCount", UINT32_MAX);
    ret->sandbox_id = docker_json_text(reader, settings, "SandboxID");
    ret->sandbox_key = docker_json_path(reader, settings, "SandboxKey");
    read_state(reader, json_object_get(object, "State"), ret);
    read_labels(reader, json_object_get(config, "Labels"), ret);
    read_host_config(reader, json_object_get(object, "HostConfig"), ret);
    read_endpoints(reader, json_object_get(settings, "Networks"), ret);
    docker_ports_of_inspect(reader, object, ret);
    read_mounts(reader, json_object_get(object, "Mounts"), ret);
    return reader->error;
}

int docker_container_parse(struct str body, struct arena *arena, struct docker_container *ret, struct error *err)
{
    struct docker_json reader = { .arena = arena };
    struct docker_container container = { 0 };
    json_t *root;
    int r = docker_json_load(body, &root, err);
    if (r < 0)
        return r;
    r = read_inspected(&reader, root, &container, err);
    json_decref(root);
    if (r == 0)
        *ret = container;
    return r;
}

/* ---- questions ---- */

struct str docker_container_label(const struct docker_container *container, struct str key)
{
    return docker_label_find(container->labels, container->n_labels, key);
}

bool docker_container_is_called(const struct docker_container *container, struct str reference)
{
    struct str service = reference, project = str_split(&service, '/');
    if (project.len == reference.len)
        return container->name.len > 0 && str_equal(container->name, reference);
    return !container->is_oneoff && project.len > 0 && service.len > 0 && str_equal(container->project, project) &&
           str_equal(container->service, service);
}

static const struct docker_container *find(const struct docker_containers *list, struct str peer)
{
    for (uint32_t i = 0; i < list->n; i++)
        if (str_equal(list->items[i].id, peer))
            return &list->items[i];
    for (uint32_t i = 0; i < list->n; i++)
        if (str_equal(list->items[i].name, peer))
            return &list->items[i];
    return NULL;
}

const struct docker_container *docker_container_network_owner(const struct docker_containers *list, const struct docker_container *container)
{
    for (uint32_t hops = 0; container && container->network_mode == DOCKER_NETWORK_CONTAINER; hops++) {
        if (hops > list->n)
            return NULL;
        container = find(list, container->network_peer);
    }
    return container;
}

/* /var/run is a name of /run. */
static struct str plain_path(struct str path)
{
    if (str_equal(path, STR("/var/run")) || str_starts_with(path, STR("/var/run/")))
        path = str_skip(path, strlen("/var"));
    while (path.len > 1 && path.ptr[path.len - 1] == '/')
        path.len--;
    return path;
}

const struct docker_mount *docker_container_socket_mount(const struct docker_container *container, struct str socket_path)
{
    struct str socket = plain_path(socket_path);
    for (uint32_t i = 0; i < container->n_mounts; i++) {
        struct str source = plain_path(container->mounts[i].source);
        bool is_root = str_equal(source, STR("/"));
        if (source.len > 0 && str_starts_with(socket, source) && (is_root || socket.len == source.len || socket.ptr[source.len] == '/'))
            return &container->mounts[i];
    }
    return NULL;
}
