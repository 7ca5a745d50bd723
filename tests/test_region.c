/* test_region.c - opening and closing regions: every refusal with its words, limits, what is
 * replaced and what is not, files that were cut off, and the window of a handle. */
#include "region_case.h"

#include <sys/file.h>

#include "box/crc.h"
#include "box/life.h"
#include "box/pagemap.h"
#include "box/plot.h"
#include "box/region.h"
#include "box/vmem.h"

static const char *file_text(void)
{
    static char text[300];
    snprintf(text, sizeof text, "file:%s", unit_path("region"));
    return text;
}

static void not_made(const char *text, size_t size, unsigned flags, int code, const char *words)
{
    tide_region_t *region = (tide_region_t *)text;
    memset(&region_error, 0x55, sizeof region_error);
    int ret = tide_region_create(&region, text, size, flags, &region_error);
    ck_assert_msg(ret == code, "'%s' gave %d: %s", text, ret, region_error.text);
    ck_assert_int_eq(region_error.code, code);
    ck_assert_msg(strstr(region_error.text, words) != NULL, "'%s': %s", text, region_error.text);
    ck_assert_ptr_eq(region, text); /* untouched */
    ck_assert_int_eq(tide_region_create(&region, text, size, flags, NULL), code);
}

static void not_opened(const char *text, size_t size, int code, const char *words)
{
    tide_region_t *region = NULL;
    int ret = tide_region_open(&region, text, size, &region_error);
    ck_assert_msg(ret == code, "'%s' gave %d: %s", text, ret, region_error.text);
    ck_assert_int_eq(region_error.code, code);
    ck_assert_msg(strstr(region_error.text, words) != NULL, "'%s': %s", text, region_error.text);
    ck_assert_ptr_null(strchr(region_error.text, '\n'));
}

START_TEST(bad_requests_are_told)
{
    not_made("anon", 5000000, 0, -EINVAL, "the size 5000000 is no multiple of 524288");
    not_made("anon", 524288, 0, -EINVAL, "the size 524288 is less than the least, 1048576");
    not_made("anon", 0, 0, -EINVAL, "needs a size");
    not_made("memfd", 0, 0, -EINVAL, "needs a size");
    not_made("anon", REGION_SIZE, 4, -EINVAL, "a flag that tide_region_create does not know");
    not_made("wood", REGION_SIZE, 0, -EINVAL, "'wood': no source (allowed: auto");
    not_made("anon,delay=x", REGION_SIZE, 0, -EINVAL, "no source");
    not_made("node:63", REGION_SIZE, 0, -ENODEV, "'node:63': the node asked for has no memory");
    ck_assert_ptr_null(strstr(region_error.text, "near memory is used"));
    not_made("dax:/dev/dax77.7", 0, 0, -ENOENT, "'/dev/dax77.7' does not exist");
    not_made("file:/no/where", REGION_SIZE, 0, -ENOENT, "'/no/where' does not exist");
    not_made("anon", REGION_SIZE, TIDE_REGION_STRICT, -ENODEV, "is about nodes");
    signal(SIGXFSZ, SIG_IGN);
    unit_limit(RLIMIT_FSIZE, 64 << 20); /* should the library not see it */
    not_made("memfd", (size_t)1 << 60, 0, -ENOMEM, "there is not that much memory for a memfd");
    not_made("anon", (size_t)1 << 60, 0, -ENOMEM, "no address space is left");
    not_opened("anon", 0, -EINVAL, "only what is in a file or a device can be opened again");
    not_opened("memfd", 0, -EINVAL, "as file:/proc/PID/fd/N");
    not_opened("file:/no/where", 0, -ENOENT, "'/no/where' does not exist");
    not_opened("wood", 0, -EINVAL, "no source");
}
END_TEST

