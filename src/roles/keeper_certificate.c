/* The life of one certificate: restored, renewed, replaced; the last good one stays in force whatever fails. */
#include <errno.h>
#include <openssl/x509.h>
#include <stdio.h>
#include <string.h>

#include "base/log.h"
#include "roles/keeper.h"
#include "roles/keeper_secret.h"
#include "tls/schedule.h"

static const char *const source_names[] = { "internal", "files", "acme" };

uint64_t keeper_certificate_seed(const struct keeper_certificate *certificate)
{
    return certificate->identity ^ str_hash(str_of(certificate->name)) ^ str_hash(str_of(certificate->surface->name));
}

/* The last good pair's file: surface, source and name, none of which can hold a comma or a slash. */
static void file_name(const struct keeper_certificate *certificate, char *text, size_t size)
{
    bool is_wildcard = certificate->name[0] == '*';
    snprintf(text, size, "%s,%s,%s%s.pem", certificate->surface->name, source_names[certificate->source], is_wildcard ? "_" : "",
             certificate->name + is_wildcard);
}

static void save(struct keeper *keeper, struct keeper_certificate *certificate)
{
    cleanup_secret struct buf text = { 0 };
    struct error err = { "" };
    char name[400];
    int r;

    keeper_secret_init(&text);
    tls_pair_append_pem(&text, &certificate->pair, true);
    file_name(certificate, name, sizeof name);
    /* Only the authority's own are scarce: a leaf of ours is issued again, a file read again. */
    enum keeper_durability durability = certificate->source == IMAGE_CERTIFICATE_ACME ? KEEPER_DURABLE : KEEPER_REPLACEABLE;
    r = text.error ? text.error : keeper_state_write(keeper->state.keys, name, buf_str(&text), 0600, durability, &err);
    /* It is in force all the same; only a restart would forget it. */
    if (r < 0)
        log_warning("surface %s: keeping the certificate for %s: %s", certificate->surface->name, certificate->name,
                    err.text[0] ? err.text : strerror(-r));
}

static void put_in_force(struct keeper_certificate *certificate, struct tls_pair *pair)
{
    tls_pair_deinit(&certificate->previous);
    certificate->previous = certificate->pair;
    certificate->previous_identity = certificate->identity;
    certificate->pair = *pair;
    certificate->identity = tls_pair_identity(pair, str_of(certificate->surface->name));
    *pair = (struct tls_pair){ 0 };
}

static void plan_renewal(struct keeper_certificate *certificate)
{
    certificate->next_try = tls_renewal_time(tls_pair_not_before(&certificate->pair), tls_pair_not_after(&certificate->pair),
                                             keeper_certificate_seed(certificate));
}

void keeper_certificate_set_trouble(struct keeper_certificate *certificate, const char *text)
{
    if (strcmp(certificate->trouble, text) == 0)
        return;
    str_copy(certificate->trouble, sizeof certificate->trouble, str_of(text));
    if (text[0])
        log_warning("surface %s: certificate for %s: %s%s", certificate->surface->name, certificate->name, text,
                    !certificate->pair.key ? "" : certificate->is_stand_in ? "; the internal CA's still stands in" : "; the last good one stays in force");
    else
        log_info("surface %s: the certificate for %s is in order", certificate->surface->name, certificate->name);
}

void keeper_certificate_report(struct keeper_certificate *certificate)
{
    struct ipc_certificate_state state = { .header = IPC_HEADER(IPC_KEEPER_STATE, state) };
    int64_t not_after = tls_pair_not_after(&certificate->pair);

    if (certificate->told_not_after == not_after && strcmp(certificate->told_trouble, certificate->trouble) == 0)
        return;
    state.surface = certificate->surface->index;
    state.source = (uint32_t)certificate->source;
    state.not_after = not_after;
    str_copy(state.name, sizeof state.name, str_of(certificate->name));
    str_copy(state.trouble, sizeof state.trouble, str_of(certificate->trouble));
    if (ipc_send_plain(IPC_PARENT_FD, &state) < 0)
        return; /* full: told at the next look */
    certificate->told_not_after = not_after;
    str_copy(certificate->told_trouble, sizeof certificate->told_trouble, str_of(certificate->trouble));
}

void keeper_certificate_adopt(struct keeper *keeper, struct keeper_certificate *certificate, struct tls_pair *pair, bool is_stand_in)
{
    put_in_force(certificate, pair);
    certificate->is_stand_in = is_stand_in;
    keeper_channel_push_chains(keeper, certificate->surface);
    if (!is_stand_in) {
        save(keeper, certificate);
        certificate->n_failures = 0;
        plan_renewal(certificate);
        keeper_certificate_set_trouble(certificate, "");
        log_info("surface %s: a new certificate for %s is in force", certificate->surface->name, certificate->name);
    } else {
        log_warning("surface %s: for %s the internal CA's stands in until its own certificate is there", certificate->surface->name, certificate->name);
    }
}

