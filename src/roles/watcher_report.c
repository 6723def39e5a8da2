/* Writing status and metrics out. */
#include "roles/watcher_report.h"

#include <stddef.h>
#include <string.h>

/* ---- status ---- */

static void put_text(struct buf *out, const char *key, struct str value)
{
    buf_printf(out, ",\"%s\":", key);
    buf_append_json(out, value);
}

static void put_number(struct buf *out, const char *key, uint64_t value)
{
    buf_printf(out, ",\"%s\":%llu", key, (unsigned long long)value);
}

static void put_mechanisms(struct buf *out, const char *key, uint32_t bits)
{
    static const char *const names[] = { "seccomp", "landlock", "capabilities", "uid", "rlimits", "no-new-privileges" };
    const char *separator = "";
    buf_printf(out, ",\"%s\":[", key);
    for (size_t i = 0; i < ARRAY_SIZE(names); i++)
        if (bits >> i & 1) {
            buf_printf(out, "%s\"%s\"", separator, names[i]);
            separator = ",";
        }
    buf_append_char(out, ']');
}

static const char *status_name(uint32_t status)
{
    static const char *const names[] = { "starting", "running", "down", "draining", "gone" };
    return status < ARRAY_SIZE(names) ? names[status] : "unknown";
}

static void put_role(struct buf *out, const struct ipc_role_state *role)
{
    buf_printf(out, "{\"role\":\"%s\"", ipc_role_name(role->role));
    if (role->role == IPC_ROLE_WORKER) {
        put_text(out, "surface", str_of(role->surface_name));
        put_number(out, "worker", role->worker);
    }
    buf_printf(out, ",\"pid\":%d,\"status\":\"%s\"", (int)role->pid, status_name(role->status));
    put_mechanisms(out, "confined", role->confinement);
    put_mechanisms(out, "missing", role->missing);
    put_number(out, "restarts", role->n_restarts);
    put_number(out, "backoff_ms", role->backoff_ms);
    put_number(out, "generation", role->generation);
    put_number(out, "started_at", role->started_at);
    put_text(out, "last_exit", str_of(role->last_exit));
    buf_append_char(out, '}');
}

/* NULL for one that is another gateway's, or gone. */
static const struct image_surface *surface_in_plan(const struct watcher_state *state, const char *name)
{
    for (uint32_t i = 0; state->plan.header && i < image_count(state->plan, IMAGE_SURFACES); i++)
        if (watcher_serves(state->plan, image_surface(state->plan, i)->index) &&
            str_equal(image_str(state->plan, image_surface(state->plan, i)->name), str_of(name)))
            return image_surface(state->plan, i);
    return NULL;
}

static void put_surface(struct watcher_state *state, struct watcher_surface *surface, int64_t now_ms, struct buf *out)
{
    struct metrics_page sum;
    watcher_sum_surface(state, surface, now_ms, &sum);
    const struct image_surface *planned = surface_in_plan(state, surface->name);
    uint64_t n_requests = 0;
    for (size_t i = 0; i < METRICS_STATUS_CLASSES; i++)
        n_requests += sum.requests_by_class[i];
    buf_append(out, STR("{\"name\":"));
    buf_append_json(out, str_of(surface->name));
    put_number(out, "port", planned ? planned->port : 0);
    put_number(out, "connections_open", sum.connections_open);
    put_number(out, "connections", sum.connections_accepted);
    put_number(out, "connections_refused", sum.connections_refused_nobody + sum.connections_refused_cap);
    put_number(out, "requests_open", sum.requests_open);
    put_number(out, "requests", n_requests);
    put_number(out, "requests_denied", sum.requests_denied);
    put_number(out, "requests_5xx", sum.requests_by_class[5]);
    put_number(out, "tunnels_open", sum.tunnels_open);
    put_number(out, "bytes_in", sum.bytes_in);
    put_number(out, "bytes_out", sum.bytes_out);
    put_number(out, "records_dropped", sum.records_dropped);
    buf_append_char(out, '}');
}

