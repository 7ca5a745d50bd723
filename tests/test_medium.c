/* test_medium.c - which regions have a medium, by which way, and what is written. */
#define _GNU_SOURCE 1
#include "log_disk.h"
#include "region_case.h"
#include "told.h"

#include <sys/sysmacros.h>

#include "box/medium.h"

static struct tide_medium of(const char *text)
{
    tide_region_t *region = region_made(text, TIDE_REGION_LEAST, 0);
    struct tide_medium medium = tide_medium_of(region, "");
    ck_assert_int_eq(tide_region_close(region), 0);
    return medium;
}

START_TEST(what_ends_with_the_process_or_the_machine)
{
    char text[100];
    struct tide_medium medium = of("anon");
    ck_assert_int_eq(medium.way, TIDE_MEDIUM_NONE);
    ck_assert_str_eq(medium.why, "private memory ends with the process");
    medium = of("memfd");
    ck_assert_int_eq(medium.way, TIDE_MEDIUM_NONE);
    ck_assert_str_eq(medium.why, "a file in memory ends with the machine");
    ck_assert_int_eq(tide_medium_write(&medium, text, 1), -ENOTSUP);
    if (unit_tmpfs[0] != '\0') {
        snprintf(text, sizeof text, "file:%s/region", unit_tmpfs);
        ck_assert_int_eq(of(text).way, TIDE_MEDIUM_NONE);
    }
    medium = of(log_disk_region());
    ck_assert_int_eq(medium.way, TIDE_MEDIUM_FILE);
    ck_assert_int_eq(unlink(strchr(log_disk_region(), ':') + 1) == 0 || errno == ENOENT, 1);
}
END_TEST

/* --- a machine made of files ------------------------------------------------------------ */

__attribute__((format(printf, 1, 2))) static void run(const char *format, ...)
{
    char command[600];
    va_list args;
    va_start(args, format);
    vsnprintf(command, sizeof command, format, args);
    va_end(args);
    ck_assert_int_eq(system(command), 0);
}

/* Where sysfs says that this device is, and what its region's domain is; NULL: no such file. */
static void say(const char *kind, dev_t id, const char *leads_to, const char *domain)
{
    const char *root = unit_disk;
    run("rm -rf %s/sys; mkdir -p %s/sys/dev/%s %s/sys/bus/nd/devices/region3", root, root, kind,
        root);
    run("ln -s %s %s/sys/dev/%s/%u:%u", leads_to, root, kind, major(id), minor(id));
    if (domain != NULL)
        run("echo '%s' > %s/sys/bus/nd/devices/region3/persistence_domain", domain, root);
}

START_TEST(a_device_needs_a_persistence_domain)
{
    static const char dax[] = "../../devices/LNXSYSTM:00/ndbus0/region3/dax3.0/dax/dax3.0";
    struct tide_region region = {.extent = {.fd = open("/dev/zero", O_RDWR), .sync = true}};
    struct stat zero;
    ck_assert_int_eq(fstat(region.extent.fd, &zero), 0);
    ck_assert_int_eq(tide_medium_of(&region, unit_disk).way, TIDE_MEDIUM_NONE);
    say("char", zero.st_rdev, dax, "memory_controller");
    ck_assert_int_eq(tide_medium_of(&region, unit_disk).way, TIDE_MEDIUM_CACHE);
    say("char", zero.st_rdev, dax, "cpu_cache");
    ck_assert_int_eq(tide_medium_of(&region, unit_disk).way, TIDE_MEDIUM_CACHE);
    say("char", zero.st_rdev, dax, "");
    ck_assert_int_eq(tide_medium_of(&region, unit_disk).way, TIDE_MEDIUM_NONE);
    say("char", zero.st_rdev, dax, NULL);
    ck_assert_int_eq(tide_medium_of(&region, unit_disk).way, TIDE_MEDIUM_NONE);
    ck_assert_ptr_nonnull(strstr(tide_medium_of(&region, unit_disk).why, "persistence domain"));
    say("char", zero.st_rdev, "../../devices/regions/dax3.0", "cpu_cache");
    ck_assert_int_eq(tide_medium_of(&region, unit_disk).way, TIDE_MEDIUM_NONE);
    say("char", zero.st_rdev, dax, "cpu_cache");
    region.extent.sync = false;
    ck_assert_int_eq(tide_medium_of(&region, unit_disk).way, TIDE_MEDIUM_NONE);
    close(region.extent.fd);
}
END_TEST

