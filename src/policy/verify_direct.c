/* Direct ports within the proof: what passes the network to one that a gateway relays is judged once more, by the gateway. */
#include "policy/verify_proof.h"

/* Everybody's flows to such a port: what of them no verdict allows is refused. */
static int add_port(struct proof *p, const struct gateway_port *port)
{
    const struct relation_range everybody[] = { relation_all_v4, relation_all_v6 }, there = { port->address, port->address };
    struct relation_rule rule = { .protocol_first = port->protocol, .protocol_last = port->protocol, .port_first = port->port, .port_last = port->port };
    int r = relation_add_selector(&p->direct_ports, everybody, ARRAY_SIZE(everybody), &rule.source);
    if (r == 0)
        r = relation_add_selector(&p->direct_ports, &there, 1, &rule.destination);
    return r == 0 ? relation_add_rule(&p->direct_ports, &rule) : r;
}

int proof_shape_direct(struct proof *proof)
{
    int r = 0;
    for (uint32_t g = 0; g < proof->layers->n_gateways; g++)
        for (uint32_t i = 0; r == 0 && i < proof->layers->gateways[g].n_ports; i++)
            r = add_port(proof, &proof->layers->gateways[g].ports[i]);
    return r;
}

static int subtract_from(struct matrix *from, const struct matrix *what)
{
    struct matrix rest;
    int r = matrix_subtract(from, what, &rest);
    if (r < 0)
        return r;
    matrix_deinit(from);
    *from = rest;
    return 0;
}

int proof_read_direct(struct proof *proof)
{
    if (relation_n_rules(&proof->direct_ports) == 0)
        return 0;
    int r = matrix_of(proof->space, &proof->direct_ports, &proof->refused);
    for (uint32_t g = 0; r == 0 && g < proof->layers->n_gateways; g++) {
        cleanup_matrix struct matrix allowed = { 0 };
        if (proof->layers->gateways[g].n_ports == 0)
            continue;
        r = matrix_restrict(&proof->verdicts[g], NULL, proof->is_network, &allowed);
        if (r == 0)
            r = subtract_from(&proof->refused, &allowed);
    }
    return r;
}

int proof_refuse_direct(const struct proof *proof, struct matrix *network)
{
    return relation_n_rules(&proof->direct_ports) == 0 ? 0 : subtract_from(network, &proof->refused);
}

const struct gateway_layer *proof_find_port(const struct proof *proof, const struct address *to, uint32_t key, uint32_t *limit)
{
    for (uint32_t g = 0; g < proof->layers->n_gateways; g++) {
        const struct gateway_layer *gateway = &proof->layers->gateways[g];
        for (uint32_t i = 0; i < gateway->n_ports; i++) {
            uint32_t there = (uint32_t)gateway->ports[i].protocol << 16 | gateway->ports[i].port;
            if (!address_equal(&gateway->ports[i].address, to) || there < key)
                continue;
            if (there > key)
                *limit = there - 1 < *limit ? there - 1 : *limit;
            else
                *limit = key;
            if (there == key)
                return gateway;
        }
    }
    return NULL;
}