/* Direct ports, where this gateway relays any. */
static void put_direct(struct watcher_state *state, int64_t now_ms, struct buf *out)
{
    struct watcher_surface *direct = NULL;
    for (size_t i = 0; i < WATCHER_SURFACES_MAX && !direct; i++)
        if (strcmp(state->surfaces[i].name, IMAGE_DIRECT_NAME) == 0)
            direct = &state->surfaces[i];
    if (!direct || !state->plan.header || !watcher_serves(state->plan, IMAGE_SURFACE_DIRECT))
        return;
    struct metrics_page sum;
    const char *separator = "";
    watcher_sum_surface(state, direct, now_ms, &sum);
    buf_append(out, STR(",\"direct\":{\"ports\":["));
    for (uint32_t i = 0; i < image_count(state->plan, IMAGE_LISTENERS); i++) {
        const struct image_listener *listener = image_listener(state->plan, i);
        char address[ADDRESS_TEXT_SIZE];
        if (listener->surface != IMAGE_SURFACE_DIRECT)
            continue;
        buf_printf(out, "%s{\"address\":\"%s\",\"port\":%u,\"protocol\":\"%s\"}", separator, address_format(&listener->address, address),
                   listener->port, listener->kind == IMAGE_LISTENER_DIRECT_UDP ? "udp" : "tcp");
        separator = ",";
    }
    buf_append(out, STR("]"));
    put_number(out, "connections_open", sum.connections_open - sum.flows_open);
    put_number(out, "flows_open", sum.flows_open);
    put_number(out, "relayed", sum.connections_accepted);
    put_number(out, "connections_refused", sum.connections_refused_nobody + sum.connections_refused_cap);
    put_number(out, "datagrams_refused", sum.datagrams_refused);
    put_number(out, "datagrams_dropped", sum.datagrams_dropped);
    put_number(out, "bytes_in", sum.bytes_in);
    put_number(out, "bytes_out", sum.bytes_out);
    put_number(out, "records_dropped", sum.records_dropped);
    buf_append_char(out, '}');
}

static const char *source_name(uint32_t source)
{
    static const char *const names[] = { "internal", "files", "acme" };
    return source < ARRAY_SIZE(names) ? names[source] : "unknown";
}

void watcher_report_status(struct watcher_state *state, int64_t now_ms, struct buf *out)
{
    const char *separator = "";
    buf_append(out, STR("{\"version\":\"" POSTERN_VERSION "\""));
    if (state->plan.header) {
        const struct image_settings *settings = image_settings(state->plan, 0);
        put_text(out, "host", image_str(state->plan, settings->host));
        put_text(out, "domain", image_str(state->plan, settings->domain));
        put_text(out, "log_file", image_str(state->plan, settings->log_file));
    }
    put_number(out, "generation", state->generation);
    put_text(out, "revision", str_of(state->revision));
    buf_append(out, STR(",\"roles\":["));
    for (uint32_t i = 0; i < state->n_roles; i++, separator = ",") {
        buf_append(out, str_of(separator));
        put_role(out, &state->roles[i]);
    }
    buf_append(out, STR("],\"surfaces\":["));
    separator = "";
    for (size_t i = 0; i < WATCHER_SURFACES_MAX && state->surfaces[i].name[0]; i++) {
        if (!surface_in_plan(state, state->surfaces[i].name))
            continue;
        buf_append(out, str_of(separator));
        put_surface(state, &state->surfaces[i], now_ms, out);
        separator = ",";
    }
    buf_append_char(out, ']');
    put_direct(state, now_ms, out);
    buf_append(out, STR(",\"certificates\":["));
    separator = "";
    for (uint32_t i = 0; i < state->n_certificates; i++, separator = ",") {
        const struct ipc_certificate_state *certificate = &state->certificates[i];
        buf_append(out, str_of(separator));
        buf_append(out, STR("{\"surface\":"));
        buf_append_json(out, watcher_surface_name(state, certificate->surface));
        put_text(out, "name", str_of(certificate->name));
        buf_printf(out, ",\"source\":\"%s\",\"not_after\":%lld", source_name(certificate->source), (long long)certificate->not_after);
        put_text(out, "trouble", str_of(certificate->trouble));
        buf_append_char(out, '}');
    }
    buf_append_char(out, ']');
    watcher_report_board(state, out);
    buf_append(out, STR("}\n"));
}