START_TEST(a_file_with_map_sync_goes_the_short_way)
{
    static const char pmem[] = "../../devices/ndbus0/region3/namespace3.0/block/pmem3";
    const char *path = strchr(log_disk_region(), ':') + 1;
    struct stat file;
    struct tide_region region = {.extent = {.sync = true}};
    unit_make(path, 4096);
    region.extent.fd = open(path, O_RDWR);
    ck_assert_int_eq(fstat(region.extent.fd, &file), 0);
    ck_assert_int_eq(tide_medium_of(&region, unit_disk).way, TIDE_MEDIUM_FILE);
    say("block", file.st_dev, pmem, "memory_controller");
    ck_assert_int_eq(tide_medium_of(&region, unit_disk).way, TIDE_MEDIUM_CACHE);
    region.extent.sync = false;
    ck_assert_int_eq(tide_medium_of(&region, unit_disk).way, TIDE_MEDIUM_FILE);
    unlink(path);
}
END_TEST

/* --- writing ------------------------------------------------------------------------------ */

static int calls, verdict;
static const void *last;
static size_t bytes;

static int count(const void *at, size_t size)
{
    calls++;
    last = at;
    bytes = size;
    return verdict;
}

START_TEST(lines_are_written_and_stay_what_they_are)
{
    struct tide_medium medium = {TIDE_MEDIUM_CACHE, NULL};
    static unsigned char block[1000], same[1000];
    memset(block, 7, sizeof block);
    memset(same, 7, sizeof same);
    tide_medium_hook = count;
    ck_assert_int_eq(tide_medium_write(&medium, block + 1, 900), 0);
    ck_assert(calls == 1 && last == block + 1 && bytes == 900);
    tide_medium_drain(&medium);
    ck_assert(calls == 2 && last == NULL);
    verdict = -EIO;
    ck_assert_int_eq(tide_medium_write(&medium, block, 1), -EIO);
    ck_assert_int_eq(memcmp(block, same, sizeof block), 0);
}
END_TEST

START_TEST(pages_of_a_file_are_synced)
{
    struct tide_medium medium = {TIDE_MEDIUM_FILE, NULL};
    tide_region_t *region = region_made(log_disk_region(), TIDE_REGION_LEAST, 0);
    char *base = tide_region_base(region);
    base[TIDE_REGION_SEGMENT + 5000] = 1;
    ck_assert_int_eq(tide_medium_write(&medium, base + TIDE_REGION_SEGMENT + 5000, 1), 0);
    unlink(region->source.path);
    ck_assert_int_eq(tide_region_close(region), 0);
    ck_assert_int_eq(tide_medium_write(&medium, base, 1), -ENOMEM); /* nothing is mapped there */
}
END_TEST

#ifdef TOLD
static const struct tide_medium cache = {TIDE_MEDIUM_CACHE, NULL};

static void write_lines(void)
{
    static unsigned char bytes[20 * 64] __attribute__((aligned(64)));
    tide_medium_write(&cache, bytes + 63, sizeof bytes - 126);
}

static void drain(void)
{
    tide_medium_drain(&cache);
}

START_TEST(the_processor_is_told)
{
    told_is(told_by(write_lines), told_best(true), 20, 0);
    told_is(told_by(drain), 0, 0, 's');
}
END_TEST
#endif

int main(void)
{
    const TTest *const plain[] = {what_ends_with_the_process_or_the_machine,
                                  a_device_needs_a_persistence_domain,
                                  a_file_with_map_sync_goes_the_short_way,
                                  lines_are_written_and_stay_what_they_are,
                                  pages_of_a_file_are_synced,
#ifdef TOLD
                                  the_processor_is_told,
#endif
                                  NULL};
    const TTest *const each[] = {NULL};
    return region_main("medium", plain, each);
}
