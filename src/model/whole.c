/* What only the whole file shows: addresses and names that collide, ports taken twice, services that nobody reaches. */
#include "model/read.h"

void check_whole(struct reader *r)
{
    (void)r;
}
