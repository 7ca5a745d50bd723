/* probe.c - see probe.h: the measurement
 *
 * Memory is taken in pieces of 1 MiB until it is enough or the time is up, and each piece
 * is checked to be on its node before it counts.
 *
 * Latency: in each piece one word every 256 bytes holds the address of the next, in random
 * order; a read has to wait for the one before. The piece is flushed from the caches first
 * and every word is read once, so that large caches do not answer. A piece has few pages, so
 * that looking up addresses costs little. The figure is the median of the pieces.
 *
 * Bandwidth: threads read all of it in order, flushed before. The best of some rounds. */
#define _GNU_SOURCE
#include "probe.h"

#include <pthread.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>

#include "box/numa.h"
#include "box/source.h"

enum {
    PIECE = 1 << 20,
    STRIDE = 256, /* no neighbour comes along with a line */
    LINKS = PIECE / STRIDE,
    LINE = 64,
    PIECES = 64,
    THREADS = 16,
    ROUNDS = 6,
    FILL_NS = 300 * 1000 * 1000,  /* for bringing memory in, and for the latency */
    ROUNDS_NS = 200 * 1000 * 1000 /* after that no further round is begun */
};

static uint64_t now(void)
{
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return (uint64_t)time.tv_sec * 1000000000 + (uint64_t)time.tv_nsec;
}

/* Writes a range back and drops it from all caches. */
static void flush(const char *from, size_t size)
{
#if defined(__x86_64__)
    __builtin_ia32_mfence();
    for (size_t at = 0; at < size; at += LINE)
        __builtin_ia32_clflush(from + at);
    __builtin_ia32_mfence();
#else
    (void)from;
    (void)size;
#endif
}

/* --- latency ----------------------------------------------------------------------- */

/* One ring through all of the piece, in an order that no prefetcher guesses. */
static void link_piece(char *piece, uint64_t *state)
{
    uint16_t order[LINKS];
    for (unsigned i = 0; i < LINKS; i++)
        order[i] = (uint16_t)i;
    for (unsigned i = LINKS - 1; i > 0; i--) {
        *state ^= *state << 13;
        *state ^= *state >> 7;
        *state ^= *state << 17;
        unsigned other = (unsigned)(*state % (i + 1));
        uint16_t swap = order[i];
        order[i] = order[other];
        order[other] = swap;
    }
    for (unsigned i = 0; i < LINKS; i++)
        *(void **)(piece + (size_t)order[i] * STRIDE) =
            piece + (size_t)order[(i + 1) % LINKS] * STRIDE;
}

/* ns for a read, in tenths. */
static unsigned chase(const char *piece)
{
    void *volatile result;
    void *at = (void *)piece;
    flush(piece, PIECE);
    uint64_t begin = now();
    for (unsigned i = 0; i < LINKS; i++)
        at = *(void **)at;
    uint64_t end = now();
    result = at;
    (void)result;
    return (unsigned)((end - begin) * 10 / LINKS);
}

static int by_size(const void *a, const void *b)
{
    unsigned x = *(const unsigned *)a, y = *(const unsigned *)b;
    return (x > y) - (x < y);
}

/* Brings in pieces and measures each; returns how many there are. */
static unsigned measure_latency(const struct tide_source *source, char *base, size_t size,
                                struct probe *probe)
{
    unsigned took[PIECES], pieces = 0;
    uint64_t state = 88172645463325252ULL, begin = now();
    while (pieces < size / PIECE && (pieces == 0 || now() - begin < FILL_NS)) {
        char *piece = base + (size_t)pieces * PIECE;
        if (tide_source_secure(source, piece, PIECE) != 0)
            break;
        link_piece(piece, &state);
        took[pieces++] = chase(piece);
    }
    if (pieces == 0)
        return 0;
    qsort(took, pieces, sizeof took[0], by_size);
    probe->latency = (took[pieces / 2] + 5) / 10;
    return pieces;
}

/* --- bandwidth --------------------------------------------------------------------- */

struct reader {
    const char *from;
    size_t size;
    struct rounds *rounds;
    bool first; /* it takes the time */
};

struct rounds {
    pthread_mutex_t gate; /* held until all who read are there and know what */
    pthread_barrier_t barrier;
    bool over; /* written by the first one between barriers */
    uint64_t begin, best;
};

static uint64_t sum(const char *from, size_t size)
{
    const uint64_t *word = (const uint64_t *)from;
    uint64_t a = 0, b = 0;
    for (size_t i = 0; i < size / sizeof *word; i += 8) {
        a += word[i] + word[i + 1] + word[i + 2] + word[i + 3];
        b += word[i + 4] + word[i + 5] + word[i + 6] + word[i + 7];
    }
    return a + b;
}

