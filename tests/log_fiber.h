/*
 * log_fiber.h - threads as fibers: every access of a shared word is a point where another
 * one may go on, and whoever chooses can choose the same again.
 *
 * Two ways to choose: by a seed (a fiber is also frozen for a while now and then, like a
 * thread that was preempted), or all ways there are up to a number of preemptions.
 */
#ifndef TESTS_LOG_FIBER_H
#define TESTS_LOG_FIBER_H

#include <setjmp.h>
#include <ucontext.h>

#include "unit_base.h"

#include "box/coh.h"

enum { FIBERS = 16, FIBER_STACK = 256 << 10, FIBER_TRACE = 1 << 16 };

struct fiber {
    ucontext_t context; /* where it begins */
    jmp_buf place;      /* where it was left */
    bool left;
    void (*body)(void *);
    void *argument;
    bool ended;
    uint64_t frozen; /* until this point */
};

/* One decision of an exhaustive run. */
struct fiber_choice {
    uint8_t chosen, options; /* option 0: the fiber that runs, or the next one, goes on */
    uint8_t free;            /* the fiber could not go on: no preemption */
};

static struct {
    struct fiber fiber[FIBERS];
    ucontext_t home;
    int count, current;
    uint64_t points, most; /* a run that takes more points than `most` does not end */
    uint64_t stop;         /* at this point all fibers are gone, as if killed; 0: never */
    uint64_t random;
    bool exhaustive;
    struct fiber_choice trace[FIBER_TRACE];
    size_t length, replay; /* decisions made; of these, given */
} fibers;

static inline int fiber_live(void)
{
    int live = 0;
    for (int i = 0; i < fibers.count; i++)
        live += !fibers.fiber[i].ended;
    return live;
}

/* The live fiber number `step` behind the current one. */
static inline int fiber_behind(int step)
{
    int at = fibers.current;
    while (step > 0) {
        at = (at + 1) % fibers.count;
        step -= !fibers.fiber[at].ended;
    }
    return at;
}

/* swapcontext asks the kernel about signals each time; a jump does not, but sanitizers want to
 * know of new stacks. */
static inline void fiber_leave(struct fiber *from, struct fiber *to)
{
    if (UNIT_SANITIZED) {
        swapcontext(&from->context, &to->context);
    } else if (_setjmp(from->place) == 0) {
        from->left = true;
        if (to->left)
            _longjmp(to->place, 1);
        setcontext(&to->context);
    }
}

static inline void fiber_switch(int to)
{
    int from = fibers.current;
    if (to == from)
        return;
    fibers.current = to;
    fiber_leave(&fibers.fiber[from], &fibers.fiber[to]);
}

static inline int fiber_choose_by_seed(bool must)
{
    int live = fiber_live(), others = live - !fibers.fiber[fibers.current].ended;
    uint64_t draw = unit_random(&fibers.random);
    if (others == 0)
        return fibers.current;
    if (draw % 256 == 0)
        fibers.fiber[fibers.current].frozen = fibers.points + draw / 256 % 400;
    else if (!must && draw % 4 != 0)
        return fibers.current;
    int to = fiber_behind(1 + (int)(draw / 1024 % (uint64_t)others));
    return fibers.fiber[to].frozen > fibers.points ? fiber_behind(1) : to;
}

static inline int fiber_choose_next(bool must)
{
    int live = fiber_live(), ended = fibers.fiber[fibers.current].ended;
    int others = live - !ended, options = must ? others : live;
    if (options <= 1)
        return others == 0 || !must ? fibers.current : fiber_behind(1);
    UNIT_HOLD(fibers.length < FIBER_TRACE, "too many decisions");
    struct fiber_choice *choice = &fibers.trace[fibers.length];
    if (fibers.length >= fibers.replay)
        *choice = (struct fiber_choice){0, (uint8_t)options, must};
    UNIT_HOLD(choice->options == options, "the run cannot be repeated");
    fibers.length++;
    return fiber_behind(choice->chosen + must);
}

static inline void fiber_go(bool must)
{
    if (++fibers.points == fibers.stop)
        setcontext(&fibers.home);
    UNIT_HOLD(fibers.points < fibers.most, "no end after %llu points",
              (unsigned long long)fibers.points);
    fiber_switch(fibers.exhaustive ? fiber_choose_next(must) : fiber_choose_by_seed(must));
}

/* The hook: a point where another fiber may go on. */
static inline void fiber_point(void)
{
    fiber_go(false);
}

/* The fiber has nothing to do until another one did something. */
static inline void fiber_wait(void)
{
    fiber_go(true);
}

static inline void fiber_start(void)
{
    struct fiber *self = &fibers.fiber[fibers.current];
    self->body(self->argument);
    self->ended = true;
    if (fiber_live() > 0)
        fiber_go(true);
    setcontext(&fibers.home);
}

static inline void fiber_add(void (*body)(void *), void *argument)
{
    static char stack[FIBERS][FIBER_STACK] __attribute__((aligned(64)));
    struct fiber *self = &fibers.fiber[fibers.count];
    UNIT_HOLD(fibers.count < FIBERS, "too many fibers");
    *self = (struct fiber){.body = body, .argument = argument};
    getcontext(&self->context);
    self->context.uc_stack.ss_sp = stack[fibers.count];
    self->context.uc_stack.ss_size = FIBER_STACK;
    makecontext(&self->context, fiber_start, 0);
    fibers.count++;
}

/* Runs all fibers to their ends, and forgets them. `point` is what happens at each point. */
static inline void fiber_run_with(void (*point)(void))
{
    fibers.points = 0;
    fibers.length = 0;
    fibers.current = 0;
    tide_coh_hook = point;
    swapcontext(&fibers.home, &fibers.fiber[0].context);
    tide_coh_hook = NULL;
    fibers.count = 0;
}

static inline void fiber_run(void)
{
    fiber_run_with(fiber_point);
}

/* Sets up the next way through an exhaustive search with at most `budget` preemptions.
 * False: there is none. */
static inline bool fiber_next_way(int budget)
{
    int used = 0;
    for (size_t i = 0; i < fibers.length; i++)
        used += !fibers.trace[i].free && fibers.trace[i].chosen != 0;
    for (size_t i = fibers.length; i-- > 0;) {
        struct fiber_choice *choice = &fibers.trace[i];
        used -= !choice->free && choice->chosen != 0;
        if (choice->chosen + 1 < choice->options && (choice->free || used < budget)) {
            choice->chosen++;
            fibers.replay = i + 1;
            return true;
        }
    }
    return false;
}

#endif
