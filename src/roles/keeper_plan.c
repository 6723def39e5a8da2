/* From the image to surfaces and certificates; what stays keeps its keys, its tickets and its times. */
#include <errno.h>
#include <openssl/crypto.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "roles/keeper.h"

static char *copy_text(struct image image, struct image_text text)
{
    struct str s = image_str(image, text);
    return strndup(s.len ? s.ptr : "", s.len);
}

static void certificate_free(struct keeper_certificate *certificate)
{
    tls_pair_deinit(&certificate->pair);
    tls_pair_deinit(&certificate->previous);
    tls_pair_deinit(&certificate->ordered);
    free(certificate->name);
    free(certificate->certificate_file);
    free(certificate->key_file);
    free(certificate->acme_directory);
    free(certificate->acme_email);
    free(certificate->acme_provider);
    free(certificate->acme_environment_file);
    free(certificate->acme_ca_file);
}

void keeper_plan_free(struct keeper_surface *surfaces, uint32_t n)
{
    for (uint32_t i = 0; i < n; i++) {
        struct keeper_surface *surface = &surfaces[i];
        for (uint32_t j = 0; j < surface->n_certificates; j++)
            certificate_free(&surface->certificates[j]);
        free(surface->certificates);
        free(surface->domain);
        OPENSSL_secure_clear_free(surface->tickets, TLS_TICKET_KEYS_MAX * sizeof surface->tickets[0]);
        if (surface->chains >= 0)
            close(surface->chains);
    }
    free(surfaces);
}

static bool certificate_read(struct keeper_certificate *certificate, struct image keys, const struct image_certificate *from)
{
    certificate->source = (enum image_certificate_source)from->source;
    return (certificate->name = copy_text(keys, from->name)) && (certificate->certificate_file = copy_text(keys, from->certificate_file)) &&
           (certificate->key_file = copy_text(keys, from->key_file)) && (certificate->acme_directory = copy_text(keys, from->acme_directory)) &&
           (certificate->acme_email = copy_text(keys, from->acme_email)) && (certificate->acme_provider = copy_text(keys, from->acme_provider)) &&
           (certificate->acme_environment_file = copy_text(keys, from->acme_environment_file)) &&
           (certificate->acme_ca_file = copy_text(keys, from->acme_ca_file));
}

static int surface_read(struct keeper_surface *surface, struct image keys, const struct image_surface *from)
{
    str_copy(surface->name, sizeof surface->name, image_str(keys, from->name));
    surface->domain = copy_text(keys, from->domain);
    surface->index = from->index;
    surface->tickets = OPENSSL_secure_zalloc(TLS_TICKET_KEYS_MAX * sizeof surface->tickets[0]);
    surface->certificates = calloc(from->n_certificates ? from->n_certificates : 1, sizeof surface->certificates[0]);
    if (!surface->domain || !surface->tickets || !surface->certificates)
        return -ENOMEM;
    for (uint32_t i = 0; i < from->n_certificates; i++) {
        struct keeper_certificate *certificate = &surface->certificates[surface->n_certificates++];
        certificate->surface = surface;
        certificate->is_default = i == 0;
        if (!certificate_read(certificate, keys, image_certificate(keys, from->first_certificate + i)))
            return -ENOMEM;
    }
    return 0;
}

static bool is_same(const struct keeper_certificate *a, const struct keeper_certificate *b)
{
    return a->source == b->source && strcmp(a->name, b->name) == 0;
}

#define TAKE_OVER(field) (into->field = from->field, memset(&from->field, 0, sizeof from->field))

static void certificate_take_over(struct keeper_certificate *into, struct keeper_certificate *from)
{
    TAKE_OVER(pair);
    TAKE_OVER(previous);
    TAKE_OVER(ordered);
    into->identity = from->identity;
    into->previous_identity = from->previous_identity;
    into->is_stand_in = from->is_stand_in;
    into->next_try = from->next_try;
    into->n_failures = from->n_failures;
    into->order = from->order;
    memcpy(into->trouble, from->trouble, sizeof into->trouble);
    memcpy(into->told_trouble, from->told_trouble, sizeof into->told_trouble);
    into->told_not_after = from->told_not_after;
    /* Other files: read them, whatever their times. Another account or token: what failed with the old one may succeed now. */
    if (strcmp(into->certificate_file, from->certificate_file) == 0 && strcmp(into->key_file, from->key_file) == 0)
        memcpy(into->stamps, from->stamps, sizeof into->stamps);
    if (into->n_failures > 0 && (strcmp(into->acme_directory, from->acme_directory) != 0 || strcmp(into->acme_provider, from->acme_provider) != 0 ||
                                 strcmp(into->acme_environment_file, from->acme_environment_file) != 0))
        into->n_failures = 0, into->next_try = 0;
}

static void surface_take_over(struct keeper_surface *into, struct keeper_surface *from)
{
    struct tls_ticket_key *spare = into->tickets;
    into->tickets = from->tickets;
    from->tickets = spare;
    into->n_tickets = from->n_tickets;
    into->rotate_at = from->rotate_at;
    /* Workers hold what was pushed last; only another set of certificates, or another default, is news to them. */
    bool is_same_set = into->n_certificates == from->n_certificates;
    for (uint32_t i = 0; i < into->n_certificates; i++) {
        bool found = false;
        for (uint32_t j = 0; j < from->n_certificates && !found; j++) {
            if (!is_same(&into->certificates[i], &from->certificates[j]) || !from->certificates[j].pair.key)
                continue;
            certificate_take_over(&into->certificates[i], &from->certificates[j]);
            found = true;
            is_same_set &= into->certificates[i].is_default == from->certificates[j].is_default;
        }
        is_same_set &= found;
    }
    if (is_same_set) {
        into->chains = TAKE_FD(from->chains);
        into->chains_size = from->chains_size;
        into->n_chains = from->n_chains;
    }
}

struct keeper_surface *keeper_find_surface(struct keeper *keeper, const char *name)
{
    for (uint32_t i = 0; i < keeper->n_surfaces; i++)
        if (strcmp(keeper->surfaces[i].name, name) == 0)
            return &keeper->surfaces[i];
    return NULL;
}

int keeper_plan_take(struct keeper *keeper, struct image keys)
{
    uint32_t n = image_count(keys, IMAGE_SURFACES);
    struct keeper_surface *surfaces = calloc(n ? n : 1, sizeof surfaces[0]);
    int r = surfaces ? 0 : -ENOMEM;

    for (uint32_t i = 0; i < n && r == 0; i++)
        surfaces[i].chains = -1;
    for (uint32_t i = 0; i < n && r == 0; i++)
        r = surface_read(&surfaces[i], keys, image_surface(keys, i));
    if (r < 0) {
        if (surfaces)
            keeper_plan_free(surfaces, n);
        return r;
    }
    for (uint32_t i = 0; i < n; i++) {
        struct keeper_surface *before = keeper_find_surface(keeper, surfaces[i].name);
        if (before)
            surface_take_over(&surfaces[i], before);
    }
    struct keeper_surface *old = keeper->surfaces;
    uint32_t n_old = keeper->n_surfaces;
    keeper->surfaces = surfaces;
    keeper->n_surfaces = n;
    keeper_plan_free(old, n_old);
    for (uint32_t i = 0; i < n; i++) {
        for (uint32_t j = 0; j < surfaces[i].n_certificates; j++)
            if (!surfaces[i].certificates[j].pair.key)
                keeper_certificate_restore(keeper, &surfaces[i].certificates[j]);
        if (surfaces[i].chains < 0)
            keeper_channel_push_chains(keeper, &surfaces[i]);
    }
    return 0;
}
