/* test_source_file.c - files, memfds and devices as sources: what can be used, what is said
 * of what cannot, and what is got. A device is made of /dev/zero and a made-up sysfs. */
#include "box/source.h"

#include <unistd.h>

#include "box/vmem.h"
#include "unit_files.h"

enum { SIZE = 1 << 20 };

static struct tide_source source;
static struct tide_extent extent;

/* Opening fails so, and in these words. */
static void refused(bool create, int code, const char *text, const char *words)
{
    memset(&source, 0x55, sizeof source);
    int ret = tide_source_open_region(&source, text, create);
    ck_assert_msg(ret == code, "'%s' gave %d", text, ret);
    ck_assert_msg(strstr(source.why, words) != NULL, "'%s': %s", text, source.why);
    ck_assert_str_eq(source.text, "near");
    ck_assert(!source.shared);
    ck_assert_int_eq(tide_source_open(&source, text), code == -EINVAL ? code : -ENODEV);
    ck_assert_msg(strstr(source.why, words) != NULL, "'%s': %s", text, source.why);
}

static void opened(const char *text)
{
    memset(&source, 0x55, sizeof source);
    int ret = tide_source_open_region(&source, text, true);
    ck_assert_msg(ret == 0, "'%s' gave %d: %s", text, ret, source.why);
    ck_assert_str_eq(source.text, text);
}

/* Getting memory fails so, and in these words. */
static void not_got(size_t size, int code, const char *words)
{
    int ret = tide_source_grab(&source, size, &extent);
    ck_assert_msg(ret == code, "%zu bytes gave %d", size, ret);
    ck_assert_msg(strstr(source.said, words) != NULL, "%s", source.said);
    ck_assert_int_eq(extent.fd, -1);
}

/* Gets and maps memory, writes it from end to end, and gives it back. */
static void use(size_t size)
{
    ck_assert_msg(tide_source_grab(&source, size, &extent) == 0, "%s", source.said);
    ck_assert_uint_eq(extent.size, size != 0 ? size : source.capacity);
    char *base = tide_vmem_reserve(extent.size + extent.align), *at = base;
    ck_assert_ptr_nonnull(base);
    at = (char *)tide_align_up((uintptr_t)base, extent.align);
    ck_assert_int_eq(tide_source_map(&source, &extent, at, 0, extent.size), 0);
    memset(at, 0x5a, extent.size);
    int fd = extent.fd;
    tide_source_release(&extent);
    ck_assert_int_eq(extent.fd, -1);
    if (fd >= 0)
        ck_assert_int_eq(fcntl(fd, F_GETFD), -1);
    ck_assert_int_eq(at[extent.size - 1], 0x5a); /* the mapping needs no descriptor */
    tide_vmem_unmap(base, extent.size + extent.align);
}

START_TEST(a_file_that_is_there)
{
    const char *path = unit_path("there");
    char text[300];
    unit_make(path, SIZE + 5000);
    snprintf(text, sizeof text, "file:%s", path);
    opened(text);
    ck_assert(source.shared && source.far);
    ck_assert_int_eq(source.node, -1);
    ck_assert_uint_eq(source.capacity, SIZE + 5000);
    ck_assert_str_eq(source.why, "the file asked for");
    use(SIZE);
    use(4096);
    struct tide_source copy;
    tide_source_copy(&copy, &source);
    ck_assert_str_eq(copy.path, path);
    ck_assert_int_eq(tide_source_grab(&source, 0, &extent), 0);
    ck_assert_uint_eq(extent.size, SIZE + 4096); /* whole pages */
    tide_source_release(&extent);
    ck_assert(unit_size(path) == SIZE + 5000);
    snprintf(text, sizeof text, "file:%s,delay=77", path);
    opened(text);
    ck_assert_uint_eq(source.delay, 77);
}
END_TEST

