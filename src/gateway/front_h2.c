/* HTTP/2 towards a client: not spoken yet; ALPN offers it only once it is. */
#include <errno.h>

#include "gateway/client.h"

int front_h2_start(struct client *client) { (void)client; return -ENOSYS; }
void front_h2_input(struct client *client) { (void)client; }
void front_h2_drained(struct client *client) { (void)client; }
void front_h2_timeout(struct client *client) { (void)client; }
void front_h2_stop(struct client *client, const char *reason) { (void)client; (void)reason; }
bool front_h2_is_idle(const struct client *client) { (void)client; return true; }
void front_h2_drain(struct client *client) { (void)client; }