/* ---- metrics ---- */

/* One line per surface of one field, or of a field and a label that tells several apart. */
struct sample {
    const char *label;      /* "reason=\"cap\"" */
    size_t offset;
};

struct family {
    const char *name, *type, *help;
    struct sample samples[METRICS_STATUS_CLASSES]; /* label NULL after the last; "" for none */
    bool is_direct;         /* of direct ports only */
};

#define FIELD(field) offsetof(struct metrics_page, field)

static const struct family families[] = {
    { "postern_connections_total", "counter", "Connections accepted.", { { "", FIELD(connections_accepted) } } },
    { "postern_connections_open", "gauge", "Connections open now.", { { "", FIELD(connections_open) } } },
    { "postern_connections_refused_total", "counter", "Connections closed before TLS: from nobody that is known, or past a principal's cap.",
      { { "reason=\"nobody\"", FIELD(connections_refused_nobody) }, { "reason=\"cap\"", FIELD(connections_refused_cap) } } },
    { "postern_handshakes_total", "counter", "TLS handshakes completed.", { { "", FIELD(handshakes) } } },
    { "postern_handshakes_resumed_total", "counter", "Of those, resumed from a ticket.", { { "", FIELD(handshakes_resumed) } } },
    { "postern_handshakes_failed_total", "counter", "TLS handshakes that failed.", { { "", FIELD(handshakes_failed) } } },
    { "postern_requests_total", "counter", "Requests ended, by class of status; none: closed without an answer.",
      { { "status=\"none\"", FIELD(requests_by_class[0]) }, { "status=\"1xx\"", FIELD(requests_by_class[1]) },
        { "status=\"2xx\"", FIELD(requests_by_class[2]) }, { "status=\"3xx\"", FIELD(requests_by_class[3]) },
        { "status=\"4xx\"", FIELD(requests_by_class[4]) }, { "status=\"5xx\"", FIELD(requests_by_class[5]) } } },
    { "postern_requests_open", "gauge", "Requests under way.", { { "", FIELD(requests_open) } } },
    { "postern_requests_denied_total", "counter", "Requests that the declaration does not allow.", { { "", FIELD(requests_denied) } } },
    { "postern_requests_http2_total", "counter", "Requests that came over HTTP/2.", { { "", FIELD(requests_http2) } } },
    { "postern_body_bytes_total", "counter", "Bytes of bodies, in from clients and out to them.",
      { { "direction=\"in\"", FIELD(bytes_in) }, { "direction=\"out\"", FIELD(bytes_out) } } },
    { "postern_dials_total", "counter", "Connections to instances asked of the broker.", { { "", FIELD(dials) } } },
    { "postern_dials_failed_total", "counter", "Of those, failed.", { { "", FIELD(dials_failed) } } },
    { "postern_connections_reused_total", "counter", "Requests sent on a connection to the instance that was open already.", { { "", FIELD(reuses) } } },
    { "postern_tunnels_open", "gauge", "WebSockets and other upgraded connections open now.", { { "", FIELD(tunnels_open) } } },
    { "postern_streams_revoked_total", "counter", "Requests and tunnels closed because a change of the declaration took their access away.",
      { { "", FIELD(streams_revoked) } } },
    { "postern_flows_open", "gauge", "UDP flows of direct ports open now.", { { "", FIELD(flows_open) } }, .is_direct = true },
    { "postern_datagrams_total", "counter", "Datagrams relayed, in from clients and out to them.",
      { { "direction=\"in\"", FIELD(datagrams_in) }, { "direction=\"out\"", FIELD(datagrams_out) } }, .is_direct = true },
    { "postern_datagrams_dropped_total", "counter", "Datagrams of flows that found no room, or nobody who takes them.",
      { { "", FIELD(datagrams_dropped) } }, .is_direct = true },
    { "postern_datagrams_refused_total", "counter", "Datagrams that nobody answered: from sources without a grant, or past their share of new flows.",
      { { "", FIELD(datagrams_refused) } }, .is_direct = true },
    { "postern_log_records_dropped_total", "counter", "Access records that the logger's pipe had no room for.", { { "", FIELD(records_dropped) } } },
};

