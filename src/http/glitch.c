/* The glitch score: weights, decay, verdict. */
#include "http/glitch.h"

/* Weights: limit divided by weight is the burst that is cut; forgiven-per-second divided by weight is the rate that is borne for ever. */
static const uint16_t weights[GLITCH_EVENT_COUNT] = {
    [GLITCH_RESET] = 50,           /* 200 at once, 20 a second: a browser leaving a page cancels all of its 100 streams */
    [GLITCH_CONTINUATION] = 250,   /* 40: the largest head we take needs two */
    [GLITCH_SETTINGS] = 200,
    [GLITCH_PING] = 10,            /* gRPC measures with PINGs */
    [GLITCH_EMPTY_DATA] = 50,
    [GLITCH_WINDOW_UPDATE] = 10,
    [GLITCH_PRIORITY] = 10,
    [GLITCH_UNKNOWN_FRAME] = 20,   /* RFC 9113 section 5.5 wants a few tolerated */
    [GLITCH_REFUSED_HEAD] = 100,
    [GLITCH_BROKEN_FRAME] = 100,
};

enum glitch_verdict glitch_add(struct glitch *glitch, enum glitch_event event, uint64_t now_ms)
{
    uint64_t forgiven = (now_ms - glitch->updated_ms) * GLITCH_FORGIVEN_PER_S / 1000;
    if (forgiven) {
        glitch->score = forgiven < glitch->score ? glitch->score - (uint32_t)forgiven : 0;
        glitch->updated_ms = now_ms;
    }
    if (glitch->score < GLITCH_LIMIT)
        glitch->score += weights[event];
    return glitch->score >= GLITCH_LIMIT ? GLITCH_CUT : glitch->score >= GLITCH_END_AT ? GLITCH_END : GLITCH_FINE;
}

void glitch_earn_updates(struct glitch *glitch)
{
    if (glitch->update_credit < GLITCH_UPDATE_CREDIT_MAX)
        glitch->update_credit += 2;
}

enum glitch_verdict glitch_add_window_update(struct glitch *glitch, uint64_t now_ms)
{
    if (glitch->update_credit == 0)
        return glitch_add(glitch, GLITCH_WINDOW_UPDATE, now_ms);
    glitch->update_credit--;
    return GLITCH_FINE;
}
