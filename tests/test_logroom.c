/* test_logroom.c - the region's area for a log: what is refused, who has it, what it took. */
#include "region_case.h"

#include "box/logroom.h"

/* All that is told of a log. */
static const struct tide_layout_head *head_of(uint64_t size)
{
    static struct tide_layout_head head = {.first = 5, .id = {7, 1}};
    head.size = size;
    return &head;
}

static struct tide_layout_fault fault;

/* A log of one and a half segments in a new region. */
static tide_region_t *filled(const char *text, uint64_t *at)
{
    tide_region_t *region = region_made(text, REGION_SIZE, 0);
    uint64_t most, size = TIDE_REGION_SEGMENT * 3 / 2;
    uint32_t pid;
    ck_assert_int_eq(tide_logroom_check(region, &fault), -ENOENT);
    ck_assert_int_eq(tide_logroom_take(region, &pid), 0);
    ck_assert_int_eq(tide_logroom_lend(region, size, at, &most), 0);
    tide_logroom_seal(region, *at, head_of(size));
    ck_assert_int_eq(tide_logroom_check(region, &fault), 0);
    return region;
}

static void refused(tide_region_t *region, const char *what, uint64_t value)
{
    ck_assert_int_eq(tide_logroom_check(region, &fault), -EPROTO);
    ck_assert_msg(strstr(fault.what, what) != NULL, "%s", fault.what);
    ck_assert_uint_eq(fault.value, value);
}

START_TEST(every_field_is_looked_at)
{
    uint64_t at;
    tide_region_t *region = filled("anon", &at);
    struct tide_logroom *room = tide_logroom_of(region), was;
    memcpy((void *)&was, (void *)room, sizeof was);
    room->magic = 5;
    refused(region, "first word", 5);
    ck_assert_uint_eq(fault.low, TIDE_LOGROOM_MAGIC);
    room->magic = TIDE_LOGROOM_MAGIC;
    room->version = 1;
    refused(region, "version", 1);
    ck_assert_uint_eq(fault.low, TIDE_LOGROOM_VERSION);
    room->version = TIDE_LOGROOM_VERSION;
    room->bytes--;
    refused(region, "bytes of the area", TIDE_REGION_AREA - 1);
    room->bytes++;
    for (size_t i = offsetof(struct tide_logroom, features);
         i < offsetof(struct tide_logroom, check); i++) {
        ((unsigned char *)room)[i] ^= 1;
        refused(region, "check sum", room->check);
        ((unsigned char *)room)[i] ^= 1;
    }
    ck_assert_int_eq(tide_logroom_check(region, &fault), 0);
    ck_assert_int_eq(tide_region_give(region, at), 0);
    refused(region, "state of the log's first segment", TIDE_REGION_FREE);
    ck_assert_int_eq(tide_region_take(region, 2, 77, &at), 0);
    refused(region, "tag", 77);
    ck_assert_int_eq(tide_region_give(region, at), 0);
    ck_assert_int_eq(tide_region_take(region, 3, TIDE_LOGROOM_TAG, &at), 0);
    refused(region, "bytes of the log's segments", 3 * TIDE_REGION_SEGMENT);
    tide_logroom_leave(region);
    ck_assert_int_eq(tide_region_close(region), 0);
}
END_TEST

START_TEST(one_owner_at_a_time)
{
    uint64_t at;
    uint32_t pid = 0;
    tide_region_t *region = filled(unit_tmpfs[0] != '\0' ? "memfd" : "anon", &at);
    ck_assert_int_eq(tide_logroom_take(region, &pid), -EBUSY);
    ck_assert_uint_eq(pid, (unsigned)getpid());
    tide_logroom_leave(region);
    ck_assert_int_eq(tide_logroom_take(region, &pid), 0);
    tide_logroom_leave(region);
    ck_assert_int_eq(tide_region_close(region), 0);
}
END_TEST

/* A holder that nobody can judge: then it counts who else has the region open. */
START_TEST(an_owner_that_cannot_be_judged)
{
    uint64_t at;
    uint32_t pid;
    char text[300];
    snprintf(text, sizeof text, "file:%s/region", unit_disk);
    tide_region_t *region = filled(text, &at), *other = region_opened(text);
    tide_logroom_of(region)->owner.word ^= UINT64_C(1) << 40;
    ck_assert_int_eq(tide_logroom_take(region, &pid), -EBUSY);
    ck_assert_int_eq(tide_region_close(other), 0);
    ck_assert_int_eq(tide_logroom_take(region, &pid), 0);
    tide_logroom_leave(region);
    ck_assert_int_eq(tide_region_close(region), 0);
}
END_TEST

/* Somebody of another boot, of a machine that is not known or another one, in this place. */
static void put_stranger(struct tide_owner *owner, bool machine)
{
    struct tide_owner_self other;
    tide_owner_self(&other);
    other.boot[0] ^= 1;
    other.machine = machine ? other.machine ^ 2 : 0;
    tide_owner_sum(&other);
    tide_owner_put(owner, &other);
}

/* Whoever is not known to be dead by its process id: of another boot it counts who else has the
 * region open, of another machine what the caller says. In both places where somebody may be. */
