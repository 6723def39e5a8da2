/* Containers with rights over the host: the engine's socket, privileges, capabilities, the host's files, processes and network. */
#include "observe/findings_parts.h"

#include <netinet/in.h>

#include "docker/client.h"

/* "; it is reached by the LAN and other containers", where it is. */
static struct str reached_by(struct finding_search *search, uint32_t container)
{
    struct str reach = finding_reach_text(search, container);
    return reach.len ? finding_text(search, "; into it: %.*s", STR_ARG(reach)) : STR("");
}

static bool is_open(const struct finding_search *search, uint32_t container)
{
    struct finding_reach reach = finding_reach_of(search->engine, container);
    return reach.any || reach.at_address;
}

static void find_socket(struct finding_search *search, uint32_t container)
{
    static const char *const sockets[] = { "/run/docker.sock", "/var/run/docker.sock", "/run/podman/podman.sock" };
    const struct docker_container *of = &search->engine->containers.items[container];
    const struct docker_mount *mount = NULL;
    for (size_t i = 0; i < ARRAY_SIZE(sockets) && !mount; i++)
        mount = docker_container_socket_mount(of, str_of(sockets[i]));
    for (uint32_t i = 0; i < of->n_mounts && !mount; i++) /* of an engine with its socket elsewhere */
        if (str_ends_with(of->mounts[i].source, STR("docker.sock")) || str_ends_with(of->mounts[i].destination, STR("docker.sock")))
            mount = &of->mounts[i];
    if (!mount)
        return;
    struct finding *finding = finding_begin(search, is_open(search, container) ? FINDING_CRITICAL : FINDING_HIGH, FINDING_SOCKET, container);
    if (!finding)
        return;
    const char *read_only = mount->is_writable ? "" : ":ro";
    finding->title = finding_text(search, "%.*s holds Docker's socket", STR_ARG(finding_name(search, container)));
    finding->who = finding_text(search, "whoever gets into it is root on this host%.*s", STR_ARG(reached_by(search, container)));
    finding->why = finding_text(search, "who may ask Docker may start a container that holds the whole disk%s",
                                mount->is_writable ? "" : "; \":ro\" forbids to replace the socket, not to ask");
    finding_line_add(search, finding, FINDING_REMOVE, "volumes: [\"%.*s:%.*s%s\"]", STR_ARG(mount->source), STR_ARG(mount->destination), read_only);
    finding_line_add(search, finding, FINDING_TEXT,
                     "where it must ask: through a filter in a container of its own that passes only what is needed; and grant it to few");
}

static void find_privileged(struct finding_search *search, uint32_t container)
{
    const struct docker_container *of = &search->engine->containers.items[container];
    if (!of->is_privileged)
        return;
    struct finding *finding = finding_begin(search, is_open(search, container) ? FINDING_CRITICAL : FINDING_HIGH, FINDING_PRIVILEGED, container);
    if (!finding)
        return;
    finding->title = finding_text(search, "%.*s is privileged", STR_ARG(finding_name(search, container)));
    finding->who = finding_text(search, "whoever gets into it is root on this host%.*s", STR_ARG(reached_by(search, container)));
    finding->why = STR("a privileged container opens the host's disks and loads kernel modules; no firewall rule holds it");
    finding_line_add(search, finding, FINDING_REMOVE, "privileged: true");
    finding_line_add(search, finding, FINDING_ADD, "devices: [\"/dev/ttyUSB0\"]   # what it needs, by name");
}

struct capability {
    const char *name;
    enum finding_severity severity, as_host; /* as_host: where it has the host's network or processes */
    const char *who, *why;
};

static const struct capability capabilities[] = {
    { "ALL", FINDING_HIGH, FINDING_HIGH, "whoever gets into it may do what root may",
      "all capabilities are as good as privileged" },
    { "SYS_ADMIN", FINDING_HIGH, FINDING_HIGH, "whoever gets into it is near to root on this host",
      "SYS_ADMIN mounts and enters what others made; ways out of a container that has it are known" },
    { "SYS_MODULE", FINDING_HIGH, FINDING_HIGH, "whoever gets into it is root on this host", "SYS_MODULE loads code into the kernel" },
    { "SYS_PTRACE", FINDING_MEDIUM, FINDING_HIGH, "whoever gets into it reads the memory of the processes it sees",
      "SYS_PTRACE together with the host's processes is root on this host" },
    { "SYS_RAWIO", FINDING_HIGH, FINDING_HIGH, "whoever gets into it reads the host's memory and disks", "SYS_RAWIO passes the kernel by" },
    { "DAC_READ_SEARCH", FINDING_HIGH, FINDING_HIGH, "whoever gets into it reads every file of the host's disk",
      "DAC_READ_SEARCH opens files by handle, past every directory" },
    { "NET_ADMIN", FINDING_LOW, FINDING_HIGH, "whoever gets into it changes its own addresses and rules, and listens to its networks' other containers",
      "with NET_ADMIN a container takes a neighbour's address on a shared network; with network_mode: host it rewrites the host's firewall" },
};

static const struct capability *capability_find(struct str name)
{
    if (str_starts_with(name, STR("CAP_")))
        name = str_skip(name, 4);
    for (size_t i = 0; i < ARRAY_SIZE(capabilities); i++)
        if (str_equal_nocase(name, str_of(capabilities[i].name)))
            return &capabilities[i];
    return NULL;
}

