/* key.c - see key.h */
#include "box/key.h"

#include "box/clock.h"
#include "box/file.h"

struct tide_key tide_key TIDE_START_DATA = {1, 1, 1, 1, 1};

TIDE_START_CODE void tide_key_start(void)
{
    uint64_t raw[5] = {0};
    if (!tide_file_random(raw, sizeof raw)) {
        /* No random numbers (an old kernel, a filter): the layout of this
         * process and the time are what is left to guess. */
        uint64_t seed = tide_clock_now() ^ (uint64_t)(uintptr_t)raw ^
                        ((uint64_t)(uintptr_t)&tide_key << 20) ^ (uint64_t)tide_file_pid();
        for (unsigned i = 0; i < 5; i++)
            raw[i] = tide_mix(seed + i * 0x9e3779b97f4a7c15ULL);
    }
    tide_key.mark = raw[0] | (uint64_t)1 << 63; /* never an address's own bits */
    tide_key.seed = raw[1];
    tide_key.canary = raw[2] | (uint64_t)1 << 63; /* one zero byte before a block is seen */
    tide_key.freed = (raw[3] & TIDE_KEY_TAG) | TIDE_KEY_FREED;
    tide_key.remote = (raw[4] & TIDE_KEY_TAG) | TIDE_KEY_REMOTE;
}

uint64_t tide_key_word(uint32_t owner, unsigned cls)
{
    uint64_t name = (uint64_t)owner << TIDE_KEY_OWNER_SHIFT |
                    (uint64_t)cls << TIDE_KEY_CLASS_SHIFT | TIDE_KEY_LIVE;
    return (tide_mix(tide_key.seed ^ name) & TIDE_KEY_TAG) | (uint64_t)1 << 63 | name;
}
