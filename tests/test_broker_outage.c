/* test_broker_outage.c - tidepool-broker: the machine stops. What is left of the file is what was
 * written to the medium, some sectors that happened to be, and part of a write that was under
 * way; every entry that was acknowledged as durable is there, with its id. */
#include "log_disk.h"
#include "region_case.h"

#include "box/medium.h"

#include "../tools/tidepool-broker/clean.c"
#include "../tools/tidepool-broker/entries.c"
#include "../tools/tidepool-broker/gather.c"
#include "../tools/tidepool-broker/index.c"
#include "../tools/tidepool-broker/load.c"
#include "../tools/tidepool-broker/record.c"
#include "../tools/tidepool-broker/sid.c"
#include "../tools/tidepool-broker/store.c"
#include "../tools/tidepool-broker/streams.c"

enum { ROUNDS = 12, STREAMS = 4, ENTRIES = 1 << 16, SECTOR = 512, IMAGE = 16 << 20 };

/* What one process leaves to the next, beside the medium. */
static struct {
    unsigned char disk[IMAGE];
    size_t size;
    struct {
        struct sid id;
        uint32_t stream;
        uint64_t place;
        bool acked;
    } entry[ENTRIES];
    uint32_t entries, acked;
    uint64_t random, left; /* writes until the end */
} * world;

static char text[4300], error[256];

static uint64_t draw(uint64_t below)
{
    return unit_random(&world->random) % below;
}

/* ---- the medium ---- */

static void reach(const unsigned char *at, size_t bytes)
{
    size_t from = (size_t)(at - (const unsigned char *)tide_region_base(store.region));
    UNIT_NEED(from + bytes <= world->size);
    memcpy(world->disk + from, at, bytes);
}

/* Sectors that the kernel writes when it likes. */
static void stray(unsigned most)
{
    const unsigned char *base = tide_region_base(store.region);
    for (uint64_t i = draw(most); i > 0; i--)
        reach(base + draw(world->size / SECTOR) * SECTOR, SECTOR);
}

static int on_write(const void *at, size_t bytes)
{
    const unsigned char *from = at;
    stray(20);
    if (at == NULL)
        return 0;
    if (world->left-- > 0) {
        reach(from, bytes);
        return 0;
    }
    for (size_t i = 0; i + SECTOR <= bytes; i += SECTOR)
        if (draw(2) == 0)
            reach(from + i, SECTOR);
    _exit(0);
}

static void open_store(void)
{
    struct store_options options = {.source = text,
                                    .durable = true,
                                    .level = 5,
                                    .brokers = 2,
                                    .payload = 128 << 10,
                                    .slots = 512};
    if (!store_open(&options, error, sizeof error) || !streams_load(error, sizeof error)) {
        dprintf(2, "%s\n", error);
        _exit(98);
    }
}

/* ---- work ---- */

/* Those from `first` on are a batch. */
static uint32_t commit(uint32_t first)
{
    UNIT_NEED(streams_commit()[0] == 0);
    for (; first < world->entries; first++)
        world->entry[first].place = store_top() - 1;
    return first;
}

static void add_some(void)
{
    uint32_t first = world->entries;
    struct add add;
    for (uint64_t i = 1 + draw(20); i > 0 && world->entries < ENTRIES; i--) {
        /* One has few: what it has is in the way, and is written again. */
        unsigned which = draw(50) == 0 ? 0 : 1 + (unsigned)draw(STREAMS - 1);
        char key[2] = {(char)('a' + which), '\0'}, value[64];
        uint32_t number = world->entries;
        add = (struct add){.key = key, .key_size = 1, .text = value, .strings = 2};
        int size = snprintf(value, sizeof value, "$1\r\nf\r\n$10\r\n%010u\r\n", number);
        add.text_size = (uint32_t)size;
        if (which == 0 || draw(4) == 0)
            add.trim = (struct trim){.kind = TRIM_COUNT, .most = 300};
        if (!streams_fits(NULL, &add))
            first = commit(first);
        UNIT_NEED(streams_add(NULL, &add, 1000) == 0);
        world->entry[number].id = add.id;
        world->entry[number].stream = which;
        world->entry[number].acked = false;
        world->entries++;
    }
    commit(first);
}

