/* crew.c - see crew.h */
#include "box/crew.h"

#include "box/clock.h"
#include "box/park.h"

#define CREW_GLANCE UINT64_C(8000000)  /* ns from look to look */
#define CREW_NAP UINT64_C(10000000)    /* of sleep while others repair */
#define CREW_WAIT UINT64_C(200000000)  /* for a call to end; longer when that was in vain */
#define CREW_MOMENT UINT64_C(100000)   /* from look to look meanwhile */
#define CREW_PAUSE UINT64_C(300000000) /* between two tries that fail */

enum { CREW_YIELDS = 32, CREW_HOMES = 10000, CREW_LONGER = 2 /* powers of two */ };

#ifndef TIDE_DEBUG
static const
#endif
    uint64_t tide_crew_patience = UINT64_C(10000000000);

/* For each byte of the log there is more of it, 2^-3 ns. */
enum { CREW_MORE = 3 };

#define CREW_HOME UINT64_MAX /* `lender`: somebody takes blocks home that nobody lends */

static struct tide_layout_member *crew_member(const struct tide_crew *self)
{
    return &self->head->member[self->number];
}

/* --- joining and leaving ------------------------------------------------------------------ */

int tide_crew_join(struct tide_crew *self, struct tide_region *region,
                   const struct tide_logmap *map)
{
    struct tide_logroom *room = tide_logroom_of(region);
    uint32_t number = 0;
    while (number < TIDE_LAYOUT_MEMBERS &&
           (atomic_load(&room->crew[number].word) != 0 ||
            atomic_load(&map->head->member[number].standing) != TIDE_LAYOUT_MEMBER))
        number++;
    if (number == TIDE_LAYOUT_MEMBERS)
        return -ENFILE;
    *self = (struct tide_crew){
        .room = room, .head = map->head, .map = map, .region = region, .number = number};
    self->shared = region->extent.fd >= 0;
    self->fences = !tide_park_ready() || !tide_park_barrier();
    tide_owner_self(&self->self);
    memset((void *)crew_member(self), 0, sizeof *crew_member(self));
    atomic_store(&crew_member(self)->fences, self->fences);
    atomic_store(&self->generation, atomic_load(&room->generation));
    atomic_store(&self->looked, tide_clock_now());
    tide_owner_put(&room->crew[number], &self->self);
    return 0;
}

void tide_crew_quit(struct tide_crew *self)
{
    uint64_t mine = self->number + 1;
    if (atomic_load(&self->head->lender) == mine)
        atomic_store(&self->head->lender, 0);
    tide_owner_drop(&self->room->crew[self->number]);
}

void tide_crew_forget(struct tide_crew *self, uint32_t members)
{
    struct tide_layout_bell *bell = &self->head->data;
    for (uint32_t i = 0; i < TIDE_LAYOUT_MEMBERS; i++) {
        struct tide_layout_member *member = &self->head->member[i];
        if ((members >> i & 1) == 0)
            continue;
        for (uint32_t k = 0; k < TIDE_LAYOUT_BELLS; k++)
            atomic_fetch_sub(&bell[k].sleepers, atomic_exchange(&member->asleep[k], 0));
        if (atomic_load(&self->room->syncer) == i + 1)
            atomic_store(&self->room->syncer, 0);
        tide_owner_drop(&self->room->crew[i]);
        atomic_store(&member->standing, TIDE_LAYOUT_MEMBER);
        atomic_store(&member->busy, 0);
    }
}

int tide_crew_error(const struct tide_crew *self)
{
    if (!self->shared)
        return 0;
    if (atomic_load(&crew_member(self)->standing) == TIDE_LAYOUT_EXPELLED)
        return -ESTALE;
    return atomic_load(&self->room->damaged) != 0 ? -EUCLEAN : 0;
}

/* --- who died ------------------------------------------------------------------------------- */

static bool crew_is_dead(const struct tide_crew *self, const struct tide_owner *owner)
{
    struct tide_owner_seen seen;
    return atomic_load_explicit(&owner->word, memory_order_relaxed) != 0 &&
           tide_owner_look_as(owner, &self->self, &seen) == TIDE_OWNER_DEAD;
}

/* The repair that is under way was left. */
static bool crew_is_left(const struct tide_crew *self)
{
    const struct tide_owner *owner = &self->room->owner;
    return (atomic_load(&self->room->generation) & 1) != 0 &&
           (atomic_load(&owner->word) == 0 || crew_is_dead(self, owner));
}