START_TEST(a_file_that_is_there_is_used_and_not_replaced)
{
    const char *text = file_text(), *path = text + 5;
    unit_make(path, REGION_SIZE + 12345);
    tide_region_t *region = region_made(text, 0, 0);
    ck_assert_uint_eq(region_told(region).size, REGION_SIZE); /* whole segments of it */
    ck_assert(unit_size(path) == REGION_SIZE + 12345);
    not_made(text, REGION_SIZE, 0, -EBUSY, "somebody has the region in it open");
    ck_assert_int_eq(tide_region_close(region), 0);
    not_made(text, REGION_SIZE, 0, -EEXIST, "there is a region in it already");
    not_made(text, 2 * REGION_SIZE, TIDE_REGION_REPLACE, -EFBIG,
             "has 8400953 bytes, and not the 16777216 that are asked for");
    region = region_made(text, REGION_SIZE / 2, TIDE_REGION_REPLACE);
    ck_assert_uint_eq(region_told(region).size, REGION_SIZE / 2);
    ck_assert_uint_eq(region_told(region).lent_bytes, 0);
    ck_assert_int_eq(tide_region_close(region), 0);
    not_opened(text, REGION_SIZE, -EPROTO, "the size of the region is 4194304, and not 8388608");
    ck_assert_int_eq(tide_region_open(&region, text, REGION_SIZE / 2, NULL), 0);
    ck_assert_int_eq(tide_region_close(region), 0);
    unit_make(path, 700 << 10);
    not_made(text, 0, 0, -EINVAL, "is less than the least, 1048576");
    ck_assert(unit_size(path) == 700 << 10);
}
END_TEST

START_TEST(a_region_that_was_cut_off_or_is_none)
{
    const char *text = file_text(), *path = text + 5;
    ck_assert_int_eq(tide_region_close(region_made(text, REGION_SIZE, 0)), 0);
    ck_assert_int_eq(truncate(path, REGION_SIZE - 4096), 0);
    not_opened(text, 0, -EBADFD, "cut off: 8384512 bytes are there, and it needs 8388608");
    ck_assert_int_eq(truncate(path, 1 << 20), 0);
    not_opened(text, 0, -EBADFD, "cut off: 1048576 bytes are there, and it needs 8388608");
    ck_assert_int_eq(truncate(path, 5000), 0);
    not_opened(text, 0, -EBADFD, "cut off: 5000 bytes are there, and it needs 8388608");
    ck_assert_int_eq(truncate(path, 4095), 0); /* a part of the head is no head */
    not_opened(text, 0, -EBADFD, "its size is 4095, and not 1048576");
    ck_assert_int_eq(truncate(path, 0), 0);
    not_opened(text, 0, -EFBIG, "is empty");
    unit_make(path, REGION_SIZE);
    not_opened(text, 0, -EPROTO, "the first word is 0x0, and not 0x314e474552444954");
    ck_assert(!unit_is_allocated(path)); /* looking at a file that is none fills no disk */
    ck_assert_int_eq(tide_region_close(region_made(text, REGION_SIZE, 0)), 0);
    int fd = open(path, O_RDWR);
    uint32_t version = 2;
    ck_assert_int_eq(pwrite(fd, &version, sizeof version, 8), sizeof version);
    close(fd);
    not_opened(text, 0, -EPROTO, "the version of the region's layout is 2, and not 1");
}
END_TEST

START_TEST(holes_are_filled_when_it_is_opened)
{
    char command[600];
    const char *text = file_text(), *path = text + 5;
    ck_assert_int_eq(tide_region_close(region_made(text, REGION_SIZE, 0)), 0);
    snprintf(command, sizeof command, "cp --sparse=always %s %s.copy && mv %s.copy %s", path, path,
             path, path);
    ck_assert_int_eq(system(command), 0);
    ck_assert(!unit_is_allocated(path));
    ck_assert_int_eq(tide_region_close(region_opened(text)), 0);
    ck_assert(unit_is_allocated(path));
}
END_TEST

static void crashed_take(long unused)
{
    (void)unused;
    tide_region_t *region = region_opened(file_text());
    struct tide_plot_entry *entry = region->table.entry;
    atomic_store(&entry[3].word, TIDE_REGION_MOVE); /* died while it took two */
    atomic_store(&entry[4].word, TIDE_REGION_PART | 1 << 16);
    kill(getpid(), SIGKILL);
}

START_TEST(what_dead_calls_left_is_mended_when_it_is_opened_alone)
{
    const char *text = file_text();
    tide_region_t *region = region_made(text, REGION_SIZE, 0);
    ck_assert_int_eq(unit_child(crashed_take, 0).code, 128 + SIGKILL);
    tide_region_t *second = region_opened(text); /* not alone: perhaps they still run */
    ck_assert_uint_eq(region_told(second).free_bytes, (REGION_SEGMENTS - 3) * TIDE_REGION_SEGMENT);
    ck_assert_int_eq(tide_region_close(second), 0);
    ck_assert_int_eq(tide_region_close(region), 0);
    region = region_opened(text);
    ck_assert_uint_eq(region_told(region).free_bytes, (REGION_SEGMENTS - 1) * TIDE_REGION_SEGMENT);
    ck_assert_int_eq(tide_region_close(region), 0);
}
END_TEST

