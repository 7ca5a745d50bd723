/*
 * spin.h - when the loop waits awake.
 *
 * When many clients send one small request at a time, the loop hears of one, answers and sleeps
 * until the next one comes, which costs this process and the client that wakes it more than the
 * request. So a turn that was short is followed by a wait in user mode: turns begin at least
 * `ns` apart. After it the loop finds what came, does not sleep, and serves several at once.
 * That pays only if something comes: for a client that is alone nothing does, nor if clients need
 * this processor. So who waited in vain more than twice for each time that it paid waits no more,
 * but for one turn in 32, which finds out whether it would pay again.
 *
 * Times are of any clock, in ns.
 */
#ifndef BROKER_SPIN_H
#define BROKER_SPIN_H

#include <stdbool.h>
#include <stdint.h>

struct spin {
    uint64_t ns;           /* 0: never */
    uint64_t heard;        /* when the first request of this turn came */
    uint64_t polled;       /* when the loop last asked for events */
    uint64_t waits, paid;  /* so many so far */
    unsigned credit, idle; /* idle: turns that might have been followed by a wait */
    bool busy;             /* this turn has requests */
    bool waited;           /* before this turn */
};

/* Before the loop asks for events: until when it is to wait, or 0. */
uint64_t spin_until(struct spin *spin, uint64_t now);

/* The loop asks for events now. */
void spin_polls(struct spin *spin, uint64_t now);

/* The first request of a turn came. */
void spin_hears(struct spin *spin, uint64_t now);

#endif
