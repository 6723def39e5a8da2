/* From text to model: every value lands where model.h says, with its place; and no allocation that fails is forgotten. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "model/reader.h"

static const char everything[] =
    "postern: 1\n"
    "domain: Home.Example\n"
    "grants:\n" /* before what it refers to: the order in the file doesn't matter */
    "  - { from: clients, to: \"*\", over: main }\n"
    "  - from: [host/roc, segment/ai]\n"
    "    to: [service/nas, \"g*\"]\n"
    "    over: [agents, main]\n"
    "  - { from: robin, to: [luanti, \"roc:22\", \"robin:udp/53\"] }\n"
    "expect:\n"
    "  - { from: robin, can: grafana, cannot: [db, \"roc:443\"], over: agents }\n"
    "services:\n"
    "  grafana: { host: roc, container: grafana_1, port: 3000, names: [Stats.Home.Example, g.example], over: main }\n"
    "  nas: { host: [roc, robin], port: 5001, address: [192.168.1.20, \"fd00::20\"], protocol: https,\n"
    "         tls: { name: NAS.local, ca: /nas.pem, pin: \"sha256/47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=\" } }\n"
    "  grpc: { host: roc, netns: /run/netns/grpc, port: 50051, protocol: h2c, loopback: true }\n"
    "  socket: { host: roc, unix: /run/s.sock }\n"
    "  old: { host: robin, port: 1, protocol: https, tls: { insecure: true } }\n"
    "  db: { host: roc, container: db, port: 5432, internal: true }\n"
    "  luanti: { host: robin, container: luanti, direct: udp/30000 }\n"
    "surfaces:\n"
    "  main: { port: 443, redirect: 80, connections-per-principal: 7 }\n"
    "  agents: { port: 8443, workers: 1, hosts: roc, address: 192.168.1.10 }\n"
    "hosts:\n"
    "  roc: { segment: prod, address: [100.64.1.1, \"fd00::1\"], lan: 192.168.1.10, gateway: true }\n"
    "  robin: { segment: ai, address: 100.64.1.3, os: macos }\n"
    "segments: { clients: { address: [100.64.0.0/24, \"fd00:1::/64\"] }, prod: {}, ai: }\n"
    "tls: { acme: { email: me@home.example, provider: hetzner, environment-file: /acme.env, ca: /ca.pem } }\n"
    "log: { to: /var/log/postern.log }\n"
    "metrics: { unix: /m.sock, address: \"::1\", port: 9100 }\n";

static struct model *read_model(const char *text)
{
    struct model *model = NULL;
    struct model_findings findings = { 0 };
    int r = model_read(str_of(text), STR("postern.yml"), &model, &findings);
    for (uint32_t i = 0; r != 0 && i < findings.n; i++)
        print_error("%u:%u: %.*s\n", findings.items[i].at.line, findings.items[i].at.column, STR_ARG(findings.items[i].message));
    assert_int_equal(r, 0);
    model_findings_deinit(&findings);
    return model;
}

static void assert_str(struct str s, const char *expected)
{
    assert_int_equal(s.len, strlen(expected));
    assert_memory_equal(s.ptr, expected, s.len);
}

static void assert_prefix(const struct model_prefixes *prefixes, uint32_t i, const char *expected)
{
    char text[ADDRESS_PREFIX_TEXT_SIZE];
    assert_true(i < prefixes->n);
    assert_string_equal(address_prefix_format(&prefixes->items[i], text), expected);
}

static void assert_indexes(const struct model_indexes *indexes, uint32_t n, uint32_t first, uint32_t last)
{
    assert_int_equal(indexes->n, n);
    assert_int_equal(indexes->items[0], first);
    assert_int_equal(indexes->items[n - 1], last);
}

static void test_the_top(void **state)
{
    (void)state;
    struct model *m = read_model(everything);
    assert_str(m->file, "postern.yml");
    assert_str(m->source, everything);
    assert_str(m->domain.text, "home.example");
    assert_int_equal(m->domain.at.line, 2);
    assert_int_equal(m->domain.at.column, 9);
    assert_int_equal(m->tls.source, MODEL_TLS_ACME);
    assert_str(m->tls.acme_email, "me@home.example");
    assert_str(m->tls.acme_provider, "hetzner");
    assert_str(m->tls.acme_environment_file, "/acme.env");
    assert_str(m->tls.acme_ca_file, "/ca.pem");
    assert_str(m->tls.acme_directory, "https://acme-v02.api.letsencrypt.org/directory");
    assert_int_equal(m->log_to, MODEL_LOG_FILE);
    assert_str(m->log_file, "/var/log/postern.log");
    assert_str(m->metrics_unix, "/m.sock");
    assert_prefix(&m->metrics_address, 0, "::1");
    assert_int_equal(m->metrics_port, 9100);
    model_free(m);
}

