/*
 * coh_sim.h - memory that is not coherent, simulated: each node has an image of the region,
 * and only what it writes back and fetches travels between the image and the device.
 *
 * An adversary acts at the points where fibers switch: it completes lines that are on their
 * way, in any order, evicts lines that were written, and refreshes lines that were not. In
 * quiet phases it does nothing, so that only what the code asks for happens.
 *
 * What is found, without knowing what the code is to do:
 *   writers   a line went to the device whose copy there had changed since it was fetched, or
 *             its node is not the one that the layout names as its writer
 *   progress  nothing was achieved for long in a quiet phase: a line was not written back, not
 *             fenced, or not fetched again
 * sim.broken names the first finding (sim_fail), whoever makes it, and the run ends there.
 */
#ifndef TESTS_COH_SIM_H
#define TESTS_COH_SIM_H

#include "log_fiber.h"

enum { SIM_NODES = 11, SIM_QUEUE = 512, SIM_PHASE = 40000, SIM_STALL = 12000, SIM_LOOK = 128 };

enum { SIM_NOBODY = -1, SIM_ANYBODY = -2 }; /* anybody: who wrote last is the one that counts */

/* A line on its way: what the device has to have, and gets. */
struct sim_pending {
    size_t line;
    unsigned char was[TIDE_LINE], is[TIDE_LINE];
};

struct sim_node {
    unsigned char *image, *base; /* base: the line as it was fetched, or last sent */
    struct sim_pending queue[SIM_QUEUE];
    size_t count;
};

static struct {
    struct sim_node node[SIM_NODES];
    unsigned char *device;
    int8_t *writer; /* of each line: a node, SIM_NOBODY or SIM_ANYBODY */
    size_t bytes, lines;
    int nodes, at[FIBERS];  /* the node of each fiber */
    uint64_t random, moved; /* moved: the point of the last progress */
    uint64_t ends, phase;   /* quiet from there on; phase: odd, a quiet one comes first */
    uint64_t period, stall; /* points of a phase, and without progress in a quiet one */
    uint64_t every, next;   /* a node below `mortal` crashes that often */
    int mortal;
    bool quiet;
    const char *broken;
    void *stack[256]; /* of fibers that began anew */
    size_t stacks;
    uint64_t evicted, completed, refreshed, crashes;
} sim;

static inline void sim_fail(const char *what)
{
    sim.broken = sim.broken != NULL ? sim.broken : what;
    setcontext(&fibers.home);
}

/* Something was achieved. */
static inline void sim_progress(void)
{
    sim.moved = fibers.points;
}

/* ---- lines -------------------------------------------------------------------------------- */

static inline unsigned char *sim_at(unsigned char *base, size_t line)
{
    return base + line * TIDE_LINE;
}

static inline bool sim_same(const unsigned char *a, const unsigned char *b)
{
    return memcmp(a, b, TIDE_LINE) == 0;
}

static inline void sim_copy(unsigned char *to, const unsigned char *from)
{
    memcpy(to, from, TIDE_LINE);
}

static inline bool sim_is_dirty(const struct sim_node *node, size_t line)
{
    return !sim_same(node->image + line * TIDE_LINE, node->base + line * TIDE_LINE);
}

/* A line gets to the device. */
static inline void sim_arrive(const struct sim_node *node, const struct sim_pending *pending)
{
    unsigned char *device = sim_at(sim.device, pending->line);
    int writer = sim.writer[pending->line];
    if (writer != SIM_ANYBODY && !sim_same(device, pending->was))
        sim_fail("writers: changed meanwhile");
    if (writer != SIM_ANYBODY && writer != node - sim.node)
        sim_fail("writers: not its own");
    sim_copy(device, pending->is);
}

static inline void sim_complete(struct sim_node *node, size_t i)
{
    sim_arrive(node, &node->queue[i]);
    node->count--;
    memmove(&node->queue[i], &node->queue[i + 1], (node->count - i) * sizeof node->queue[0]);
    sim.completed++;
}

