/* Every message between roles: fixed sizes, one struct per type, and who may send what to whom.
 *
 * A channel is a SOCK_SEQPACKET pair, one message per packet, descriptors by SCM_RIGHTS. A worker sends with write() only.
 * A packet whose size, type or sender is not in the receiver's table ends its sender. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/address.h"
#include "base/macros.h"

enum ipc_role {
    IPC_ROLE_PARENT,
    IPC_ROLE_KEEPER,
    IPC_ROLE_BROKER,
    IPC_ROLE_WATCHER,
    IPC_ROLE_LOGGER,
    IPC_ROLE_WORKER,
    IPC_ROLE_COMPILER,
    IPC_ROLE_DOCKER,
    IPC_ROLE_RELAY,           /* of direct ports: as a worker is of a surface */
    IPC_ROLE_PORTER,          /* makes the relay the socket of each UDP flow */
    IPC_ROLE_COUNT
};
const char *ipc_role_name(enum ipc_role role);

enum {
    IPC_PARENT_FD = 3,        /* every role's channel to the parent, from exec on */
    IPC_SLOTS_END = 128,      /* a worker's channels and listeners live below this descriptor, its connections at or above it */
    IPC_FDS_MAX = 4,          /* descriptors in one message */
    IPC_SIGN_INPUT_MAX = 256, /* the longest that is signed has 146 bytes */
    IPC_SIGNATURE_MAX = 512,
    IPC_TEXT_MAX = 256,
    IPC_NAME_MAX = 64,
    IPC_DATAGRAM_MAX = 1480,  /* that a message has room for: what an Ethernet packet carries, and the mesh's are smaller */
};

enum ipc_type {
    /* parent to every role */
    IPC_PARENT_START = 1,       /* struct ipc_start; fds: image block, then (worker, relay) a metrics page, (docker) the board, (porter) its
                                 * channel to the relay */
    IPC_PARENT_IMAGE,           /* struct ipc_image; fds: image block */
    IPC_PARENT_CHANNEL_LOST,    /* struct ipc_channel: its peer is gone; close it, the next message brings another */
    IPC_PARENT_CHANNEL,         /* struct ipc_channel; fds: the channel or pipe */
    IPC_PARENT_LISTENER,        /* struct ipc_listener; fds: the listening socket */
    IPC_PARENT_DRAIN,           /* struct ipc_drain */
    IPC_PARENT_METRICS_PAGE,    /* struct ipc_metrics_page, to the watcher; fds: a worker's metrics page */
    IPC_PARENT_ROLE_STATE,      /* struct ipc_role_state, to the watcher */
    IPC_PARENT_RELOAD_RESULT,   /* struct ipc_reload_result, to the watcher; fds: the report's text */
    IPC_PARENT_COMPILE,         /* struct ipc_compile, to the compiler; fds: the file, then those of the previous text, plan and offers that exist */
    IPC_PARENT_HANDOVER,        /* struct ipc_handover, from a parent to the one that replaces it, after its IPC_PARENT_LISTENERs */
    IPC_PARENT_HINTS,           /* struct ipc_hints, to broker and docker; fds: the page of hints, the eventfd that says look */
    IPC_PARENT_BOARD,           /* struct ipc_board, to the watcher; fds: what the docker role shows */
    IPC_PARENT_GUEST,           /* struct ipc_guest, to workers: as the docker role said, or as the parent saw it end */
    /* every role to the parent */
    IPC_ROLE_READY = 32,        /* struct ipc_ready */
    IPC_ROLE_IMAGE_TAKEN,       /* struct ipc_image */
    IPC_ROLE_DRAINED,           /* struct ipc_drain */
    IPC_WATCHER_RELOAD,         /* struct ipc_reload: somebody asked on the control socket */
    IPC_COMPILER_BLOCK,         /* struct ipc_block; fds: one sealed memfd */
    IPC_COMPILER_DONE,          /* struct ipc_compiler_done; fds: the report's text */
    IPC_ROLE_OFFENCE,           /* struct ipc_offence, from keeper and broker: they ended the worker's channel, the parent ends the worker */
    /* worker and keeper */
    IPC_KEEPER_SIGN = 64,       /* struct ipc_sign */
    IPC_KEEPER_SIGN_ANSWER,     /* struct ipc_sign_answer */
    IPC_KEEPER_CERTIFICATES,    /* struct ipc_certificates, pushed; fds: the chains */
    IPC_KEEPER_TICKET_KEYS,     /* struct ipc_ticket_keys, pushed */
    IPC_KEEPER_STATE,           /* struct ipc_certificate_state, to the parent, forwarded to the watcher */
    /* worker and broker */
    IPC_BROKER_DIAL = 96,       /* struct ipc_dial */
    IPC_BROKER_DIAL_ANSWER,     /* struct ipc_dial_answer; fds: the established socket when status is 0 */
    IPC_BROKER_ENDED,           /* struct ipc_target_ended, to the relay */
    /* porter to relay */
    IPC_PORTER_FLOW = 160,      /* struct ipc_flow; fds: its client's socket if it is new, memory with the datagram if it is long */
    IPC_PORTER_REFUSED,         /* struct ipc_flow_refused */
    /* docker to broker */
    IPC_DOCKER_NAMESPACE = 128, /* struct ipc_docker_namespace; fds: its network namespace, a pidfd of its first process */
    IPC_DOCKER_GONE,            /* struct ipc_docker_gone */
    /* docker to parent */
    IPC_DOCKER_GUEST,           /* struct ipc_guest; fds: a pidfd of its first process when it is there */
    IPC_DOCKER_GUESTS_TOLD,     /* struct ipc_guests_told: every guest there is has been told since this docker role started */
    IPC_DOCKER_OFFERS,          /* struct ipc_docker_offers; fds: the offers, sealed. And from the parent to a docker role that starts */
};