static void test_segments_hosts_surfaces(void **state)
{
    enum { CLIENTS, PROD, AI };
    enum { ROC, ROBIN };
    (void)state;
    struct model *m = read_model(everything);
    assert_int_equal(m->n_segments, 3);
    assert_prefix(&m->segments[CLIENTS].addresses, 0, "100.64.0.0/24");
    assert_prefix(&m->segments[CLIENTS].addresses, 1, "fd00:1::/64");
    assert_int_equal(m->segments[AI].addresses.n, 0);
    assert_int_equal(m->n_hosts, 2);
    assert_str(m->hosts[ROC].name.text, "roc");
    assert_int_equal(m->hosts[ROC].segment, PROD);
    assert_int_equal(m->hosts[ROC].addresses.n, 2);
    assert_prefix(&m->hosts[ROC].addresses, 1, "fd00::1");
    assert_prefix(&m->hosts[ROC].lan, 0, "192.168.1.10");
    assert_true(m->hosts[ROC].gateway && !m->hosts[ROBIN].gateway);
    assert_int_equal(m->hosts[ROBIN].os, MODEL_OS_MACOS);
    assert_int_equal(m->n_surfaces, 2);
    assert_int_equal(m->surfaces[0].port, 443);
    assert_int_equal(m->surfaces[0].redirect_port, 80);
    assert_int_equal(m->surfaces[0].n_workers, 0);
    assert_int_equal(m->surfaces[0].max_connections_per_principal, 7);
    assert_indexes(&m->surfaces[0].hosts, 1, ROC, ROC); /* all gateways */
    assert_int_equal(m->surfaces[0].addresses.n, 0);
    assert_int_equal(m->surfaces[1].n_workers, 1);
    assert_indexes(&m->surfaces[1].hosts, 1, ROC, ROC);
    assert_prefix(&m->surfaces[1].addresses, 0, "192.168.1.10");
    model_free(m);
}

static void test_services(void **state)
{
    (void)state;
    struct model *m = read_model(everything);
    assert_int_equal(m->n_services, 7);
    const struct model_service *grafana = &m->services[0], *nas = &m->services[1], *grpc = &m->services[2], *socket = &m->services[3];
    assert_int_equal(grafana->kind, MODEL_KIND_WEB);
    assert_int_equal(grafana->where, MODEL_WHERE_CONTAINER);
    assert_str(grafana->place.text, "grafana_1");
    assert_int_equal(grafana->port, 3000);
    assert_int_equal(grafana->names.n, 2);
    assert_str(grafana->names.items[0].text, "stats.home.example");
    assert_indexes(&grafana->surfaces, 1, 0, 0);
    assert_indexes(&nas->hosts, 2, 0, 1);
    assert_int_equal(nas->where, MODEL_WHERE_HOST);
    assert_int_equal(nas->protocol, MODEL_PROTOCOL_HTTPS);
    assert_prefix(&nas->addresses, 0, "192.168.1.20");
    assert_prefix(&nas->addresses, 1, "fd00::20");
    assert_str(nas->tls_name, "nas.local");
    assert_str(nas->tls_ca_file, "/nas.pem");
    assert_str(nas->tls_pin, "47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=");
    assert_int_equal(nas->surfaces.n, 0);
    assert_int_equal(grpc->where, MODEL_WHERE_NETNS);
    assert_true(grpc->loopback);
    assert_int_equal(grpc->protocol, MODEL_PROTOCOL_H2C);
    assert_int_equal(socket->where, MODEL_WHERE_UNIX);
    assert_int_equal(socket->port, 0);
    assert_true(m->services[4].tls_insecure);
    assert_int_equal(m->services[5].kind, MODEL_KIND_INTERNAL);
    assert_int_equal(m->services[6].kind, MODEL_KIND_DIRECT);
    assert_int_equal(m->services[6].transport, MODEL_UDP);
    assert_int_equal(m->services[6].port, 30000);
    model_free(m);
}