/* Until the medium writes no more. */
static void work(void)
{
    open_store();
    tide_medium_hook = on_write;
    while (world->entries < ENTRIES - 64) {
        add_some();
        stray(4);
        if (draw(5) != 0)
            continue;
        UNIT_NEED(store_sync() == 0);
        for (; world->acked < world->entries; world->acked++) {
            if (world->entry[world->acked].place >= store_durable())
                break;
            world->entry[world->acked].acked = true;
        }
    }
}

/* ---- afterwards ---- */

static bool is_there(const struct stream *stream, uint32_t number)
{
    static struct entries_at at;
    char want[32];
    int size = snprintf(want, sizeof want, "$10\r\n%010u\r\n", number);
    if (!entries_from(&at, stream, world->entry[number].id) ||
        sid_compare(at.entry.id, world->entry[number].id) != 0)
        return false;
    const char *value = at.entry.text + (at.entry.names != NULL ? 0 : 7);
    return memcmp(value, want, (size_t)size) == 0;
}

static void look(void)
{
    unsigned seen = 0;
    open_store();
    for (uint32_t i = 0; i < world->entries; i++) {
        char key[2] = {(char)('a' + world->entry[i].stream), '\0'};
        const struct stream *stream = streams_find(key, 1, false);
        struct sid id = world->entry[i].id;
        if (!world->entry[i].acked)
            continue;
        UNIT_NEED(stream != NULL && stream->exists && sid_compare(stream->last, id) >= 0);
        UNIT_NEED(id.ms != 1000 || id.seq < all.number);
        if (sid_compare(id, stream->floor) < 0)
            continue; /* trimmed */
        UNIT_NEED(is_there(stream, i));
        seen++;
    }
    UNIT_NEED(seen > 0 || world->acked == 0);
    UNIT_NEED(streams_stat().entries <= STREAMS * 400);
    streams_close();
    store_close();
    _exit(0);
}

static void in_child(void (*run)(void))
{
    int status;
    pid_t child = fork();
    if (child == 0) {
        run();
        _exit(97);
    }
    ck_assert_int_eq(waitpid(child, &status, 0), child);
    ck_assert_msg(WIFEXITED(status) && WEXITSTATUS(status) == 0, "status %x", (unsigned)status);
}

static void whole_file(bool write)
{
    int fd = open(text + 5, O_RDWR | O_CLOEXEC);
    struct stat stat;
    ck_assert(fd >= 0 && fstat(fd, &stat) == 0 && stat.st_size <= IMAGE);
    world->size = (size_t)stat.st_size;
    ssize_t done =
        write ? pwrite(fd, world->disk, world->size, 0) : pread(fd, world->disk, world->size, 0);
    ck_assert_int_eq(done, stat.st_size);
    close(fd);
}

/* Another boot of the machine. */
static void boot_again(void)
{
    tide_region_t *region = region_opened(text);
    uint64_t *boot = (uint64_t *)tide_region_area(region, TIDE_REGION_AREA_LOG) + 35;
    ck_assert_uint_ne(boot[0], 0); /* see logroom.h */
    boot[0]++;
    ck_assert_int_eq(tide_region_close(region), 0);
}

START_TEST(what_was_acknowledged_outlives_the_machine)
{
    world = mmap(NULL, sizeof *world, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    ck_assert_ptr_ne(world, MAP_FAILED);
    world->random = (uint64_t)(_i + 1) * 0x9e3779b97f4a7c15u;
    snprintf(text, sizeof text, "%s", log_disk_region());
    in_child(look); /* makes it */
    for (int round = 0; round < ROUNDS; round++) {
        whole_file(false);
        world->left = 3 + draw(60);
        in_child(work);
        whole_file(true);
        boot_again();
        in_child(look);
        world->acked = world->entries;
    }
    ck_assert_uint_gt(world->entries, 1000);
    munmap(world, sizeof *world);
    unlink(text + 5);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("broker_outage");
    TCase *tcase = tcase_create("broker_outage");
    tcase_add_checked_fixture(tcase, unit_files_setup, unit_files_teardown);
    tcase_add_loop_test(tcase, what_was_acknowledged_outlives_the_machine, 0, 4);
    suite_add_tcase(suite, tcase);
    return unit_run(suite);
}
