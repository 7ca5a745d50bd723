/*
 * prog_pitfall_errno.c - free never changes errno, whatever it has to do; and
 * each call that fails sets it.
 */
#define _GNU_SOURCE 1
#include "pitfall.h"

enum { BLOCKS = 3000, ODD = 4711 };

static void *(*volatile do_malloc)(size_t) = malloc;

static void free_checked(void *block)
{
    errno = ODD;
    free(block);
    if (errno != ODD)
        die("free(%p) changed errno to %d", block, errno);
}

static void *free_all(void *arg)
{
    void **blocks = arg;
    for (int i = 0; i < BLOCKS; i++)
        free_checked(blocks[i]);
    return NULL;
}

/* Enough to make free flush, unmap and give memory back; by the owner and by
 * another thread. */
static void round_of(size_t size, bool remote)
{
    static void *blocks[BLOCKS];
    for (int i = 0; i < BLOCKS; i++)
        blocks[i] = get_marked(size);
    if (remote)
        pthread_join(start(free_all, blocks), NULL);
    else
        free_all(blocks);
}

static void must_fail(const char *call, void *result, int error)
{
    if (result || errno != error)
        die("%s gave %p and errno %d instead of %d", call, result, errno, error);
    errno = 0;
}

int main(void)
{
    static const size_t sizes[] = {16, 200, 2000, 2048, 5000, 32768, 40000, 150000};
    volatile size_t huge = (size_t)PTRDIFF_MAX + 1;
    free_checked(NULL);
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        round_of(sizes[i], false);
        round_of(sizes[i], true);
    }
    for (int i = 0; i < 20; i++)
        free_checked(get_marked(3000000));
    errno = 0;
    must_fail("malloc", do_malloc(huge), ENOMEM);
    must_fail("malloc", do_malloc((size_t)1 << 47), ENOMEM);
    must_fail("calloc", calloc(huge, 2), ENOMEM);
    must_fail("realloc", realloc(NULL, huge), ENOMEM);
    must_fail("reallocarray", reallocarray(NULL, huge, 2), ENOMEM);
    must_fail("memalign", memalign(64, huge), ENOMEM);
    must_fail("aligned_alloc", aligned_alloc(4096, huge), ENOMEM);
    must_fail("valloc", valloc(huge), ENOMEM);
    must_fail("pvalloc", pvalloc(huge), ENOMEM);
    return 0;
}
