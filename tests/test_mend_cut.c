/* test_mend_cut.c - logs whose memory was damaged are repaired as far as that goes, also by a
 * repair that is killed in the middle and done again. */
#include "unit_base.h"

#include "audit_case.h"

#include "box/crash.h"
#include "box/mend.h"

static const struct tide_log_options kinds[] = {
    {.level = 5, .brokers = 3, .slots = 32, .payload = 8192, .checksum = 1},
    {.level = 5, .brokers = 3, .slots = 31, .payload = 64 * 111, .checksum = 0},
    {.level = 5, .brokers = 2, .slots = 33, .payload = 8192, .checksum = 1, .sequencing = 1},
    {.level = 4, .brokers = 3, .slots = 32, .payload = 8192, .checksum = 1, .clients = 4},
    {.level = 4, .brokers = 3, .slots = 37, .payload = 8192, .clients = 4, .sessions = 1},
    {.level = 4, .brokers = 2, .slots = 32, .payload = 8192, .clients = 2, .sequencing = 1},
};
enum { KINDS = sizeof kinds / sizeof kinds[0], ROUNDS = 200, PLACES = 512 };

/* --- a log in memory that a child shares --------------------------------------------------- */

struct patient {
    unsigned char *base, *before;
    size_t size;
    struct tide_logmap map;
    uint64_t first, count; /* places */
};

