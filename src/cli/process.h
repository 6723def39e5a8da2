/* What the kernel says about a process: its identity, its rights, and what confines it, measured and not claimed. */
#pragma once

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/macros.h"

struct process {
    uid_t uid;                  /* effective */
    uint64_t capabilities;      /* effective, a bit per CAP_ */
    bool has_filter;            /* of system calls */
    bool no_new_privileges;
    uint64_t up_s;              /* seconds since it started */
};

/* False when there is no such process or /proc doesn't show it; *ret is untouched then. */
bool process_look(pid_t pid, struct process *ret) must_check;

enum { PROCESS_CAPABILITIES_SIZE = 128, PROCESS_USER_SIZE = 40 };
/* "sys_admin net_admin", "none", "all", or "12 of 41"; returns text. */
const char *process_format_capabilities(uint64_t capabilities, char text[static PROCESS_CAPABILITIES_SIZE]);
/* The user's name, or the number where it has none; returns text. */
const char *process_format_user(uid_t uid, char text[static PROCESS_USER_SIZE]);
