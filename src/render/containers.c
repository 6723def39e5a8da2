/* The container tables as far as a declaration alone tells them: the rules, and which grants will fill their sets. */
#include "render/containers.h"

#include <errno.h>

#include "policy/containers.h"
#include "render/nftables_text.h"
#include "render/origin.h"

static void write_projects(const struct model *model, uint32_t host, struct buf *out)
{
    for (uint32_t i = 0; i < model->n_projects; i++) {
        const struct model_project *project = &model->projects[i];
        if (!model_runs_on(&project->hosts, host))
            continue;
        buf_append(out, STR("#   project "));
        nftables_text_plain(out, project->name.text);
        buf_printf(out, ": %s, %s inside\n", project->mode == MODEL_MODE_ENFORCE ? "enforced" : "observed",
                   project->inside == MODEL_INSIDE_DECLARED ? "as declared" : "open");
    }
}

static void write_pass(const struct containers *containers, const struct container_pass *pass, struct buf *out)
{
    const struct model *model = containers->model;
    buf_append(out, STR("#   "));
    nftables_text_plain(out, containers->items[pass->from].reference);
    buf_append(out, STR(" to "));
    if (pass->way == CONTAINER_WAY_INTERNET)
        buf_append(out, STR("the internet"));
    else if (pass->way == CONTAINER_WAY_SURFACE)
        nftables_text_plain(out, model->surfaces[pass->to].name.text);
    else
        nftables_text_plain(out, containers->items[pass->to].reference);
    if (pass->way != CONTAINER_WAY_INTERNET)
        buf_printf(out, ", %s %u", pass->transport == MODEL_UDP ? "udp" : "tcp", pass->port);
    buf_append(out, STR("  "));
    nftables_text_plain(out, render_file_name(model));
    buf_printf(out, ":%u\n", model->grants[pass->grant].at.line);
}

int render_containers(const struct model *model, uint32_t host, struct str revision, struct buf *out, struct error *err)
{
    struct containers containers;
    struct container_filter nothing;
    if (model->hosts[host].os != MODEL_OS_LINUX) {
        error_set(err, "%.*s runs no Linux, so that nothing of postern's holds its containers", STR_ARG(model->hosts[host].name.text));
        return -EINVAL;
    }
    int r = containers_init(&containers, model);
    if (r < 0)
        return r;
    buf_append(out, STR("#!/usr/sbin/nft -f\n# "));
    render_origin_write(out, model, revision);
    buf_append(out, STR("\n# These are the rules for containers of "));
    nftables_text_plain(out, model->hosts[host].name.text);
    buf_append(out, STR(". Their sets are filled by 'postern apply', by Docker's word about who is where, for:\n"));
    write_projects(model, host, out);
    for (uint32_t p = containers.first_of_pass[containers.first_of_host[host]]; p < containers.first_of_pass[containers.first_of_host[host + 1]]; p++)
        write_pass(&containers, &containers.passes[p], out);
    buf_append_char(out, '\n');
    container_filter_init(&nothing);
    container_filter_write(&nothing, STR("Loaded as it is, it holds nothing."), out);
    container_filter_deinit(&nothing);
    containers_deinit(&containers);
    return out->error;
}
