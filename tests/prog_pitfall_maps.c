/*
 * prog_pitfall_maps.c - the number of mappings stays far below the kernel's
 * limit (65,530), whatever is allocated and however it is freed.
 */
#define _GNU_SOURCE 1
#include "pitfall.h"

enum { BLOCKS = 60000, MOST = 8000 };

static void *blocks[BLOCKS];

static size_t mappings(void)
{
    static char text[65536];
    size_t lines = 0;
    ssize_t got;
    int fd = open("/proc/self/maps", O_RDONLY | O_CLOEXEC);
    while ((got = read(fd, text, sizeof text)) > 0) {
        for (ssize_t i = 0; i < got; i++)
            lines += text[i] == '\n';
    }
    close(fd);
    return lines;
}

/* Live: every second one is freed, so that no two neighbours are. */
static void round_of(size_t low, size_t high)
{
    uint64_t state = 1;
    for (size_t i = 0; i < BLOCKS; i++) {
        size_t size = low + next_random(&state) % (high - low + 1);
        blocks[i] = get_marked(size);
    }
    size_t full = mappings();
    for (size_t i = 0; i < BLOCKS; i += 2)
        free(blocks[i]);
    malloc_trim(0);
    size_t half = mappings();
    for (size_t i = 1; i < BLOCKS; i += 2)
        free(blocks[i]);
    if (full > MOST || half > MOST)
        die("%zu..%zu bytes: %zu mappings, %zu after every second block was freed", low, high, full,
            half);
}

int main(void)
{
    round_of(16, 2000);
    round_of(2048, 32768);
    round_of(33000, 60000);
    round_of(66000, 100000);
    return 0;
}