START_TEST(a_file_is_made_and_all_of_it_allocated)
{
    const char *path = unit_path("made");
    char text[300];
    snprintf(text, sizeof text, "file:%s", path);
    refused(false, -ENOENT, text, "does not exist");
    opened(text);
    ck_assert_int_eq(unit_size(path), -1); /* opening makes nothing */
    not_got(0, -EINVAL, "needs a size");
    not_got(SIZE + 100, -EINVAL, "multiples of 4096 bytes, and not 1048676");
    ck_assert_int_eq(unit_size(path), -1);
    use(SIZE);
    ck_assert(extent.made);
    ck_assert_int_eq(unit_size(path), SIZE);
    ck_assert(unit_is_allocated(path));
    opened(text);
    use(SIZE);
    ck_assert(!extent.made);
    not_got(2 * SIZE, -EFBIG, "has 1048576 bytes, and not the 2097152 that are asked for");
    unit_make(path, SIZE); /* the same without blocks: they come, and nothing is lost */
    opened(text);
    use(SIZE);
    ck_assert(unit_is_allocated(path));
    unit_make(path, 0);
    refused(false, -EFBIG, text, "is empty");
    opened(text);
    use(SIZE);
    ck_assert(!extent.made);
    ck_assert_int_eq(unit_size(path), SIZE);
}
END_TEST

static void no_room(long unused)
{
    (void)unused;
    unit_limit(RLIMIT_FSIZE, SIZE); /* whose signal ends the process */
    opened("memfd");
    UNIT_NEED(tide_source_grab(&source, 2 * SIZE, &extent) == -ENOMEM && extent.fd == -1);
    UNIT_NEED(strstr(source.said, "2097152 bytes are wanted, and 1048576 can be taken") != NULL);
    char text[300];
    snprintf(text, sizeof text, "file:%s", unit_path("large"));
    opened(text);
    UNIT_NEED(tide_source_grab(&source, 2 * SIZE, &extent) == -EFBIG && extent.fd == -1);
    UNIT_NEED(strstr(source.said, "/large' may not have 2097152 bytes: this process may make "
                                  "files of 1048576 (ulimit -f)") != NULL);
    UNIT_NEED(unit_size(unit_path("large")) == -1); /* what was made for nothing is gone */
    UNIT_NEED(tide_source_grab(&source, SIZE, &extent) == 0);
}

START_TEST(no_room_is_an_error_and_leaves_nothing)
{
    unit_child_ok(no_room, 0);
    if (unit_tmpfs[0] == '\0')
        return;
    char text[300];
    snprintf(text, sizeof text, "file:%s/huge", unit_tmpfs);
    opened(text);
    not_got((size_t)1 << 46, -ENOMEM, "is in memory: it needs 70368744177664 more bytes, and ");
    ck_assert_ptr_nonnull(strstr(source.said, " can be taken"));
    ck_assert_int_eq(unit_size(text + 5), -1);
}
END_TEST

START_TEST(what_is_no_file_to_be_used)
{
    char text[300];
    refused(true, -ENODEV, "file:/dev/zero", "is a device and no regular file");
    snprintf(text, sizeof text, "file:%s", unit_disk);
    refused(true, -ENODEV, text, "is no regular file");
    ck_assert_int_eq(mkfifo(unit_path("fifo"), 0600), 0); /* would wait for a reader */
    snprintf(text, sizeof text, "file:%s", unit_path("fifo"));
    refused(true, -ENODEV, text, "is no regular file");
    snprintf(text, sizeof text, "file:%s/no/where", unit_disk);
    refused(false, -ENOENT, text, "does not exist");
    opened(text);
    not_got(SIZE, -ENOENT, "does not exist");
    snprintf(text, sizeof text, "file:%s/x", unit_path("fifo"));
    refused(true, -ENOENT, text, "does not exist");
    refused(true, -EINVAL, "file:", "no source");
    refused(true, -EINVAL, "memfd:x", "no source");
}
END_TEST

