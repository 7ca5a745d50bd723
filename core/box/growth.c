/* growth.c - see growth.h */
#include "box/growth.h"

enum {
    GROWTH_LOOKS = 2, /* at blocks that may be gone, for each one that would have room */
    GROWTH_LATE = 64  /* so many that found no place make up for one that stays with its room */
};

bool tide_growth_goes_on(struct tide_growth *growth, const void *block, size_t size, size_t usable)
{
    int place = tide_growth_find(growth, block);
    if (place < 0)
        return false;
    bool grows = size >= growth->size[place];
    growth->size[place] = (uint32_t)size;
    if (!grows || size >= usable - usable / 8)
        growth->block[place] = 0;
    return grows;
}

int tide_growth_place(struct tide_growth *growth, tide_growth_lives *lives)
{
    int place = tide_growth_find(growth, NULL);
    for (int look = 0; place < 0 && look < GROWTH_LOOKS; look++) {
        unsigned next = growth->turn++ % TIDE_GROWTH_BLOCKS;
        if (!lives((const void *)growth->block[next]))
            place = (int)next;
    }
    if (place < 0 && ++growth->late % GROWTH_LATE == 0)
        place = (int)(growth->turn++ % TIDE_GROWTH_BLOCKS);
    return place;
}

void tide_growth_set(struct tide_growth *growth, int place, const void *block, size_t size)
{
    int old = tide_growth_find(growth, block); /* it was freed, and came back */
    if (old >= 0)
        growth->block[old] = 0;
    growth->block[place] = (uintptr_t)block;
    growth->size[place] = (uint32_t)size;
}