static void *read_rounds(void *argument)
{
    const struct reader *reader = argument;
    struct rounds *rounds = reader->rounds;
    volatile uint64_t result = 0;
    pthread_mutex_lock(&rounds->gate);
    pthread_mutex_unlock(&rounds->gate);
    for (int i = 0; i < ROUNDS && !rounds->over; i++) {
        flush(reader->from, reader->size);
        pthread_barrier_wait(&rounds->barrier);
        uint64_t begin = now();
        result = result + sum(reader->from, reader->size);
        pthread_barrier_wait(&rounds->barrier);
        uint64_t took = now() - begin;
        if (reader->first) {
            if (rounds->best == 0 || took < rounds->best)
                rounds->best = took;
            rounds->over = now() - rounds->begin > ROUNDS_NS;
        }
        pthread_barrier_wait(&rounds->barrier);
    }
    return NULL;
}

static unsigned processors(unsigned pieces)
{
    cpu_set_t set;
    unsigned count = sched_getaffinity(0, sizeof set, &set) == 0 ? (unsigned)CPU_COUNT(&set) : 1;
    count = count < THREADS ? count : THREADS;
    return count < pieces ? count : pieces;
}

/* With as many threads as can be started. */
static void read_together(const char *base, size_t size, unsigned most, struct probe *probe)
{
    struct reader reader[THREADS];
    struct rounds rounds = {.gate = PTHREAD_MUTEX_INITIALIZER, .begin = now()};
    pthread_t thread[THREADS];
    unsigned threads = 1;
    for (unsigned i = 0; i < most; i++)
        reader[i] = (struct reader){.rounds = &rounds, .first = i == 0};
    pthread_mutex_lock(&rounds.gate);
    while (threads < most &&
           pthread_create(&thread[threads], NULL, read_rounds, &reader[threads]) == 0)
        threads++;
    size_t share = size / threads / LINE * LINE;
    for (unsigned i = 0; i < threads; i++) {
        reader[i].from = base + i * share;
        reader[i].size = share;
    }
    pthread_barrier_init(&rounds.barrier, NULL, threads);
    pthread_mutex_unlock(&rounds.gate);
    read_rounds(&reader[0]);
    for (unsigned i = 1; i < threads; i++)
        pthread_join(thread[i], NULL);
    pthread_barrier_destroy(&rounds.barrier);
    probe->threads = threads;
    probe->bandwidth = (unsigned)((share * threads >> 10) * 1000000000 / (rounds.best + 1) >> 10);
}

/* --- a node ------------------------------------------------------------------------ */

static void probe_node(const struct machine *machine, const struct tide_node *node,
                       struct probe *probe)
{
    struct tide_source source;
    char text[32];
    probe->asked = true;
    if (!node->has_memory) {
        probe->why = "it has no memory";
        return;
    }
    snprintf(text, sizeof text, "node:%u", node->id);
    if (!machine_may_use(machine, node->id) || tide_source_open(&source, text) != 0) {
        probe->why = "this process may not use it";
        return;
    }
    size_t size = probe_room(machine, node) / PIECE * PIECE;
    if (size == 0) {
        probe->why = "less than 4 MiB are free";
        return;
    }
    char *base = mmap(NULL, size, PROT_READ | PROT_WRITE,
                      MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (base == MAP_FAILED) {
        probe->why = "the limits of this process leave no memory for it";
        return;
    }
    tide_numa_huge(base, size, false); /* a piece is not to bring in more than itself */
    unsigned pieces = 0;
    if (tide_source_place(&source, base, size) == 0)
        pieces = measure_latency(&source, base, size, probe);
    if (pieces == 0) {
        probe->why = "the kernel puts no memory there (mbind, move_pages)";
    } else {
        probe->bytes = (uint64_t)pieces * PIECE;
        read_together(base, probe->bytes, processors(pieces), probe);
        probe->measured = true;
    }
    munmap(base, size);
}

void probe_json(struct json *json, const struct probe *probe)
{
    if (probe->measured) {
        json_number(json, "latency_ns", probe->latency);
        json_number(json, "bandwidth_mib", probe->bandwidth);
    } else {
        json_null(json, "latency_ns");
        json_null(json, "bandwidth_mib");
    }
    json_text(json, "performance_source", probe->measured ? "measured" : NULL);
    json_number(json, "threads", probe->threads);
    json_number(json, "bytes", probe->bytes);
    json_text(json, "why", probe->why);
}

const char *probe_text(const struct probe *probe, char *buf, size_t size)
{
    char bytes[32];
    if (probe->measured)
        snprintf(buf, size, "%u ns, %u MiB/s (measured: %s, %u thread%s)", probe->latency,
                 probe->bandwidth, bytes_text(bytes, probe->bytes), probe->threads,
                 probe->threads == 1 ? "" : "s");
    else
        snprintf(buf, size, "not measured: %s", probe->why);
    return buf;
}

void probe_nodes(const struct machine *machine, struct probe probe[TIDE_TOPO_NODES])
{
    for (int i = 0; i < machine->nodes; i++)
        probe_node(machine, &machine->node[i], &probe[i]);
}
