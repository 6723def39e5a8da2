/* From a checked model to the blocks of image.h. Pure: certificate authorities and the digest are handed in. */
#pragma once

#include "base/buf.h"
#include "base/error.h"
#include "model/model.h"
#include "policy/image.h"
#include "policy/offers.h"

struct compile_input {
    const struct model *model;
    uint32_t gateway;                 /* index of the host this gateway is */
    uint64_t generation;
    struct str revision;              /* hex digest of the file */
    const struct offer *offers;       /* what containers of this host offer by label; what isn't taken is reported, and ends nothing */
    uint32_t n_offers;
    struct str container_directory;   /* a directory with one network namespace per container name; empty: the docker role finds them */
    /* The PEM text of a CA file ("" is the system's); called for services with protocol https that need one. NULL: none is available.
     * *ret_pem is borrowed until compile_model returns; each path is asked for once. */
    int (*read_ca)(void *context, struct str path, struct str *ret_pem, struct error *err);
    void *context;
};

/* The file name that a container's NAME or PROJECT/SERVICE has in a container_directory: "monitoring@grafana", which no other container has. */
void compile_container_file(struct buf *out, struct str place);

struct compile_block {
    void *data;                       /* heap, 16-byte aligned */
    size_t size;
};

struct compile_output {
    struct compile_block plan, dial, keys;
    struct compile_block docker;      /* data NULL: this gateway looks for no container */
    /* By surface number, the direct ports last; data NULL for a surface this gateway doesn't serve, and where no direct port is relayed. */
    struct compile_block views[IMAGE_VIEWS_MAX];
    uint32_t n_views;                 /* of surfaces */
    struct buf refused;               /* a line for each offer that isn't taken: "NAME" of container "REFERENCE": why */
};

/* 0; -ENOMEM; -EINVAL with err when the model cannot be served by this gateway (e.g. the host is no gateway). *ret is set on success only. */
int compile_model(const struct compile_input *input, struct compile_output *ret, struct error *err) must_check;
void compile_output_deinit(struct compile_output *output);