struct ipc_header {
    uint16_t type;
    uint16_t size;     /* of the whole message, header included */
    uint32_t unused;
};

/* What confines a role: told to the parent once it is in force. */
enum ipc_confinement {
    IPC_CONFINED_SECCOMP = 1,
    IPC_CONFINED_LANDLOCK = 2,
    IPC_CONFINED_CAPABILITIES = 4,
    IPC_CONFINED_UID = 8,
    IPC_CONFINED_RLIMITS = 16,
    IPC_CONFINED_NO_NEW_PRIVILEGES = 32,
};

struct ipc_start {
    struct ipc_header header;
    uint64_t generation;
    uint64_t block_size;
    uint32_t role;               /* enum ipc_role */
    uint32_t surface;            /* worker: its surface's number */
    uint32_t worker;             /* worker: its index on that surface */
    uint32_t uid, gid;           /* to become, when privileged; 0: stay */
    uint32_t acme_uid, acme_gid; /* keeper: of the child that it starts for ACME; 0: its own */
    uint32_t log_requests;       /* 0: no access records */
    char state_directory[256];   /* keeper */
    char log_file[256];          /* logger; "": standard output */
};

struct ipc_image {
    struct ipc_header header;
    uint64_t generation;
    uint64_t block_size;
};

struct ipc_channel {
    struct ipc_header header;
    uint32_t peer;               /* enum ipc_role */
    uint32_t surface;            /* told to keeper, broker, logger: whose channel it is; IMAGE_NONE otherwise */
    uint32_t worker;
    int32_t pid;                 /* told with surface: the process, which a worker that is started again doesn't share */
    char surface_name[IPC_NAME_MAX]; /* told with surface */
};

/* Sockets that the parent listens on for logger and watcher, which can make none: RUNDIR/log.sock to the logger; RUNDIR/control.sock
 * and the metrics' unix and TCP sockets to the watcher. address and port are set for TCP only. */
enum ipc_listener_kind { IPC_LISTENER_LOG = 16, IPC_LISTENER_CONTROL, IPC_LISTENER_METRICS };

struct ipc_listener {
    struct ipc_header header;
    struct address address;
    uint16_t port;
    uint16_t kind;               /* worker: enum image_listener_kind; logger, watcher: enum ipc_listener_kind */
    uint16_t redirect_to;        /* kind REDIRECT: the surface's port */
    uint16_t closing;            /* 1: no fd; stop listening there */
};

struct ipc_drain {
    struct ipc_header header;
    uint32_t limit_ms;
    uint32_t remaining;          /* connections that were left, in DRAINED */
};

struct ipc_metrics_page {
    struct ipc_header header;
    uint32_t surface, worker;
    char surface_name[IPC_NAME_MAX];
};

