/* mid.c - see mid.h */
#include "box/mid.h"

#include "box/diag.h"

void tide_mid_birth(struct tide_cache *cache)
{
    for (unsigned slot = TIDE_TINY_ALIGNED; slot < TIDE_SLOTS; slot++) {
        struct tide_magazine *magazine = tide_cache_magazine(cache, slot);
        magazine->checked = tide_key_word(cache->owner, tide_slot_class(slot));
        magazine->freed = magazine->checked ^ tide_key.freed;
        magazine->take_turn = magazine->free_turn = tide_key.freed;
        magazine->at = -8;
        magazine->headed = 1;
    }
}

/* Before an access to the word: waits if the far memory that it is in is a model. */
static void *mid_reach(const struct tide_window *window, const void *p)
{
    void *at = tide_mid_word_at(window, p);
    if (tide_mid_is_modelled(window))
        tide_source_touch_slow(at, sizeof(uint64_t), window->delay);
    return at;
}

enum tide_mid_state tide_mid_read(const struct tide_window *window, const void *p, uint32_t *owner,
                                  unsigned *cls)
{
    uint64_t word = tide_mid_load(mid_reach(window, p)) ^ (uintptr_t)p;
    *owner = (uint32_t)(word >> TIDE_KEY_OWNER_SHIFT) & TIDE_OWNER_MASK;
    *cls = (unsigned)(word >> TIDE_KEY_CLASS_SHIFT) & 0xff;
    uint64_t live = tide_key_word(*owner, *cls);
    if (word == live)
        return TIDE_MID_LIVE;
    if (word == (live ^ tide_key.freed))
        return TIDE_MID_FREED;
    return word == (live ^ tide_key.remote) ? TIDE_MID_REMOTE : TIDE_MID_BROKEN;
}

void tide_mid_set_live(const struct tide_window *window, void *p, uint32_t owner, unsigned cls)
{
    tide_mid_store(mid_reach(window, p), tide_key_word(owner, cls) ^ (uintptr_t)p);
}

void tide_mid_set_freed(const struct tide_window *window, void *p, enum tide_mid_state state)
{
    void *at = mid_reach(window, p);
    uint64_t turn = state == TIDE_MID_REMOTE ? tide_key.remote : tide_key.freed;
    tide_mid_store(at, tide_mid_load(at) ^ turn);
}