bool tide_crew_glance(struct tide_crew *self)
{
    if (TIDE_LIKELY(!self->shared))
        return false;
    uint64_t now = tide_clock_now(), before = atomic_load(&self->looked);
    if (now - before < CREW_GLANCE || !atomic_compare_exchange_strong(&self->looked, &before, now))
        return false;
    if (crew_is_left(self)) /* all stand still: never mind that a try of before was in vain */
        return true;
    if (now < atomic_load(&self->room->again))
        return false;
    for (uint32_t i = 0; i < TIDE_LAYOUT_MEMBERS; i++) {
        const struct tide_owner *owner = &self->room->crew[i];
        bool left = atomic_load(&owner->word) == 0 &&
                    atomic_load(&self->head->member[i].standing) == TIDE_LAYOUT_EXPELLED;
        if (i != self->number && (left || crew_is_dead(self, owner)))
            return true;
    }
    return false;
}

/* --- calls ---------------------------------------------------------------------------------- */

/* Waits until the repair is over, or does it when its doer is gone. */
static void crew_wait(struct tide_crew *self)
{
    _Atomic uint32_t *word = &self->room->generation;
    uint32_t seen = atomic_load_explicit(word, memory_order_acquire);
    for (int i = 0; i < CREW_YIELDS && (seen & 1) != 0; i++) {
        tide_park_yield();
        seen = atomic_load_explicit(word, memory_order_acquire);
    }
    if ((seen & 1) == 0)
        return;
    tide_park_sleep(word, seen, CREW_NAP, true);
    if (crew_is_left(self) && self->repair != NULL)
        self->repair(self);
}

/* One and the same repair has been under way for so long that whoever does it stands still. *end:
 * when that is so, 0 at first. */
static bool crew_is_stuck(const struct tide_crew *self, uint64_t *end)
{
    uint64_t now = tide_clock_now();
    if (*end == 0)
        *end = now + tide_crew_patience + (self->map->size >> CREW_MORE);
    return now >= *end;
}

/* False: nothing is to be done on the log any more, or not now. Else *now is what to go by. */
static bool crew_catch_up(struct tide_crew *self, uint32_t *now, bool waits)
{
    uint32_t before = 0;
    for (uint64_t end = 0;; before = *now) {
        TIDE_COH_POINT();
        *now = atomic_load_explicit(&self->room->generation, memory_order_acquire);
        TIDE_COH_POINT();
        /* Behind it: who was expelled by the time of that generation finds it out. */
        if (tide_crew_error(self) != 0)
            return false;
        if ((*now & 1) == 0)
            break;
        end = *now == before ? end : 0;
        if (!waits || crew_is_stuck(self, &end))
            return false;
        crew_wait(self);
    }
    atomic_store_explicit(&self->generation, *now, memory_order_relaxed);
    return true;
}

/* The exchange is a barrier. */
static bool crew_enter_slow(struct tide_crew *self, _Atomic uint64_t *busy, bool waits)
{
    uint32_t now;
    do {
        atomic_store_explicit(busy, 0, memory_order_release);
        if (!crew_catch_up(self, &now, waits))
            return false;
        atomic_exchange_explicit(busy, 1, memory_order_seq_cst);
    } while (atomic_load_explicit(&self->room->generation, memory_order_seq_cst) != now);
    return true;
}

static bool crew_begin_slow(struct tide_crew *self, bool waits)
{
    _Atomic uint64_t *busy = &crew_member(self)->busy;
    uint32_t now;
    do {
        atomic_fetch_sub_explicit(busy, 1, memory_order_release);
        if (!crew_catch_up(self, &now, waits))
            return false;
        atomic_fetch_add_explicit(busy, 1, memory_order_seq_cst);
    } while (atomic_load_explicit(&self->room->generation, memory_order_seq_cst) != now);
    return true;
}

static bool crew_is_current(const struct tide_crew *self)
{
    return atomic_load_explicit(&self->room->generation, memory_order_acquire) ==
           atomic_load_explicit(&self->generation, memory_order_relaxed);
}

TIDE_NOINLINE bool tide_crew_enter_shared(struct tide_crew *self, _Atomic uint64_t *busy,
                                          bool waits)
{
    if (TIDE_UNLIKELY(self->fences))
        atomic_exchange_explicit(busy, 1, memory_order_seq_cst);
    else
        atomic_store_explicit(busy, 1, memory_order_relaxed);
    TIDE_FENCE_SIGNAL();
    return TIDE_LIKELY(crew_is_current(self)) || crew_enter_slow(self, busy, waits);
}

