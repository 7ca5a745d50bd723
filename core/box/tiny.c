/* tiny.c - see tiny.h */
#include "box/tiny.h"

void tide_tiny_birth(struct tide_cache *cache)
{
    for (unsigned cls = 0; cls < TIDE_TINY_ALIGNED; cls++) {
        struct tide_magazine *magazine = tide_cache_magazine(cache, cls);
        magazine->checked = magazine->freed = tide_key.mark;
        magazine->take_turn = tide_key.freed; /* not 0: turns the mark into something else */
        magazine->free_turn = 0;
        magazine->at = 8;
        magazine->headed = 0;
    }
}
