/* Merging functions that are constant in pieces: one walk along the axis per operation. */
#include "policy/packet_filter_pieces.h"

#include <errno.h>

#include "policy/packet_filter.h"

void pieces_stack_deinit(struct pieces_stack *stack)
{
    free(stack->items);
    *stack = (struct pieces_stack){ 0 };
}

static void push(struct pieces_stack *stack, struct piece piece)
{
    if (stack->error)
        return;
    if (stack->n == stack->max) {
        uint32_t max = stack->max ? stack->max * 2 : 1024;
        struct piece *items = max > PIECES_MAX ? NULL : realloc(stack->items, max * sizeof *items);
        if (!items) {
            stack->error = max > PIECES_MAX ? -E2BIG : -ENOMEM;
            return;
        }
        stack->items = items;
        stack->max = max;
    }
    stack->items[stack->n++] = piece;
    if (++stack->steps > PIECES_STEPS_MAX)
        stack->error = -E2BIG;
}

void pieces_append(struct pieces_stack *stack, struct pieces *pieces, uint32_t start, uint8_t value, uint32_t reason)
{
    if (pieces->n == 0)
        pieces->at = stack->n;
    else if (!stack->error && stack->items[stack->n - 1].value == value && stack->items[stack->n - 1].reason == reason)
        return;
    push(stack, (struct piece){ start, reason, value });
    if (!stack->error)
        pieces->n++;
}

struct pieces pieces_constant(struct pieces_stack *stack, uint8_t value, uint32_t reason)
{
    struct pieces all = { 0 };
    pieces_append(stack, &all, 0, value, reason);
    return all;
}

/* A place on a function; its piece is by value, since the stack may move while another grows. */
struct cursor {
    struct pieces of;
    uint32_t k;
};

static struct piece now(const struct pieces_stack *stack, const struct cursor *c)
{
    return stack->items[c->of.at + c->k];
}

static uint32_t end(const struct pieces_stack *stack, const struct cursor *c)
{
    return c->k + 1 < c->of.n ? stack->items[c->of.at + c->k + 1].start : PIECES_END;
}

/* On to where one of them changes; false at the end. */
static bool advance(const struct pieces_stack *stack, struct cursor *cursors, unsigned n, uint32_t *at)
{
    uint32_t next = PIECES_END;
    for (unsigned i = 0; i < n; i++) {
        uint32_t one = end(stack, &cursors[i]);
        next = one < next ? one : next;
    }
    for (unsigned i = 0; i < n; i++)
        cursors[i].k += end(stack, &cursors[i]) == next && next < PIECES_END;
    *at = next;
    return next < PIECES_END;
}

struct pieces pieces_and(struct pieces_stack *stack, struct pieces a, struct pieces b)
{
    struct cursor c[] = { { a, 0 }, { b, 0 } };
    struct pieces all = { 0 };
    uint32_t at = 0;
    if (stack->error)
        return all;
    do {
        struct piece x = now(stack, &c[0]), y = now(stack, &c[1]);
        uint8_t value = x.value == PIECE_NO || y.value == PIECE_NO ? PIECE_NO : x.value == PIECE_MAYBE || y.value == PIECE_MAYBE ? PIECE_MAYBE : PIECE_YES;
        pieces_append(stack, &all, at, value, value == PIECE_NO ? PACKET_NONE : y.reason != PACKET_NONE ? y.reason : x.reason);
    } while (!stack->error && advance(stack, c, 2, &at));
    return all;
}

struct pieces pieces_not(struct pieces_stack *stack, struct pieces a)
{
    static const uint8_t opposite[] = { PIECE_YES, PIECE_NO, PIECE_MAYBE };
    struct cursor c = { a, 0 };
    struct pieces all = { 0 };
    uint32_t at = 0;
    if (stack->error)
        return all;
    do {
        pieces_append(stack, &all, at, opposite[now(stack, &c).value], PACKET_NONE);
    } while (!stack->error && advance(stack, &c, 1, &at));
    return all;
}

struct pieces pieces_choose(struct pieces_stack *stack, struct pieces condition, struct pieces yes, struct pieces no, bool is_verdict, uint32_t reason)
{
    struct cursor c[] = { { condition, 0 }, { yes, 0 }, { no, 0 } };
    struct pieces all = { 0 };
    uint32_t at = 0;
    if (stack->error)
        return all;
    struct piece only = now(stack, &c[0]);
    if (condition.n == 1 && only.value == PIECE_NO)
        return no;
    if (condition.n == 1 && only.value == PIECE_YES && (!is_verdict || only.reason == PACKET_NONE))
        return yes;
    do {
        struct piece holds = now(stack, &c[0]), x = now(stack, &c[1]), y = now(stack, &c[2]);
        if (is_verdict && holds.reason != PACKET_NONE)
            x.reason = holds.reason;
        if (holds.value == PIECE_YES)
            pieces_append(stack, &all, at, x.value, x.reason);
        else if (holds.value == PIECE_NO || (x.value == y.value && x.value < PIECE_MAYBE))
            pieces_append(stack, &all, at, y.value, y.reason);
        else
            pieces_append(stack, &all, at, x.value == PIECE_AWAY || y.value == PIECE_AWAY ? PIECE_AWAY : PIECE_MAYBE,
                          y.value >= PIECE_MAYBE ? y.reason : x.value >= PIECE_MAYBE ? x.reason : reason);
    } while (!stack->error && advance(stack, c, 3, &at));
    return all;
}

struct pieces pieces_compose(struct pieces_stack *stack, struct pieces a, struct pieces b)
{
    struct cursor c[] = { { a, 0 }, { b, 0 } };
    struct pieces all = { 0 };
    uint32_t at = 0;
    if (stack->error)
        return all;
    do {
        struct piece x = now(stack, &c[0]), y = now(stack, &c[1]);
        if (x.value == PIECE_MAYBE && y.value == PIECE_AWAY)
            y.reason = x.reason;
        bool is_y = x.value == PIECE_NO || x.value == PIECE_AWAY   ? false :
                    y.value == PIECE_NO || y.value == PIECE_AWAY   ? true :
                    x.value == y.value                             ? x.reason == PACKET_NONE :
                                                                     y.value == PIECE_MAYBE;
        pieces_append(stack, &all, at, is_y ? y.value : x.value, is_y ? y.reason : x.reason);
    } while (!stack->error && advance(stack, c, 2, &at));
    return all;
}
