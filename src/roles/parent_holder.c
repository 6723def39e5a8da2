/* Who holds a port: the socket's number in /proc/net/tcp or udp, and the process that has it open. For one message only. */
#include <dirent.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "roles/parent.h"

enum { TCP_STATE_LISTEN = 0x0A, UDP_STATE_UNCONNECTED = 0x07 };

static bool is_wildcard(const struct address *address)
{
    static const struct address v6 = { { 0 } }, v4 = { { [10] = 0xff, [11] = 0xff } };
    return address_equal(address, &v6) || address_equal(address, &v4);
}

/* The kernel prints each 32-bit word of the address as a number of its own byte order. */
static bool parse_local(const char *hex, struct address *ret)
{
    uint32_t words[4];
    size_t len = strlen(hex);
    if (len == 8 && sscanf(hex, "%8" SCNx32, &words[0]) == 1) {
        memset(ret, 0, sizeof *ret);
        ret->bytes[10] = ret->bytes[11] = 0xff;
        memcpy(ret->bytes + 12, &words[0], 4);
        return true;
    }
    if (len == 32 && sscanf(hex, "%8" SCNx32 "%8" SCNx32 "%8" SCNx32 "%8" SCNx32, &words[0], &words[1], &words[2], &words[3]) == 4) {
        memcpy(ret->bytes, words, 16);
        return true;
    }
    return false;
}

static bool find_inode(const char *path, unsigned wanted_state, const struct address *address, uint16_t port, uint64_t *ret_inode)
{
    FILE *f = fopen(path, "re");
    if (!f)
        return false;
    char line[512];
    bool found = false;
    while (!found && fgets(line, sizeof line, f)) {
        char local[33];
        unsigned local_port, state;
        uint64_t inode;
        struct address bound;
        if (sscanf(line, " %*u: %32[0-9A-F]:%4x %*[0-9A-F]:%*x %2x %*x:%*x %*x:%*x %*x %*u %*u %" SCNu64, local, &local_port, &state, &inode) != 4)
            continue;
        if (state != wanted_state || local_port != port || !parse_local(local, &bound))
            continue;
        if (address_equal(&bound, address) || is_wildcard(&bound) || is_wildcard(address)) {
            *ret_inode = inode;
            found = true;
        }
    }
    fclose(f);
    return found;
}

static bool has_socket(const char *pid, const char *wanted)
{
    char path[64];
    snprintf(path, sizeof path, "/proc/%.20s/fd", pid);
    DIR *fds = opendir(path);
    bool found = false;
    for (struct dirent *entry; fds && !found && (entry = readdir(fds));) {
        char target[64];
        ssize_t n = readlinkat(dirfd(fds), entry->d_name, target, sizeof target - 1);
        found = n > 0 && (size_t)n == strlen(wanted) && memcmp(target, wanted, (size_t)n) == 0;
    }
    if (fds)
        closedir(fds);
    return found;
}

static void name_process(const char *pid, char text[static HOLDER_TEXT_SIZE])
{
    char path[64], name[32] = "process";
    snprintf(path, sizeof path, "/proc/%.20s/comm", pid);
    FILE *f = fopen(path, "re");
    if (f) {
        if (fgets(name, sizeof name, f))
            name[strcspn(name, "\n")] = '\0';
        fclose(f);
    }
    snprintf(text, HOLDER_TEXT_SIZE, "%s (process %.20s)", name, pid);
}

void holder_find(const struct address *address, bool is_udp, uint16_t port, char text[static HOLDER_TEXT_SIZE])
{
    unsigned state = is_udp ? UDP_STATE_UNCONNECTED : TCP_STATE_LISTEN;
    uint64_t inode;
    text[0] = '\0';
    if (!find_inode(is_udp ? "/proc/net/udp" : "/proc/net/tcp", state, address, port, &inode) &&
        !find_inode(is_udp ? "/proc/net/udp6" : "/proc/net/tcp6", state, address, port, &inode))
        return;
    char wanted[40];
    snprintf(wanted, sizeof wanted, "socket:[%" PRIu64 "]", inode);
    DIR *processes = opendir("/proc");
    for (struct dirent *entry; processes && (entry = readdir(processes));)
        if (entry->d_name[0] >= '1' && entry->d_name[0] <= '9' && has_socket(entry->d_name, wanted)) {
            name_process(entry->d_name, text);
            break;
        }
    if (processes)
        closedir(processes);
}
