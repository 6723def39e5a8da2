/* Patience with a client that sends much: its socket wakes us when much is there, not for every segment.
 *
 * A sender that has filled one reading after the other for long enough will go on, so the kernel is told to wait for a few hundred
 * kilobytes before it says that there is something to read (SO_RCVLOWAT). When it doesn't go on, what
 * came is read after all within PATIENCE_MS; then it must send twice as much (a few times over at most) before it is trusted again. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "io/loop.h"

struct transport;

enum { PATIENCE_MS = 3 * IO_TICK_MS };

struct patience {
    struct transport *next, **link;  /* in gw->patient; link NULL: the socket wakes us for everything */
    uint32_t run;                    /* bytes that came in full readings, one after the other */
    uint8_t disappointments;
    bool heard;                      /* something came since the worker last looked */
};

/* A reading brought n bytes of a body of which left more are still to be read. */
void patience_note(struct transport *t, size_t n, uint64_t left);
/* The transport closes. Twice is fine. */
void patience_forget(struct transport *t);
