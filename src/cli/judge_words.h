/* Sets of addresses in the names of a declaration. */
#pragma once

#include "policy/access.h"
#include "policy/verify.h"

/* "iphone, kobo", "others of clients", "anyone else", "10.0.0.7". */
void words_write_sources(struct buf *out, const struct access *access, const struct relation_range *ranges, uint32_t n);
/* "roc", "roc by its LAN address 192.168.1.10", "grafana over main". */
void words_write_destinations(struct buf *out, const struct access *access, const struct relation_range *ranges, uint32_t n);
/* "port 22", "UDP ports 1-1023", "every port". */
void words_write_ports(struct buf *out, uint8_t protocol, uint16_t first, uint16_t last);
/* "the mesh", "the firewall of roc". */
void words_write_layer(struct buf *out, const struct model *model, const struct verify_step *step);
/* "postern.yml:41", "nftables on roc, set allowed4". */
void words_write_reason(struct buf *out, const struct relation_reason *reason);
