/* The containers of a host and what a declaration says of them, both ways. */
#include "cli/audit_declared.h"

#include <limits.h>
#include <stdio.h>
#include <string.h>

#include "cli/render.h"

bool cli_audit_host_find(const struct model *model, const char *host, uint32_t *ret)
{
    char name[HOST_NAME_MAX + 1] = "";
    if (host) {
        *ret = cli_host_find("audit", model, str_of(host));
        return *ret != MODEL_NONE;
    }
    if (gethostname(name, sizeof name - 1) == 0)
        name[strcspn(name, ".")] = '\0';
    for (uint32_t i = 0; i < model->n_hosts; i++)
        if (str_equal(model->hosts[i].name.text, str_of(name))) {
            *ret = i;
            return true;
        }
    fprintf(stderr, "postern audit: this machine calls itself '%s', and the declaration has no such host; say --host HOST\n", name);
    return false;
}

int cli_audit_declared(const struct model *model, uint32_t host, struct observe_engine *engine, struct findings *findings)
{
    (void)model;
    (void)host;
    (void)engine;
    return findings->error;
}