static void test_grants_and_expectations(void **state)
{
    (void)state;
    struct model *m = read_model(everything);
    assert_int_equal(m->n_grants, 3);
    const struct model_grant *first = &m->grants[0], *second = &m->grants[1], *third = &m->grants[2];
    assert_int_equal(first->at.line, 4);
    assert_int_equal(first->from[0].segment, 0);
    assert_int_equal(first->from[0].host, MODEL_NONE);
    assert_int_equal(first->to[0].kind, MODEL_TARGET_PATTERN);
    assert_str(first->to[0].pattern, "*");
    assert_int_equal(second->at.line, 5);
    assert_int_equal(second->from[0].host, 0);
    assert_int_equal(second->from[1].segment, 2);
    assert_int_equal(second->to[0].service, 1);
    assert_str(second->to[1].pattern, "g*");
    assert_int_equal(second->to[1].text.at.line, 6);
    assert_indexes(&second->over, 2, 1, 0);
    assert_int_equal(third->over.n, 0);
    assert_int_equal(third->to[0].service, 6);
    assert_int_equal(third->to[1].kind, MODEL_TARGET_HOST_PORT);
    assert_int_equal(third->to[1].transport, MODEL_TCP);
    assert_int_equal(third->to[1].port, 22);
    assert_int_equal(third->to[2].host, 1);
    assert_int_equal(third->to[2].transport, MODEL_UDP);
    assert_str(third->to[2].text.text, "robin:udp/53");
    assert_int_equal(m->n_expectations, 1);
    assert_int_equal(m->expectations[0].n_can, 1);
    assert_int_equal(m->expectations[0].n_cannot, 2);
    assert_int_equal(m->expectations[0].cannot[0].service, 5);
    assert_indexes(&m->expectations[0].over, 1, 1, 1);
    model_free(m);
}

/* The model borrows nothing: the caller's text may go. */
static void test_the_model_outlives_the_text(void **state)
{
    (void)state;
    char *copy = strdup(everything);
    struct model *m = read_model(copy);
    memset(copy, 'x', strlen(copy));
    free(copy);
    assert_str(m->services[1].tls_ca_file, "/nas.pem");
    assert_str(m->grants[2].to[2].text.text, "robin:udp/53");
    model_free(m);
}

static void test_outputs_are_untouched_on_failure(void **state)
{
    (void)state;
    struct model *model = (struct model *)(uintptr_t)1;
    struct model_findings findings = { 0 };
    assert_int_equal(model_read(STR("postern: 2\n"), STR("x"), &model, &findings), MODEL_E_INVALID);
    assert_ptr_equal(model, (void *)(uintptr_t)1);
    assert_true(findings.n_errors > 0);
    model_findings_deinit(&findings);
    assert_null(model_free(NULL));
}

/* ---- every allocation fails once ---- */

static long heap_calls_left = -1;
void *__real_calloc(size_t n, size_t size);
void *__wrap_calloc(size_t n, size_t size);

void *__wrap_calloc(size_t n, size_t size)
{
    if (heap_calls_left == 0)
        return NULL;
    heap_calls_left -= heap_calls_left > 0;
    return __real_calloc(n, size);
}

/* Each call of the heap fails in turn, until one run needs no more: the answer is -ENOMEM, never half a model. */
static void fail_each_allocation(const char *text, int expected)
{
    int r = -ENOMEM;
    long n = 0;
    for (; r == -ENOMEM; n++) {
        struct model *model = NULL;
        struct model_findings findings = { 0 };
        heap_calls_left = n;
        r = model_read(str_of(text), STR("postern.yml"), &model, &findings);
        heap_calls_left = -1;
        if (r == -ENOMEM)
            assert_true(!model && !findings.items && findings.n == 0);
        model_free(model);
        model_findings_deinit(&findings);
        assert_true(n < 10000);
    }
    assert_int_equal(r, expected);
    assert_true(n > 5);
}

static void test_no_failed_allocation_is_forgotten(void **state)
{
    (void)state;
    fail_each_allocation(everything, 0);
}

static void test_no_failed_allocation_is_forgotten_among_errors(void **state)
{
    char text[20000];
    size_t n = (size_t)snprintf(text, sizeof text, "%s", everything);
    for (int i = 0; i < 30; i++)
        n += (size_t)snprintf(text + n, sizeof text - n, "unknown-%d: { a: b, a: c }\n", i);
    (void)state;
    fail_each_allocation(text, MODEL_E_INVALID);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_the_top),
        cmocka_unit_test(test_segments_hosts_surfaces),
        cmocka_unit_test(test_services),
        cmocka_unit_test(test_grants_and_expectations),
        cmocka_unit_test(test_the_model_outlives_the_text),
        cmocka_unit_test(test_outputs_are_untouched_on_failure),
        cmocka_unit_test(test_no_failed_allocation_is_forgotten),
        cmocka_unit_test(test_no_failed_allocation_is_forgotten_among_errors),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
