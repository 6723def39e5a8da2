/* What kind of engine answers. */
#include "docker/engine.h"

#include <errno.h>

#include "docker/json.h"

static int load_object(struct str body, json_t **ret, const char *what, struct error *err)
{
    json_t *root;
    int r = docker_json_load(body, &root, err);
    if (r < 0)
        return r;
    if (!json_is_object(root)) {
        json_decref(root);
        error_set(err, "not %s", what);
        return -EINVAL;
    }
    *ret = root;
    return 0;
}

int docker_version_parse(struct str body, struct arena *arena, struct docker_version *ret, struct error *err)
{
    struct docker_json reader = { .arena = arena };
    json_t *root;
    int r = load_object(body, &root, "an engine's version", err);
    if (r < 0)
        return r;
    struct docker_version version = {
        .version = docker_json_text(&reader, root, "Version"),
        .api_version = docker_json_text(&reader, root, "ApiVersion"),
        .min_api_version = docker_json_text(&reader, root, "MinAPIVersion"),
    };
    const json_t *components = json_object_get(root, "Components");
    for (size_t i = 0; i < json_array_size(components); i++) {
        struct str name = docker_json_text(&reader, json_array_get(components, i), "Name");
        version.is_podman |= str_starts_with(name, STR("Podman"));
    }
    json_decref(root);
    if (!reader.error)
        *ret = version;
    return reader.error;
}

/* "name=rootless,key=value" */
static bool has_security_option(const json_t *options, struct str name)
{
    for (size_t i = 0; i < json_array_size(options); i++) {
        struct str rest = str_of(json_string_value(json_array_get(options, i)));
        while (rest.len > 0) {
            struct str one = str_split(&rest, ',');
            if (str_starts_with(one, STR("name=")) && str_equal(str_skip(one, strlen("name=")), name))
                return true;
        }
    }
    return false;
}

int docker_info_parse(struct str body, struct arena *arena, struct docker_info *ret, struct error *err)
{
    struct docker_json reader = { .arena = arena };
    json_t *root;
    int r = load_object(body, &root, "an engine's info", err);
    if (r < 0)
        return r;
    const json_t *security = json_object_get(root, "SecurityOptions");
    struct docker_info info = {
        .name = docker_json_text(&reader, root, "Name"),
        .root_directory = docker_json_path(&reader, root, "DockerRootDir"),
        .storage_driver = docker_json_text(&reader, root, "Driver"),
        .cgroup_version = docker_json_text(&reader, root, "CgroupVersion"),
        .is_rootless = has_security_option(security, STR("rootless")),
        .has_userns_remap = has_security_option(security, STR("userns")),
        .is_live_restore = docker_json_true(root, "LiveRestoreEnabled"),
        .calls_iptables_for_bridges = docker_json_true(root, "BridgeNfIptables"),
        .firewall = docker_json_text(&reader, json_object_get(root, "FirewallBackend"), "Driver"),
    };
    json_decref(root);
    if (!reader.error)
        *ret = info;
    return reader.error;
}
