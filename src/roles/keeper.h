/* The keeper: the one process with private keys. It makes or reads certificates, hands their public halves and ticket keys to workers, and
 * signs their handshakes.
 *
 *   image (keys) ──keeper_plan──▶ surfaces ─▶ certificates ──keeper_certificate──▶ pair in force
 *                                                 │ internal: keeper_authority   files: keeper_files   acme: keeper_acme ⇄ postern-acme
 *   worker channels ⇄ keeper_channel: push chains and tickets, check and sign
 *
 * Everything that lasts is in the state directory (keeper_state). */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/error.h"
#include "base/macros.h"
#include "base/str.h"
#include "ipc/message.h"
#include "policy/image.h"
#include "roles/keeper_state.h"
#include "tls/ca.h"
#include "tls/pair.h"
#include "tls/ticket_key.h"

struct keeper_file_stamp {
    int64_t changed_ns;
    uint64_t inode, size;
};

/* One certificate of one surface. */
struct keeper_certificate {
    struct keeper_surface *surface; /* borrowed: it owns this */
    enum image_certificate_source source;
    char *name;                     /* what it must cover: "*.home.example", or an extra name */
    char *certificate_file, *key_file;
    char *acme_directory, *acme_email, *acme_provider, *acme_environment_file, *acme_ca_file;
    bool is_default;

    struct tls_pair pair;           /* in force; no key: none yet */
    uint64_t identity;
    struct tls_pair previous;       /* of handshakes that began before the last renewal */
    uint64_t previous_identity;
    bool is_stand_in;               /* the internal CA's, until the declared source delivers */

    int64_t next_try;               /* when to renew, or to try again */
    uint32_t n_failures;
    struct keeper_file_stamp stamps[2];
    struct tls_pair ordered;        /* acme: the key that a certificate was asked for */
    uint64_t order;                 /* 0: none under way */
    char trouble[IPC_TEXT_MAX];
    char told_trouble[IPC_TEXT_MAX];
    int64_t told_not_after;
};

struct keeper_surface {
    char name[IPC_NAME_MAX];
    char *domain;
    uint32_t index;                 /* in the image in force */
    struct keeper_certificate *certificates;
    uint32_t n_certificates;
    struct tls_ticket_key *tickets; /* IPC_TICKET_KEYS of them, in locked memory; the first seals */
    uint32_t n_tickets;
    int64_t rotate_at;
    int chains;                     /* sealed memfd of what workers were pushed; -1: to be made */
    uint64_t chains_size;
    uint32_t n_chains;
};

struct keeper_channel {
    int fd;
    char surface[IPC_NAME_MAX];
    uint32_t worker;
    int32_t pid;
    bool needs_chains, needs_tickets, waits_to_write;
};

enum { KEEPER_ACME_FILES_MAX = 64 };

struct keeper {
    struct keeper_state state;
    struct tls_lifetimes lifetimes;
    int64_t check_every_s, retry_first_s, retry_max_s;
    struct keeper_surface *surfaces;
    uint32_t n_surfaces;
    struct keeper_channel **channels;
    uint32_t n_channels, max_channels;
    char authority_domain[256];     /* of root and node below */
    struct tls_pair node;           /* the intermediate; the root is read when it is needed, and wiped */
    int64_t node_renew_at;
    int inotify;
    int64_t files_due_ms;           /* monotonic; 0: nothing changed */
    int acme;                       /* channel to postern-acme; -1: none */
    char *acme_files[KEEPER_ACME_FILES_MAX]; /* the environment files that it may read */
    size_t n_acme_files;
    uint64_t last_order;
    int epoll;
};

int64_t keeper_now(void);           /* CLOCK_REALTIME seconds */
int64_t keeper_now_ms(void);        /* CLOCK_MONOTONIC */

/* ---- keeper_plan.c ---- */

/* Takes over what the image says; certificates that stay keep their keys. 0 or -ENOMEM (then nothing changed). */
int keeper_plan_take(struct keeper *keeper, struct image keys) must_check;
void keeper_plan_free(struct keeper_surface *surfaces, uint32_t n);
struct keeper_surface *keeper_find_surface(struct keeper *keeper, const char *name);

