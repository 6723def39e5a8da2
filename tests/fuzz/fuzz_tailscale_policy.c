/* A Tailscale policy and a list of machines, a NUL between them: whatever they say, the filters are well-formed sets. */
#include <assert.h>
#include <errno.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "observe/tailscale.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const char machines[] =
    "{\"users\": [{\"name\": \"a\", \"email\": \"a@b.c\", \"role\": \"admin\"}, {\"name\": \"d\", \"email\": \"d@b.c\"}], \"nodes\": {"
    "\"x\": {\"ipv4\": \"100.64.0.1\", \"ipv6\": \"fd7a:115c:a1e0::1\", \"tags\": [\"tag:t\"], \"approved_routes\": [\"10.0.0.0/8\", \"::/0\"]},"
    "\"y\": {\"ipv4\": \"100.64.0.2\", \"user\": \"a\"}, \"z\": {\"ipv6\": \"fd7a:115c:a1e0::3\", \"user\": \"d\"}}}";

static void check_set(const struct relation_range *items, uint32_t n)
{
    assert(n > 0);
    for (uint32_t i = 0; i < n; i++) {
        assert(address_compare(&items[i].first, &items[i].last) <= 0);
        assert(address_is_v4(&items[i].first) == address_is_v4(&items[i].last));
    }
}

static int check_pass(void *context, const struct tailscale_pass *pass)
{
    (void)context;
    check_set(pass->sources, pass->n_sources);
    check_set(pass->destinations, pass->n_destinations);
    for (uint32_t i = 1; i < pass->n_sources; i++)
        assert(address_compare(&pass->sources[i - 1].last, &pass->sources[i].first) < 0);
    assert(pass->n_services > 0);
    for (uint32_t i = 0; i < pass->n_services; i++)
        assert(pass->services[i].port_first <= pass->services[i].port_last && pass->services[i].n_protocols > 0);
    return 0;
}

static void check_filter(const struct tailscale_policy *policy, const struct tailscale_nodes *nodes)
{
    struct tailscale_filter *filter = NULL;
    struct error err = { "" };
    int r = tailscale_filter_make(policy, nodes, &filter, &err);
    assert(r == 0 || err.text[0] || r == -ENOMEM);
    if (r)
        return;
    r = tailscale_filter_test(filter, &err);
    assert(r == 0 || err.text[0] || r == -ENOMEM);
    r = 0; /* what fails its tests lets pass what it lets pass */
    for (uint32_t i = 0; i < nodes->n_nodes && r == 0; i++)
        r = tailscale_filter_visit(filter, i, check_pass, NULL);
    struct relation relation;
    relation_init(&relation);
    if (r == 0)
        r = tailscale_filter_relation(filter, "policy.hujson", &relation);
    assert(r == 0 || r == -E2BIG);
    relation_deinit(&relation);
    tailscale_filter_free(filter);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct str text = str_make((const char *)data, size), rest = text, policy_text = str_split(&rest, '\0');
    struct str nodes_text = policy_text.len < size ? rest : str_of(machines);
    struct tailscale_policy *policy = NULL;
    struct tailscale_nodes nodes = { 0 };
    struct error err = { "" };
    int r = tailscale_nodes_read(nodes_text, "nodes", &nodes, &err);
    assert(r == 0 || strncmp(err.text, "nodes:", 6) == 0);
    if (r)
        return 0;
    r = tailscale_policy_read(policy_text, "policy", &policy, &err);
    assert(r == 0 || strncmp(err.text, "policy:", 7) == 0);
    if (r == 0)
        check_filter(policy, &nodes);
    tailscale_policy_free(policy);
    tailscale_nodes_deinit(&nodes);
    return 0;
}
