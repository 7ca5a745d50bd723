/*
 * header_model.h - the four ways to check a block that bench_header compares, over the same
 * blocks and the same stack of free pointers.
 *
 *   none      no check: free only looks whether the pointer lies in the window
 *   inband    a word of 64 bits in front of the block, on the line of its first bytes
 *   shadow    the same word in a table in near memory, one for each KiB of the window
 *   registry  a table of all chunks of 64 KiB, sorted, searched at every free under one
 *             mutex: how the predecessor found out what a pointer is
 *
 * inband and shadow load, compare and store the word in free, and again in malloc (which
 * must not find the word of a block that a user has). registry asks only in free.
 *
 * Far memory is modelled for the block's own lines; everything else is near. The first access
 * to a line that is out of the caches costs more, the later ones do not:
 *   chain  the access goes through `hops` other cold lines first, each of which must arrive
 *          before the next can be asked for; independent accesses overlap as on real hardware
 *   spin   the processor waits; nothing overlaps, so it is an upper bound
 */
#ifndef TIDE_HEADER_MODEL_H
#define TIDE_HEADER_MODEL_H

#include <pthread.h>

#include "bench.h"

enum arm { ARM_NONE, ARM_INBAND, ARM_SHADOW, ARM_REGISTRY, ARMS };

static const char *const arm_name[ARMS] = {"none", "inband", "shadow", "registry"};

enum { LINE = 64, HOP_SPACE = 128, CHUNK = 65536, SHADOW_SHIFT = 10, HOPS_MOST = 16 };

#define WORD_LIVE UINT64_C(0x8000000000010100)
#define WORD_TURN UINT64_C(0x00a5000000000001) /* from live to free and back */
#define WORD_TAG UINT64_C(0x7fffff0000000000)
#define WORD_SECRET UINT64_C(0x9e3779b97f4a7c15)

struct chunk {
    uintptr_t base;
    uint32_t bytes, cls;
};

/* The window and the tables of all arms. Fixed before the threads start, except for the
 * words: a block's words belong to whoever has the block. */
struct model {
    unsigned char *base;
    size_t bytes;
    unsigned char **block; /* all of them, in the order of their addresses */
    uint32_t blocks;
    uint64_t *shadow;
    struct chunk *chunk;
    uint32_t chunks;
    pthread_mutex_t mutex;
    uint32_t hops;    /* chain: cold lines before the block's own */
    uint32_t spin_ns; /* spin: wait before an access */
};

static struct model model;

/* What one thread has: a batch of blocks, the stack of free ones, the model's hop lines. */
struct side {
    unsigned char **batch; /* blocks to free, or those that malloc returned */
    unsigned char **stack;
    uint32_t count, top;
    unsigned char *hop; /* count * HOPS_MOST lines, HOP_SPACE apart */
    uint32_t *hop_order;
    int used; /* the application touches the first word before free and after malloc */
    uint64_t misuse, sum, read;
};

/* ---- lines ------------------------------------------------------------------------------ */

#if defined(__x86_64__)
static inline int can_flush(void)
{
    return 1;
}

static inline void flush_line(const void *at)
{
    __builtin_ia32_clflush(at);
}
#elif defined(__aarch64__)
static inline int can_flush(void)
{
    return 1;
}

static inline void flush_line(const void *at)
{
    __asm__ volatile("dc civac, %0" ::"r"(at) : "memory");
}
#else
static inline int can_flush(void)
{
    return 0;
}

static inline void flush_line(const void *at)
{
    (void)at;
}
#endif

static inline uint64_t load_word(const void *at)
{
    return *(const volatile uint64_t *)at;
}

static inline void store_word(void *at, uint64_t word)
{
    *(volatile uint64_t *)at = word;
}

static inline void spin(uint32_t ns)
{
    double end = bench_seconds(CLOCK_MONOTONIC) + ns * 1e-9;
    while (bench_seconds(CLOCK_MONOTONIC) < end)
        continue;
}

/* ---- words ------------------------------------------------------------------------------ */

static inline uint64_t live_word(const void *p)
{
    return WORD_LIVE ^ ((uintptr_t)p * WORD_SECRET & WORD_TAG);
}

static inline void *word_at(enum arm arm, unsigned char *p)
{
    if (arm == ARM_INBAND)
        return p - 8;
    return &model.shadow[(size_t)(p - model.base) >> SHADOW_SHIFT];
}

