/*
 * micro.h - Google Benchmark for benches in C.
 *
 * A bench is a C function. It is registered with a name, a few whole numbers (they become the
 * end of the name: "malloc_free/mid/4096") and, if wanted, a number of threads. It prepares,
 * repeats its operation as often as micro_next() says, and cleans up:
 *
 *     static void pair(struct micro *run, const struct micro_bench *bench)
 *     {
 *         for (size_t n; (n = micro_next(run, 64)) != 0;)
 *             while (n-- > 0)
 *                 free(malloc((size_t)bench->args[0]));
 *     }
 *
 * Flags, tables, JSON and CSV are Google Benchmark's. One iteration there is one operation
 * here. micro_shim.cc, which stands behind this header, is the only C++ file.
 */
#ifndef TIDE_BENCH_MICRO_H
#define TIDE_BENCH_MICRO_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

enum { MICRO_ARGS = 3 };

/* One run of one bench, by one of its threads. */
struct micro;

struct micro_bench {
    const char *name;
    void (*body)(struct micro *run, const struct micro_bench *bench);
    int64_t args[MICRO_ARGS]; /* above 0; those up to the first 0 are part of the name */
    int tag;                  /* for the body, not part of the name */
    int threads;              /* 0: one */
    int clocked;              /* only what is between micro_start and micro_stop counts */
    int64_t operations;       /* so many, however long they take; 0: until it is enough */
};

/* Registers a bench. The structure is copied; the name must stay. */
void micro_add(const struct micro_bench *bench);

/* Says something about the program, above the tables and in JSON. */
void micro_context(const char *key, const char *value);

/* How many operations to do next: `batch`, or 0 when it is enough. The first call starts the
 * clock (in all threads at once), the last one stops it. */
size_t micro_next(struct micro *run, size_t batch);

/* For a bench that is `clocked`, as often as needed. */
void micro_start(struct micro *run);
void micro_stop(struct micro *run);

/* Further figures of the result, from totals of all operations of this thread: the mean of an
 * operation; how many items are handled in a second. */
void micro_mean(struct micro *run, const char *name, double total);
void micro_items(struct micro *run, int64_t total);

/* The bench is void, and the program will end with 1: micro_next gives 0 from now on. */
void micro_fail(struct micro *run, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* Takes the flags and runs what was registered. The exit status of the program: 0 done, 1 a
 * bench failed, 2 bad flags, or a filter that no bench fits. */
int micro_main(int argc, char **argv);

#ifdef __cplusplus
}
#endif

#endif