START_TEST(so_many_can_be_open_and_no_more)
{
    tide_region_t *region[TIDE_REGION_HANDLES], *more = NULL;
    size_t before = unit_status("VmSize");
    for (int round = 0; round < 3; round++) {
        for (int i = 0; i < TIDE_REGION_HANDLES; i++)
            region[i] = region_made("anon", 2 << 20, 0);
        ck_assert_int_eq(tide_region_create(&more, "anon", 2 << 20, 0, &region_error), -ENFILE);
        ck_assert_str_eq(region_error.text, "too many regions are open");
        for (int i = 0; i < TIDE_REGION_HANDLES; i++)
            ck_assert_int_eq(tide_region_close(region[i]), 0);
    }
    /* Nothing of them is left but the handles. */
    ck_assert_uint_le(unit_status("VmSize"), before + (2 << 20));
    ck_assert_uint_eq(atomic_load(&tide_window_count), TIDE_KINDS);
}
END_TEST

START_TEST(failures_leave_nothing_behind)
{
    const char *text = file_text(), *path = text + 5;
    tide_region_t *region = NULL;
    tide_region_close(region_made("memfd", REGION_SIZE, 0)); /* warm: handles, options */
    signal(SIGXFSZ, SIG_IGN);
    unit_limit(RLIMIT_FSIZE, 64 << 20);
    size_t before = unit_status("VmSize");
    int fd = open("/dev/null", O_RDONLY);
    close(fd);
    int rounds = getenv("TEST_BRIEF") != NULL ? 5 : 100; /* an emulated machine */
    for (int i = 0; i < rounds; i++) {
        not_made("memfd", (size_t)1 << 60, 0, -ENOMEM, "memory");
        not_made("anon", REGION_SIZE, TIDE_REGION_STRICT, -ENODEV, "nodes");
        not_made(text, REGION_SIZE, TIDE_REGION_STRICT, -ENODEV, "nodes");
        not_made(text, 128 << 20, 0, -EFBIG, "may not have 134217728 bytes");
        ck_assert_int_eq(unit_size(path), -1);
        unit_make(path, 0);
        not_made(text, REGION_SIZE, TIDE_REGION_STRICT, -ENODEV, "nodes");
        ck_assert_int_eq(unit_size(path), 0);
        unit_make(path, REGION_SIZE);
        not_opened(text, 0, -EPROTO, "the first word");
        unlink(path);
    }
    ck_assert_uint_le(unit_status("VmSize"), before + (1 << 20));
    int again = open("/dev/null", O_RDONLY);
    ck_assert_int_eq(again, fd); /* no descriptor is left open */
    close(again);
    ck_assert_int_eq(tide_region_create(&region, text, 3 << 20, 0, NULL), 0);
    ck_assert_int_eq(tide_region_close(region), 0);
}
END_TEST

/* The sum of all bytes of a file. */
static uint32_t sum_of(const char *path)
{
    static unsigned char part[1 << 16];
    uint32_t sum = 0;
    ssize_t got;
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    ck_assert_int_ge(fd, 0);
    while ((got = read(fd, part, sizeof part)) > 0)
        sum = tide_crc(sum, part, (size_t)got);
    ck_assert_int_eq(got, 0);
    close(fd);
    return sum;
}

START_TEST(what_cannot_be_shown_is_not_formatted)
{
    const char *text = file_text(), *path = text + 5;
    ck_assert_int_eq(tide_region_close(region_made(text, REGION_SIZE, 0)), 0);
    uint32_t before = sum_of(path);
    while (tide_pagemap_take() >= 0)
        ;
    not_made(text, REGION_SIZE, TIDE_REGION_REPLACE, -ENFILE, "too many regions are open");
    ck_assert_uint_eq(sum_of(path), before);
}
END_TEST

static mode_t mode_of(const char *path)
{
    struct stat found;
    ck_assert_int_eq(stat(path, &found), 0);
    return found.st_mode & 07777;
}

