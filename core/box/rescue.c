/* rescue.c - see rescue.h */
#include "box/rescue.h"

#include "box/claims.h"
#include "box/park.h"

static uint32_t rescue_expelled(const struct tide_crew *self)
{
    uint32_t members = 0;
    for (uint32_t i = 0; i < TIDE_LAYOUT_MEMBERS; i++)
        if (atomic_load(&self->head->member[i].standing) == TIDE_LAYOUT_EXPELLED)
            members |= UINT32_C(1) << i;
    return members;
}

static void rescue_expel(const struct tide_crew *self, uint32_t members)
{
    for (uint32_t i = 0; i < TIDE_LAYOUT_MEMBERS; i++)
        if ((members >> i & 1) != 0)
            atomic_store(&self->head->member[i].standing, TIDE_LAYOUT_EXPELLED);
}

/* One of them writes the medium. It has said so before it began a call: with all of them at a
 * stand, nobody is about to say so. */
static bool rescue_syncs(const struct tide_crew *self, uint32_t members)
{
    uint64_t syncer = atomic_load(&self->room->syncer) - 1;
    return syncer < TIDE_LAYOUT_MEMBERS && (members >> syncer & 1) != 0;
}

/* Something is new for all who sleep. */
static void rescue_ring(const struct tide_crew *self)
{
    struct tide_layout_bell *bell = &self->head->data;
    for (int i = 0; i < TIDE_LAYOUT_BELLS; i++) {
        atomic_fetch_add_explicit(&bell[i].word, 1, memory_order_release);
        tide_park_wake(&bell[i].word, self->shared);
    }
}

/* With all others at a stand. `again`: a repair was begun before, and not ended. */
static int rescue_mend(struct tide_crew *self, struct tide_mend_crew crew, uint32_t gone,
                       bool again, struct tide_layout_fault *fault)
{
    struct tide_mend_report report;
    int error = 0;
    if (again || !tide_claims_mend(self->map, &crew, &report))
        error = tide_mend_among(self->map, &crew, &report, fault);
    if (error == -EUCLEAN)
        atomic_store(&self->room->damaged, 1);
    if (error != 0)
        return error;
    tide_crew_forget(self, gone);
    atomic_fetch_add(&self->room->repairs, 1);
    return 0;
}

int tide_rescue_held(struct tide_crew *self, uint32_t expel, struct tide_layout_fault *fault)
{
    struct tide_logroom_crew seen = tide_logroom_crew(self->region, &self->self);
    uint32_t before = rescue_expelled(self), alive = seen.alive & ~(before | expel);
    uint32_t gone = seen.dead | (before & ~seen.alive); /* some were expelled, and closed it */
    bool left = (atomic_load(&self->room->generation) & 1) != 0;
    bool again = atomic_load(&self->room->mending) != 0;
    int error = -EBUSY;
    if (gone == 0 && expel == 0 && !left)
        return 0;
    if (tide_crew_stop(self, alive | expel) && !rescue_syncs(self, expel)) {
        struct tide_mend_crew who = {alive, seen.alive & (before | expel)};
        rescue_expel(self, expel);
        error = rescue_mend(self, who, gone, again, fault);
    }
    tide_crew_go_on(self, error == 0 || error == -EUCLEAN);
    rescue_ring(self);
    return error;
}

int tide_rescue_now(struct tide_crew *self)
{
    struct tide_layout_fault fault;
    uint32_t pid;
    if (tide_logroom_hold(self->region, &pid) != 0)
        return -EBUSY;
    int error = tide_rescue_held(self, 0, &fault);
    tide_logroom_leave(self->region);
    return error;
}

void tide_rescue_look(struct tide_crew *self)
{
    if (tide_crew_glance(self))
        tide_rescue_now(self);
}

uint32_t tide_rescue_members(const struct tide_crew *self, uint64_t process)
{
    struct tide_owner_seen seen;
    uint32_t members = 0;
    for (uint32_t i = 0; i < TIDE_LAYOUT_MEMBERS; i++) {
        enum tide_owner_is is = tide_owner_look_as(&self->room->crew[i], &self->self, &seen);
        if (is != TIDE_OWNER_NOBODY && is != TIDE_OWNER_DEAD && seen.pid == process)
            members |= UINT32_C(1) << i;
    }
    return members & ~rescue_expelled(self);
}

int tide_rescue_expel(struct tide_crew *self, uint32_t members, struct tide_layout_fault *fault)
{
    uint32_t pid;
    if (tide_logroom_hold(self->region, &pid) != 0)
        return -EBUSY;
    int error = tide_rescue_held(self, members, fault);
    tide_logroom_leave(self->region);
    return error;
}
