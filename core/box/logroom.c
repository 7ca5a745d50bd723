/* logroom.c - see logroom.h */
#include "box/logroom.h"

#include "box/crc.h"
#include "box/file.h"

static uint64_t logroom_sum(const struct tide_logroom *room)
{
    enum { FROM = offsetof(struct tide_logroom, version) };
    return tide_crc(0, (const unsigned char *)room + FROM,
                    offsetof(struct tide_logroom, check) - FROM);
}

static bool logroom_is(struct tide_layout_fault *fault, const char *what, uint64_t value,
                       uint64_t want)
{
    if (value != want)
        *fault = (struct tide_layout_fault){what, value, want, want};
    return value == want;
}

/* The run that the area names is one that was lent for a log. */
static bool logroom_fits(const struct tide_region *region, const struct tide_logroom *room,
                         struct tide_layout_fault *fault)
{
    struct tide_region_segment segment = {.state = TIDE_REGION_FREE};
    uint64_t index = room->at / TIDE_REGION_SEGMENT;
    tide_plot_read(&region->table, index, &segment);
    if (!logroom_is(fault, "state of the log's first segment", segment.state, TIDE_REGION_LENT) ||
        !logroom_is(fault, "tag of the log's segments", segment.tag, TIDE_LOGROOM_TAG) ||
        !logroom_is(fault, "bytes of the log's segments", segment.length * TIDE_REGION_SEGMENT,
                    room->length))
        return false;
    const struct tide_plot *table = &region->table;
    if (index < table->heads) {
        *fault = (struct tide_layout_fault){"first segment of the log", index, table->heads,
                                            table->segments - 1};
        return false;
    }
    if (segment.length > table->segments - index) {
        *fault = (struct tide_layout_fault){"segments from the log's first one on", segment.length,
                                            1, table->segments - index};
        return false;
    }
    if (room->at % TIDE_REGION_SEGMENT == 0 && room->size <= room->length)
        return true;
    *fault = (struct tide_layout_fault){"bytes of the log", room->size, 1, room->length};
    return false;
}

int tide_logroom_find(const struct tide_region *region, struct tide_logroom_place *out,
                      struct tide_layout_fault *fault)
{
    struct tide_logroom copy; /* others may write there: copy, then look */
    const struct tide_logroom *area = tide_logroom_of(region), *room = &copy;
    uint64_t magic = atomic_load_explicit(&area->magic, memory_order_acquire);
    if (magic == 0)
        return -ENOENT;
    tide_layout_words(&copy, area, offsetof(struct tide_logroom, pad0));
    if (!logroom_is(fault, "first word of the region's area for a log", magic,
                    TIDE_LOGROOM_MAGIC) ||
        !logroom_is(fault, "version of the area for a log", room->version, TIDE_LOGROOM_VERSION) ||
        !logroom_is(fault, "bytes of the area for a log", room->bytes, sizeof *room) ||
        !logroom_is(fault, "check sum of the area for a log", room->check, logroom_sum(room)) ||
        !logroom_is(fault, "unknown features of the area for a log", room->features, 0) ||
        !logroom_fits(region, room, fault))
        return -EPROTO;
    *out = (struct tide_logroom_place){.at = room->at, .size = room->size};
    memcpy(out->id, room->id, sizeof out->id);
    return 0;
}

/* --- the owner ------------------------------------------------------------------------ */

/* Whoever was seen is known not to have the log any more. Of private memory each process has
 * its own copy; whoever has shared memory open holds a lock that others can see, but for those
 * of another machine: of these only the caller can know (tide_region_moved). */
static bool logroom_is_left(struct tide_region *region, enum tide_owner_is is, uint32_t pid)
{
    if (is == TIDE_OWNER_NOBODY || is == TIDE_OWNER_DEAD)
        return true;
    if (region->extent.fd < 0)
        return pid != (uint32_t)tide_file_pid();
    if (is == TIDE_OWNER_FOREIGN)
        return atomic_load(&region->moved);
    return is != TIDE_OWNER_ALIVE && tide_region_alone(region) == 0;
}

int tide_logroom_hold(struct tide_region *region, uint32_t *pid)
{
    struct tide_owner *owner = &tide_logroom_of(region)->owner;
    struct tide_owner_seen seen;
    do {
        enum tide_owner_is is = tide_owner_look(owner, &seen);
        *pid = seen.pid;
        if (!logroom_is_left(region, is, seen.pid))
            return is == TIDE_OWNER_FOREIGN ? -EREMOTE : -EBUSY;
    } while (!tide_owner_win(owner, &seen));
    TIDE_CRASH_POINT(room_taken);
    return 0;
}

