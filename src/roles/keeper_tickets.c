/* Session ticket keys: per surface, in locked memory, never written anywhere; what is older than three rotations opens no more. */
#include <openssl/crypto.h>
#include <openssl/rand.h>

#include "roles/keeper.h"

bool keeper_tickets_rotate(struct keeper_surface *surface, int64_t now)
{
    struct tls_ticket_key *keys = surface->tickets;
    /* A clock that was set back doesn't keep a key for longer. */
    bool is_due = surface->n_tickets == 0 || now >= surface->rotate_at || surface->rotate_at - now > TLS_TICKET_LIFETIME_S;

    if (!is_due)
        return false;
    for (size_t i = TLS_TICKET_KEYS_MAX - 1; i > 0; i--)
        keys[i] = keys[i - 1];
    if (RAND_priv_bytes((uint8_t *)&keys[0], sizeof keys[0]) != 1) {
        for (size_t i = 0; i + 1 < TLS_TICKET_KEYS_MAX; i++)
            keys[i] = keys[i + 1];
        return false;
    }
    if (surface->n_tickets < TLS_TICKET_KEYS_MAX)
        surface->n_tickets++;
    surface->rotate_at = now + TLS_TICKET_LIFETIME_S;
    return true;
}
