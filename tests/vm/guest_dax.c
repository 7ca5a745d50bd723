/*
 * guest_dax.c - a program's own mapping of device memory, beside the library.
 *
 * device PATH   a dax device, mapped shared
 * file PATH     a file of a file system on such memory, mapped with MAP_SYNC
 */
#include "guest.h"

enum { DAX_BYTES = 2 << 20 };

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
    static const struct guest_case cases[] = {{"device", device}, {"file", file}, {NULL, NULL}};
    (void)argc;
    return guest_main(argv, cases);
}