enum ipc_role_status { IPC_ROLE_STARTING, IPC_ROLE_RUNNING, IPC_ROLE_DOWN, IPC_ROLE_DRAINING, IPC_ROLE_GONE };

/* Of each role, the parent itself included, at each change; all of them to a watcher that starts. */
struct ipc_role_state {
    struct ipc_header header;
    int32_t pid;
    uint32_t role, surface, worker;
    uint32_t status;             /* enum ipc_role_status */
    uint32_t confinement;        /* bits of enum ipc_confinement */
    uint32_t n_restarts;
    uint32_t backoff_ms;         /* before the next start; 0: none */
    uint32_t missing;            /* as ipc_ready.missing */
    uint32_t unused;
    uint64_t generation;
    uint64_t started_at;         /* CLOCK_REALTIME seconds */
    char surface_name[IPC_NAME_MAX];
    char last_exit[IPC_NAME_MAX]; /* "killed by SIGSEGV" */
};

struct ipc_reload {
    struct ipc_header header;
    uint64_t request;
};

/* Also sent to a watcher that starts, and after each change nobody asked for (SIGHUP), with request 0 and no text needed. */
struct ipc_reload_result {
    struct ipc_header header;
    uint64_t request;            /* the asker's; 0: tells what is in force */
    uint64_t generation;         /* in force now */
    uint64_t text_size;
    int32_t status;              /* 0: done; 1: refused, the file is wrong; 2: could not be read */
    uint32_t unused;
    char revision[32];
};

struct ipc_ready {
    struct ipc_header header;
    uint32_t confinement;
    uint32_t missing;            /* wanted, but the kernel or the rights lack it */
};

/* The page of hints: a byte for each slot, a container's slot being its number's lowest bits. The broker sets it when somebody waits for
 * that container, the docker role clears it when it looks: nothing else ever reaches that role but the engine's answers. */
enum { IPC_HINTS_SIZE = 4096 };

struct ipc_hints {
    struct ipc_header header;
};

struct ipc_board {
    struct ipc_header header;
};

/* An address at which a container that is a principal asks. epoch grows with each telling of one docker role. */
struct ipc_guest {
    struct ipc_header header;
    uint64_t container;          /* its number */
    struct address address;
    uint32_t is_present;         /* 0: it is nobody's any more */
    uint32_t unused;
};

struct ipc_guests_told {
    struct ipc_header header;
};

/* What containers offer by label: an array of n, in the order in which they hold names. */
enum { IPC_OFFERS_MAX = 1025 /* one more than are taken, so that it can be said */ };
enum ipc_offer_protocol { IPC_OFFER_HTTP, IPC_OFFER_H2C, IPC_OFFER_UNKNOWN };

struct ipc_docker_offers {
    struct ipc_header header;
    uint32_t n;
    uint32_t unused;
};

struct ipc_offer {
    char name[128];              /* as labelled, cut; ends with a NUL, as the next does */
    char reference[260];         /* the container: PROJECT/SERVICE or NAME */
    uint16_t port;               /* 0: none that is one */
    uint16_t protocol;           /* enum ipc_offer_protocol */
};

/* epoch: grows with each message of one docker role; a GONE ends the namespace of its epoch or an older one. */
struct ipc_docker_namespace {
    struct ipc_header header;
    uint64_t number;
    uint64_t epoch;
};

enum ipc_docker_gone_why {
    IPC_DOCKER_ENDED,            /* it ran until now: its successor may come */
    IPC_DOCKER_ABSENT,           /* the engine has none that runs by this name */
    IPC_DOCKER_AWAY,             /* there is no engine to ask yet */
    IPC_DOCKER_REFUSED,          /* it runs, but can't or mustn't be entered; the docker role said why */
};

struct ipc_docker_gone {
    struct ipc_header header;
    uint64_t number;
    uint64_t epoch;
    uint32_t why;                /* enum ipc_docker_gone_why */
    uint32_t unused;
};

/* A datagram that came to a listener, from a source that may send there. The socket is connected to it, from the listener's address: with it a
 * flow begins. Without, it came while the socket was made, and belongs to the flow that was told last of that source and listener. */
struct ipc_flow {
    struct ipc_header header;
    struct address client, address;
    uint16_t client_port, port;
    uint16_t length;             /* of the datagram */
    uint8_t is_new, is_long;     /* is_long: data is empty, a memfd has it */
    uint8_t data[IPC_DATAGRAM_MAX];
};

