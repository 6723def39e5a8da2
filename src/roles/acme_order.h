/* What keeper and postern-acme say to each other: an order, and its answer. One packet each on a SOCK_SEQPACKET pair, sizes exact. */
#pragma once

#include <stdint.h>

enum {
    ACME_REQUEST_MAX = 2048,  /* PKCS #10, PEM */
    ACME_CHAIN_MAX = 24 * 1024,
    ACME_CHANNEL_FD = 3,
};

struct acme_order {
    uint64_t id;
    char directory[1040];       /* URL */
    char email[256];
    char provider[64];          /* lego's name of the DNS provider */
    char environment_file[1040]; /* KEY=VALUE lines: the provider's token; "": the provider needs none */
    char ca_file[1040];         /* of the directory's own TLS; "": the system's */
    char request[ACME_REQUEST_MAX];
};

struct acme_answer {
    uint64_t id;
    int32_t status;             /* 0, or a negative errno with trouble */
    uint32_t unused;
    char trouble[256];
    char chain[ACME_CHAIN_MAX]; /* PEM, leaf first */
};
