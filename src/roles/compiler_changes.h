/* What a new declaration changes, in names: for whoever asked for the reload. */
#pragma once

#include "base/buf.h"
#include "model/model.h"

/* Appends a line for each host, surface, service and grant that came or went; "nothing changes" when that is so. */
void changes_write(struct buf *out, const struct model *before, const struct model *after);
