/*
 * guest_share.c - two guests with the same device: what one writes the other reads.
 *
 * meet PATH ME PAIRS   ME is 0 or 1, the other guest runs the same with the other number. Each
 *                      writes a text and reads the other's; both count to the same word, so
 *                      many times each (0: a device whose atomics hold within one guest only)
 *
 * region PATH ME ROUNDS   guest 0 makes a region on the device, guest 1 opens it: the same one.
 *                      Each sees the segments that the other took; both take segments and have
 *                      heaps at the same time, so many times (0: one after the other)
 * leave SOURCE         makes a region, takes segments and memory of a heap, and ends
 * find SOURCE          opens what another boot of the machine left, and gives it back
 *
 * Only loads and stores pass between the guests. The memory is zero when the first one starts.
 */
#include "guest.h"

#include <tidepool/region.h>

#pragma weak tide_region_create
#pragma weak tide_region_open
#pragma weak tide_region_close
#pragma weak tide_region_base
#pragma weak tide_region_info
#pragma weak tide_region_take
#pragma weak tide_region_give
#pragma weak tide_region_segment
#pragma weak tide_region_area
#pragma weak tide_region_reclaim
#pragma weak tide_heap_create_on
#pragma weak tide_heap_malloc
#pragma weak tide_heap_destroy
#pragma weak tide_free

#include <stdatomic.h>
#include <time.h>

enum { TEXT = 4096, PATIENCE = 100 };

/* At the beginning of the device; a word is written by the guest of its index alone. */
struct meeting {
    _Alignas(64) _Atomic uint32_t step[2]; /* how far this guest is */
    _Alignas(64) _Atomic uint32_t seen[2]; /* and what it has seen of the other */
    _Alignas(64) _Atomic uint64_t count;
    _Alignas(64) unsigned char text[2][TEXT];
};

static time_t seconds(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec;
}

static void wait_for(const _Atomic uint32_t *word, uint32_t value)
{
    time_t begin = seconds();
    while (atomic_load_explicit(word, memory_order_acquire) < value) {
        NEED(seconds() - begin < PATIENCE, "the other guest did not come to step %u", value);
        usleep(1000);
    }
}

static unsigned char letter(unsigned guest, unsigned round, size_t at)
{
    return (unsigned char)(1 + (at * 7 + guest * 91 + round * 13) % 255);
}

/* Writes a text, waits for the other's, and reads it. */
static void exchange(struct meeting *meeting, unsigned me, unsigned round)
{
    unsigned other = 1 - me;
    for (size_t i = 0; i < TEXT; i++)
        meeting->text[me][i] = letter(me, round, i);
    atomic_store_explicit(&meeting->step[me], round, memory_order_release);
    wait_for(&meeting->step[other], round);
    for (size_t i = 0; i < TEXT; i++)
        NEED(meeting->text[other][i] == letter(other, round, i), "round %u, byte %zu is %u", round,
             i, meeting->text[other][i]);
    atomic_store_explicit(&meeting->seen[me], round, memory_order_release);
    wait_for(&meeting->seen[other], round); /* or it would be written over */
}

