/* Trying one path from the current network namespace, as a client would: with a verified certificate, or the bare port. */
#pragma once

#include "base/address.h"
#include "base/error.h"

enum probe_kind {
    PROBE_HTTPS,
    PROBE_HTTP,
    PROBE_PORT_TCP, /* connects and reads what a stand-in greets with */
    PROBE_PORT_UDP, /* sends a datagram and waits for one */
};

enum probe_outcome {
    PROBE_UNTRIED,
    PROBE_ANSWERED,   /* HTTP: status is set; PORT: who is set */
    PROBE_CONNECTED,  /* PORT_TCP: a connection, and nothing said on it in time */
    PROBE_REFUSED,    /* the network said no: administratively prohibited, unreachable */
    PROBE_SILENT,     /* no answer in time */
    PROBE_NOT_OPEN,   /* the packet arrived: nothing listens there */
    PROBE_CLOSED,     /* connected, then closed without an answer */
    PROBE_UNTRUSTED,  /* the certificate doesn't verify for the name */
    PROBE_FAILED,     /* anything else */
};

struct probe {
    enum probe_kind kind;
    struct address address;
    uint16_t port;
    char name[256];           /* HTTP, HTTPS: the name asked for and verified */
    /* results */
    enum probe_outcome outcome;
    unsigned status;
    uint64_t digest;          /* of the answer but for its Date and its id: two 404s must have the same */
    uint32_t took_us;
    char who[128];            /* "grafana@roc", as the stand-in said */
    char detail[128];         /* of FAILED and UNTRUSTED; a redirect's location */
};

/* Tries them all: ports at once, HTTP one after another. ca_file: what certificates are verified with. */
void probe_run(struct probe *probes, size_t n, const char *ca_file);
