/* A first declaration as text that teaches: what each part means, what was found, and what to do with it next. */
#include <string.h>

#include "base/buf.h"
#include "cli/init_plan.h"
#include "cli/paragraph.h"
#include "model/yaml.h"

enum { NAME_COLUMNS_MAX = 24, REMARK_MAX = 60 };

/* ---- words ---- */

/* What others wrote, into a comment: no line's end, nothing that moves a cursor. */
static void remark_write(struct buf *out, struct str remark)
{
    if (!remark.len)
        return;
    buf_append(out, STR("   # "));
    paragraph_append_safe(out, remark, REMARK_MAX);
}

/* Between quotes where some YAML reader takes it for something else. The caller knows that it has no character to escape. */
static void text_write(struct buf *out, struct str text)
{
    bool is_quoted = yaml_text_is_typed(text) || str_find_char(text, ':') < text.len || text.len == 0;
    buf_printf(out, "%s%.*s%s", is_quoted ? "\"" : "", STR_ARG(text), is_quoted ? "\"" : "");
}

static bool is_plain(struct str text)
{
    for (size_t i = 0; i < text.len; i++) {
        char c = str_lower_char(text.ptr[i]);
        if (!((c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || strchr("-_.:@+", c)))
            return false;
    }
    return text.len > 0;
}

static void list_write(struct buf *out, const struct str *items, uint32_t n)
{
    buf_append(out, n > 1 ? STR("[") : STR(""));
    for (uint32_t i = 0; i < n; i++) {
        buf_append(out, i ? STR(", ") : STR(""));
        text_write(out, items[i]);
    }
    buf_append(out, n > 1 ? STR("]") : STR(""));
}

static void key_write(struct buf *out, const char *indent, struct str name, size_t columns)
{
    buf_printf(out, "%s%.*s:%*s", indent, STR_ARG(name), (int)(columns > name.len ? columns - name.len : 0) + 1, "");
}

/* ---- who there is ---- */

static void segments_write(const struct init_plan *plan, struct buf *out)
{
    buf_append(out, STR("# A segment is a group of machines of one trust.\nsegments:\n"));
    for (uint32_t i = 0; i < plan->n_segments; i++) {
        const struct init_segment *segment = &plan->segments[i];
        buf_printf(out, "  %.*s: {", STR_ARG(segment->name));
        if (is_plain(segment->tag))
            buf_printf(out, " tag: \"%.*s\" ", STR_ARG(segment->tag));
        else if (is_plain(segment->user))
            buf_printf(out, " user: \"%.*s\" ", STR_ARG(segment->user));
        buf_append(out, STR("}\n"));
    }
    buf_append(out, STR("  # ai: {}                        # agents: give them a surface of their own, below\n\n"));
}

static void hosts_write(const struct init_plan *plan, struct buf *out)
{
    size_t columns = 0;
    buf_append(out, STR("# Machines, by their addresses on the mesh (Tailscale, Headscale, WireGuard): there an address proves who is asking.\n"));
    if (!plan->has_mesh)
        buf_append(out, STR("# No mesh's client was found here, so only this machine is known; of the others, 'tailscale status --json' tells:\n"
                            "# postern init --tailscale FILE. Or write them by hand.\n"));
    if (plan->has_placeholder)
        buf_append(out, STR("# No address of this machine is known: 100.64.0.1 stands for it. Put its own there.\n"));
    else if (plan->is_lan)
        buf_append(out, STR("# On a LAN a neighbour can take another's address: better than nothing, and worse than a mesh.\n"));
    buf_append(out, STR("hosts:\n"));
    for (uint32_t i = 0; i < plan->n_hosts; i++)
        columns = plan->hosts[i].name.len > columns ? plan->hosts[i].name.len : columns;
    for (uint32_t i = 0; i < plan->n_hosts; i++) {
        const struct init_host *host = &plan->hosts[i];
        key_write(out, "  ", host->name, columns);
        buf_printf(out, "{ segment: %.*s, address: ", STR_ARG(plan->segments[host->segment].name));
        list_write(out, host->addresses, host->n_addresses);
        if (host->n_lan) {
            buf_append(out, STR(", lan: "));
            list_write(out, host->lan, host->n_lan);
        }
        if (is_plain(host->mesh_name))
            buf_printf(out, ", tailscale: \"%.*s\"", STR_ARG(host->mesh_name));
        buf_append(out, host->is_gateway ? STR(", gateway: true") : host->is_mac ? STR(", os: macos") : host->is_elsewhere ? STR(", firewall: none") : STR(""));
        buf_append(out, STR(" }"));
        remark_write(out, host->is_gateway ? STR("this machine") : host->remark);
        buf_append_char(out, '\n');
    }
    if (plan->n_hosts == 1)
        buf_append(out, STR("  # laptop: { segment: clients, address: 100.64.0.10, firewall: none }   # no firewall of postern's is loaded there\n"));
    buf_append_char(out, '\n');
}

static void surfaces_write(const struct init_plan *plan, struct buf *out)
{
    buf_append(out, STR("# A surface is a listener with guests of its own. https://NAME."));
    buf_append(out, plan->domain);
    buf_append(out, STR(" is served on \"main\".\n"));
    if (plan->holder443.len) {
        buf_append(out, STR("# Port 443 is "));
        paragraph_append_safe(out, plan->holder443, REMARK_MAX);
        buf_append(out, STR("'s now, on every address of this machine; when that is gone: port: 443, redirect: 80\n"));
    }
    buf_printf(out, "surfaces:\n  main: { port: %u%s }\n", plan->holder443.len ? 8443 : 443,
               plan->holder443.len || plan->holder80.len ? "" : ", redirect: 80");
    buf_printf(out, "  # agents: { port: %u, workers: 1 }   # for guests that aren't trusted: a process of its own that holds no key\n\n",
               plan->holder443.len ? 9443 : 8443);
}

/* ---- what runs ---- */

static void service_write(const struct init_plan *plan, const struct init_service *service, size_t columns, struct buf *out)
{
    bool is_comment = service->kind == INIT_UNKNOWN || service->kind == INIT_PROXY;
    key_write(out, is_comment ? "  # " : "  ", service->name, columns - (is_comment ? 2 : 0));
    buf_printf(out, "{ host: %.*s", STR_ARG(plan->hosts[0].name));
    if (service->kind != INIT_HOST_PORT) {
        buf_append(out, STR(", container: "));
        text_write(out, service->reference);
    }
    if (service->kind == INIT_DIRECT)
        buf_printf(out, ", direct: %s/%u", service->protocol == 17 ? "udp" : "tcp", service->port);
    else if (is_comment)
        buf_append(out, STR(", port: 0"));
    else
        buf_printf(out, ", port: %u", service->port);
    if (service->kind == INIT_DATABASE)
        buf_append(out, STR(", internal: true"));
    if (service->is_https && (service->kind == INIT_WEB || service->kind == INIT_HOST_PORT))
        buf_append(out, STR(", protocol: https, tls: { insecure: true }"));
    buf_append(out, STR(" }"));
    remark_write(out, service->remark);
    buf_append_char(out, '\n');
}

static const char *const group_remarks[] = {
    [INIT_WEB] = "  # Web services: the port is the one inside the container. Nothing is published for it, and no network is shared.\n",
    [INIT_DATABASE] = "  # Databases: nobody is served these, no grant opens them; here they are so that expect: can speak of them.\n",
    [INIT_DIRECT] = "  # Ports that don't speak HTTP: each is granted by its name, to hosts or segments.\n",
    [INIT_HOST_PORT] = "  # On the host's own network: a port of the host.\n",
    [INIT_UNKNOWN] = "  # No port is known of these. If one serves something, say which port and take the # away.\n",
    [INIT_PROXY] = "  # Reverse proxies: postern stands in for them. Keep one beside it only while you move over.\n",
};

static void services_write(const struct init_plan *plan, struct buf *out)
{
    size_t columns = 0;
    uint32_t n_written = 0;
    buf_append(out, STR("# What runs. container: is PROJECT/SERVICE of a Compose project, or a container's name.\n"));
    if (!plan->has_engine)
        buf_append(out, STR("# No Docker engine answered, so none were looked for.\n"));
    else
        buf_append(out, STR("# The ports are guesses from what listens and what images expose: look them over.\n"));
    for (uint32_t i = 0; i < plan->n_services; i++) {
        n_written += plan->services[i].kind < INIT_UNKNOWN;
        if (plan->services[i].name.len > columns && plan->services[i].name.len < NAME_COLUMNS_MAX)
            columns = plan->services[i].name.len;
    }
    buf_append(out, n_written ? STR("services:\n") : STR("services: {}\n"));
    for (uint32_t i = 0; i < plan->n_services; i++) {
        if (i == 0 || plan->services[i].kind != plan->services[i - 1].kind)
            buf_printf(out, "%s%s", i ? "\n" : "", group_remarks[plan->services[i].kind]);
        service_write(plan, &plan->services[i], columns, out);
    }
    if (!plan->n_services)
        buf_append(out, STR("  # grafana: { host: roc, container: monitoring/grafana, port: 3000 }\n"));
    if (plan->n_stopped)
        buf_printf(out, "  # (%u container%s not running; left out)\n", plan->n_stopped, plan->n_stopped == 1 ? " is" : "s are");
    if (plan->n_unnamed)
        buf_printf(out, "  # (%u with a name that can't be written here; left out)\n", plan->n_unnamed);
    buf_append_char(out, '\n');
}

static const struct init_service *first_of_kind(const struct init_plan *plan, enum init_kind kind)
{
    for (uint32_t i = 0; i < plan->n_services; i++)
        if (plan->services[i].kind == kind)
            return &plan->services[i];
    return NULL;
}

/* Between containers nothing is enforced until it is said. */
static void projects_write(const struct init_plan *plan, struct buf *out)
{
    struct str example = STR("");
    for (uint32_t i = 0; i < plan->n_services && !example.len; i++) {
        struct str rest = plan->services[i].reference, project = str_split(&rest, '/');
        example = rest.len ? project : STR("");
    }
    if (!example.len)
        return;
    buf_printf(out, "# What containers may reach among each other and outside is observed until you say otherwise: 'postern apply' counts what it\n"
               "# would drop, 'postern suggest' writes the grants for what was seen, and then\n"
               "# projects:\n#   %.*s: { host: %.*s, mode: enforce }\n\n", STR_ARG(example), STR_ARG(plan->hosts[0].name));
}

/* ---- who may reach what ---- */

static const struct init_host *first_guest(const struct init_plan *plan)
{
    for (uint32_t i = 0; i < plan->n_hosts; i++)
        if (plan->segments[plan->hosts[i].segment].is_guests)
            return &plan->hosts[i];
    return NULL;
}

static void guests_write(const struct init_plan *plan, struct buf *out)
{
    uint32_t n = 0;
    for (uint32_t i = 0; i < plan->n_segments; i++)
        n += plan->segments[i].is_guests;
    buf_append(out, n > 1 ? STR("[") : STR(""));
    for (uint32_t i = 0, k = 0; i < plan->n_segments; i++)
        if (plan->segments[i].is_guests)
            buf_printf(out, "%s%.*s", k++ ? ", " : "", STR_ARG(plan->segments[i].name));
    buf_append(out, n > 1 ? STR("]") : STR(""));
}

static void grants_write(const struct init_plan *plan, struct buf *out)
{
    const struct init_service *web = first_of_kind(plan, INIT_WEB), *direct = first_of_kind(plan, INIT_DIRECT), *database = first_of_kind(plan, INIT_DATABASE);
    const struct init_host *guest = first_guest(plan);
    struct str who = guest ? guest->name : STR("laptop");
    buf_append(out, STR("# Who may reach what. Grants only ever allow: what none names is not there, not a page, not a name, not an open port.\ngrants:\n"
                        "  # Every web service, now and later; a star is never a direct port and never what is internal.\n  - { from: "));
    guests_write(plan, out);
    buf_append(out, STR(", to: \"*\", over: main }\n"));
    buf_append(out, STR("  # Say ssh before you load a rendered firewall, or you are cut off:\n"));
    buf_printf(out, "  # - { from: %.*s, to: \"%.*s:22\" }\n", STR_ARG(who), STR_ARG(plan->hosts[0].name));
    if (direct)
        buf_printf(out, "  # - { from: %.*s, to: %.*s }\n", STR_ARG(who), STR_ARG(direct->name));
    buf_printf(out, "  # - { from: ai, to: [%.*s], over: agents }\n\n", STR_ARG(web ? web->name : STR("registry")));
    buf_append(out, STR("# What must be true, checked at every change.\n"));
    if (!database || !guest) {
        buf_printf(out, "# expect:\n#   - { from: clients, cannot: [\"%.*s:22\"] }\n", STR_ARG(plan->hosts[0].name));
        return;
    }
    buf_append(out, STR("expect:\n  - { from: "));
    guests_write(plan, out);
    buf_append(out, STR(", cannot: ["));
    for (uint32_t i = 0, n = 0; i < plan->n_services; i++)
        if (plan->services[i].kind == INIT_DATABASE)
            buf_printf(out, "%s%.*s", n++ ? ", " : "", STR_ARG(plan->services[i].name));
    buf_append(out, STR("] }\n"));
}

void init_plan_write(const struct init_plan *plan, struct buf *out)
{
    buf_append(out, STR("# Which machine may reach which service: postern.yml(5) says all there is. First written by postern init; it is yours now.\n#\n"
                        "#   postern check             is it right, and do all layers together let pass this and nothing more?\n"
                        "#   postern access            who reaches what, as a table\n"
                        "#   sudo postern run          serve it\n"
                        "#   sudo postern audit --docker engine    what this machine's containers open beside it\n\n"
                        "postern: 1\n"));
    buf_printf(out, "domain: %.*s   # services are served at NAME.%.*s\n\n", STR_ARG(plan->domain), STR_ARG(plan->domain));
    segments_write(plan, out);
    hosts_write(plan, out);
    surfaces_write(plan, out);
    services_write(plan, out);
    projects_write(plan, out);
    grants_write(plan, out);
}