START_TEST(a_new_file_is_its_users_and_one_that_is_there_stays_so)
{
    const char *text = file_text(), *path = text + 5;
    umask(0);
    ck_assert_int_eq(tide_region_close(region_made(text, REGION_SIZE, 0)), 0);
    ck_assert_uint_eq(mode_of(path), 0600);
    ck_assert_int_eq(chmod(path, 0664), 0);
    ck_assert_int_eq(tide_region_close(region_made(text, 0, TIDE_REGION_REPLACE)), 0);
    ck_assert_uint_eq(mode_of(path), 0664);
    unit_make(path, 0);
    ck_assert_int_eq(tide_region_close(region_made(text, REGION_SIZE, 0)), 0);
    ck_assert_uint_eq(mode_of(path), 0664);
    ck_assert_int_eq(tide_region_close(region_opened(text)), 0);
    ck_assert_uint_eq(mode_of(path), 0664);
}
END_TEST

/* --- a device, as /dev/zero with a made-up sysfs ----------------------------------------- */

START_TEST(a_device_is_taken_whole_and_by_its_alignment)
{
    char command[400];
    snprintf(command, sizeof command,
             "mkdir -p %s/sys/dev/char/1:5 && cd %s/sys/dev/char/1:5 && echo 10485760 >size && "
             "echo 2097152 >align",
             unit_disk, unit_disk);
    ck_assert_int_eq(system(command), 0);
    tide_source_sysfs = unit_path("sys");
    not_made("dax:/dev/zero", 3 << 20, 0, -EINVAL, "multiples of 2097152 bytes, and not 3145728");
    not_made("dax:/dev/zero", 12 << 20, 0, -EFBIG, "has 10485760 bytes, and not the 12582912");
    tide_region_t *region = region_made("dax:/dev/zero", 0, 0);
    struct tide_region_info info = region_told(region);
    ck_assert_uint_eq(info.size, 10 << 20);
    ck_assert_uint_eq(info.align, 2 << 20);
    ck_assert_uint_eq((uintptr_t)info.base % info.align, 0);
    ck_assert_int_eq(info.shared, 1);
    tide_heap_t *heap = tide_heap_create_on(region);
    char *block = tide_heap_calloc(heap, 100, 100);
    ck_assert(block > (char *)info.base && block < (char *)info.base + info.size);
    tide_heap_destroy(heap);
    ck_assert_int_eq(tide_region_close(region), 0);
    not_opened("dax:/dev/zero", 0, -EPROTO, "the first word is 0x0"); /* it forgets */
}
END_TEST

/* --- the window ----------------------------------------------------------------------------- */

START_TEST(the_window_holds_what_can_be_lent)
{
    tide_region_t *region = region_made("anon", REGION_SIZE, 0);
    uintptr_t base = (uintptr_t)tide_region_base(region);
    ck_assert_ptr_null(tide_pagemap_find(base));
    ck_assert_ptr_null(tide_pagemap_find(base + TIDE_REGION_SEGMENT - 1));
    const struct tide_window *window = tide_pagemap_find(base + TIDE_REGION_SEGMENT);
    ck_assert_ptr_nonnull(window);
    ck_assert_ptr_eq(window->region, region);
    ck_assert_ptr_eq(tide_pagemap_find(base + REGION_SIZE - 1), window);
    ck_assert_ptr_null(tide_pagemap_find(base + REGION_SIZE));
    ck_assert_int_eq(tide_region_close(region), 0);
    ck_assert_ptr_null(tide_pagemap_find(base + TIDE_REGION_SEGMENT));
}
END_TEST

int main(void)
{
    const TTest *plain[] = {bad_requests_are_told,
                            a_file_that_is_there_is_used_and_not_replaced,
                            a_region_that_was_cut_off_or_is_none,
                            holes_are_filled_when_it_is_opened,
                            what_dead_calls_left_is_mended_when_it_is_opened_alone,
                            so_many_can_be_open_and_no_more,
                            failures_leave_nothing_behind,
                            what_cannot_be_shown_is_not_formatted,
                            a_new_file_is_its_users_and_one_that_is_there_stays_so,
                            a_device_is_taken_whole_and_by_its_alignment,
                            the_window_holds_what_can_be_lent,
                            NULL};
    const TTest *each[] = {NULL};
    return region_main("region", plain, each);
}
