/* Identity, as an instance is told it. */
#include "gateway/forward.h"

void forward_identity(const struct exchange *x, const struct http_head *head, const struct image_principal *principal,
                      void (*add)(void *self, struct str name, struct str value), void *self)
{
    char address[ADDRESS_TEXT_SIZE];
    struct image view = x->gw->view;
    struct str host = image_str(view, principal->host);
    add(self, STR("X-Forwarded-For"), str_of(address_format(&x->client, address)));
    add(self, STR("X-Forwarded-Proto"), STR("https"));
    add(self, STR("X-Forwarded-Host"), head->authority);
    if (host.len)
        add(self, STR("Postern-Host"), host);
    add(self, STR("Postern-Segment"), image_str(view, principal->segment));
    add(self, STR("Postern-Request-Id"), str_of(x->record.id));
}