static void as_nobody(long unused)
{
    char text[300];
    (void)unused;
    if (getuid() == 0) /* who may read everything */
        UNIT_NEED(setgid(65534) == 0 && setuid(65534) == 0);
    snprintf(text, sizeof text, "file:%s", unit_path("secret"));
    UNIT_NEED(tide_source_open_region(&source, text, true) == -EACCES);
    UNIT_NEED(strstr(source.said, "may not be read and written by this user") != NULL);
}

START_TEST(a_file_of_somebody_else)
{
    unit_make(unit_path("secret"), SIZE);
    ck_assert_int_eq(chmod(unit_path("secret"), 0400), 0);
    ck_assert_int_eq(chmod(unit_disk, 0755), 0);
    unit_child_ok(as_nobody, 0);
}
END_TEST

START_TEST(a_memfd_is_sealed_and_has_all_its_memory)
{
    opened("memfd,delay=5");
    ck_assert(source.shared && source.far);
    ck_assert_uint_eq(source.capacity, 0);
    not_got(0, -EINVAL, "needs a size");
    ck_assert_int_eq(tide_source_grab(&source, SIZE, &extent), 0);
    ck_assert_int_eq(ftruncate(extent.fd, SIZE / 2), -1);
    struct stat found;
    ck_assert_int_eq(fstat(extent.fd, &found), 0);
    ck_assert_uint_ge((uint64_t)found.st_blocks * 512, SIZE);
    tide_source_release(&extent);
    use(2 * SIZE);
}
END_TEST

START_TEST(private_memory_comes_by_the_same_calls)
{
    static const char *const texts[] = {"anon", "near", "anon,delay=9"};
    for (int i = 0; i < 3; i++) {
        opened(texts[i]);
        ck_assert(!source.shared);
        not_got(0, -EINVAL, "needs a size");
        not_got(SIZE + 1, -EINVAL, "and not 1048577");
        use(SIZE);
    }
}
END_TEST

START_TEST(a_descriptor_that_became_another_file_is_left_alone)
{
    opened("memfd");
    ck_assert_int_eq(tide_source_grab(&source, SIZE, &extent), 0);
    int fd = extent.fd, other = open("/dev/null", O_RDONLY);
    ck_assert_int_eq(dup2(other, fd), fd); /* a program that closes all it does not know */
    tide_source_release(&extent);
    ck_assert_int_ge(fcntl(fd, F_GETFD), 0);
    close(fd);
    close(other);
}
END_TEST

/* --- devices ------------------------------------------------------------------------ */

static void make_device(const char *size, const char *align, const char *driver)
{
    char command[1024];
    snprintf(command, sizeof command,
             "cd %s && rm -rf sys && mkdir -p sys/dev/char/1:5 sys/bus/dax/devices/zero && "
             "(test -z '%s' || echo %s >sys/dev/char/1:5/size) && "
             "(test -z '%s' || echo %s >sys/dev/char/1:5/align) && "
             "ln -s 1:5 sys/dev/char/5:1 && "
             "ln -s ../../../../bus/dax/drivers/%s sys/bus/dax/devices/zero/driver",
             unit_disk, size, size, align, align, driver);
    ck_assert_int_eq(system(command), 0);
    tide_source_sysfs = unit_path("sys");
}

START_TEST(a_device_is_what_sysfs_says)
{
    make_device("8388608", "2097152", "device_dax");
    opened("dax:/dev/zero");
    ck_assert(source.shared && source.far);
    ck_assert_uint_eq(source.capacity, 8 << 20);
    ck_assert_uint_eq(source.align, 2 << 20);
    not_got(3 << 20, -EINVAL, "takes sizes that are multiples of 2097152 bytes, and not 3145728");
    not_got(16 << 20, -EFBIG, "has 8388608 bytes, and not the 16777216 that are asked for");
    use(4 << 20);
    use(0);
    ck_assert_uint_eq(extent.align, 2 << 20);
    make_device("10489856", "2097152", "device_dax"); /* 10 MiB and 4 KiB */
    opened("dax:/dev/zero,delay=3");
    ck_assert_int_eq(tide_source_grab(&source, 0, &extent), 0);
    ck_assert_uint_eq(extent.size, 10 << 20);
    tide_source_release(&extent);
}
END_TEST