static void patient_open(struct patient *self, const struct tide_log_options *kind)
{
    struct tide_layout_fault fault;
    self->before = audit_image(*kind, &self->size);
    self->base = mmap(NULL, self->size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    ck_assert_ptr_ne(self->base, MAP_FAILED);
    memcpy(self->base, self->before, self->size);
    ck_assert(tide_logmap_open(&self->map, self->base, self->size, &fault));
    self->first = self->map.head->trimmed_place;
    self->count = self->map.head->committed - self->first;
    ck_assert_uint_gt(self->count, 5);
    ck_assert_uint_lt(self->count, PLACES);
}

static void patient_close(struct patient *self)
{
    munmap(self->base, self->size);
    free(self->before);
}

static struct tide_layout_entry *patient_entry(const struct patient *self, uint64_t i)
{
    return tide_logmap_entry(&self->map, self->first + i);
}

/* What it was before. */
static const struct tide_layout_entry *patient_had(const struct patient *self, uint64_t i)
{
    size_t at = (size_t)((unsigned char *)patient_entry(self, i) - self->base);
    return (const void *)(self->before + at);
}

static uint64_t patient_errors(const struct patient *self)
{
    static struct tide_peek peek;
    struct tide_layout_fault fault;
    struct tide_audit audit = {.peek = &peek, .tell = audit_no_tell};
    ck_assert(tide_peek_open(&peek, self->base, self->size, &fault));
    ck_assert(tide_audit_run(&audit));
    return audit.errors;
}

/* All of a repair; nothing is wrong afterwards. */
static struct tide_mend_damage patient_mend(struct patient *self, struct tide_mend_report *report)
{
    struct tide_mend_damage damage;
    struct tide_layout_fault fault = {NULL, 0, 0, 0};
    ck_assert_int_eq(tide_mend_cut(&self->map, &damage), 0);
    int error = tide_mend(&self->map, report, &fault);
    ck_assert_msg(error == 0, "%s: %llu, not %llu to %llu", fault.what,
                  (unsigned long long)fault.value, (unsigned long long)fault.low,
                  (unsigned long long)fault.high);
    return damage;
}

/* --- several entries ------------------------------------------------------------------------ */

static void wreck(unsigned char *at, size_t bytes, uint64_t *random)
{
    unsigned how = unit_random(random) % 3;
    for (size_t i = 0; i < bytes; i++)
        at[i] = how == 0 ? 0 : how == 1 ? 0xff : (unsigned char)unit_random(random);
}

/* The place still has the batch that it had. */
static bool is_same(const struct patient *self, uint64_t i)
{
    const struct tide_layout_entry *now = patient_entry(self, i), *was = patient_had(self, i);
    return now->seq == was->seq && now->slot == was->slot && now->broker == was->broker &&
           now->base == was->base && now->number == was->number && now->client == was->client &&
           now->size == was->size && now->count == was->count && now->control == was->control;
}

/* It only grows from place to place, and says who gave the place. */
START_TEST(the_epoch_of_an_entry_is_between_its_neighbours)
{
    uint64_t random = (uint64_t)_i + 1;
    for (int round = 0; round < ROUNDS; round++) {
        struct patient self;
        struct tide_mend_report report;
        patient_open(&self, &kinds[_i]);
        uint64_t i = unit_random(&random) % self.count;
        patient_entry(&self, i)->control ^= (uint16_t)(1 + unit_random(&random) % 65535);
        bool found = patient_errors(&self) != 0;
        struct tide_mend_damage damage = patient_mend(&self, &report);
        ck_assert_uint_eq(damage.cut, 0);
        ck_assert_uint_eq(report.kept, self.count);
        ck_assert_uint_eq(patient_errors(&self), 0);
        ck_assert(!found || is_same(&self, i) || i == 0);
        patient_close(&self);
    }
}
END_TEST

START_TEST(entries_that_are_gone_get_their_batches_back)
{
    uint64_t random = (uint64_t)_i + 1, alone = 0;
    for (int round = 0; round < ROUNDS; round++) {
        struct patient self;
        struct tide_mend_report report;
        patient_open(&self, &kinds[_i]);
        unsigned many = round % 2 == 0 ? 1 : 2 + unit_random(&random) % 6;
        for (unsigned i = 0; i < many; i++)
            wreck((void *)patient_entry(&self, unit_random(&random) % self.count),
                  sizeof(struct tide_layout_entry), &random);
        uint64_t wrong = 0;
        for (uint64_t i = 0; i < self.count; i++)
            wrong += !is_same(&self, i);
        struct tide_mend_damage damage = patient_mend(&self, &report);
        ck_assert_uint_eq(damage.cut, 0);
        ck_assert_uint_ge(damage.restored, wrong);
        ck_assert_uint_eq(report.kept, self.count);
        ck_assert_uint_eq(patient_errors(&self), 0);
        uint64_t other = 0;
        for (uint64_t i = 0; i < self.count; i++)
            other += !is_same(&self, i);
        ck_assert_msg(damage.guessed != 0 || other == 0, "round %d: %llu others, nothing guessed",
                      round, (unsigned long long)other);
        alone += damage.guessed == 0;
        patient_close(&self);
    }
    ck_assert_uint_gt(alone, ROUNDS / 4);
}
END_TEST

/* --- killed in the middle --------------------------------------------------------------------- */

static enum tide_crash_point killed_at;
static unsigned killed_turn;

static void kill_here(enum tide_crash_point point)
{
    if (point == killed_at && --killed_turn == 0)
        raise(SIGKILL);
}

/* Some of everything: entries, bytes of payload, whole slots. */
static void hurt(struct patient *self, uint64_t seed)
{
    uint64_t random = seed + 1;
    for (unsigned i = 0; i < 1 + seed % 4; i++) {
        const struct tide_layout_entry *had = patient_had(self, unit_random(&random) % self->count);
        struct tide_layout_slot *slot = tide_logmap_slot(&self->map, had->broker, had->slot);
        unsigned what = unit_random(&random) % 6, word = 8 * (unit_random(&random) % 7);
        if (what == 4)
            wreck((unsigned char *)patient_entry(self, unit_random(&random) % self->count) + word,
                  8, &random);
        else if (what == 5)
            wreck((unsigned char *)slot + 8 * (unit_random(&random) % 11), 8, &random);
        else if (what < 2)
            wreck((void *)patient_entry(self, unit_random(&random) % self->count),
                  sizeof(struct tide_layout_entry), &random);
        else if (what == 2)
            wreck(self->base + had->offset, 16, &random);
        else
            wreck((void *)slot, offsetof(struct tide_layout_slot, publish), &random);
    }
}

/* There is a batch whose entry and slot were both hurt: then nobody may know whose it was. */
static bool is_hurt_twice(const struct patient *self)
{
    bool twice = false;
    for (uint64_t i = 0; i < self->count && !twice; i++) {
        const struct tide_layout_entry *had = patient_had(self, i);
        const void *slot = tide_logmap_slot(&self->map, had->broker, had->slot);
        size_t at = (size_t)((const unsigned char *)slot - self->base);
        twice = memcmp(slot, self->before + at, sizeof(struct tide_layout_slot)) != 0 &&
                memcmp(had, patient_entry(self, i), sizeof *had) != 0;
    }
    return twice;
}

/* What the log tells afterwards: a batch is told by its slot, and its first message. */
static uint64_t fate(const struct patient *self)
{
    const struct tide_logmap *map = &self->map;
    uint64_t sum = map->head->committed * 31 + map->head->taken;
    for (uint64_t place = self->first; place < map->head->committed; place++) {
        const struct tide_layout_entry *entry = tide_logmap_entry(map, place);
        sum = sum * 1000003 + entry->slot * 64 + entry->broker;
        sum = sum * 1000003 + entry->base;
    }
    return sum;
}

static bool dies(struct patient *self)
{
    fflush(NULL);
    pid_t pid = fork();
    if (pid == 0) {
        struct tide_mend_report report;
        tide_crash_hook = kill_here;
        patient_mend(self, &report);
        _exit(0);
    }
    int status = 0;
    waitpid(pid, &status, 0);
    ck_assert(WIFSIGNALED(status) ? WTERMSIG(status) == SIGKILL : WEXITSTATUS(status) == 0);
    return WIFSIGNALED(status);
}

static bool is_of_repair(enum tide_crash_point point)
{
    const char *name = tide_crash_names[point];
    return strncmp(name, "mend_", 5) == 0 || strncmp(name, "order_", 6) == 0;
}

START_TEST(a_repair_that_is_killed_is_done_again)
{
    unsigned deaths = 0;
    for (uint64_t seed = 0; seed < 160; seed++) {
        struct patient whole, torn;
        struct tide_mend_report report;
        patient_open(&whole, &kinds[seed % KINDS]);
        hurt(&whole, seed);
        patient_open(&torn, &kinds[seed % KINDS]);
        memcpy(torn.base, whole.base, whole.size);
        bool twice = is_hurt_twice(&whole);
        patient_mend(&whole, &report);
        killed_at = (enum tide_crash_point)_i;
        killed_turn = 1 + seed % 3;
        deaths += dies(&torn);
        patient_mend(&torn, &report);
        ck_assert(twice || patient_errors(&whole) + patient_errors(&torn) == 0);
        ck_assert_msg(fate(&torn) == fate(&whole), "seed %llu, %s: another fate",
                      (unsigned long long)seed, tide_crash_names[_i]);
        patient_close(&whole);
        patient_close(&torn);
    }
    ck_assert_msg(!is_of_repair((enum tide_crash_point)_i) || _i < TIDE_CRASH_DAMAGE || deaths > 0,
                  "nothing comes to the point %s", tide_crash_names[_i]);
}
END_TEST

/* --- any word ------------------------------------------------------------------------------- */

/* A word of head, tables, index or slots; few of those that tell where the parts are. */
static void flip_word(struct patient *self, uint64_t *random)
{
    size_t words = (size_t)((unsigned char *)self->map.payload - self->base) / 8;
    size_t at = unit_random(random) % 4 == 0 ? unit_random(random) % (4096 / 8)
                                             : unit_random(random) % words;
    uint64_t *word = (uint64_t *)(void *)self->base + at;
    unsigned how = unit_random(random) % 4;
    uint64_t any = (uint64_t)unit_random(random) << 32 | unit_random(random);
    *word = how == 0 ? 0 : how == 1 ? *word ^ UINT64_C(1) << any % 64 : how == 2 ? any : *word + 1;
}

/* It ends, stays inside the log, and can be done again; and little of it is beyond repair. */
START_TEST(any_words_may_be_wrong)
{
    uint64_t random = (uint64_t)_i + 1, errors = 0, refused = 0, left = 0;
    for (unsigned round = 0; round < 6 * ROUNDS; round++) {
        struct patient self;
        struct tide_mend_report report;
        struct tide_mend_damage damage;
        struct tide_layout_fault fault = {NULL, 0, 0, 0};
        patient_open(&self, &kinds[_i]);
        for (unsigned i = 0; i < 1 + round % 4; i++)
            flip_word(&self, &random);
        if (tide_logmap_open(&self.map, self.base, self.size, &fault)) {
            errors += patient_errors(&self) != 0;
            ck_assert_int_eq(tide_mend_cut(&self.map, &damage), 0);
            int error = tide_mend(&self.map, &report, &fault);
            refused += error != 0;
            left += error == 0 && patient_errors(&self) != 0;
            if (error == 0) {
                ck_assert_int_eq(tide_mend_cut(&self.map, &damage), 0);
                ck_assert_int_eq(tide_mend(&self.map, &report, &fault), 0);
            }
        }
        patient_close(&self);
    }
    ck_assert_uint_gt(errors, ROUNDS / 4);
    ck_assert_msg((left + refused) * 10 < errors, "%llu of %llu are refused, %llu have errors left",
                  (unsigned long long)refused, (unsigned long long)errors,
                  (unsigned long long)left);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("mend_cut");
    TCase *tcase = tcase_create("mend_cut");
    tcase_add_loop_test(tcase, entries_that_are_gone_get_their_batches_back, 0, KINDS);
    tcase_add_loop_test(tcase, the_epoch_of_an_entry_is_between_its_neighbours, 0, KINDS);
    tcase_add_loop_test(tcase, any_words_may_be_wrong, 0, KINDS);
    for (int point = 0; point < TIDE_CRASH_COUNT; point++)
        if (is_of_repair((enum tide_crash_point)point))
            tcase_add_loop_test(tcase, a_repair_that_is_killed_is_done_again, point, point + 1);
    suite_add_tcase(suite, tcase);
    return unit_run(suite);
}
