/* test_share.c - shared memory for a process's own Mid: how much is got, what is refused,
 * where it is laid, and that nobody else gets it. */
#include "box/share.h"

#include <sys/file.h>

#include "box/vmem.h"
#include "unit_files.h"

enum { SEGMENT = 1 << TIDE_SHIFT_SMALL, SEGMENTS = 40, SIZE = SEGMENTS * SEGMENT };

static struct tide_source source;
static size_t granule;

static void opened(const char *text)
{
    ck_assert_msg(tide_source_open(&source, text) == 0, "%s", source.why);
}

static void open_file(size_t size)
{
    char text[300];
    snprintf(text, sizeof text, "file:%s", unit_path("mid"));
    unit_make(text + 5, (off_t)size);
    opened(text);
}

static void refused(size_t cap, int code, const char *words)
{
    int ret = tide_share_get(&source, cap, &granule);
    ck_assert_msg(ret == code, "gave %d", ret);
    ck_assert_msg(strstr(source.said, words) != NULL, "%s", source.said);
}

/* Lays one part into a fresh range: its bytes. */
static size_t lay(enum tide_kind kind, size_t reserved)
{
    char *base = tide_vmem_reserve(reserved + SEGMENT);
    char *at = (char *)tide_align_up((uintptr_t)base, SEGMENT);
    size_t laid = tide_share_lay(&source, kind, (uintptr_t)at, reserved);
    if (laid > 0 && source.ops != &tide_source_dax) /* /dev/zero has no offsets */
        memset(at, kind + 1, laid);
    tide_vmem_unmap(base, reserved + SEGMENT);
    return laid;
}

START_TEST(a_file_is_split_between_both_kinds)
{
    open_file(SIZE + 1000);
    ck_assert_int_eq(tide_share_get(&source, SIZE_MAX, &granule), 0);
    ck_assert_uint_eq(granule, SEGMENT);
    ck_assert(unit_is_allocated(unit_path("mid")) || unit_size(unit_path("mid")) > SIZE);
    ck_assert_uint_eq(lay(TIDE_KIND_MID, SIZE), SIZE / 8 * 7);
    ck_assert_uint_eq(lay(TIDE_KIND_MIDAL, SIZE), SIZE / 8);
    tide_share_done();
    ck_assert_uint_eq(lay(TIDE_KIND_MID, SIZE), 0);
    int fd = open(unit_path("mid"), O_RDONLY); /* each part is its own */
    unsigned char byte;
    for (off_t at = 0; at < SIZE; at += SEGMENT / 2) {
        ck_assert_int_eq(pread(fd, &byte, 1, at), 1);
        ck_assert_uint_eq(byte, at < SIZE / 8 * 7 ? TIDE_KIND_MID + 1 : TIDE_KIND_MIDAL + 1);
    }
    close(fd);
}
END_TEST

START_TEST(caps_and_small_ranges_bound_it)
{
    open_file(SIZE);
    ck_assert_int_eq(tide_share_get(&source, SIZE / 2 + 5000, &granule), 0);
    ck_assert_uint_eq(lay(TIDE_KIND_MID, SIZE), SIZE / 2 - 2 * SEGMENT); /* an eighth is 2.5 */
    ck_assert_uint_eq(lay(TIDE_KIND_MID, 3 * SEGMENT), 3 * SEGMENT);
    ck_assert_uint_eq(lay(TIDE_KIND_MIDAL, SIZE), 2 * SEGMENT);
    tide_share_done();
    open_file(SEGMENT);
    ck_assert_int_eq(tide_share_get(&source, SIZE_MAX, &granule), 0);
    ck_assert_uint_eq(lay(TIDE_KIND_MID, SIZE), SEGMENT);
    ck_assert_uint_eq(lay(TIDE_KIND_MIDAL, SIZE), 0);
    tide_share_done();
}
END_TEST

START_TEST(too_little_is_refused_with_both_numbers)
{
    opened("memfd");
    refused(SIZE_MAX, -EINVAL, "has no size of its own: say cap=");
    refused(100 << 10, -EFBIG, "has 102400 bytes, and not the 524288 that are asked for");
    open_file(400 << 10);
    refused(SIZE_MAX, -EFBIG, "has 409600 bytes, and not the 524288 that are asked for");
    opened("memfd");
    ck_assert_int_eq(tide_share_get(&source, SIZE, &granule), 0);
    ck_assert_uint_eq(lay(TIDE_KIND_MID, SIZE), SIZE / 8 * 7);
    tide_share_done();
}
END_TEST

/* The lock is the mapping's, not the descriptor's, which programs close. */
START_TEST(nobody_else_gets_the_same_memory)
{
    char *base = tide_vmem_reserve(SIZE);
    open_file(SIZE);
    int fd = open(unit_path("mid"), O_RDWR);
    ck_assert_int_eq(tide_share_get(&source, SIZE_MAX, &granule), 0);
    ck_assert_uint_gt(tide_share_lay(&source, TIDE_KIND_MID, (uintptr_t)base, SIZE), 0);
    tide_share_done();
    ck_assert_int_eq(flock(fd, LOCK_EX | LOCK_NB), -1);
    struct tide_source same = source;
    ck_assert_int_eq(tide_share_get(&same, SIZE_MAX, &granule), -EBUSY);
    ck_assert_ptr_nonnull(strstr(same.said, "is in use by another process"));
    tide_vmem_unmap(base, SIZE);
    ck_assert_int_eq(flock(fd, LOCK_EX | LOCK_NB), 0);
    close(fd);
}
END_TEST

/* A device of 2-MiB alignment, made of /dev/zero. */
START_TEST(a_device_is_split_by_its_alignment)
{
    char command[400];
    snprintf(command, sizeof command,
             "mkdir -p %s/sys/dev/char/1:5 && cd %s/sys/dev/char/1:5 && echo 10485760 >size && "
             "echo 2097152 >align",
             unit_disk, unit_disk);
    ck_assert_int_eq(system(command), 0);
    tide_source_sysfs = unit_path("sys");
    opened("dax:/dev/zero");
    ck_assert_int_eq(tide_share_get(&source, SIZE_MAX, &granule), 0);
    ck_assert_uint_eq(granule, 2 << 20);
    ck_assert_uint_eq(lay(TIDE_KIND_MID, SIZE), 8 << 20);
    ck_assert_uint_eq(lay(TIDE_KIND_MID, 3 << 20), 2 << 20);
    ck_assert_uint_eq(lay(TIDE_KIND_MIDAL, SIZE), 2 << 20);
    tide_share_done();
}
END_TEST

int main(void)
{
    const TTest *tests[] = {
        a_file_is_split_between_both_kinds,      caps_and_small_ranges_bound_it,
        too_little_is_refused_with_both_numbers, nobody_else_gets_the_same_memory,
        a_device_is_split_by_its_alignment,      NULL};
    Suite *suite = suite_create("share");
    TCase *tcase = tcase_create("share");
    tcase_add_checked_fixture(tcase, unit_files_setup, unit_files_teardown);
    for (const TTest *const *test = tests; *test != NULL; test++)
        tcase_add_test(tcase, *test);
    suite_add_tcase(suite, tcase);
    return unit_run(suite);
}