/* The class of the block, or -1. */
static inline int ask_registry(const unsigned char *p)
{
    int cls = -1;
    uint32_t low = 0, high = model.chunks;
    pthread_mutex_lock(&model.mutex);
    while (low < high) {
        uint32_t middle = (low + high) / 2;
        const struct chunk *chunk = &model.chunk[middle];
        if ((uintptr_t)p < chunk->base) {
            high = middle;
        } else if ((uintptr_t)p - chunk->base >= chunk->bytes) {
            low = middle + 1;
        } else {
            cls = (int)chunk->cls;
            break;
        }
    }
    pthread_mutex_unlock(&model.mutex);
    return cls;
}

/* The first access to block i's line: the word at `at`. */
static inline __attribute__((always_inline)) uint64_t reach(struct side *side, const void *at,
                                                            uint32_t i, int modelled)
{
    uint64_t add = 0; /* every hop line holds 0, which only the load itself tells */
    if (modelled) {
        for (uint32_t hop = 0; hop < model.hops; hop++) {
            uint32_t line = side->hop_order[i * HOPS_MOST + hop];
            add += load_word(side->hop + (size_t)line * HOP_SPACE + add);
        }
        if (model.spin_ns != 0)
            spin(model.spin_ns);
    }
    return load_word((const unsigned char *)at + add);
}

/* ---- free and malloc -------------------------------------------------------------------- */

/* The block goes to the stack if the check finds nothing wrong. `pays`: the block's line has
 * not been touched yet. */
static inline __attribute__((always_inline)) void free_one(struct side *side, enum arm arm,
                                                           unsigned char *p, uint32_t i, int pays)
{
    if (__builtin_expect((size_t)(p - model.base) >= model.bytes, 0)) {
        side->misuse++;
        return;
    }
    if (arm == ARM_INBAND || arm == ARM_SHADOW) {
        void *at = word_at(arm, p);
        uint64_t word = pays && arm == ARM_INBAND ? reach(side, at, i, 1) : load_word(at);
        if (__builtin_expect(word != live_word(p), 0)) {
            side->misuse++;
            return;
        }
        store_word(at, word ^ WORD_TURN);
    }
    if (arm == ARM_REGISTRY && __builtin_expect(ask_registry(p) < 0, 0)) {
        side->misuse++;
        return;
    }
    side->stack[side->top++] = p;
}

static inline __attribute__((always_inline)) unsigned char *malloc_one(struct side *side,
                                                                       enum arm arm, uint32_t i,
                                                                       int pays)
{
    unsigned char *p = side->stack[--side->top];
    if (arm == ARM_INBAND || arm == ARM_SHADOW) {
        void *at = word_at(arm, p);
        uint64_t live = live_word(p);
        uint64_t word = pays && arm == ARM_INBAND ? reach(side, at, i, 1) : load_word(at);
        if (__builtin_expect(word == live, 0))
            side->misuse++;
        store_word(at, live);
    }
    return p;
}

/* The batch to the stack. The application reads the first word of a block just before. */
static inline __attribute__((always_inline)) void free_loop(struct side *side, enum arm arm,
                                                            int modelled)
{
    int used = side->used;
    for (uint32_t i = 0; i < side->count; i++) {
        unsigned char *p = side->batch[i];
        if (used)
            side->read += reach(side, p, i, modelled);
        free_one(side, arm, p, i, modelled && !used);
    }
}

/* As many blocks from the stack. The application changes the first word just after; with a
 * word in front of the block the line has been fetched by then. */
static inline __attribute__((always_inline)) void malloc_loop(struct side *side, enum arm arm,
                                                              int modelled)
{
    int used = side->used;
    for (uint32_t i = 0; i < side->count; i++) {
        unsigned char *p = malloc_one(side, arm, i, modelled);
        side->batch[i] = p;
        side->sum = side->sum * 31 + (uint64_t)(p - model.base);
        if (used)
            store_word(p, reach(side, p, i, modelled && arm != ARM_INBAND) + 1);
    }
}

#define EACH_ARM(loop, side, arm, modelled)                                                        \
    switch (arm) {                                                                                 \
    case ARM_NONE:                                                                                 \
        loop(side, ARM_NONE, modelled);                                                            \
        break;                                                                                     \
    case ARM_INBAND:                                                                               \
        loop(side, ARM_INBAND, modelled);                                                          \
        break;                                                                                     \
    case ARM_SHADOW:                                                                               \
        loop(side, ARM_SHADOW, modelled);                                                          \
        break;                                                                                     \
    default:                                                                                       \
        loop(side, ARM_REGISTRY, modelled);                                                        \
    }

static inline void free_batch(struct side *side, enum arm arm)
{
    if (model.hops != 0 || model.spin_ns != 0)
        EACH_ARM(free_loop, side, arm, 1)
    else
        EACH_ARM(free_loop, side, arm, 0)
}