START_TEST(what_is_no_device_to_be_used)
{
    char text[300];
    make_device("8388608", "2097152", "device_dax");
    refused(true, -ENOENT, "dax:/dev/dax77.0", "'/dev/dax77.0' does not exist");
    refused(true, -ENODEV, "dax:/dev/null", "is no devdax device");
    unit_make(unit_path("file"), SIZE);
    snprintf(text, sizeof text, "dax:%s", unit_path("file"));
    refused(true, -ENODEV, text, "is a file and no device (say file:PATH)");
    snprintf(text, sizeof text, "dax:%s", unit_disk);
    refused(true, -ENODEV, text, "is no devdax device");
    refused(true, -EINVAL, "dax", "no source");
    refused(true, -EINVAL, "dax:", "no source");
    make_device("1048576", "2097152", "device_dax");
    refused(true, -EFBIG, "dax:/dev/zero", "has no memory");
    make_device("8388608", "3000", "device_dax");
    refused(true, -ENODEV, "dax:/dev/zero", "is no devdax device");
    make_device("", "", "kmem"); /* the device file is a stale one, or gone */
    refused(true, -ENXIO, "dax:/dev/zero", "is in system-ram mode");
    ck_assert_int_eq(
        rename(unit_path("sys/bus/dax/devices/zero"), unit_path("sys/bus/dax/devices/dax77.0")), 0);
    refused(true, -ENXIO, "dax:/dev/dax77.0", "is in system-ram mode");
}
END_TEST

static void device_as_nobody(long unused)
{
    static const char *const words = "may not be read and written by this user";
    char text[300];
    (void)unused;
    if (getuid() == 0)
        UNIT_NEED(setgid(65534) == 0 && setuid(65534) == 0);
    snprintf(text, sizeof text, "dax:%s/dax0.0", unit_path("closed"));
    UNIT_NEED(tide_source_open_region(&source, text, true) == -EACCES);
    UNIT_NEED(strstr(source.said, words) != NULL);
    if (access("/dev/console", F_OK) != 0 || access("/dev/console", R_OK | W_OK) == 0)
        return; /* no device here that is somebody else's */
    UNIT_NEED(tide_source_open_region(&source, "dax:/dev/console", true) == -EACCES);
    UNIT_NEED(strstr(source.said, words) != NULL);
}

START_TEST(a_device_of_somebody_else)
{
    make_device("8388608", "2097152", "device_dax");
    ck_assert_int_eq(mkdir(unit_path("closed"), 0), 0);
    ck_assert_int_eq(chmod(unit_disk, 0755), 0);
    unit_child_ok(device_as_nobody, 0);
    ck_assert_int_eq(chmod(unit_path("closed"), 0700), 0);
}
END_TEST

int main(void)
{
    const TTest *tests[] = {a_file_that_is_there,
                            a_file_is_made_and_all_of_it_allocated,
                            no_room_is_an_error_and_leaves_nothing,
                            what_is_no_file_to_be_used,
                            a_file_of_somebody_else,
                            a_memfd_is_sealed_and_has_all_its_memory,
                            private_memory_comes_by_the_same_calls,
                            a_descriptor_that_became_another_file_is_left_alone,
                            a_device_is_what_sysfs_says,
                            what_is_no_device_to_be_used,
                            a_device_of_somebody_else,
                            NULL};
    Suite *suite = suite_create("source_file");
    TCase *tcase = tcase_create("source_file");
    tcase_add_checked_fixture(tcase, unit_files_setup, unit_files_teardown);
    for (const TTest *const *test = tests; *test != NULL; test++)
        tcase_add_test(tcase, *test);
    suite_add_tcase(suite, tcase);
    return unit_run(suite);
}