static void find_capabilities(struct finding_search *search, uint32_t container)
{
    const struct docker_container *of = &search->engine->containers.items[container];
    bool as_host = of->network_mode == DOCKER_NETWORK_HOST || str_equal(of->pid_mode, STR("host"));
    for (uint32_t i = 0; i < of->n_cap_add && !of->is_privileged; i++) {
        const struct capability *capability = capability_find(of->cap_add[i]);
        if (!capability)
            continue;
        struct finding *finding = finding_begin(search, as_host ? capability->as_host : capability->severity, FINDING_CAPABILITY, container);
        if (!finding)
            return;
        finding->title = finding_text(search, "%.*s has the capability %s", STR_ARG(finding_name(search, container)), capability->name);
        finding->who = finding_text(search, "%s%.*s", capability->who, STR_ARG(reached_by(search, container)));
        finding->why = str_of(capability->why);
        finding_line_add(search, finding, FINDING_REMOVE, "cap_add: [%s]", capability->name);
    }
}

/* A directory whose writer is the host's master, or NULL. */
static const char *mastering(struct str source)
{
    static const char *const directories[] = { "/", "/etc", "/root", "/boot", "/usr", "/bin", "/sbin", "/lib", "/proc", "/sys", "/dev", "/home",
                                               "/var", "/var/lib", "/var/lib/docker", "/var/spool/cron" };
    for (size_t i = 0; i < ARRAY_SIZE(directories); i++)
        if (str_equal(source, str_of(directories[i])))
            return directories[i];
    return NULL;
}

static void find_files(struct finding_search *search, uint32_t container)
{
    const struct docker_container *of = &search->engine->containers.items[container];
    for (uint32_t i = 0; i < of->n_mounts; i++) {
        const struct docker_mount *mount = &of->mounts[i];
        const char *directory = str_equal(mount->type, STR("bind")) && mount->is_writable ? mastering(mount->source) : NULL;
        if (!directory)
            continue;
        struct finding *finding = finding_begin(search, is_open(search, container) ? FINDING_CRITICAL : FINDING_HIGH, FINDING_HOST_FILES, container);
        if (!finding)
            return;
        finding->title = finding_text(search, "%.*s writes the host's %s", STR_ARG(finding_name(search, container)), directory);
        finding->who = finding_text(search, "whoever gets into it is root on this host%.*s", STR_ARG(reached_by(search, container)));
        finding->why = STR("programs and settings that root runs are in there");
        finding_line_add(search, finding, FINDING_REMOVE, "volumes: [\"%s:%.*s\"]", directory, STR_ARG(mount->destination));
        finding_line_add(search, finding, FINDING_ADD, "volumes: [\"%s:%.*s:ro\"]   # or the one folder it needs", directory, STR_ARG(mount->destination));
    }
}

static void find_processes(struct finding_search *search, uint32_t container)
{
    const struct docker_container *of = &search->engine->containers.items[container];
    if (!str_equal(of->pid_mode, STR("host")))
        return;
    struct finding *finding = finding_begin(search, FINDING_MEDIUM, FINDING_HOST_PID, container);
    if (!finding)
        return;
    finding->title = finding_text(search, "%.*s sees the host's processes", STR_ARG(finding_name(search, container)));
    finding->who = finding_text(search, "whoever gets into it reads every command line of this host, and as root ends any process%.*s",
                                STR_ARG(reached_by(search, container)));
    finding->why = STR("passwords on command lines are read so; with SYS_PTRACE it is root on this host");
    finding_line_add(search, finding, FINDING_REMOVE, "pid: host");
}

static void listeners_write(const struct observe_engine *engine, struct str id, struct buf *out)
{
    for (uint32_t i = 0; i < engine->listeners.n; i++) {
        const struct observe_listener *one = &engine->listeners.items[i];
        bool repeated = i > 0 && engine->listeners.items[i - 1].port == one->port && engine->listeners.items[i - 1].protocol == one->protocol;
        if (!str_equal(one->container, id) || repeated || address_is_loopback(&one->address))
            continue;
        buf_printf(out, "%s%s %u", out->len ? ", " : "", finding_protocol_text(one->protocol), one->port);
    }
}

static void find_host_network(struct finding_search *search, uint32_t container)
{
    const struct docker_container *of = &search->engine->containers.items[container];
    struct buf ports;
    if (of->network_mode != DOCKER_NETWORK_HOST)
        return;
    buf_init(&ports, FINDINGS_MEMORY_MAX);
    listeners_write(search->engine, of->id, &ports);
    struct str listens = finding_text_of(search, &ports), reach = finding_reach_text(search, container);
    struct finding *finding = finding_begin(search, FINDING_HIGH, FINDING_HOST_NETWORK, container);
    if (!finding)
        return;
    finding->title = finding_text(search, "%.*s is on the host's own network", STR_ARG(finding_name(search, container)));
    finding->who = finding_text(search, "%.*s reach %.*s%s; it reaches every container, and what listens on this host's 127.0.0.1", STR_ARG(reach),
                                listens.len ? (int)listens.len : 24, listens.len ? listens.ptr : "every port it listens on", listens.len ? " in it" : "");
    finding->why = STR("nothing is between it and the host: every network is its own, and to others it is the host");
    finding_line_add(search, finding, FINDING_REMOVE, "network_mode: host");
    finding_line_add(search, finding, FINDING_ADD, "network_mode: none   # where only postern is to reach it; else a network of its own");
}

void finding_search_powers(struct finding_search *search, uint32_t container)
{
    find_socket(search, container);
    find_privileged(search, container);
    find_capabilities(search, container);
    find_files(search, container);
    find_processes(search, container);
    find_host_network(search, container);
}
