/* The machine's name against the declaration's. */
#include "cli/here.h"

#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "cli/render.h"

uint32_t cli_host_here(const char *command, const struct model *model, const char *given)
{
    char name[HOST_NAME_MAX + 1] = "";
    if (given)
        return cli_host_find(command, model, str_of(given));
    if (gethostname(name, sizeof name - 1) == 0)
        name[strcspn(name, ".")] = '\0';
    uint32_t host = model_find_host(model, str_of(name));
    if (host != MODEL_NONE)
        return host;
    fprintf(stderr, "postern %s: this machine calls itself '%s', and the declaration has no such host; say --host HOST\n", command, name);
    return MODEL_NONE;
}
