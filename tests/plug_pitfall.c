/*
 * plug_pitfall.c - a shared object that allocates when it is loaded, keeps
 * thread-local state, and frees when it is unloaded. See prog_pitfall_dlopen.c.
 */
#include <stdlib.h>
#include <string.h>

static void *held[64];
static __thread char text[256];

__attribute__((constructor)) static void plug_load(void)
{
    for (size_t i = 0; i < 64; i++)
        held[i] = calloc(1, i * 700 + 1);
}

__attribute__((destructor)) static void plug_unload(void)
{
    for (size_t i = 0; i < 64; i++)
        free(held[i]);
    free(malloc(5000));
}

/* A block that outlives the object. */
void *plug_get(size_t size)
{
    strcpy(text, "in use");
    return text[0] ? malloc(size) : NULL;
}
