/* What a worker that has been taken over would try. Each attempt is made by postern-worker-hostile, under a worker's real profile. */
#pragma once

/* What the hostile worker was handed before it was confined, as a real one is. */
struct attempt_world {
    int listener;      /* below IPC_SLOTS_END */
    int broker;        /* a channel, below IPC_SLOTS_END */
    int connection;    /* TCP, connected, from IPC_SLOTS_END up */
    int failed;        /* TCP, its connect failed */
    int udp;           /* UDP, connected */
    int unix_stream;   /* a unix socket's instance: its far end has sent a descriptor */
    int pid;           /* of another process of the same uid's parent */
    unsigned short victim_port; /* somebody on 127.0.0.1 that no worker may reach, TCP and UDP */
};

struct attempt {
    const char *name;                             /* "socket": what is tried */
    long (*run)(const struct attempt_world *world);
};

extern const struct attempt attempts[];
extern const unsigned n_attempts;