TIDE_NOINLINE bool tide_crew_begin_shared(struct tide_crew *self, bool waits)
{
    atomic_fetch_add_explicit(&self->head->member[self->number].busy, 1, memory_order_seq_cst);
    return TIDE_LIKELY(crew_is_current(self)) || crew_begin_slow(self, waits);
}

uint64_t tide_crew_frontier(struct tide_crew *self, const struct tide_logmap *map)
{
    if (!tide_crew_try_begin(self))
        return tide_coh_get(map->coh, &map->head->committed);
    uint64_t frontier = tide_order_frontier(map, UINT64_MAX);
    tide_crew_end(self);
    return frontier;
}

int tide_crew_lend(struct tide_crew *self)
{
    if (!self->shared)
        return 0;
    _Atomic uint64_t *lender = &self->head->lender;
    uint64_t seen = tide_coh_get(self->map->coh, lender), mine = self->number + 1;
    if (seen == mine)
        return 0;
    for (int i = 0; i < CREW_HOMES && seen == CREW_HOME; i++) {
        tide_park_yield();
        seen = tide_coh_get(self->map->coh, lender);
    }
    if (seen == mine) /* another thread of this process */
        return 0;
    if (seen == CREW_HOME || (seen == 0 && !tide_crew_try_begin(self)))
        return -EAGAIN;
    if (seen != 0)
        return -EPERM;
    bool won = tide_coh_win(self->map->coh, lender, &seen, mine) || seen == mine;
    tide_crew_end(self);
    return won ? 0 : seen == CREW_HOME ? -EAGAIN : -EPERM;
}

bool tide_crew_go_home(struct tide_crew *self, bool *mine)
{
    uint64_t nobody = 0;
    *mine = !self->shared ||
            tide_coh_get(self->map->coh, &self->head->lender) == self->number + UINT64_C(1);
    return *mine || tide_coh_win(self->map->coh, &self->head->lender, &nobody, CREW_HOME);
}

/* --- all others stop -------------------------------------------------------------------------- */

static bool crew_is_at_work(const struct tide_crew *self, uint32_t members)
{
    const struct tide_logmap *map = self->map;
    for (uint32_t i = 0; i < TIDE_LAYOUT_MEMBERS; i++)
        if ((members >> i & 1) != 0 && atomic_load(&self->head->member[i].busy) != 0)
            return true;
    for (uint32_t i = 0; i < map->producers; i++)
        if (atomic_load(&map->producer[i].busy) != 0 &&
            tide_layout_is_of(atomic_load(&map->producer[i].owner), members))
            return true;
    for (uint32_t i = 0; i < map->readers; i++)
        if (atomic_load(&map->reader[i].busy) != 0 &&
            tide_layout_is_of(atomic_load(&map->reader[i].owner), members))
            return true;
    return false;
}

/* What all those stored before, `busy` above all, is seen from now on. */
static bool crew_barrier(const struct tide_crew *self, uint32_t members)
{
    if (tide_park_barrier())
        return true;
    for (uint32_t i = 0; i < TIDE_LAYOUT_MEMBERS; i++)
        if ((members >> i & 1) != 0 && atomic_load(&self->head->member[i].fences) == 0)
            return false;
    return true;
}

bool tide_crew_stop(struct tide_crew *self, uint32_t members)
{
    _Atomic uint32_t dummy = 0;
    uint32_t generation = atomic_load(&self->room->generation);
    uint32_t tries = tide_min(atomic_load(&self->tries), CREW_LONGER);
    uint64_t end = tide_clock_now() + (CREW_WAIT << tries);
    atomic_store(&self->room->generation, generation | 1);
    bool ready = crew_barrier(self, members);
    while (ready && crew_is_at_work(self, members)) {
        ready = tide_clock_now() < end;
        tide_park_sleep(&dummy, 0, CREW_MOMENT, false);
    }
    atomic_store(&self->tries, ready ? 0 : tries + 1);
    if (ready)
        atomic_store(&self->room->mending, 1);
    else
        atomic_store(&self->room->again, tide_clock_now() + (CREW_PAUSE << tries));
    return ready;
}

/* What was begun on the log has to be ended first, by whomever. */
void tide_crew_go_on(struct tide_crew *self, bool done)
{
    uint32_t generation = atomic_load(&self->room->generation);
    if (done)
        atomic_store(&self->room->mending, 0);
    if (atomic_load(&self->room->mending) != 0)
        return;
    atomic_store(&self->room->generation, (generation | 1) + 1);
    tide_park_wake(&self->room->generation, true);
}