struct tide_logroom_crew tide_logroom_crew(struct tide_region *region,
                                           const struct tide_owner_self *self)
{
    const struct tide_logroom *room = tide_logroom_of(region);
    struct tide_logroom_crew crew = {0, 0, 0, 0, TIDE_OWNER_NOBODY};
    struct tide_owner_seen seen;
    for (uint32_t i = 0; i < TIDE_LAYOUT_MEMBERS; i++) {
        uint32_t bit = UINT32_C(1) << i;
        enum tide_owner_is is = tide_owner_look_as(&room->crew[i], self, &seen);
        if (is == TIDE_OWNER_NOBODY)
            continue;
        bool left = logroom_is_left(region, is, seen.pid);
        crew.pid = !left || crew.pid == 0 ? seen.pid : crew.pid;
        crew.mine |= seen.word == self->word ? bit : 0;
        crew.alive |= left ? 0 : bit;
        crew.dead |= left ? bit : 0;
        if (!left && is >= TIDE_OWNER_BEFORE)
            crew.other = tide_max(crew.other, is);
    }
    return crew;
}

int tide_logroom_unused(struct tide_region *region, uint32_t *pid)
{
    struct tide_owner_self self;
    tide_owner_self(&self);
    struct tide_logroom_crew crew = tide_logroom_crew(region, &self);
    if (crew.alive == 0)
        return 0;
    *pid = crew.pid;
    tide_logroom_leave(region);
    return crew.other == TIDE_OWNER_FOREIGN ? -EREMOTE : -EBUSY;
}

enum tide_logroom_need tide_logroom_need(const struct tide_region *region)
{
    const struct tide_logroom *room = tide_logroom_of(region);
    uint64_t boot[2], state = atomic_load_explicit(&room->state, memory_order_acquire);
    tide_owner_boot(boot);
    if (state == TIDE_LOGROOM_CLOSED)
        return TIDE_LOGROOM_READY;
    bool known = boot[0] != 0 || boot[1] != 0; /* else it may be another one */
    if (region->extent.fd >= 0 && (!known || boot[0] != atomic_load(&room->boot[0]) ||
                                   boot[1] != atomic_load(&room->boot[1])))
        return TIDE_LOGROOM_OUTAGE;
    return state == TIDE_LOGROOM_OPEN ? TIDE_LOGROOM_KILLED : TIDE_LOGROOM_READY;
}

void tide_logroom_begin(struct tide_region *region, bool repaired)
{
    struct tide_logroom *room = tide_logroom_of(region);
    uint64_t boot[2];
    tide_owner_boot(boot);
    tide_logroom_raise(&room->opens, 1);
    tide_logroom_raise(&room->repairs, repaired);
    /* A boot whose halves do not fit is none. */
    atomic_store(&room->boot[0], boot[0]);
    atomic_store(&room->boot[1], boot[1]);
    memset((void *)room->crew, 0, sizeof room->crew);
    atomic_store(&room->damaged, 0);
    atomic_store(&room->again, 0);
    atomic_store(&room->mending, 0);
    atomic_store(&room->syncer, 0);
    atomic_store(&room->durable, tide_logroom_said(room).places);
    atomic_store(&room->generation, (atomic_load(&room->generation) | 1) + 1);
    TIDE_CRASH_POINT(room_booted);
    atomic_store_explicit(&room->state, TIDE_LOGROOM_OPEN, memory_order_release);
    TIDE_CRASH_POINT(room_begun);
}

void tide_logroom_end(struct tide_region *region, bool loose)
{
    atomic_store_explicit(&tide_logroom_of(region)->state,
                          loose ? TIDE_LOGROOM_LOOSE : TIDE_LOGROOM_CLOSED, memory_order_release);
    TIDE_CRASH_POINT(room_ended);
}

/* --- the mark ------------------------------------------------------------------------- */

/* What stands in a mark; false when it is not right. */
static bool logroom_read_mark(const struct tide_logroom_mark *mark, struct tide_logroom_said *out,
                              uint64_t *turn)
{
    *turn = atomic_load(&mark->turn);
    *out = (struct tide_logroom_said){atomic_load(&mark->places), atomic_load(&mark->base),
                                      atomic_load(&mark->kept), atomic_load(&mark->epoch)};
    uint32_t sum = tide_crc(tide_crc(0, out, sizeof *out), turn, sizeof *turn);
    return atomic_load(&mark->check) == (UINT64_C(1) << 32 | sum);
}

