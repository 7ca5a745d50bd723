/*
 * prog_pitfall_zero.c - calloc gives zeros, whatever became of the memory that was
 * written and freed before, and realloc takes the contents along; also where the system
 * takes no memory back and moves none.
 */
#define _GNU_SOURCE 1
#include "pitfall.h"

enum { BLOCKS = 400, ROUNDS = 3 };

static void *(*volatile do_malloc)(size_t) = malloc;

static void must_be_zero(const unsigned char *block, size_t size)
{
    for (size_t i = 0; i < size; i++) {
        if (block[i])
            die("calloc of %zu bytes: byte %zu is %#x", size, i, block[i]);
    }
}

/* Frees every second one first, so that parts of pages go back and come again. */
static void round_of(size_t size, size_t blocks, bool trim)
{
    static unsigned char *block[BLOCKS];
    for (size_t i = 0; i < blocks; i++) {
        block[i] = do_malloc(size);
        memset(block[i], 0xa5, size);
    }
    for (size_t i = 0; i < blocks; i += 2)
        free(block[i]);
    if (trim)
        malloc_trim(0);
    for (size_t i = 0; i < blocks; i += 2) {
        block[i] = calloc(1, size);
        must_be_zero(block[i], size);
        memset(block[i], 0xa5, size);
    }
    for (size_t i = 0; i < blocks; i++)
        free(block[i]);
}

/* From one tier to the next, and from mapping to mapping. */
static void grow(void)
{
    size_t size = 100;
    unsigned char *block = do_malloc(size);
    memset(block, 1, size);
    for (int step = 2; step < 30; step++) {
        size_t more = size + size / 2;
        block = realloc(block, more);
        if (!block || block[0] != 1 || block[size - 1] != step - 1)
            die("realloc from %zu to %zu bytes lost what was in them", size, more);
        memset(block + size, step, more - size);
        size = more;
    }
    free(block);
}

int main(void)
{
    static const size_t sizes[] = {24, 600, 2047, 3000, 20000, 40000, 200000, 900000, 3000000};
    grow();
    for (int round = 0; round < ROUNDS; round++) {
        for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++)
            round_of(sizes[i], sizes[i] < 100000 ? BLOCKS : 12, round % 2);
    }
    return 0;
}
