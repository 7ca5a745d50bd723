/*
 * prog_pitfall_pagesize.c - the size of a system page is asked for at run time.
 *
 * prog_pitfall_pagesize [BYTES]   that page size is the one that valloc and pvalloc
 * go by (default: that of the machine); and blocks of all sizes work.
 */
#define _GNU_SOURCE 1
#include "pitfall.h"

enum { BLOCKS = 3000 };

static void must_be_multiple(const char *what, size_t value, size_t page)
{
    if (value == 0 || value % page != 0)
        die("%s: %#zx is no multiple of %zu", what, value, page);
}

int main(int argc, char **argv)
{
    static void *blocks[BLOCKS];
    static size_t sizes[BLOCKS];
    uint64_t state = 1;
    size_t page = argc > 1 ? strtoul(argv[1], NULL, 0) : (size_t)sysconf(_SC_PAGESIZE);
    for (size_t i = 0; i < 8; i++) {
        must_be_multiple("valloc", (uintptr_t)valloc(100), page);
        void *block = pvalloc(page + 1);
        must_be_multiple("pvalloc", (uintptr_t)block, page);
        if (malloc_usable_size(block) < 2 * page)
            die("pvalloc(%zu) has %zu bytes", page + 1, malloc_usable_size(block));
    }
    for (int round = 0; round < 3; round++) {
        for (size_t i = 0; i < BLOCKS; i++) {
            sizes[i] = mixed_size(&state);
            blocks[i] = get_marked(sizes[i]);
        }
        for (size_t i = 0; i < BLOCKS; i++)
            free_marked(blocks[i], sizes[i]);
        malloc_trim(0);
        free(get_marked(3000000));
    }
    return 0;
}