/* ---- keeper_authority.c ---- */

/* The internal CA of that domain, made where there is none, renewed where due; keeper->node is usable after it. 0 or a negative errno with err. */
int keeper_authority_open(struct keeper *keeper, const char *domain, struct error *err) must_check;
/* A new leaf from it for the certificate's name. */
int keeper_authority_issue(struct keeper *keeper, const struct keeper_certificate *certificate, struct tls_pair *ret, struct error *err) must_check;

/* ---- keeper_certificate.c ---- */

/* Reads what was in force when the keeper last ran. */
void keeper_certificate_restore(struct keeper *keeper, struct keeper_certificate *certificate);
/* Does what is due: renew, read again, try again. */
void keeper_certificate_refresh(struct keeper *keeper, struct keeper_certificate *certificate, bool files_changed);
/* Puts a checked pair in force (taken from *pair), keeps it in the state directory, and tells workers and parent. */
void keeper_certificate_adopt(struct keeper *keeper, struct keeper_certificate *certificate, struct tls_pair *pair, bool is_stand_in);
/* What's wrong, for log and status; "": nothing. */
void keeper_certificate_set_trouble(struct keeper_certificate *certificate, const char *text);
/* Tells the parent what has changed since it was last told. */
void keeper_certificate_report(struct keeper_certificate *certificate);
/* When the retry after a failure that was just noted is due. */
void keeper_certificate_back_off(struct keeper *keeper, struct keeper_certificate *certificate);
uint64_t keeper_certificate_seed(const struct keeper_certificate *certificate);

/* ---- keeper_files.c ---- */

/* The directories that certificate files are in, also behind symbolic links, each once; the caller frees the texts and the array. */
int keeper_files_directories(struct image keys, char ***ret, size_t *ret_n) must_check;
void keeper_files_watch(struct keeper *keeper, char *const directories[], size_t n);
/* Drains inotify: what changed is looked at a moment later, when both files of a pair are likely there. */
void keeper_files_on_change(struct keeper *keeper);
bool keeper_files_have_changed(struct keeper_certificate *certificate);
/* 0, or negative errno with err naming file, fault and next step. */
int keeper_files_load(struct keeper_certificate *certificate, struct tls_pair *ret, struct error *err) must_check;

/* ---- keeper_acme.c ---- */

/* Starts postern-acme, which confines itself; before the keeper does. state: the state directory's path. 0 or a negative errno with err. */
int keeper_acme_start(struct keeper *keeper, struct image keys, const char *state, uint32_t uid, uint32_t gid, struct error *err) must_check;
/* Whether the child that was started can do all that the image wants of it. */
bool keeper_acme_serves(const struct keeper *keeper, struct image keys);
void keeper_acme_stop(struct keeper *keeper);
/* How often the last attempts failed, and when the next may be: a keeper that restarts doesn't storm the authority. */
void keeper_acme_restore(struct keeper *keeper, struct keeper_certificate *certificate);
/* Asks for a certificate, or notes why not. */
void keeper_acme_order(struct keeper *keeper, struct keeper_certificate *certificate);
void keeper_acme_on_answer(struct keeper *keeper);

/* ---- keeper_channel.c ---- */

int keeper_channel_add(struct keeper *keeper, const struct ipc_channel *message, int fd) must_check;
void keeper_channel_lost(struct keeper *keeper, const struct ipc_channel *message);
void keeper_channel_on_event(struct keeper *keeper, struct keeper_channel *channel, uint32_t events);
/* The surface has new chains or tickets: every worker of it is told. */
void keeper_channel_push_chains(struct keeper *keeper, struct keeper_surface *surface);
void keeper_channel_push_tickets(struct keeper *keeper, struct keeper_surface *surface);
void keeper_channel_close_all(struct keeper *keeper);

/* ---- keeper_tickets.c ---- */

/* Makes the first key, and a new one every TLS_TICKET_LIFETIME_S. True when they changed. */
bool keeper_tickets_rotate(struct keeper_surface *surface, int64_t now);
