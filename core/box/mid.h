/*
 * mid.h - blocks of 1 KiB to 32 KiB with a 16-byte header in front, in the memory
 * of the Mid source.
 *
 * owns:      the header word: its layout, making it and checking it
 * threads:   the word of a live block belongs to whoever frees it
 * invariant: the word of a block in a user's hands is the live word of its address,
 *            class and owner; any other word sends a free to the judge
 * uses:      magazine, page, key, source
 * used by:   heap, judge, route
 * not here:  the fast paths, which treat Tiny and Mid alike (route); what to do about
 *            a wrong word (judge)
 * test:      tests/test_mid.c
 *
 * The checked word, 64 bits at p - 8 (or in the near shadow table, one word per
 * KiB of window, when the source is far):
 *
 *     bit  63      always 1: the byte at p - 1 is never zero
 *     bits 40..62  tag: owner, class and state, bound to the secret
 *     bits 16..39  owner: heap id (16 bits) and generation (8 bits)
 *     bits  8..15  class
 *     bits  0..7   state: live, freed, freed by another thread
 *
 * and over all of it, by exclusive or, the address p (whose top bit is 0): a word that
 * was copied to another place is wrong there.
 * The eight bytes at p - 16 are spare. A word is written and read as a whole:
 * narrower accesses would break store forwarding.
 * In the shadow variant p - 8 holds a canary that is written when the block leaves
 * its page and checked when it returns: malloc and free touch no far line. Its bit 63 is 1, too.
 */
#ifndef TIDE_BOX_MID_H
#define TIDE_BOX_MID_H

#include "box/key.h"
#include "box/magazine.h"
#include "box/source.h"

enum tide_mid_state { TIDE_MID_LIVE, TIDE_MID_FREED, TIDE_MID_REMOTE, TIDE_MID_BROKEN };

/* Tells the cache's magazines about the words of Mid. */
void tide_mid_birth(struct tide_cache *cache);

/* What the word of the block at p says, and whose it is. */
enum tide_mid_state tide_mid_read(const struct tide_window *window, const void *p, uint32_t *owner,
                                  unsigned *cls);

/* Makes the block at p live, as one of `owner`. Nothing of the window is assumed
 * to be warm. */
void tide_mid_set_live(const struct tide_window *window, void *p, uint32_t owner, unsigned cls);

/* Turns the live word at p into the one of a freed block. */
void tide_mid_set_freed(const struct tide_window *window, void *p, enum tide_mid_state state);

/* Where the checked word of p is: the one boundary between the two variants. */
TIDE_INLINE void *tide_mid_word_at(const struct tide_window *window, const void *p)
{
    if (TIDE_LIKELY((window->mode & TIDE_MODE_SHADOW) == 0))
        return (char *)p - 8;
    return &window->shadow[((uintptr_t)p - window->base) >> TIDE_SHADOW_SHIFT];
}

/* Far memory is only modelled: before each access to a header word the library
 * waits as long as the model says. */
TIDE_INLINE bool tide_mid_is_modelled(const struct tide_window *window)
{
    return window->mode == TIDE_MODE_MODEL;
}

TIDE_INLINE uint64_t tide_mid_load(const void *at)
{
    uint64_t word;
    memcpy(&word, at, sizeof word);
    return word;
}

TIDE_INLINE void tide_mid_store(void *at, uint64_t word)
{
    memcpy(at, &word, sizeof word);
}

#endif