/* What is on its way of this line comes first: stores to one line keep their order. */
static inline size_t sim_complete_line(struct sim_node *node, size_t line)
{
    size_t count = 0;
    for (size_t i = 0; i < node->count;)
        if (node->queue[i].line == line) {
            sim_complete(node, i);
            count++;
        } else {
            i++;
        }
    return count;
}

static inline void sim_evict(struct sim_node *node, size_t line)
{
    struct sim_pending now = {.line = line};
    sim_complete_line(node, line);
    sim_copy(now.was, sim_at(node->base, line));
    sim_copy(now.is, sim_at(node->image, line));
    sim_arrive(node, &now);
    sim_copy(sim_at(node->base, line), now.is);
    sim.evicted++;
}

static inline void sim_refresh(struct sim_node *node, size_t line)
{
    sim_copy(sim_at(node->image, line), sim_at(sim.device, line));
    sim_copy(sim_at(node->base, line), sim_at(sim.device, line));
    sim.refreshed++;
}

/* ---- the seam ----------------------------------------------------------------------------- */

static inline struct sim_node *sim_self(void)
{
    return &sim.node[sim.at[fibers.current]];
}

/* The lines of a range of the node's own image: from *line, below the result. */
static inline size_t sim_range(const struct sim_node *node, const void *at, size_t bytes,
                               size_t *line)
{
    size_t from = (size_t)((const unsigned char *)at - node->image);
    UNIT_HOLD(from + bytes <= sim.bytes, "not in the node's image");
    *line = from / TIDE_LINE;
    return (from + bytes + TIDE_LINE - 1) / TIDE_LINE;
}

static inline void sim_wrote(const void *at, size_t bytes)
{
    struct sim_node *node = sim_self();
    size_t line, end = sim_range(node, at, bytes, &line);
    for (; line < end; line++) {
        if (!sim_is_dirty(node, line))
            continue;
        if (node->count == SIM_QUEUE)
            sim_complete(node, 0);
        struct sim_pending *pending = &node->queue[node->count++];
        pending->line = line;
        sim_copy(pending->was, sim_at(node->base, line));
        sim_copy(pending->is, sim_at(node->image, line));
        sim_copy(sim_at(node->base, line), pending->is);
    }
}

static inline void sim_drain(void)
{
    struct sim_node *node = sim_self();
    while (node->count > 0)
        sim_complete_line(node, node->queue[unit_random(&sim.random) % node->count].line);
}

static inline void sim_fresh(const void *at, size_t bytes)
{
    struct sim_node *node = sim_self();
    size_t line, end = sim_range(node, at, bytes, &line);
    for (; line < end; line++) {
        sim_complete_line(node, line);
        if (sim_is_dirty(node, line))
            sim_evict(node, line);
        sim_refresh(node, line);
    }
}

static const struct tide_coh_model sim_model = {sim_wrote, sim_drain, sim_fresh};

/* ---- the adversary ------------------------------------------------------------------------ */

/* Evicts a line that was written, if it finds one. */
static inline void sim_evict_some(struct sim_node *node, size_t line)
{
    for (size_t i = 0; i < SIM_LOOK; i++, line = (line + 1) % sim.lines)
        if (sim_is_dirty(node, line)) {
            sim_evict(node, line);
            break;
        }
}

/* Refreshes a line that is out of date, if it finds one: as a processor does that reads ahead. */
static inline void sim_refresh_some(struct sim_node *node, size_t line)
{
    for (size_t i = 0; i < SIM_LOOK / 4; i++, line = (line + 1) % sim.lines)
        if (!sim_is_dirty(node, line) &&
            !sim_same(sim_at(sim.device, line), sim_at(node->base, line))) {
            if (sim_complete_line(node, line) == 0)
                sim_refresh(node, line);
            break;
        }
}

static inline void sim_act(void)
{
    uint64_t draw = unit_random(&sim.random);
    struct sim_node *node = &sim.node[draw % (uint64_t)sim.nodes];
    size_t line = (size_t)(draw / 16 % sim.lines);
    if (draw >> 62 == 0)
        sim_evict_some(node, line);
    else if (draw >> 62 == 1)
        sim_refresh_some(node, line);
    else if (node->count > 0)
        sim_complete_line(node, node->queue[draw / 16 % node->count].line);
}

