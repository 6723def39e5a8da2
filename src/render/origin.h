/* What every rendered text says of itself: which declaration it is from, and that the declaration is what to edit. */
#pragma once

#include "base/buf.h"
#include "model/model.h"

/* The declaration's file without its folders. */
struct str render_file_name(const struct model *model);
/* "From postern.yml, revision 0123abcd, by postern render." Bytes outside of printable ASCII are replaced; revision may be empty. */
void render_origin_write(struct buf *out, const struct model *model, struct str revision);
