/* The keeper's internal CA: one root per domain that was ever declared, an intermediate for this node, renewed in time. */
#include <errno.h>
#include <openssl/x509.h>
#include <stdio.h>
#include <string.h>

#include "base/log.h"
#include "roles/keeper.h"
#include "roles/keeper_secret.h"
#include "tls/schedule.h"

/* Reads a pair of ours: its key, then its chain. 0; -ENOENT: there is none; else err says why. */
static int read_pair(struct keeper *keeper, const char *name, struct tls_pair *ret, struct error *err)
{
    cleanup_secret struct buf text = { 0 };
    keeper_secret_init(&text);
    int r = keeper_state_read(keeper->state.keys, name, &text, err);
    if (r < 0)
        return r;
    r = tls_pair_parse(buf_str(&text), buf_str(&text), ret, err);
    if (r < 0)
        error_wrap(err, "%s in the state directory", name);
    return r;
}

static int write_pair(struct keeper *keeper, const char *name, const struct tls_pair *pair, struct error *err)
{
    cleanup_secret struct buf text = { 0 };
    keeper_secret_init(&text);
    tls_pair_append_pem(&text, pair, true);
    if (text.error) {
        error_set(err, "writing %s: %s", name, strerror(-text.error));
        return text.error;
    }
    return keeper_state_write(keeper->state.keys, name, buf_str(&text), 0600, KEEPER_DURABLE, err);
}

/* The copy that everybody may read. Only replaced when it differs, so that its time tells when trust has to be renewed. */
static int publish_root(struct keeper *keeper, const struct tls_pair *root, struct error *err)
{
    struct buf wanted, there;
    int r;
    buf_init(&wanted, TLS_PAIR_PEM_MAX);
    buf_init(&there, TLS_PAIR_PEM_MAX);
    tls_pair_append_pem(&wanted, root, false);
    r = wanted.error;
    if (r == 0 && (keeper_state_read(keeper->state.published, "root.pem", &there, err) < 0 || !str_equal(buf_str(&wanted), buf_str(&there))))
        r = keeper_state_write(keeper->state.published, "root.pem", buf_str(&wanted), 0644, KEEPER_DURABLE, err);
    buf_deinit(&wanted);
    buf_deinit(&there);
    return r;
}

/* The root of the domain; made on the first start. A root that can't be read is never replaced in silence: clients trust it. */
static int open_root(struct keeper *keeper, const char *domain, struct tls_pair *ret, struct error *err)
{
    char name[300], fingerprint[TLS_FINGERPRINT_SIZE];
    snprintf(name, sizeof name, "root,%s.pem", domain);
    int r = read_pair(keeper, name, ret, err);
    if (r == -ENOENT) {
        r = tls_ca_make_root(str_of(domain), keeper_now(), keeper->lifetimes.root_s, ret, err);
        if (r == 0 && (r = write_pair(keeper, name, ret, err)) < 0)
            tls_pair_deinit(ret);
        if (r == 0) {
            tls_fingerprint(ret->chain[0], fingerprint);
            log_info("made a certificate authority for %s, SHA-256 %s; 'postern ca export' gives the file that clients are to trust", domain,
                     fingerprint);
        }
    }
    if (r < 0)
        return r;
    r = publish_root(keeper, ret, err);
    if (r < 0)
        tls_pair_deinit(ret);
    return r;
}

static int64_t renewal_of(const struct tls_pair *pair, uint64_t seed)
{
    return tls_renewal_time(tls_pair_not_before(pair), tls_pair_not_after(pair), seed);
}

int keeper_authority_open(struct keeper *keeper, const char *domain, struct error *err)
{
    struct tls_pair root = { 0 }, node = { 0 };
    char name[300];
    int r;

    if (strcmp(keeper->authority_domain, domain) == 0 && keeper_now() < keeper->node_renew_at)
        return 0;
    snprintf(name, sizeof name, "node,%s.pem", domain);
    r = open_root(keeper, domain, &root, err);
    if (r < 0)
        return r;
    r = read_pair(keeper, name, &node, err);
    /* Unlike a root, a node's intermediate is nobody's to trust: whatever is wrong with it, a new one mends it. */
    if (r < 0 || keeper_now() >= renewal_of(&node, (uint64_t)tls_pair_not_after(&node)) ||
        X509_verify(node.chain[0], root.key) != 1) {
        tls_pair_deinit(&node);
        r = tls_ca_make_intermediate(&root, str_of(domain), keeper_now(), keeper->lifetimes.intermediate_s, &node, err);
        if (r == 0)
            r = write_pair(keeper, name, &node, err);
    }
    tls_pair_deinit(&root);
    if (r < 0) {
        tls_pair_deinit(&node);
        return r;
    }
    tls_pair_deinit(&keeper->node);
    keeper->node = node;
    keeper->node_renew_at = renewal_of(&node, (uint64_t)tls_pair_not_after(&node));
    str_copy(keeper->authority_domain, sizeof keeper->authority_domain, str_of(domain));
    return 0;
}

int keeper_authority_issue(struct keeper *keeper, const struct keeper_certificate *certificate, struct tls_pair *ret, struct error *err)
{
    const char *domain = certificate->surface->domain;
    int r;
    if (!tls_ca_covers(str_of(domain), str_of(certificate->name))) {
        error_set(err, "the internal CA speaks for %s only; give this name a certificate by file or ACME", domain);
        return -EINVAL;
    }
    r = keeper_authority_open(keeper, domain, err);
    if (r < 0)
        return r;
    return tls_ca_make_leaf(&keeper->node, str_of(certificate->name), keeper_now(), keeper->lifetimes.leaf_s, ret, err);
}
