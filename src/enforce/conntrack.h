/* Ends tracked connections that containers opened and that their tables no longer let through. */
#pragma once

#include "base/error.h"
#include "policy/container_filter.h"

/* Deletes the entries of connections that were opened from an ENFORCED bridge to where its filter lets nothing pass any more. Packets of the
 * direction that opened a connection are judged each, so that nothing depends on this; it is for what still comes the other way. Only
 * translated connections (to the internet, to a published port) lose their entry: without it nobody finds the way back in. An entry without
 * translation stays, as the next packet of the far end would make a new one, in which the far end is who opened it.
 * Returns how many, or a negative errno with err. */
int conntrack_cut(const struct container_filter *filter, struct error *err) must_check;