static void meet(char **arguments)
{
    unsigned me = (unsigned)guest_number(arguments[1]);
    size_t pairs = guest_number(arguments[2]);
    int fd = open(arguments[0], O_RDWR);
    NEED(fd >= 0, "%s: %s", arguments[0], strerror(errno));
    struct meeting *meeting = mmap(NULL, 2 * MIB, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    NEED(meeting != MAP_FAILED, "mmap: %s", strerror(errno));
    exchange(meeting, me, 1);
    for (size_t i = 0; i < pairs; i++)
        atomic_fetch_add_explicit(&meeting->count, 1, memory_order_relaxed);
    exchange(meeting, me, 2);
    NEED(meeting->count == 2 * pairs, "%llu of %zu", (unsigned long long)meeting->count, 2 * pairs);
}

/* --- regions ------------------------------------------------------------------------------ */

/* In the program's area of the region. */
struct table {
    _Alignas(64) _Atomic uint32_t step[2];
    _Alignas(64) uint8_t id[16];
};

static tide_region_t *region;
static struct table *table;

static struct tide_region_info about(void)
{
    struct tide_region_info info;
    NEED(tide_region_info(region, &info) == 0, "no information");
    return info;
}

static void make(const char *source, size_t size)
{
    struct tide_region_error error;
    int ret = tide_region_create(&region, source, size, TIDE_REGION_REPLACE, &error);
    NEED(ret == 0, "%d: %s", ret, error.text);
    table = tide_region_area(region, TIDE_REGION_AREA_USER);
    memcpy(table->id, about().id, sizeof table->id);
}

/* It may not be there yet: no other error is one. */
static void await(const char *source)
{
    struct tide_region_error error;
    time_t begin = seconds();
    int ret;
    while ((ret = tide_region_open(&region, source, 0, &error)) == -EPROTO) {
        NEED(seconds() - begin < PATIENCE, "%s", error.text);
        usleep(10000);
    }
    NEED(ret == 0, "%d: %s", ret, error.text);
    table = tide_region_area(region, TIDE_REGION_AREA_USER);
}

static void reach(unsigned me, uint32_t step)
{
    atomic_store_explicit(&table->step[me], step, memory_order_release);
    wait_for(&table->step[1 - me], step);
}

static void take(unsigned me, size_t segments)
{
    uint64_t offset;
    NEED(tide_region_take(region, segments, 100 + me, &offset) == 0, "no segments");
    char *at = (char *)tide_region_base(region) + offset;
    for (size_t i = 0; i < TEXT; i++)
        at[i] = (char)letter(me, 0, i);
}

/* The segments that this guest took, and what it wrote there; returns their offset. */
static uint64_t taken(unsigned guest, size_t segments)
{
    struct tide_region_segment segment;
    for (uint64_t i = 0; tide_region_segment(region, i, &segment) == 0; i++) {
        if (segment.state != TIDE_REGION_LENT || segment.tag != 100 + guest)
            continue;
        const char *at = (char *)tide_region_base(region) + i * TIDE_REGION_SEGMENT;
        NEED(segment.length == segments, "%zu segments", (size_t)segment.length);
        for (size_t k = 0; k < TEXT; k++)
            NEED(at[k] == (char)letter(guest, 0, k), "byte %zu", k);
        return i * TIDE_REGION_SEGMENT;
    }
    NEED(false, "no segment of guest %u", guest);
    return 0;
}

/* Blocks of a heap on the region, which nobody else writes to. */
static void use_heap(unsigned me, size_t round)
{
    enum { BLOCKS = 6, BLOCK = 9000 };
    unsigned char *block[BLOCKS];
    tide_heap_t *heap = tide_heap_create_on(region);
    NEED(heap != NULL, "round %zu: no heap", round);
    for (size_t i = 0; i < BLOCKS; i++) {
        block[i] = tide_heap_malloc(heap, BLOCK);
        NEED(block[i] != NULL, "round %zu: no block", round);
        memset(block[i], letter(me, (unsigned)round, i), BLOCK);
    }
    for (size_t i = 0; i < BLOCKS; i++)
        for (size_t k = 0; k < BLOCK; k += 7)
            NEED(block[i][k] == letter(me, (unsigned)round, i), "round %zu: changed", round);
    tide_heap_destroy(heap);
}

/* Takes the two segments that are left, while nobody else has them. */
static void contend(unsigned me, size_t round)
{
    uint64_t offset, mark = (uint64_t)(1 + me) << 32 | round;
    time_t begin = seconds();
    int ret;
    while ((ret = tide_region_take(region, 2, mark, &offset)) == -ENOMEM)
        NEED(seconds() - begin < PATIENCE, "round %zu: no segments", round);
    NEED(ret == 0, "round %zu: %d", round, ret);
    volatile uint64_t *at = (void *)((char *)tide_region_base(region) + offset);
    *at = mark;
    at[TIDE_REGION_SEGMENT / sizeof *at] = mark;
    NEED(*at == mark && at[TIDE_REGION_SEGMENT / sizeof *at] == mark,
         "round %zu: somebody else has them", round);
    NEED(tide_region_give(region, offset) == 0, "round %zu: not given back", round);
}

enum { RUNS = 64 };

/* Takes all but two segments that lie side by side; how many runs that were. */
static size_t take_rest(uint64_t *run)
{
    uint64_t hole;
    size_t count = 0;
    NEED(tide_region_take(region, 2, 0, &hole) == 0, "not two");
    for (struct tide_region_info info; (info = about()).largest > 0; count++)
        NEED(count < RUNS && tide_region_take(region, info.largest, 0, &run[count]) == 0,
             "no run of %zu segments", (size_t)info.largest);
    NEED(tide_region_give(region, hole) == 0, "not given");
    return count;
}

/* Both at once: heaps, then all but two segments are taken and they are what both want. */
static void compete(unsigned me, size_t rounds)
{
    uint64_t run[RUNS];
    for (size_t i = 0; i < rounds / 100; i++)
        use_heap(me, i);
    reach(me, 3);
    struct tide_region_info info = about();
    NEED(info.lent_bytes == 3 * TIDE_REGION_SEGMENT && info.heap_bytes + info.left_bytes == 0 &&
             info.free_bytes + info.lent_bytes == info.capacity,
         "lent %zu, free %zu", (size_t)info.lent_bytes, (size_t)info.free_bytes);
    reach(me, 4);
    size_t runs = me == 0 ? take_rest(run) : 0;
    reach(me, 5);
    for (size_t i = 0; i < rounds; i++)
        contend(me, i);
    reach(me, 6);
    NEED(about().free_bytes == 2 * TIDE_REGION_SEGMENT, "free %zu", (size_t)about().free_bytes);
    reach(me, 7);
    while (runs-- > 0)
        NEED(tide_region_give(region, run[runs]) == 0, "not given");
}

static void both(char **arguments)
{
    char source[128];
    unsigned me = (unsigned)guest_number(arguments[1]);
    snprintf(source, sizeof source, "dax:%s", arguments[0]);
    if (me == 0)
        make(source, 0);
    else
        await(source);
    reach(me, 1);
    struct tide_region_info info = about();
    NEED(memcmp(info.id, table->id, sizeof info.id) == 0 && info.fresh == (me == 0), "another one");
    if (me == 1)
        wait_for(&table->step[0], 2);
    take(me, 1 + me); /* guest 0 first */
    reach(me, 2);
    taken(0, 1);
    taken(1, 2);
    compete(me, guest_number(arguments[2]));
    reach(me, 8);
    if (me == 0) { /* what one took the other may give back */
        NEED(tide_region_give(region, taken(1, 2)) == 0, "not given");
        NEED(tide_region_give(region, taken(0, 1)) == 0, "not given");
    }
    reach(me, 9);
    info = about();
    NEED(info.free_bytes == info.capacity, "free %zu", (size_t)info.free_bytes);
    NEED(tide_region_close(region) == 0, "not closed");
}

static void leave(char **arguments)
{
    make(arguments[0], strncmp(arguments[0], "dax:", 4) == 0 ? 0 : 16 * MIB);
    take(0, 3);
    tide_heap_t *heap = tide_heap_create_on(region);
    for (int i = 0; i < 100; i++)
        NEED(tide_heap_malloc(heap, 20000) != NULL, "no block");
    fflush(stdout);
    _exit(0); /* nothing is closed */
}

static void find(char **arguments)
{
    struct tide_region_error error;
    int ret = tide_region_open(&region, arguments[0], 0, &error);
    NEED(ret == 0, "%d: %s", ret, error.text);
    table = tide_region_area(region, TIDE_REGION_AREA_USER);
    struct tide_region_info info = about();
    NEED(memcmp(info.id, table->id, sizeof info.id) == 0 && info.fresh == 0, "another one");
    NEED(info.lent_bytes == 3 * TIDE_REGION_SEGMENT && info.left_bytes >= 100 * 20000 &&
             info.heap_bytes == 0,
         "lent %zu, left %zu", (size_t)info.lent_bytes, (size_t)info.left_bytes);
    long freed = tide_region_reclaim(region);
    NEED(freed == (long)(info.left_bytes / TIDE_REGION_SEGMENT), "%ld segments", freed);
    NEED(tide_region_give(region, taken(0, 3)) == 0, "not given");
    info = about();
    NEED(info.free_bytes == info.capacity, "free %zu", (size_t)info.free_bytes);
    use_heap(0, 1);
    NEED(tide_region_close(region) == 0, "not closed");
}

int main(int argc, char **argv)
{
    static const struct guest_case cases[] = {
        {"meet", meet}, {"region", both}, {"leave", leave}, {"find", find}, {NULL, NULL}};
    NEED(argc == 5 || (argc == 3 && argv[1][0] != 'm' && argv[1][0] != 'r'),
         "arguments are missing");
    NEED(tide_region_create != NULL, "the library has no regions");
    return guest_main(argv, cases);
}
