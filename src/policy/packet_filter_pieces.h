/* What a filter does with each port of one pair of addresses: a function of (protocol, port) that is constant in pieces.
 *
 * The axis is TCP's ports, then UDP's. All functions of one computation are cut off one stack, which is emptied whole; an error sticks. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/macros.h"

enum { PIECES_TCP = 0, PIECES_UDP = 65536, PIECES_END = 131072 };

/* Of a condition: whether it holds. Of rules: what becomes of the flow. */
enum { PIECE_NO, PIECE_YES, PIECE_MAYBE, PIECE_AWAY /* MAYBE, and no later chain's word on it counts: it may be another packet by then */ };

struct piece {
    uint32_t start;  /* up to the next one's */
    uint32_t reason; /* PACKET_NONE: none of its own */
    uint8_t value;
};

/* A function: n pieces at that place of the stack; the first starts at 0. */
struct pieces {
    uint32_t at, n;
};

struct pieces_stack {
    struct piece *items;
    uint32_t n, max;
    uint64_t steps;
    int error; /* -ENOMEM, or -E2BIG past PIECES_STEPS_MAX */
};

enum { PIECES_MAX = 1 << 24, PIECES_STEPS_MAX = 1 << 28 };

void pieces_stack_deinit(struct pieces_stack *stack);

struct pieces pieces_constant(struct pieces_stack *stack, uint8_t value, uint32_t reason);
/* Appends to the function that is last on the stack, begun with n 0; starts must ascend. A piece like the one before it becomes one with it. */
void pieces_append(struct pieces_stack *stack, struct pieces *pieces, uint32_t start, uint8_t value, uint32_t reason);
/* Both hold: the reason of the last that has one. */
struct pieces pieces_and(struct pieces_stack *stack, struct pieces a, struct pieces b);
struct pieces pieces_not(struct pieces_stack *stack, struct pieces a);
/* yes where the condition holds, no where it doesn't; where that can't be told, what they agree on, or MAYBE for the given reason.
 * is_verdict: yes is a rule's own verdict, so that a condition's reason (its element's) is the better one. */
struct pieces pieces_choose(struct pieces_stack *stack, struct pieces condition, struct pieces yes, struct pieces no, bool is_verdict, uint32_t reason);
/* Admitted by both, a first: NO by either is NO, else MAYBE by either is MAYBE; but what is AWAY by a is. Of two that admit,
 * the reason is a's unless it has none. */
struct pieces pieces_compose(struct pieces_stack *stack, struct pieces a, struct pieces b);