START_TEST(an_owner_of_another_boot_or_machine)
{
    uint64_t at;
    uint32_t pid;
    char text[300];
    struct tide_owner_self self;
    tide_owner_self(&self);
    snprintf(text, sizeof text, "file:%s/region", unit_disk);
    tide_region_t *region = filled(text, &at), *other = region_opened(text);
    struct tide_logroom *room = tide_logroom_of(region);
    struct tide_owner *place = _i % 2 == 0 ? &room->owner : &room->crew[3];
    tide_logroom_leave(region);
    put_stranger(place, false);
    ck_assert_int_eq(tide_logroom_take(region, &pid), -EBUSY);
    ck_assert_uint_eq(pid, (unsigned)getpid());
    ck_assert_int_eq(tide_region_close(other), 0);
    ck_assert_int_eq(tide_logroom_take(region, &pid), 0);
    tide_logroom_leave(region);
    if (self.machine == 0) /* nobody has told this machine's name: then there is no other one */
        return;
    put_stranger(place, true);
    ck_assert_int_eq(tide_logroom_take(region, &pid), -EREMOTE);
    ck_assert_int_eq(tide_region_moved(region), 0);
    ck_assert_int_eq(tide_logroom_take(region, &pid), 0);
    tide_logroom_leave(region);
    ck_assert_int_eq(tide_region_close(region), 0);
    region = region_opened(text); /* the handle's memory is used again */
    put_stranger(_i % 2 == 0 ? &tide_logroom_of(region)->owner : &tide_logroom_of(region)->crew[3],
                 true);
    ck_assert_int_eq(tide_logroom_take(region, &pid), -EREMOTE);
    ck_assert_int_eq(tide_region_close(region), 0);
}
END_TEST

START_TEST(how_it_was_left)
{
    uint64_t at;
    tide_region_t *region = filled("memfd", &at);
    struct tide_logroom *room = tide_logroom_of(region);
    ck_assert_int_eq(tide_logroom_need(region), TIDE_LOGROOM_KILLED);
    room->boot[0]++;
    ck_assert_int_eq(tide_logroom_need(region), TIDE_LOGROOM_OUTAGE);
    tide_logroom_end(region, true);
    ck_assert_int_eq(tide_logroom_need(region), TIDE_LOGROOM_OUTAGE);
    room->boot[0]--;
    ck_assert_int_eq(tide_logroom_need(region), TIDE_LOGROOM_READY);
    room->boot[1]++;
    tide_logroom_end(region, false);
    ck_assert_int_eq(tide_logroom_need(region), TIDE_LOGROOM_READY);
    tide_logroom_begin(region, true);
    ck_assert_int_eq(tide_logroom_need(region), TIDE_LOGROOM_KILLED);
    ck_assert_uint_eq(room->opens, 2);
    ck_assert_uint_eq(room->repairs, 1);
    tide_logroom_leave(region);
    ck_assert_int_eq(tide_region_close(region), 0);
}
END_TEST

/* Two marks in turns: what is half written, or was never right, leaves the one before. */
START_TEST(a_mark_that_is_half_written)
{
    uint64_t at;
    tide_region_t *region = filled("anon", &at);
    struct tide_logroom *room = tide_logroom_of(region);
    ck_assert_uint_eq(tide_logroom_said(room).places, 5);
    for (uint64_t i = 6; i < 12; i++) {
        struct tide_logroom_said before = tide_logroom_said(room);
        struct tide_logroom_said what = {i / 2 * 2, i * 3, i - 1, i * 7};
        tide_logroom_say(room, what);
        struct tide_logroom_said now = tide_logroom_said(room);
        ck_assert_int_eq(memcmp(&now, &what, sizeof now), 0);
        uint64_t turn = room->mark[0].turn > room->mark[1].turn ? 0 : 1;
        uint64_t *words = (uint64_t *)(void *)&room->mark[turn];
        for (int word = 0; word < 6; word++) {
            words[word] ^= UINT64_C(1) << (i * 5 + (uint64_t)word);
            now = tide_logroom_said(room);
            ck_assert_int_eq(memcmp(&now, &before, sizeof now), 0);
            words[word] ^= UINT64_C(1) << (i * 5 + (uint64_t)word);
        }
    }
    memset((void *)room->mark, 0, sizeof room->mark);
    ck_assert_uint_eq(tide_logroom_said(room).places, 0);
    tide_logroom_leave(region);
    ck_assert_int_eq(tide_region_close(region), 0);
}
END_TEST

/* What makers that died have taken goes back, too; what others have does not. */
START_TEST(clear_gives_all_back)
{
    uint64_t at, lost, mine, most, before;
    tide_region_t *region = region_made("anon", REGION_SIZE, 0);
    before = region_told(region).free_bytes;
    ck_assert_int_eq(tide_logroom_lend(region, 1, &lost, &most), 0);
    ck_assert_int_eq(tide_region_take(region, 1, 5, &mine), 0);
    ck_assert_int_eq(tide_logroom_lend(region, TIDE_REGION_SEGMENT + 1, &at, &most), 0);
    tide_logroom_seal(region, at, head_of(TIDE_REGION_SEGMENT + 1));
    ck_assert_uint_eq(tide_logroom_clear(region), 2);
    ck_assert_int_eq(tide_logroom_check(region, &fault), -ENOENT);
    ck_assert_uint_eq(region_told(region).free_bytes, before - TIDE_REGION_SEGMENT);
    ck_assert_uint_eq(tide_logroom_clear(region), 0);
    ck_assert_int_eq(tide_logroom_lend(region, REGION_SIZE, &at, &most), -ENOSPC);
    ck_assert_uint_eq(most, region_told(region).largest * TIDE_REGION_SEGMENT);
    ck_assert_int_eq(tide_region_close(region), 0);
}
END_TEST

int main(void)
{
    const TTest *const plain[] = {every_field_is_looked_at,
                                  one_owner_at_a_time,
                                  an_owner_that_cannot_be_judged,
                                  how_it_was_left,
                                  clear_gives_all_back,
                                  a_mark_that_is_half_written,
                                  NULL};
    const TTest *const each[] = {an_owner_of_another_boot_or_machine, NULL};
    return region_main("logroom", plain, each);
}
