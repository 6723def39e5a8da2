/* A worker's low descriptors: its channels and listeners live below IPC_SLOTS_END, its connections at or above it.
 *
 * The worker's system call filter tells the two apart by number alone (recvmsg only below, shutdown only above), so a connection must
 * never be given a low number. Every free low number therefore holds a placeholder; one is given up for the moment of a receive, and
 * put back when nothing came. Needs no call that a confined worker lacks: close, eventfd2, recvmsg. */
#pragma once

#include "ipc/message.h"

/* Fills every free descriptor from IPC_PARENT_FD + 1 up to IPC_SLOTS_END - 1. Before confinement (it duplicates). 0 or negative errno. */
int slots_reserve(void) must_check;
/* As ipc_receive_from with the parent as the sender, but a descriptor that comes lands below IPC_SLOTS_END.
 * -EMFILE: no placeholder is left to give up. */
int slots_receive(int channel, enum ipc_role receiver, struct ipc_buffer *buffer, int fds[static IPC_FDS_MAX], size_t *ret_n_fds) must_check;
/* Closes a low descriptor and puts a placeholder in its place. For a high one just close it. 0 or negative errno (there is a hole then: end the process). */
int slots_close(int fd) must_check;
