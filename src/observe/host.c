/* Reading interfaces from the kernel and listening sockets from /proc. */
#include "observe/host.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <ifaddrs.h>
#include <inttypes.h>
#include <net/if.h>
#include <stdio.h>

#include "base/buf.h"

enum { TABLE_MAX = 32 << 20, PATH_SIZE = 64, READ_SIZE = 64 << 10, PROGRAM_SIZE = 32, CONTROL_GROUP_SIZE = 4096, ID_LEN = 64 };

/* ---- sides ---- */

bool observe_address_is_any(const struct address *address)
{
    struct address v6 = { { 0 } }, v4 = { { [10] = 0xff, 0xff } };
    return address_equal(address, &v6) || address_equal(address, &v4);
}

static bool is_within(const struct address *address, const char *const *prefixes, size_t n)
{
    struct address_prefix prefix;
    for (size_t i = 0; i < n; i++)
        if (address_prefix_parse(str_of(prefixes[i]), &prefix) && address_prefix_contains(&prefix, address))
            return true;
    return false;
}

enum observe_side observe_side_of(struct str interface, const struct address *address)
{
    /* Tailscale and Headscale; interface names are those of the tools' own set-ups. */
    static const char *const meshes[] = { "100.64.0.0/10", "fd7a:115c:a1e0::/48" };
    static const char *const mesh_names[] = { "tailscale", "wg", "zt", "nebula", "netmaker", "wt" };
    static const char *const privates[] = { "10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "169.254.0.0/16", "fc00::/7", "fe80::/10" };
    if (address_is_loopback(address) || str_equal(interface, STR("lo")))
        return OBSERVE_LOOPBACK;
    if (is_within(address, meshes, ARRAY_SIZE(meshes)))
        return OBSERVE_MESH;
    for (size_t i = 0; i < ARRAY_SIZE(mesh_names); i++)
        if (str_starts_with(interface, str_of(mesh_names[i])))
            return OBSERVE_MESH;
    return is_within(address, privates, ARRAY_SIZE(privates)) ? OBSERVE_LAN : OBSERVE_INTERNET;
}

/* ---- interfaces ---- */

static uint8_t bits_of(const struct sockaddr *mask)
{
    unsigned bits = 0;
    const uint8_t *bytes = mask->sa_family == AF_INET ? (const uint8_t *)&((const struct sockaddr_in *)(const void *)mask)->sin_addr
                                                      : ((const struct sockaddr_in6 *)(const void *)mask)->sin6_addr.s6_addr;
    for (size_t i = 0; i < (mask->sa_family == AF_INET ? 4u : 16u); i++)
        bits += (unsigned)__builtin_popcount(bytes[i]);
    return (uint8_t)(bits + (mask->sa_family == AF_INET ? 96 : 0));
}

static bool is_link_local(const struct address *address)
{
    return address->bytes[0] == 0xfe && (address->bytes[1] & 0xc0) == 0x80;
}

static int interfaces_copy(const struct ifaddrs *list, struct arena *arena, struct observe_interfaces *ret)
{
    uint32_t n = 0;
    for (const struct ifaddrs *i = list; i; i = i->ifa_next)
        n++;
    if (n > OBSERVE_INTERFACES_MAX)
        return -E2BIG;
    struct observe_interface *items = arena_array(arena, n ? n : 1, struct observe_interface);
    if (!items)
        return -ENOMEM;
    n = 0;
    for (const struct ifaddrs *i = list; i; i = i->ifa_next) {
        struct observe_interface one = { .bits = 128 };
        if (!i->ifa_addr || !(i->ifa_flags & IFF_UP) || !address_from_sockaddr(i->ifa_addr, &one.address) || is_link_local(&one.address))
            continue;
        one.name = arena_copy(arena, str_of(i->ifa_name));
        if (!one.name.ptr)
            return -ENOMEM;
        if (i->ifa_netmask)
            one.bits = bits_of(i->ifa_netmask);
        one.side = observe_side_of(one.name, &one.address);
        items[n++] = one;
    }
    *ret = (struct observe_interfaces){ n, items };
    return 0;
}

int observe_interfaces_read(struct arena *arena, struct observe_interfaces *ret)
{
    struct ifaddrs *list;
    if (getifaddrs(&list) < 0)
        return -errno;
    int r = interfaces_copy(list, arena, ret);
    freeifaddrs(list);
    return r;
}

/* ---- what listens ---- */

static bool hex_to_u64(struct str text, uint64_t *ret)
{
    uint64_t value = 0;
    if (text.len == 0 || text.len > 16)
        return false;
    for (size_t i = 0; i < text.len; i++) {
        char c = str_lower_char(text.ptr[i]);
        if (!((c >= '0' && c <= '9') || (c >= 'a' && c <= 'f')))
            return false;
        value = value << 4 | (uint64_t)(c <= '9' ? c - '0' : c - 'a' + 10);
    }
    *ret = value;
    return true;
}

/* "0100007F:1F90", or four words of IPv6: each word is printed as this machine's memory has it. */
static bool endpoint_parse(struct str text, struct address *ret_address, uint16_t *ret_port)
{
    struct str port = text, address = str_split(&port, ':');
    struct address parsed = { { 0 } };
    uint64_t value;
    if ((address.len != 8 && address.len != 32) || !hex_to_u64(port, &value) || value > UINT16_MAX)
        return false;
    *ret_port = (uint16_t)value;
    size_t at = address.len == 8 ? 12 : 0;
    if (address.len == 8)
        parsed.bytes[10] = parsed.bytes[11] = 0xff;
    for (size_t i = 0; i < address.len; i += 8, at += 4) {
        if (!hex_to_u64(str_make(address.ptr + i, 8), &value))
            return false;
        uint32_t word = (uint32_t)value;
        memcpy(parsed.bytes + at, &word, sizeof word);
    }
    *ret_address = parsed;
    return true;
}

static struct str field_next(struct str *line)
{
    while (line->len && line->ptr[0] == ' ')
        *line = str_skip(*line, 1);
    return str_split(line, ' ');
}

/* A TCP socket that listens (state 0A), a UDP socket that isn't connected (07, no far end). */
static bool listener_parse(struct str line, uint8_t protocol, struct observe_listener *ret)
{
    struct observe_listener one = { .protocol = protocol, .program = STR(""), .container = STR("") };
    struct address far;
    uint16_t far_port;
    (void)field_next(&line);
    if (!endpoint_parse(field_next(&line), &one.address, &one.port) || !endpoint_parse(field_next(&line), &far, &far_port))
        return false;
    if (!str_equal(field_next(&line), protocol == IPPROTO_TCP ? STR("0A") : STR("07")) || far_port || one.port == 0)
        return false;
    for (int i = 0; i < 5; i++) /* queues, timer, retransmits, user, timeout */
        (void)field_next(&line);
    if (!str_to_u64(field_next(&line), UINT64_MAX, &one.inode))
        return false;
    *ret = one;
    return true;
}

uint32_t observe_listeners_parse(struct str text, uint8_t protocol, struct observe_listener *items, uint32_t max)
{
    uint32_t n = 0;
    while (text.len && n < max)
        n += listener_parse(str_split(&text, '\n'), protocol, &items[n]);
    return n;
}

static int listener_compare(const void *left, const void *right)
{
    const struct observe_listener *a = left, *b = right;
    if (a->protocol != b->protocol)
        return a->protocol < b->protocol ? -1 : 1;
    return a->port != b->port ? (a->port < b->port ? -1 : 1) : address_compare(&a->address, &b->address);
}

static int file_read(const char *path, struct buf *out)
{
    cleanup_close int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return -errno;
    for (;;) {
        char *room = buf_reserve(out, READ_SIZE);
        ssize_t n = room ? read(fd, room, READ_SIZE) : 0;
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return n < 0 ? -errno : out->error;
        out->len += (size_t)n;
    }
}

static uint32_t lines_count(struct str text)
{
    uint32_t n = 0;
    while (text.len && n < OBSERVE_LISTENERS_MAX) {
        (void)str_split(&text, '\n');
        n++;
    }
    return n;
}

int observe_listeners_read(pid_t pid, struct arena *arena, struct observe_listeners *ret)
{
    static const char *const tables[] = { "tcp", "tcp6", "udp", "udp6" };
    struct buf texts[ARRAY_SIZE(tables)];
    char path[PATH_SIZE];
    uint32_t n_lines = 0, n = 0;
    int r = 0;
    for (size_t i = 0; i < ARRAY_SIZE(tables); i++)
        buf_init(&texts[i], TABLE_MAX);
    for (size_t i = 0; i < ARRAY_SIZE(tables) && r == 0; i++) {
        if (pid)
            snprintf(path, sizeof path, "/proc/%d/net/%s", (int)pid, tables[i]);
        else
            snprintf(path, sizeof path, "/proc/self/net/%s", tables[i]);
        r = file_read(path, &texts[i]);
        if (r == -ENOENT && i % 2 == 1) /* no IPv6 here */
            r = 0;
        n_lines += lines_count(buf_str(&texts[i]));
    }
    struct observe_listener *items = r == 0 ? arena_array(arena, n_lines ? n_lines : 1, struct observe_listener) : NULL;
    if (r == 0 && !items)
        r = -ENOMEM;
    for (size_t i = 0; i < ARRAY_SIZE(tables); i++) {
        if (r == 0)
            n += observe_listeners_parse(buf_str(&texts[i]), i < 2 ? IPPROTO_TCP : IPPROTO_UDP, items + n, n_lines - n);
        buf_deinit(&texts[i]);
    }
    if (r == 0) {
        qsort(items, n, sizeof *items, listener_compare);
        *ret = (struct observe_listeners){ n, items };
    }
    return r;
}

/* ---- whose they are ---- */

struct holder {
    struct str program, container;
};

static struct str small_read(const char *pid, const char *what, char *room, size_t size)
{
    char path[PATH_SIZE];
    snprintf(path, sizeof path, "/proc/%.16s/%s", pid, what);
    cleanup_close int fd = open(path, O_RDONLY | O_CLOEXEC);
    ssize_t n = fd >= 0 ? read(fd, room, size) : -1;
    return str_make(room, n > 0 ? (size_t)n : 0);
}

/* The first 64 hexadecimal digits in a row: "/docker/ID", "/system.slice/docker-ID.scope". */
static struct str id_find(struct str text)
{
    size_t run = 0;
    for (size_t i = 0; i < text.len; i++) {
        char c = text.ptr[i];
        run = (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f') ? run + 1 : 0;
        if (run == ID_LEN)
            return str_make(text.ptr + i + 1 - ID_LEN, ID_LEN);
    }
    return STR("");
}

static int holder_read(const char *pid, struct arena *arena, struct holder *ret)
{
    char program[PROGRAM_SIZE], group[CONTROL_GROUP_SIZE];
    struct str name = small_read(pid, "comm", program, sizeof program);
    ret->program = arena_copy(arena, str_first(name, str_find_char(name, '\n')));
    ret->container = arena_copy(arena, id_find(small_read(pid, "cgroup", group, sizeof group)));
    return ret->program.ptr && ret->container.ptr ? 0 : -ENOMEM;
}

/* The sockets of one process among the listeners. */
static int process_name(const char *pid, struct observe_listener *listeners, uint32_t n, struct arena *arena)
{
    char path[PATH_SIZE], link[PATH_SIZE];
    snprintf(path, sizeof path, "/proc/%.16s/fd", pid);
    DIR *directory = opendir(path);
    struct holder holder = { STR_NONE, STR_NONE };
    int r = 0;
    if (!directory)
        return 0;
    for (const struct dirent *entry; r == 0 && (entry = readdir(directory));) {
        uint64_t inode;
        ssize_t len = readlinkat(dirfd(directory), entry->d_name, link, sizeof link);
        struct str text = str_make(link, len > 0 ? (size_t)len : 0);
        if (!str_starts_with(text, STR("socket:[")) || !str_to_u64(str_first(str_skip(text, 8), text.len - 9), UINT64_MAX, &inode))
            continue;
        for (uint32_t i = 0; i < n && r == 0; i++) {
            if (listeners[i].inode != inode || listeners[i].program.len)
                continue;
            if (!holder.program.ptr)
                r = holder_read(pid, arena, &holder);
            if (r == 0) {
                listeners[i].program = holder.program;
                listeners[i].container = holder.container;
            }
        }
    }
    closedir(directory);
    return r;
}

int observe_listeners_name(struct observe_listener *listeners, uint32_t n, struct arena *arena)
{
    DIR *processes = opendir("/proc");
    int r = 0;
    if (!processes)
        return 0;
    for (const struct dirent *entry; r == 0 && (entry = readdir(processes));)
        if (entry->d_name[0] >= '1' && entry->d_name[0] <= '9')
            r = process_name(entry->d_name, listeners, n, arena);
    closedir(processes);
    return r;
}