/* Which of the two is in force, and its turn; 0 when none is. */
static int logroom_find_mark(const struct tide_logroom *room, struct tide_logroom_said *out,
                             uint64_t *turn)
{
    struct tide_logroom_said said;
    uint64_t found;
    int in_force = 0;
    *turn = 0;
    for (int i = 0; i < 2; i++)
        if (logroom_read_mark(&room->mark[i], &said, &found) && found > *turn) {
            *out = said;
            *turn = found;
            in_force = i;
        }
    return in_force;
}

struct tide_logroom_said tide_logroom_said(const struct tide_logroom *room)
{
    struct tide_logroom_said said = {0, 0, 0, 0};
    uint64_t turn;
    logroom_find_mark(room, &said, &turn);
    return said;
}

void tide_logroom_say(struct tide_logroom *room, struct tide_logroom_said what)
{
    struct tide_logroom_said before;
    uint64_t turn;
    struct tide_logroom_mark *mark = &room->mark[1 - logroom_find_mark(room, &before, &turn)];
    turn++;
    uint32_t sum = tide_crc(tide_crc(0, &what, sizeof what), &turn, sizeof turn);
    atomic_store(&mark->check, 0);
    TIDE_CRASH_POINT(mark_open);
    atomic_store(&mark->places, what.places);
    atomic_store(&mark->base, what.base);
    atomic_store(&mark->kept, what.kept);
    atomic_store(&mark->epoch, what.epoch);
    atomic_store(&mark->turn, turn);
    TIDE_CRASH_POINT(mark_written);
    atomic_store_explicit(&mark->check, UINT64_C(1) << 32 | sum, memory_order_release);
}

/* --- segments ------------------------------------------------------------------------- */

static uint64_t logroom_longest(const struct tide_region *region)
{
    struct tide_region_segment segment;
    uint64_t run = 0, longest = 0;
    for (uint64_t i = 0; tide_plot_read(&region->table, i, &segment) == 0; i++) {
        run = segment.state == TIDE_REGION_FREE ? run + 1 : 0;
        longest = tide_max(longest, run);
    }
    return longest * TIDE_REGION_SEGMENT;
}

int tide_logroom_lend(struct tide_region *region, uint64_t size, uint64_t *at, uint64_t *most)
{
    uint64_t segments = (size + TIDE_REGION_SEGMENT - 1) / TIDE_REGION_SEGMENT;
    int error = tide_region_lend(region, segments, TIDE_LOGROOM_TAG, at);
    if (error == -ENOMEM) {
        *most = logroom_longest(region);
        return -ENOSPC;
    }
    return error;
}

void tide_logroom_seal(struct tide_region *region, uint64_t at, const struct tide_layout_head *head)
{
    struct tide_logroom *room = tide_logroom_of(region);
    room->version = TIDE_LOGROOM_VERSION;
    room->bytes = sizeof *room;
    room->features = 0;
    room->at = at;
    room->size = head->size;
    room->length = tide_align_up(head->size, TIDE_REGION_SEGMENT);
    memcpy(room->id, head->id, sizeof room->id);
    room->check = logroom_sum(room);
    memset((void *)room->mark, 0, sizeof room->mark);
    tide_logroom_say(room, (struct tide_logroom_said){head->first, head->first, head->first, 0});
    atomic_store(&room->opens, 0);
    atomic_store(&room->repairs, 0);
    tide_logroom_begin(region, false);
    TIDE_CRASH_POINT(room_filled);
    atomic_store_explicit(&room->magic, TIDE_LOGROOM_MAGIC, memory_order_release);
    TIDE_CRASH_POINT(room_sealed);
}

uint64_t tide_logroom_clear(struct tide_region *region)
{
    struct tide_logroom *room = tide_logroom_of(region);
    struct tide_region_segment segment;
    uint64_t runs = 0;
    atomic_store_explicit(&room->magic, 0, memory_order_seq_cst);
    TIDE_CRASH_POINT(room_cleared);
    for (uint64_t i = 0; tide_plot_read(&region->table, i, &segment) == 0; i++)
        if (segment.state == TIDE_REGION_LENT && segment.tag == TIDE_LOGROOM_TAG)
            runs += tide_region_return(region, i * TIDE_REGION_SEGMENT) == 0;
    TIDE_CRASH_POINT(room_returned);
    return runs;
}