/* The fiber that runs begins anew, on a stack of its own, and its node's image is what the
 * device has. */
static inline void sim_crash(struct sim_node *node)
{
    struct fiber *self = &fibers.fiber[fibers.current];
    node->count = 0;
    memcpy(node->image, sim.device, sim.bytes);
    memcpy(node->base, sim.device, sim.bytes);
    sim.crashes++;
    UNIT_HOLD(sim.stacks < sizeof sim.stack / sizeof sim.stack[0], "too many crashes");
    void *stack = sim.stack[sim.stacks++] = malloc(FIBER_STACK);
    getcontext(&self->context);
    self->context.uc_stack.ss_sp = stack;
    self->context.uc_stack.ss_size = FIBER_STACK;
    self->left = false;
    makecontext(&self->context, fiber_start, 0);
    setcontext(&self->context);
}

/* Decides about the point: the adversary's, a crash, a stall. */
static inline void sim_turn(void)
{
    struct sim_node *node = sim_self();
    bool quiet = fibers.points >= sim.ends || (fibers.points / sim.period + sim.phase) % 2 != 0;
    if (quiet != sim.quiet)
        sim_progress();
    sim.quiet = quiet;
    if (sim.every != 0 && fibers.points >= sim.next && fibers.points < sim.ends) {
        sim.next += sim.every / 2 + unit_random(&sim.random) % sim.every;
        if (node < &sim.node[sim.mortal])
            sim_crash(node);
    }
    if (!quiet && unit_random(&sim.random) % 4 == 0)
        sim_act();
    if (quiet && fibers.points - sim.moved > sim.stall)
        sim_fail("progress: nothing happens");
}

static inline void sim_point(void)
{
    sim_turn();
    fiber_point();
}

static inline void sim_wait(void)
{
    sim_turn();
    fiber_wait();
}

/* ---- a run -------------------------------------------------------------------------------- */

/* Nodes with images of a device of that many bytes, on which `make` was run. */
static inline void sim_begin(size_t bytes, int nodes, uint64_t seed)
{
    memset(&sim, 0, sizeof sim);
    sim.bytes = bytes;
    sim.lines = bytes / TIDE_LINE;
    sim.nodes = nodes;
    sim.phase = seed / 2;
    sim.period = SIM_PHASE;
    sim.stall = SIM_STALL;
    sim.random = (seed + 1) * 0x9e3779b97f4a7c15u;
    sim.device = aligned_alloc(4096, bytes);
    sim.writer = malloc(sim.lines);
    memset(sim.device, 0, bytes);
    memset(sim.writer, SIM_NOBODY, sim.lines);
    for (int i = 0; i < nodes; i++) {
        sim.node[i].image = aligned_alloc(4096, bytes);
        sim.node[i].base = aligned_alloc(4096, bytes);
    }
    tide_coh_model = &sim_model;
}

/* The fiber with this body runs on that node. */
static inline void sim_add(void (*body)(void *), void *argument, int node)
{
    sim.at[fibers.count] = node;
    fiber_add(body, argument);
}

/* Runs all fibers; their points are the simulator's. */
static inline void sim_run(void)
{
    fibers.most = UINT64_MAX;
    fibers.exhaustive = false;
    fiber_run_with(sim_point);
}

/* All nodes begin with what the device has. */
static inline void sim_share(void)
{
    for (int i = 0; i < sim.nodes; i++) {
        memcpy(sim.node[i].image, sim.device, sim.bytes);
        memcpy(sim.node[i].base, sim.device, sim.bytes);
    }
}

static inline void sim_own(size_t at, size_t bytes, int node)
{
    for (size_t line = at / TIDE_LINE; line < (at + bytes + TIDE_LINE - 1) / TIDE_LINE; line++)
        sim.writer[line] = (int8_t)node;
}

static inline void sim_end(void)
{
    tide_coh_hook = NULL;
    tide_coh_model = NULL;
    for (int i = 0; i < sim.nodes; i++) {
        free(sim.node[i].image);
        free(sim.node[i].base);
    }
    for (size_t i = 0; i < sim.stacks; i++)
        free(sim.stack[i]);
    free(sim.device);
    free(sim.writer);
}

#endif
