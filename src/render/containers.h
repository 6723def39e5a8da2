/* A container filter as nftables: tables inet and bridge postern_containers, whose rules are always the same. */
#pragma once

#include "base/buf.h"
#include "base/error.h"
#include "model/model.h"
#include "policy/container_filter.h"

/* Appends what puts a sealed filter in the place of whatever these tables hold; one transaction. origin: one line for people. */
void container_filter_write(const struct container_filter *filter, struct str origin, struct buf *out);
/* Appends what makes `before`, which is there, into `after`. Returns how many elements come or go. */
uint32_t container_filter_write_change(const struct container_filter *before, const struct container_filter *after, struct buf *out);
/* The same for people: a line per element that comes ("+") or goes ("-"), with its comment. */
uint32_t container_filter_describe_change(const struct container_filter *before, const struct container_filter *after, struct buf *out);
/* Appends what takes the tables away, whether they are there or not. */
void container_filter_write_removal(struct buf *out);
/* Appends what makes unknown bridges be held for that long: somebody is there to say soon what they are. 0: no longer. */
void container_filter_write_watch(unsigned seconds, struct buf *out);

/* Appends the rules with empty sets, and as remarks what a host's declared containers are let do: all that can be told without Docker. 0; -EINVAL with
 * err for a host without nftables; -ENOMEM, -E2BIG. */
int render_containers(const struct model *model, uint32_t host, struct str revision, struct buf *out, struct error *err) must_check;