/* A label's value (exposition format: backslash, quote and line feed are escaped). */
static void put_label(struct buf *out, struct str value)
{
    for (size_t i = 0; i < value.len; i++) {
        char c = value.ptr[i];
        if (c == '\n') {
            buf_append(out, STR("\\n"));
            continue;
        }
        if (c == '"' || c == '\\')
            buf_append_char(out, '\\');
        buf_append_char(out, c);
    }
}

static void put_head(struct buf *out, const char *name, const char *type, const char *help)
{
    buf_printf(out, "# HELP %s %s\n# TYPE %s %s\n", name, help, name, type);
}

struct surface_sum {
    struct str name;
    struct metrics_page sum;
};

static bool is_shown(const struct family *family, struct str surface)
{
    return !family->is_direct || str_equal(surface, STR(IMAGE_DIRECT_NAME));
}

static void put_family(struct buf *out, const struct family *family, const struct surface_sum *sums, size_t n)
{
    bool is_any = false;
    for (size_t i = 0; i < n; i++)
        is_any |= is_shown(family, sums[i].name);
    if (!is_any && family->is_direct)
        return;
    put_head(out, family->name, family->type, family->help);
    for (size_t i = 0; i < n; i++)
        for (size_t j = 0; is_shown(family, sums[i].name) && j < ARRAY_SIZE(family->samples) && family->samples[j].label; j++) {
            uint64_t value;
            memcpy(&value, (const char *)&sums[i].sum + family->samples[j].offset, sizeof value);
            buf_printf(out, "%s{surface=\"", family->name);
            put_label(out, sums[i].name);
            buf_printf(out, "\"%s%s} %llu\n", family->samples[j].label[0] ? "," : "", family->samples[j].label, (unsigned long long)value);
        }
}

static void put_latency(struct buf *out, const struct surface_sum *sums, size_t n)
{
    static const uint64_t bounds_us[] = METRICS_LATENCY_BOUNDS_US;
    _Static_assert(ARRAY_SIZE(bounds_us) == METRICS_LATENCY_BUCKETS - 1, "the last bucket has no bound");
    static const char name[] = "postern_request_duration_seconds";
    put_head(out, name, "histogram", "Time from a request's head to the end of its answer.");
    for (size_t i = 0; i < n; i++) {
        uint64_t count = 0;
        for (size_t j = 0; j < METRICS_LATENCY_BUCKETS; j++) {
            count += sums[i].sum.latency_count[j];
            buf_printf(out, "%s_bucket{surface=\"", name);
            put_label(out, sums[i].name);
            if (j < ARRAY_SIZE(bounds_us))
                buf_printf(out, "\",le=\"%g\"} %llu\n", (double)bounds_us[j] / 1e6, (unsigned long long)count);
            else
                buf_printf(out, "\",le=\"+Inf\"} %llu\n", (unsigned long long)count);
        }
        buf_printf(out, "%s_sum{surface=\"", name);
        put_label(out, sums[i].name);
        buf_printf(out, "\"} %.6f\n%s_count{surface=\"", (double)sums[i].sum.latency_sum_us / 1e6, name);
        put_label(out, sums[i].name);
        buf_printf(out, "\"} %llu\n", (unsigned long long)count);
    }
}

static void put_role_sample(struct buf *out, const char *name, const struct ipc_role_state *role, uint64_t value)
{
    buf_printf(out, "%s{role=\"%s\"", name, ipc_role_name(role->role));
    if (role->role == IPC_ROLE_WORKER) {
        buf_append(out, STR(",surface=\""));
        put_label(out, str_of(role->surface_name));
        buf_printf(out, "\",worker=\"%u\"", role->worker);
    }
    buf_printf(out, "} %llu\n", (unsigned long long)value);
}

/* Those that drain have a successor of the same labels, and compilers come and go: neither is a series. */
static bool is_series(const struct ipc_role_state *role)
{
    return role->status != IPC_ROLE_DRAINING && role->role != IPC_ROLE_COMPILER;
}

