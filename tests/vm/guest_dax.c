/*
 * guest_dax.c - a program's own mapping of device memory, beside the library.
 *
 * device PATH   a dax device, mapped shared
 * rules PATH    what the library counts on: how such a device differs from other memory
 * used PATH     a device in system-ram mode cannot be opened, and sysfs says why
 * file PATH     a file of a file system on such memory, mapped with MAP_SYNC
 */
#include "guest.h"

#include <setjmp.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>

enum { DAX_BYTES = 2 << 20, RW = PROT_READ | PROT_WRITE };

/* Shared with a child, no block of the library, and the library works on. */
static void use(char *map)
{
    int status;
    struct set set = {0};
    *(volatile uint64_t *)map = 42;
    fflush(stdout);
    pid_t child = fork();
    if (child == 0) {
        *(volatile uint64_t *)map += 1;
        _exit(0);
    }
    NEED(waitpid(child, &status, 0) == child && status == 0, "the child ended with %#x", status);
    NEED(*(volatile uint64_t *)map == 43, "%llu", *(volatile unsigned long long *)map);
    NEED(tide_tier_of(map) == TIDE_TIER_NONE, "a tier of the library");
    set_fill(&set, MIB);
    set_check(&set);
    set_drop(&set);
    NEED(munmap(map, DAX_BYTES) == 0, "munmap: %s", strerror(errno));
}

static void device(char **arguments)
{
    int fd = open(arguments[0], O_RDWR);
    NEED(fd >= 0, "%s: %s", arguments[0], strerror(errno));
    void *map = mmap(NULL, DAX_BYTES, PROT_READ | PROT_WRITE, MAP_PRIVATE, fd, 0);
    NEED(map == MAP_FAILED, "a private mapping of a device"); /* or it is no such device */
    map = mmap(NULL, DAX_BYTES, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    NEED(map != MAP_FAILED, "mmap: %s", strerror(errno));
    use(map);
}

/* A figure of the device, from sysfs. */
static size_t told(const char *path, const char *name)
{
    char file[128], text[64] = "";
    struct stat about;
    NEED(stat(path, &about) == 0, "%s: %s", path, strerror(errno));
    NEED(S_ISCHR(about.st_mode) && about.st_size == 0, "%s has %ld bytes", path,
         (long)about.st_size);
    snprintf(file, sizeof file, "/sys/dev/char/%u:%u/%s", major(about.st_rdev),
             minor(about.st_rdev), name);
    FILE *stream = fopen(file, "r");
    NEED(stream != NULL && fgets(text, sizeof text, stream) != NULL, "%s", file);
    fclose(stream);
    text[strcspn(text, "\n")] = '\0';
    return guest_number(text);
}

static char *map_at(void *where, size_t size, int flags, int fd, off_t offset)
{
    return mmap(where, size, RW, flags, fd, offset);
}

static sigjmp_buf broken;

static void on_bus(int number)
{
    (void)number;
    siglongjmp(broken, 1);
}

static bool breaks(volatile char *at)
{
    signal(SIGBUS, on_bus);
    if (sigsetjmp(broken, 1) != 0)
        return true;
    *at = 1;
    return false;
}

/* Lengths, addresses and parts are multiples of the alignment, or EINVAL. */
static void aligned(int fd, size_t size, size_t align)
{
    char *room = guest_map(4 * align);
    char *map = map_at(NULL, align, MAP_PRIVATE, fd, 0);
    NEED(map == MAP_FAILED && errno == EINVAL, "a private mapping");
    map = map_at(NULL, align - GUEST_PAGE, MAP_SHARED, fd, 0);
    NEED(map == MAP_FAILED && errno == EINVAL, "a short mapping");
    room = (char *)(((uintptr_t)room + align) & -align);
    map = map_at(room + GUEST_PAGE, align, MAP_SHARED | MAP_FIXED, fd, 0);
    NEED(map == MAP_FAILED && errno == EINVAL, "an odd address");
    map = map_at(NULL, 2 * align, MAP_SHARED, fd, 0);
    NEED(map != MAP_FAILED && (uintptr_t)map % align == 0, "%p: %s", (void *)map, strerror(errno));
    NEED(munmap(map, GUEST_PAGE) != 0 && errno == EINVAL, "a part was unmapped");
    NEED(munmap(map, 2 * align) == 0, "munmap: %s", strerror(errno));
    map = map_at(NULL, align, MAP_SHARED, fd, (off_t)size);
    NEED(map != MAP_FAILED && breaks(map), "memory behind the end");
}

/* Nothing clears it, moves it, or knows its node. */
static void stays(int fd, size_t align)
{
    struct places places = {{0}, 0};
    for (int round = 0; round < 2; round++) {
        char *map = map_at(NULL, align, MAP_SHARED, fd, 0);
        NEED(map != MAP_FAILED, "mmap: %s", strerror(errno));
        NEED(round == 0 || map[100] == 77, "%d after another mapping", map[100]);
        map[100] = 77;
        NEED(guest_policy(map, align, MPOL_PREFERRED, 1) == 0, "mbind: %s", strerror(errno));
        NEED(madvise(map, align, MADV_DONTNEED) == 0, "madvise: %s", strerror(errno));
        NEED(map[100] == 77, "%d after MADV_DONTNEED", map[100]);
        guest_where(map, GUEST_PAGE, &places);
        NEED(places.resident == 0, "move_pages knows where it is");
        NEED(munmap(map, align) == 0, "munmap: %s", strerror(errno));
    }
}

static void rules(char **arguments)
{
    size_t size = told(arguments[0], "size"), align = told(arguments[0], "align");
    int fd = open(arguments[0], O_RDWR);
    NEED(fd >= 0, "%s: %s", arguments[0], strerror(errno));
    NEED(align >= GUEST_PAGE && size >= 64 * MIB && size % align == 0, "%zu bytes by %zu", size,
         align);
    aligned(fd, size, align);
    stays(fd, align);
    close(fd);
}

static void used(char **arguments)
{
    int fd = open(arguments[0], O_RDWR);
    NEED(fd < 0 && errno == ENXIO, "%d: %s", fd, strerror(errno));
    NEED(told(arguments[0], "size") >= 64 * MIB, "too small");
}

static void file(char **arguments)
{
    int fd = open(arguments[0], O_RDWR | O_CREAT, 0600);
    NEED(fd >= 0, "%s: %s", arguments[0], strerror(errno));
    NEED(posix_fallocate(fd, 0, DAX_BYTES) == 0, "no room");
    void *map =
        mmap(NULL, DAX_BYTES, PROT_READ | PROT_WRITE, MAP_SHARED_VALIDATE | MAP_SYNC, fd, 0);
    NEED(map != MAP_FAILED, "mmap with MAP_SYNC: %s", strerror(errno));
    use(map);
}

int main(int argc, char **argv)
{
    static const struct guest_case cases[] = {
        {"device", device}, {"rules", rules}, {"used", used}, {"file", file}, {NULL, NULL}};
    (void)argc;
    return guest_main(argv, cases);
}
