/* Questions to a Docker engine for a program that may wait: each call returns with the answer, or within its time limit. */
#pragma once

#include "docker/connection.h"
#include "docker/container.h"
#include "docker/engine.h"
#include "docker/network.h"

#define DOCKER_SOCKET "/run/docker.sock"

struct docker_client;

/* Nothing is connected yet. timeout_ms: of each question; 0: DOCKER_TIMEOUT_MS. 0, -ENOMEM, -ENAMETOOLONG, or another negative errno. */
int docker_client_open(const char *socket_path, unsigned timeout_ms, struct docker_client **ret, struct error *err) must_check;
/* Always returns NULL. */
struct docker_client *docker_client_close(struct docker_client *client);
static inline void docker_client_closep(struct docker_client **client)
{
    *client = docker_client_close(*client);
}
#define cleanup_docker_client cleanup(docker_client_closep)

/* All of them: 0; DOCKER_NOT_FOUND (404); -EIO (the engine refuses otherwise); what a question's done is told; the parsers' errors. err has
 * the whole sentence, with the socket's path. */
enum { DOCKER_NOT_FOUND = 1 };

/* GET of any path: the body into ret_body, replaced. */
int docker_client_get(struct docker_client *client, const char *path, struct buf *ret_body, struct error *err) must_check;
int docker_client_version(struct docker_client *client, struct arena *arena, struct docker_version *ret, struct error *err) must_check;
int docker_client_info(struct docker_client *client, struct arena *arena, struct docker_info *ret, struct error *err) must_check;
/* Every container, running or not; each inspected where `inspect` says so (one that went away in between is left out). */
int docker_client_containers(struct docker_client *client, bool inspect, struct arena *arena, struct docker_containers *ret, struct error *err)
    must_check;
/* One, by ID or name. -EINVAL also for a text that can't be either. */
int docker_client_container(struct docker_client *client, struct str id, struct arena *arena, struct docker_container *ret, struct error *err)
    must_check;
int docker_client_networks(struct docker_client *client, struct arena *arena, struct docker_networks *ret, struct error *err) must_check;