/* Datagrams that were not answered: so many since it was last told; of the latest, whose it was. */
struct ipc_flow_refused {
    struct ipc_header header;
    struct address client;
    uint16_t client_port, port;
    uint32_t why;                /* enum ipc_record_denied; IPC_DENIED_NOT: only to be counted, with nobody's address */
    uint64_t n;
};

struct ipc_offence {
    struct ipc_header header;
    int32_t pid;                 /* of the worker, as its channel was told with */
    uint32_t unused;
    char why[IPC_TEXT_MAX];
};

struct ipc_compile {
    struct ipc_header header;
    uint64_t generation;
    uint64_t previous_size;      /* of the text in force; 0: none, no fd */
    uint64_t previous_plan_size; /* of the plan in force; 0: none, no fd */
    uint64_t n_offers;           /* that containers make by label; 0: no fd */
    char host[256];              /* the gateway this is; "": found by its addresses, then by the machine's name */
    char file[256];              /* for messages and to resolve relative paths */
    char container_directory[256];
};

/* The last message of a handover. Two versions of postern speak this: fields are only ever added at the end, with a new type. */
struct ipc_handover {
    struct ipc_header header;
    uint64_t generation;         /* in force; the successor counts on from it */
    uint32_t n_listeners;
    uint32_t unused;
    char host[256];
};

struct ipc_block {
    struct ipc_header header;
    uint64_t size;
    uint32_t kind;               /* enum image_kind */
    uint32_t surface;            /* of a view */
};

struct ipc_compiler_done {
    struct ipc_header header;
    uint64_t text_size;
    int32_t status;              /* as ipc_reload_result.status */
    uint32_t unused;
    char revision[32];
};

/* The TLS handshake being signed: TLS 1.3 CertificateVerify (RFC 8446 section 4.4.3: 64 spaces, "TLS 1.3, server CertificateVerify", 0,
 * transcript hash) or TLS 1.2 ServerKeyExchange (RFC 8422 section 5.4: both randoms, then ECParameters and point). Nothing else is signed. */
enum ipc_sign_scheme { IPC_SIGN_ECDSA_SHA256, IPC_SIGN_ECDSA_SHA384, IPC_SIGN_RSA_PSS_SHA256, IPC_SIGN_RSA_PSS_SHA384, IPC_SIGN_RSA_PKCS1_SHA256 };

struct ipc_sign {
    struct ipc_header header;
    uint64_t id;
    uint64_t certificate;        /* its identity in the chains the keeper pushed */
    uint32_t scheme;
    uint32_t length;
    uint8_t input[IPC_SIGN_INPUT_MAX];
};

struct ipc_sign_answer {
    struct ipc_header header;
    uint64_t id;
    int32_t status;              /* 0 or negative errno */
    uint32_t length;
    uint8_t signature[IPC_SIGNATURE_MAX];
};

/* The chains' memfd is laid out as tls/chains.h says. */
struct ipc_certificates {
    struct ipc_header header;
    uint64_t size;
    uint32_t n;
    uint32_t unused;
};

enum { IPC_TICKET_KEYS = 3 };

struct ipc_ticket_keys {
    struct ipc_header header;
    struct {
        uint8_t name[16], aes[32], hmac[32];
    } keys[IPC_TICKET_KEYS];     /* the first seals, the others still open */
    uint32_t n;
    uint32_t unused;
};

struct ipc_certificate_state {
    struct ipc_header header;
    uint32_t surface;
    uint32_t source;             /* enum image_certificate_source */
    int64_t not_after;           /* of what is served, CLOCK_REALTIME seconds; 0: none yet */
    char name[IPC_NAME_MAX * 4];
    char trouble[IPC_TEXT_MAX];  /* why the newest attempt failed; "": it did not */
};

struct ipc_dial {
    struct ipc_header header;
    uint64_t id;
    uint64_t generation;
    uint32_t target;
    uint32_t turn;               /* of UDP, which nobody answers at first: the way to try, counted round */
};