static void put_roles(struct buf *out, const struct watcher_state *state)
{
    put_head(out, "postern_role_up", "gauge", "Whether the role runs.");
    for (uint32_t i = 0; i < state->n_roles; i++)
        if (is_series(&state->roles[i]))
            put_role_sample(out, "postern_role_up", &state->roles[i], state->roles[i].status == IPC_ROLE_RUNNING);
    put_head(out, "postern_role_restarts_total", "counter", "How often the role was started again after it ended by itself.");
    for (uint32_t i = 0; i < state->n_roles; i++)
        if (is_series(&state->roles[i]))
            put_role_sample(out, "postern_role_restarts_total", &state->roles[i], state->roles[i].n_restarts);
    put_head(out, "postern_role_start_time_seconds", "gauge", "When the role's process started, since the epoch.");
    for (uint32_t i = 0; i < state->n_roles; i++)
        if (is_series(&state->roles[i]) && state->roles[i].started_at > 0)
            put_role_sample(out, "postern_role_start_time_seconds", &state->roles[i], state->roles[i].started_at);
}

static void put_certificate_sample(struct buf *out, const char *name, const struct watcher_state *state,
                                   const struct ipc_certificate_state *certificate, long long value)
{
    buf_printf(out, "%s{surface=\"", name);
    put_label(out, watcher_surface_name(state, certificate->surface));
    buf_append(out, STR("\",name=\""));
    put_label(out, str_of(certificate->name));
    buf_printf(out, "\",source=\"%s\"} %lld\n", source_name(certificate->source), value);
}

static void put_certificates(struct buf *out, const struct watcher_state *state)
{
    put_head(out, "postern_certificate_not_after_seconds", "gauge", "When the certificate that is served ends, since the epoch; 0: there is none yet.");
    for (uint32_t i = 0; i < state->n_certificates; i++)
        put_certificate_sample(out, "postern_certificate_not_after_seconds", state, &state->certificates[i], state->certificates[i].not_after);
    put_head(out, "postern_certificate_trouble", "gauge", "Whether the newest attempt to read or renew it failed.");
    for (uint32_t i = 0; i < state->n_certificates; i++)
        put_certificate_sample(out, "postern_certificate_trouble", state, &state->certificates[i], state->certificates[i].trouble[0] != '\0');
}

static void put_declaration(struct buf *out, const struct watcher_state *state)
{
    static const char *const results[] = { "done", "refused", "unreadable" };
    put_head(out, "postern_build_info", "gauge", "The version that runs; always 1.");
    buf_append(out, STR("postern_build_info{version=\"" POSTERN_VERSION "\"} 1\n"));
    put_head(out, "postern_declaration_info", "gauge", "The revision of the declaration in force; always 1.");
    buf_append(out, STR("postern_declaration_info{revision=\""));
    put_label(out, str_of(state->revision));
    buf_append(out, STR("\"} 1\n"));
    put_head(out, "postern_generation", "gauge", "How many declarations have been in force, the one now included.");
    buf_printf(out, "postern_generation %llu\n", (unsigned long long)state->generation);
    put_head(out, "postern_reloads_total", "counter", "Reloads asked for on the control socket, by result.");
    for (size_t i = 0; i < ARRAY_SIZE(results); i++)
        buf_printf(out, "postern_reloads_total{result=\"%s\"} %llu\n", results[i], (unsigned long long)state->n_reloads[i]);
}

void watcher_report_metrics(struct watcher_state *state, int64_t now_ms, struct buf *out)
{
    static struct surface_sum sums[WATCHER_SURFACES_MAX];
    size_t n = 0;
    for (; n < WATCHER_SURFACES_MAX && state->surfaces[n].name[0]; n++) {
        sums[n].name = str_of(state->surfaces[n].name);
        watcher_sum_surface(state, &state->surfaces[n], now_ms, &sums[n].sum);
    }
    put_declaration(out, state);
    for (size_t i = 0; i < ARRAY_SIZE(families); i++)
        put_family(out, &families[i], sums, n);
    put_latency(out, sums, n);
    put_roles(out, state);
    put_certificates(out, state);
}