void keeper_certificate_restore(struct keeper *keeper, struct keeper_certificate *certificate)
{
    cleanup_secret struct buf text = { 0 };
    struct error err = { "" };
    struct tls_pair pair = { 0 };
    char name[400];

    keeper_secret_init(&text);
    file_name(certificate, name, sizeof name);
    int r = keeper_state_read(keeper->state.keys, name, &text, &err);
    if (r == 0)
        r = tls_pair_parse(buf_str(&text), buf_str(&text), &pair, &err);
    if (r < 0 && r != -ENOENT)
        log_warning("surface %s: the kept certificate for %s is of no use: %s", certificate->surface->name, certificate->name, err.text);
    if (r == 0) {
        put_in_force(certificate, &pair);
        plan_renewal(certificate);
    }
    if (certificate->source == IMAGE_CERTIFICATE_ACME)
        keeper_acme_restore(keeper, certificate);
}

void keeper_certificate_back_off(struct keeper *keeper, struct keeper_certificate *certificate)
{
    certificate->n_failures++;
    certificate->next_try = keeper_now() + tls_retry_delay(certificate->n_failures, keeper->retry_first_s, keeper->retry_max_s,
                                                           keeper_certificate_seed(certificate));
}

static void refresh_internal(struct keeper *keeper, struct keeper_certificate *certificate)
{
    struct tls_pair pair = { 0 };
    struct error err = { "" };

    if (keeper_now() < certificate->next_try)
        return;
    if (keeper_authority_issue(keeper, certificate, &pair, &err) == 0) {
        keeper_certificate_adopt(keeper, certificate, &pair, false);
    } else {
        keeper_certificate_back_off(keeper, certificate);
        keeper_certificate_set_trouble(certificate, err.text);
    }
}

static void refresh_files(struct keeper *keeper, struct keeper_certificate *certificate, bool files_changed)
{
    struct tls_pair pair = { 0 };
    struct error err = { "" };

    if (files_changed || keeper_files_have_changed(certificate)) {
        if (keeper_files_load(certificate, &pair, &err) == 0) {
            bool is_same = certificate->pair.key && !certificate->is_stand_in &&
                           X509_cmp(pair.chain[0], certificate->pair.chain[0]) == 0 && pair.n_chain == certificate->pair.n_chain;
            if (!is_same)
                keeper_certificate_adopt(keeper, certificate, &pair, false);
            else
                keeper_certificate_set_trouble(certificate, "");
            tls_pair_deinit(&pair);
            return;
        }
        keeper_certificate_set_trouble(certificate, err.text);
    } else if (certificate->pair.key && !certificate->is_stand_in && !certificate->trouble[0] &&
               tls_pair_check(&certificate->pair, str_of(certificate->name), keeper_now(), &err) < 0) {
        error_wrap(&err, "%s", certificate->certificate_file);
        keeper_certificate_set_trouble(certificate, err.text);
    }
}

/* Until the declared source has delivered once, names are served by the internal CA: the gate is up, and clients that trust it get in. */
static void stand_in(struct keeper *keeper, struct keeper_certificate *certificate)
{
    struct tls_pair pair = { 0 };
    struct error err = { "" };
    bool is_due = certificate->is_stand_in &&
                  keeper_now() >= tls_renewal_time(tls_pair_not_before(&certificate->pair), tls_pair_not_after(&certificate->pair), 0);

    if (certificate->pair.key && !is_due)
        return;
    if (keeper_authority_issue(keeper, certificate, &pair, &err) == 0)
        keeper_certificate_adopt(keeper, certificate, &pair, true);
    else if (!certificate->trouble[0])
        keeper_certificate_set_trouble(certificate, err.text);
}

void keeper_certificate_refresh(struct keeper *keeper, struct keeper_certificate *certificate, bool files_changed)
{
    switch (certificate->source) {
    case IMAGE_CERTIFICATE_INTERNAL:
        refresh_internal(keeper, certificate);
        break;
    case IMAGE_CERTIFICATE_FILES:
        refresh_files(keeper, certificate, files_changed);
        stand_in(keeper, certificate);
        break;
    case IMAGE_CERTIFICATE_ACME:
        if (keeper_now() >= certificate->next_try && certificate->order == 0)
            keeper_acme_order(keeper, certificate);
        stand_in(keeper, certificate);
        break;
    }
    keeper_certificate_report(certificate);
}
