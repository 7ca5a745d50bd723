/*
 * guest_share.c - two guests with the same device: what one writes the other reads.
 *
 * meet PATH ME PAIRS   ME is 0 or 1, the other guest runs the same with the other number. Each
 *                      writes a text and reads the other's; both count to the same word, so
 *                      many times each (0: a device whose atomics hold within one guest only)
 *
 * Only loads and stores pass between the guests. The memory is zero when the first one starts.
 */
#include "guest.h"

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

int main(int argc, char **argv)
{
    static const struct guest_case cases[] = {{"meet", meet}, {NULL, NULL}};
    NEED(argc == 5, "arguments are missing");
    return guest_main(argv, cases);
}
