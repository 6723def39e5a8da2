/* postern run: becomes postern-parent, which serves what the declaration says. */
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/str.h"
#include "cli/cli.h"

/* Beside this program, as in a build directory; else where it is installed. */
static bool find_parent(char path[static PATH_MAX])
{
    ssize_t n = readlink("/proc/self/exe", path, PATH_MAX - 1);
    if (n > 0) {
        path[n] = '\0';
        char *slash = strrchr(path, '/');
        size_t used = slash ? (size_t)(slash - path) : 0;
        if (str_copy(path + used, PATH_MAX - used, STR("/postern-parent")) == strlen("/postern-parent") && access(path, X_OK) == 0)
            return true;
    }
    snprintf(path, PATH_MAX, "%s/postern-parent", POSTERN_ROLE_DIRECTORY);
    return access(path, X_OK) == 0;
}

int cli_run(int argc, char **argv)
{
    static char name[] = "postern-parent";
    char path[PATH_MAX];
    (void)argc;
    argv[0] = name; /* in the list of processes */
    if (!find_parent(path)) {
        fprintf(stderr, "postern run: postern-parent is neither beside this program nor in %s; 'make install' puts it there\n", POSTERN_ROLE_DIRECTORY);
        return CLI_UNKNOWN;
    }
    execv(path, argv);
    fprintf(stderr, "postern run: %s: %s\n", path, strerror(errno));
    return CLI_UNKNOWN;
}
