/* A lab's place on the machine: its directory and lock, and the way into its namespaces.
 *
 * A running lab is a process tree: the supervisor is init of a PID namespace, and mount, network and PID namespaces (a user namespace
 * too, where there is no root) live exactly as long as it does. Nothing is mounted or linked outside of them. What is seen from outside
 * is BASE/NAME/ with "lock" (held by the supervisor), "pid" and one log per gateway; "lab up" sweeps what a killed lab left there.
 *
 * Inside, /run is a tmpfs:
 *   /run/postern-lab/hosts/HOST/   the host's own /run: net (its network namespace), containers/NAME (likewise), postern/ (its
 *                                  gateway's run directory), state/ (state directory), ca.pem
 *   /run/postern-lab/etc/          what its processes see as /etc/hosts and /etc/resolv.conf
 *   /run/postern-lab/status        what runs, one line each */
#pragma once

#include <stdbool.h>
#include <sys/types.h>

#include "base/error.h"
#include "base/macros.h"
#include "base/str.h"

#define SPACE_ROOT   "/run/postern-lab"
#define SPACE_HOSTS  SPACE_ROOT "/hosts"
#define SPACE_STATUS SPACE_ROOT "/status"
enum { SPACE_NAME_MAX = 32, SPACE_PATH_MAX = 256 };

struct space {
    char name[SPACE_NAME_MAX + 1];
    char base[SPACE_PATH_MAX];      /* BASE */
    char directory[SPACE_PATH_MAX]; /* BASE/NAME */
};

/* Where the lab of that name is, whether or not it is up. -EINVAL with err for a name that isn't letters, digits and dashes. */
int space_find(const char *name, struct space *ret, struct error *err) must_check;

/* Makes the directory and takes the lock; what a dead lab of that name left is swept first. The lock is held by *ret_lock and whoever
 * inherits it. -EEXIST with err when the lab is up. */
int space_claim(const struct space *space, int *ret_lock, struct error *err) must_check;
/* Writes the supervisor's pid, as seen from outside. */
int space_publish(const struct space *space, pid_t pid, struct error *err) must_check;
/* Removes the directory. */
void space_remove(const struct space *space);

/* A descriptor of the running supervisor. -ENOENT with err when no such lab is up. */
int space_open(const struct space *space, struct error *err) must_check;

/* Moves the calling process, which must have one thread, into the lab: user, mount and PID namespace (the last for its children only).
 * The working directory is kept where it exists inside. */
int space_enter(int supervisor, struct error *err) must_check;
/* From inside a lab into one of its hosts: its network namespace, its /run, its names. container: the network namespace below the
 * host's /run instead of the host's own; NULL for that. Afterwards only exec or exit is sensible. */
int space_enter_host(const char *host, const char *container, struct error *err) must_check;
/* Whether the lab that the process is in has that host, and, where not NULL, that container on it. */
bool space_has_host(const char *host, const char *container);
