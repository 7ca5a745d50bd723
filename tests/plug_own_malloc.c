/*
 * plug_own_malloc.c - a shared object with a malloc of its own, as some programs
 * carry one. See prog_pitfall_second.c.
 */
#include <stddef.h>

static _Alignas(64) char arena[1 << 16];
static size_t used = 256;

void *malloc(size_t size)
{
    void *block = arena + used;
    used += (size + 63) & ~(size_t)63;
    return block;
}

void free(void *block)
{
    (void)block;
}

void *plug_get(size_t size)
{
    return malloc(size);
}
