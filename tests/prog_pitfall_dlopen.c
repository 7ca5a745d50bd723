/*
 * prog_pitfall_dlopen.c - dlopen and dlclose.
 *
 * prog_pitfall_dlopen PLUGIN      loads and unloads it many times; its blocks
 *                                 are freed when it is gone
 * prog_pitfall_dlopen --late LIB  run without the preload: loads the library
 *                                 itself, uses it from a thread, unloads it
 *                                 while the thread lives on
 */
#define _GNU_SOURCE 1
#include "pitfall.h"

#include <dlfcn.h>

enum { ROUNDS = 300 };

static pthread_barrier_t barrier;
static void *(*late_malloc)(size_t);
static void (*late_free)(void *);

static void *must_find(void *object, const char *name)
{
    void *found = dlsym(object, name);
    if (!found)
        die("no %s: %s", name, dlerror());
    return found;
}

static void *must_open(const char *file)
{
    void *object = dlopen(file, RTLD_NOW | RTLD_LOCAL);
    if (!object)
        die("dlopen: %s", dlerror());
    return object;
}

static void plugin(const char *file)
{
    void *blocks[ROUNDS];
    for (size_t i = 0; i < ROUNDS; i++) {
        void *object = must_open(file);
        void *(*get)(size_t) = (void *(*)(size_t))must_find(object, "plug_get");
        size_t size = 16 + i * 200;
        blocks[i] = get(size);
        mark(blocks[i], size);
        if (dlclose(object))
            die("dlclose: %s", dlerror());
        if (i % 2)
            free_marked(blocks[i - 1], size - 200);
    }
    for (size_t i = 1; i < ROUNDS; i += 2)
        free_marked(blocks[i], 16 + i * 200);
}

static void *late_thread(void *arg)
{
    void *block = late_malloc(5000);
    memset(block, 1, 5000);
    late_free(block);
    pthread_barrier_wait(&barrier); /* used it */
    pthread_barrier_wait(&barrier); /* the library is closed */
    return arg;
}

static void late(const char *file)
{
    void *object = must_open(file);
    late_malloc = (void *(*)(size_t))must_find(object, "tide_malloc");
    late_free = (void (*)(void *))must_find(object, "tide_free");
    void *block = late_malloc(100);
    pthread_barrier_init(&barrier, NULL, 2);
    pthread_t thread = start(late_thread, NULL);
    pthread_barrier_wait(&barrier);
    dlclose(object);
    pthread_barrier_wait(&barrier);
    pthread_join(thread, NULL);
    late_free(block);
}

int main(int argc, char **argv)
{
    if (argc == 3 && strcmp(argv[1], "--late") == 0)
        late(argv[2]);
    else if (argc == 2)
        plugin(argv[1]);
    else
        die("arguments");
    return 0;
}
