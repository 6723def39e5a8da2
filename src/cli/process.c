/* Reading /proc/PID for postern status. */
#include "cli/process.h"

#include <ctype.h>
#include <fcntl.h>
#include <pwd.h>
#include <stdio.h>
#include <string.h>
#include <sys/capability.h>
#include <unistd.h>

#include "base/str.h"

/* The file's beginning, with a NUL. Empty when it can't be read. */
static size_t read_proc(pid_t pid, const char *name, char *text, size_t size)
{
    char path[64];
    snprintf(path, sizeof path, "/proc/%d/%s", (int)pid, name);
    cleanup_close int fd = open(path, O_RDONLY | O_CLOEXEC);
    ssize_t n = fd < 0 ? 0 : read(fd, text, size - 1);
    size_t len = n > 0 ? (size_t)n : 0;
    text[len] = '\0';
    return len;
}

static const char *status_field(const char *status, const char *name)
{
    const char *line = strstr(status, name);
    return line ? line + strlen(name) : NULL;
}

/* Field 22 of /proc/PID/stat, in clock ticks after boot; the name before it may hold anything, a ')' too. */
static bool read_up_s(pid_t pid, uint64_t *ret)
{
    char stat[1024];
    read_proc(pid, "stat", stat, sizeof stat);
    const char *at = strrchr(stat, ')');
    unsigned long long started = 0;
    for (int field = 2; at && field < 22; field++)
        at = strchr(at + 1, ' ');
    double boot_s = 0;
    FILE *uptime = fopen("/proc/uptime", "re");
    bool known = uptime && fscanf(uptime, "%lf", &boot_s) == 1 && at && sscanf(at, " %llu", &started) == 1;
    if (uptime)
        fclose(uptime);
    if (!known)
        return false;
    double up_s = boot_s - (double)started / (double)sysconf(_SC_CLK_TCK);
    *ret = up_s > 0 ? (uint64_t)up_s : 0;
    return true;
}

bool process_look(pid_t pid, struct process *ret)
{
    char status[4096];
    struct process process = { 0 };
    if (pid <= 0 || read_proc(pid, "status", status, sizeof status) == 0)
        return false;
    const char *uid = status_field(status, "\nUid:"), *capabilities = status_field(status, "\nCapEff:");
    const char *seccomp = status_field(status, "\nSeccomp:"), *no_new = status_field(status, "\nNoNewPrivs:");
    unsigned real, effective, mode, privileges;
    unsigned long long bits;
    if (!uid || sscanf(uid, "%u %u", &real, &effective) != 2 || !capabilities || sscanf(capabilities, "%llx", &bits) != 1 || !seccomp ||
        sscanf(seccomp, "%u", &mode) != 1 || !no_new || sscanf(no_new, "%u", &privileges) != 1 || !read_up_s(pid, &process.up_s))
        return false;
    process.uid = effective;
    process.capabilities = bits;
    process.has_filter = mode == 2;
    process.no_new_privileges = privileges == 1;
    *ret = process;
    return true;
}

const char *process_format_capabilities(uint64_t capabilities, char text[static PROCESS_CAPABILITIES_SIZE])
{
    enum { NAMED_MAX = 4 };
    int n_all = cap_max_bits(), n = __builtin_popcountll(capabilities);
    size_t len = 0;
    if (n == 0) {
        str_copy(text, PROCESS_CAPABILITIES_SIZE, STR("none"));
    } else if (n == n_all) {
        str_copy(text, PROCESS_CAPABILITIES_SIZE, STR("all"));
    } else if (n > NAMED_MAX) {
        snprintf(text, PROCESS_CAPABILITIES_SIZE, "%d of %d", n, n_all);
    } else {
        for (int capability = 0; capability < 64; capability++) {
            if (!(capabilities >> capability & 1))
                continue;
            char *name = cap_to_name(capability);
            const char *shown = !name ? "?" : strncmp(name, "cap_", 4) == 0 ? name + 4 : name;
            len += (size_t)snprintf(text + len, PROCESS_CAPABILITIES_SIZE - len, "%s%s", len > 0 ? " " : "", shown);
            cap_free(name);
        }
    }
    return text;
}

const char *process_format_user(uid_t uid, char text[static PROCESS_USER_SIZE])
{
    const struct passwd *user = getpwuid(uid);
    if (user)
        str_copy(text, PROCESS_USER_SIZE, str_of(user->pw_name));
    else
        snprintf(text, PROCESS_USER_SIZE, "%u", (unsigned)uid);
    return text;
}