struct ipc_dial_answer {
    struct ipc_header header;
    uint64_t id;
    int32_t status;              /* 0, or negative errno: -ECONNREFUSED, -ETIMEDOUT, -EHOSTUNREACH, -ENOENT (unresolved, or no such container
                                  * runs), -ESTALE (generation no longer held), -EAGAIN (too many of this worker's or this target's dials in
                                  * flight), -EACCES (a namespace that is none or the host's own), -EPERM (not this surface's; the channel is
                                  * ended after it) */
    uint32_t unused;
};

/* What was dialled there has ended: UDP sockets of it are connected to nobody, and keep its namespace. */
struct ipc_target_ended {
    struct ipc_header header;
    uint64_t identity;           /* as the relay's view has it */
};

/* One access record, written by a worker into its pipe to the logger (several in one write up to PIPE_BUF). Fixed size; texts are cut and
 * NUL-terminated. Which surface and worker wrote it is known from the pipe, not from here. */
enum ipc_record_denied {
    IPC_DENIED_NOT,
    IPC_DENIED_NO_GRANT,
    IPC_DENIED_NO_SUCH_NAME,
    IPC_DENIED_NOBODY,
    IPC_DENIED_CAP,
    IPC_DENIED_BAD_REQUEST,
    IPC_DENIED_REVOKED
};

struct ipc_record {
    uint64_t time_us;                                /* CLOCK_REALTIME at the request's head */
    uint64_t generation;
    uint64_t bytes_in, bytes_out;                    /* bodies */
    uint32_t connect_us, first_byte_us, total_us;    /* from the request's head; UINT32_MAX: did not happen */
    uint16_t status;                                 /* 0: closed without an answer */
    uint8_t denied;                                  /* enum ipc_record_denied */
    uint8_t http_version;                            /* 10, 11, 20 */
    struct address client;
    char id[17];                                     /* random, hex */
    char method[15];
    char principal[48], segment[32], service[48], instance[64];
    char host[64];                                   /* as asked for; "" unless it names the service */
    char rule[48];
    char revision[16];
    char reason[48];                                 /* for 4xx and 5xx of our own: which rule of HTTP or which failure */
};

/* ---- channels ---- */

/* Sends one message of header->size bytes with its descriptors (not closed here). 0, -EAGAIN when the channel is full, or another negative errno. */
int ipc_send(int channel, const void *message, const int *fds, size_t n_fds) must_check;
/* As ipc_send with write() only, for who may not call sendmsg. */
int ipc_send_plain(int channel, const void *message) must_check;

/* Receives one message into buffer (size at least IPC_MESSAGE_MAX), descriptors into fds (O_CLOEXEC, *ret_n_fds of them, the caller's).
 * 0; -EAGAIN; -EPIPE at the end; -EBADMSG: malformed (descriptors already closed): end the sender. */
int ipc_receive(int channel, void *buffer, size_t size, int fds[static IPC_FDS_MAX], size_t *ret_n_fds) must_check;
enum { IPC_MESSAGE_MAX = 2048 };

/* Room for any message, aligned for all of them. */
struct ipc_buffer {
    union {
        struct ipc_header header;
        uint64_t words[IPC_MESSAGE_MAX / 8];
    };
};

/* As ipc_receive, and -EBADMSG too for a type that the sender may not send to the receiver. */
int ipc_receive_from(int channel, enum ipc_role sender, enum ipc_role receiver, struct ipc_buffer *buffer,
    int fds[static IPC_FDS_MAX], size_t *ret_n_fds) must_check;
/* Two ends of a channel, non-blocking. */
int ipc_pair(int *ret_a, int *ret_b) must_check;

/* What every receive checks: known type, exact size, descriptors as the type has them, texts that end, lengths and numbers in range.
 * message is 8-byte aligned. 0 or -EBADMSG. */
int ipc_check_shape(const void *message, size_t size, size_t n_fds) must_check;
int ipc_check_message(enum ipc_role sender, enum ipc_role receiver, const void *message, size_t size, size_t n_fds) must_check;

/* The exact size of messages of that type, or 0 for an unknown one. */
size_t ipc_type_size(enum ipc_type type);
const char *ipc_type_name(enum ipc_type type);
/* Whether the role may send that type, and to whom: the one table of who says what. */
bool ipc_may_send(enum ipc_role sender, enum ipc_role receiver, enum ipc_type type);

/* Fills a header of a message variable. */
#define IPC_HEADER(type_, message) ((struct ipc_header){ .type = (uint16_t)(type_), .size = sizeof(message) })