static inline void malloc_batch(struct side *side, enum arm arm)
{
    if (model.hops != 0 || model.spin_ns != 0)
        EACH_ARM(malloc_loop, side, arm, 1)
    else
        EACH_ARM(malloc_loop, side, arm, 0)
}

/* ---- making it -------------------------------------------------------------------------- */

/* From block to block: 16 bytes of header, a multiple of 32 and none of 1024. */
static inline uint32_t stride_of(uint32_t size)
{
    uint32_t stride = (size + 16 + 31) / 32 * 32;
    return stride % 1024 == 0 ? stride + 32 : stride;
}

static inline void add_to_chunk(uintptr_t start, uint32_t stride)
{
    struct chunk *last = model.chunks ? &model.chunk[model.chunks - 1] : NULL;
    if (last == NULL || last->bytes + stride > CHUNK)
        model.chunk[model.chunks++] = (struct chunk){start, stride, 7};
    else
        last->bytes += stride;
}

/* `count` blocks of drawn sizes, all in the hands of users. */
static inline void make_model(const struct bench_list *sizes, uint32_t count, uint64_t seed)
{
    struct bench_random random = bench_stream(seed, 0, 9), again = random;
    size_t offset = 0;
    for (uint32_t i = 0; i < count; i++)
        model.bytes += stride_of(bench_size(sizes, (uint32_t)bench_draw(&random)));
    model.base = bench_pages(model.bytes);
    madvise(model.base, model.bytes, MADV_NOHUGEPAGE);
    model.block = bench_pages(count * sizeof *model.block);
    model.shadow = bench_pages(((model.bytes >> SHADOW_SHIFT) + 1) * sizeof *model.shadow);
    model.chunk = bench_pages(count * sizeof *model.chunk);
    model.blocks = count;
    pthread_mutex_init(&model.mutex, NULL);
    for (uint32_t i = 0; i < count; i++) {
        uint32_t stride = stride_of(bench_size(sizes, (uint32_t)bench_draw(&again)));
        unsigned char *p = model.block[i] = model.base + offset + 16;
        store_word(word_at(ARM_INBAND, p), live_word(p));
        store_word(word_at(ARM_SHADOW, p), live_word(p));
        store_word(p, 0);
        add_to_chunk((uintptr_t)(p - 16), stride);
        offset += stride;
    }
}

/* Any order of `count` numbers. */
static inline uint32_t *make_order(uint32_t count, struct bench_random *random)
{
    uint32_t *order = bench_pages(count * sizeof *order);
    for (uint32_t i = 0; i < count; i++) {
        uint32_t j = bench_pick((uint32_t)bench_draw(random), i + 1);
        order[i] = order[j];
        order[j] = i;
    }
    return order;
}

static inline void make_side(struct side *side, uint32_t count, int used, uint64_t seed)
{
    struct bench_random random = bench_stream(seed, 1, 9);
    side->count = count;
    side->used = used;
    side->batch = bench_pages(count * sizeof *side->batch);
    side->stack = bench_pages(count * sizeof *side->stack);
    side->hop = bench_pages((size_t)count * HOPS_MOST * HOP_SPACE);
    side->hop_order = make_order(count * HOPS_MOST, &random);
}

/* The cost of a cold line, in ns: a walk over lines each of which tells where the next one is.
 * The median of some walks. */
static inline double line_ns(void)
{
    enum { LINES = 4096, WALKS = 9 };
    struct bench_random random = bench_stream(1, 2, 9);
    unsigned char *area = bench_pages((size_t)LINES * HOP_SPACE);
    uint32_t *order = make_order(LINES, &random);
    double times[WALKS];
    for (uint32_t i = 0; i < LINES; i++)
        store_word(area + (size_t)order[i] * HOP_SPACE,
                   (uint64_t)order[(i + 1) % LINES] * HOP_SPACE);
    for (int walk = 0; walk < WALKS; walk++) {
        uint64_t at = 0;
        for (uint32_t i = 0; i < LINES; i++)
            flush_line(area + (size_t)i * HOP_SPACE);
        __atomic_thread_fence(__ATOMIC_SEQ_CST);
        double start = bench_seconds(CLOCK_MONOTONIC);
        for (uint32_t i = 0; i < LINES; i++)
            at = load_word(area + at);
        times[walk] = (bench_seconds(CLOCK_MONOTONIC) - start) * 1e9 / LINES;
        for (int i = walk; i > 0 && times[i] < times[i - 1]; i--) {
            double other = times[i];
            times[i] = times[i - 1];
            times[i - 1] = other;
        }
    }
    return times[WALKS / 2];
}

#endif
