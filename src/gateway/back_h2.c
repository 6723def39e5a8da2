/* HTTP/2 towards an instance: not spoken yet. */
#include <errno.h>

#include "gateway/back_pool.h"

int back_h2_pack(struct exchange *x, const struct http_head *head, const struct image_principal *principal, bool has_body)
{
    (void)x; (void)head; (void)principal; (void)has_body;
    return 0;
}
void back_h2_acquire(struct exchange *x) { exchange_back_failed(x, -ENOSYS); }
void back_h2_close_idle(struct gateway *gw, struct back_group *group) { (void)gw; (void)group; }
