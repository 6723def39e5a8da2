/* The broker's side of the workers' channels: asks in, sockets out, nothing that one worker does can fill another's place. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "ipc/message.h"
#include "roles/broker_dial.h"
#include "roles/broker_table.h"

enum {
    BROKER_CHANNELS_MAX = 512,
    BROKER_DIALS_MAX = 2048,         /* in flight, all workers together */
    BROKER_DIALS_PER_WORKER = 256,
    BROKER_DIALS_PER_TARGET = 128,   /* of one worker: one dead instance can't take all of its dials */
    BROKER_ASKS_PER_TURN = 32,       /* read from one channel before the others have their turn */
};

struct broker_channel {
    struct broker_watch watch;
    int fd;                          /* -1: free */
    uint32_t surface, worker;        /* as the parent said */
    int32_t pid;
    uint32_t events;                 /* what epoll watches */
    unsigned n_dials;
    struct broker_dial *dials;       /* in flight, or done and not yet answered */
    bool has_refusal;                /* an answer that found the channel full; nothing is read until it is gone */
    struct ipc_dial_answer refusal;
};

struct broker_docker {
    struct broker_watch watch;
    int fd;                          /* -1: none */
    int32_t pid;
};

struct broker {
    struct broker_dialer dialer;
    struct broker_table table;
    struct broker_channel channels[BROKER_CHANNELS_MAX];
    struct broker_docker docker;
    struct broker_dial *pool;        /* BROKER_DIALS_MAX */
    struct broker_dial *free;
    unsigned n_in_flight;
    int64_t said_ms;                 /* when an operator was last told about a target */
    unsigned n_unsaid;
};

/* Before confinement: opens the epoll set and the broker's own namespace. Negative errno. */
int broker_init(struct broker *broker) must_check;

/* Takes a worker's channel, until it ends (a worker that drains may have a successor of the same name beside it). 0; -EMFILE when there
 * are too many; the descriptor is the broker's on success only. */
int broker_add_channel(struct broker *broker, int fd, uint32_t surface, uint32_t worker, int32_t pid) must_check;
void broker_channel_ready(struct broker *broker, struct broker_channel *channel, uint32_t events, int64_t now_ms);
/* Takes the docker role's channel, in the place of its predecessor's: what that one still said is void. What it gave stays. 0 or negative
 * errno; the descriptor is the broker's on success only. */
int broker_set_docker(struct broker *broker, int fd, int32_t pid) must_check;
void broker_docker_ready(struct broker *broker, int64_t now_ms);
/* A container's process has ended. */
void broker_container_ended(struct broker *broker, struct broker_container *container, int64_t now_ms);
/* Answers what is done, moves on what is due; returns how long the loop may sleep, or -1. */
int broker_turn(struct broker *broker, int64_t now_ms);
