/*
 * guest_region.c - the library's own regions and its Mid on real devices and files, next to
 * prog_region, which goes over the interface.
 *
 * dirty PATH COMMAND...      the command, after the device's first MiB got bytes that are not zero
 * rules PATH                 alignment and size of a region are those of the device, wrong ones
 *                            are refused in words; nothing is zero but what calloc gives
 * denied PATH                this user may not, and is told so
 * ram PATH                   a device in system-ram mode is no region, and what to do is told
 * zero MIB                   so much calloc from Mid is zero, although it lies on such bytes
 * mapped PATH MIB            all blocks of Mid are in the mapping of this file or device, and
 *                            statistics say so
 * spills PATH MOST MIB       at most MOST MiB of them are, the rest is near and counted, or
 *                            refused with full=fail
 * shared                     a child's write to a block is seen here
 * inherit COMMAND...         the command, while this process has the memory
 * as USER COMMAND...         the command, by another user
 * sync PATH                  a region in a file is mapped with MAP_SYNC
 * poison PATH                a broken line: SIGBUS, and its region and offset are known (the
 *                            device's last MiB are broken afterwards)
 */
#include "guest.h"

#include <sys/stat.h>
#include <sys/sysmacros.h>

#include <tidepool/region.h>

#pragma weak tide_region_create
#pragma weak tide_region_open
#pragma weak tide_region_close
#pragma weak tide_region_base
#pragma weak tide_region_info
#pragma weak tide_region_take
#pragma weak tide_region_where
#pragma weak tide_heap_create_on
#pragma weak tide_heap_calloc
#pragma weak tide_heap_malloc
#pragma weak tide_heap_destroy

enum { DIRT = 0xa5, RW = PROT_READ | PROT_WRITE };

static struct tide_region_error error;

/* A number that sysfs tells of a device. */
static size_t told(const char *path, const char *name)
{
    char file[128], text[64] = "";
    struct stat about;
    NEED(stat(path, &about) == 0 && S_ISCHR(about.st_mode), "%s is no device", path);
    snprintf(file, sizeof file, "/sys/dev/char/%u:%u/%s", major(about.st_rdev),
             minor(about.st_rdev), name);
    FILE *stream = fopen(file, "r");
    NEED(stream != NULL && fgets(text, sizeof text, stream) != NULL, "%s", file);
    fclose(stream);
    text[strcspn(text, "\n")] = '\0';
    return guest_number(text);
}

static const char *named(const char *kind, const char *path)
{
    static char text[256];
    snprintf(text, sizeof text, "%s:%s", kind, path);
    return text;
}

static tide_region_t *made(const char *source, size_t size)
{
    tide_region_t *region = NULL;
    int ret = tide_region_create(&region, source, size, TIDE_REGION_REPLACE, &error);
    NEED(ret == 0, "%d: %s", ret, error.text);
    return region;
}

static struct tide_region_info about(tide_region_t *region)
{
    struct tide_region_info info;
    NEED(tide_region_info(region, &info) == 0, "no information");
    return info;
}

/* --- a device ------------------------------------------------------------------------- */

static void soil(const char *path, size_t offset, size_t size)
{
    int fd = open(path, O_RDWR);
    size_t align = told(path, "align"), from = offset & -align;
    size_t length = (offset + size - from + align - 1) & -align;
    char *map = mmap(NULL, length, RW, MAP_SHARED, fd, (off_t)from);
    NEED(fd >= 0 && map != MAP_FAILED, "%s: %s", path, strerror(errno));
    memset(map + (offset - from), DIRT, size);
    munmap(map, length);
    close(fd);
}

static void refused(const char *source, size_t size, int code, const char *words)
{
    tide_region_t *region = NULL;
    int ret = tide_region_create(&region, source, size, TIDE_REGION_REPLACE, &error);
    NEED(ret == code && region == NULL, "%zu bytes gave %d: %s", size, ret, error.text);
    NEED(strstr(error.text, words) != NULL, "%s", error.text);
    NEED(strstr(error.text, source + strlen("dax:")) != NULL, "%s", error.text);
}

/* What a heap gives is what the device held before; calloc's is zero. */
static void old_bytes(tide_region_t *region)
{
    static const size_t sizes[] = {100, 3000, 32768, 100000, 300000};
    tide_heap_t *heap = tide_heap_create_on(region);
    size_t old = 0;
    NEED(heap != NULL, "no heap");
    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
        unsigned char *fresh = tide_heap_malloc(heap, sizes[i]);
        unsigned char *zero = tide_heap_calloc(heap, 1, sizes[i]);
        NEED(fresh != NULL && zero != NULL, "%zu bytes", sizes[i]);
        for (size_t k = 0; k < sizes[i]; k++) {
            old += fresh[k] == DIRT;
            NEED(zero[k] == 0, "byte %zu of %zu is %u", k, sizes[i], zero[k]);
        }
    }
    NEED(old > 3000, "only %zu bytes of before", old); /* or nothing is shown */
    tide_heap_destroy(heap);
}

static void rules(char **arguments)
{
    const char *path = arguments[0], *source = named("dax", path);
    size_t size = told(path, "size"), align = told(path, "align");
    char words[96];
    snprintf(words, sizeof words, "takes sizes that are multiples of %zu", align);
    soil(path, 0, 3 * MIB);
    refused(source, align + TIDE_REGION_SEGMENT, -EINVAL, words);
    snprintf(words, sizeof words, "has %zu bytes, and not the %zu", size, size + align);
    refused(source, size + align, -EFBIG, words);
    tide_region_t *region = made(source, align);
    NEED(about(region).size == align, "%zu", (size_t)about(region).size);
    NEED(tide_region_close(region) == 0, "not closed");
    region = made(source, 0);
    struct tide_region_info info = about(region);
    NEED(info.size == size && info.align == align, "%zu bytes by %zu", (size_t)info.size,
         (size_t)info.align);
    NEED((uintptr_t)info.base % align == 0 && info.shared && info.fd >= 0, "at %p", info.base);
    old_bytes(region);
    NEED(tide_region_close(region) == 0, "not closed");
}

static void denied(char **arguments)
{
    refused(named("dax", arguments[0]), 0, -EACCES, "may not be read and written by this user");
}

static void ram(char **arguments)
{
    refused(named("dax", arguments[0]), 0, -ENXIO,
            "is in system-ram mode: say mid=node:N, or change it (daxctl reconfigure-device "
            "--mode=devdax)");
}

static char *volatile broken_at;
static tide_region_t *volatile broken_region;

/* Nothing but async-signal-safe calls. */
static void on_bus(int number, siginfo_t *signal, void *context)
{
    char text[300] = "";
    (void)number, (void)context;
    int len = tide_region_where(signal->si_addr, text, sizeof text);
    const char *colon = strchr(text, ':'), *at = strstr(text, ", offset 0x");
    bool good = len > 0 && (size_t)len == strlen(text) && colon != NULL && at != NULL;
    size_t offset = (size_t)((char *)signal->si_addr - (char *)tide_region_base(broken_region));
    good = good && strncmp(text, "dax:/dev/", 9) == 0 &&
           strtoull(at + strlen(", offset 0x"), NULL, 16) == offset && offset != 0;
    _exit(good ? 0 : 3);
}

/* In a child: the signal ends it well, or it goes on and that is wrong. */
static void poison(char **arguments)
{
    int status;
    fflush(stdout);
    pid_t child = fork();
    if (child == 0) {
        tide_region_t *region = made(named("dax", arguments[0]), 0);
        struct tide_region_info info = about(region);
        struct sigaction action = {.sa_sigaction = on_bus, .sa_flags = SA_SIGINFO};
        broken_region = region;
        broken_at = (char *)info.base + info.size - info.align;
        *broken_at = 1;
        sigaction(SIGBUS, &action, NULL);
        if (madvise(broken_at, GUEST_PAGE, MADV_HWPOISON) != 0)
            _exit(errno == EINVAL ? 77 : 4);
        *(volatile char *)broken_at = 2;
        _exit(5);
    }
    NEED(waitpid(child, &status, 0) == child && WIFEXITED(status), "it ended with %#x", status);
    if (WEXITSTATUS(status) == 77) {
        printf("this kernel breaks no memory for tests\n");
        fflush(stdout);
        _exit(77);
    }
    NEED(WEXITSTATUS(status) == 0, "exit %d", WEXITSTATUS(status));
}

static void sync_file(char **arguments)
{
    tide_region_t *region = made(named("file", arguments[0]), 8 * MIB);
    NEED(about(region).sync == 1, "no MAP_SYNC");
    NEED(tide_region_close(region) == 0 && unlink(arguments[0]) == 0, "not closed");
}

/* --- Mid of this process ------------------------------------------------------------------ */

static void zero(char **arguments)
{
    size_t bytes = guest_number(arguments[0]) * MIB;
    for (size_t done = 0, i = 0; done < bytes; i++) {
        size_t size = 2500 + i % 7 * 4000;
        unsigned char *block = calloc(1, size);
        NEED(block != NULL && tide_tier_of(block) == TIDE_TIER_MID, "%zu bytes", size);
        for (size_t k = 0; k < size; k++)
            NEED(block[k] == 0, "byte %zu of %zu is %u", k, size, block[k]);
        memset(block, DIRT, size);
        if (i % 3 == 0)
            free(block);
        done += size;
    }
}

enum { MAPPINGS = 16 };

struct mappings {
    uintptr_t from[MAPPINGS], to[MAPPINGS];
    int count;
};

/* Where the kernel has mapped the file. */
static struct mappings mappings_of(const char *path)
{
    struct mappings out = {.count = 0};
    char line[512];
    FILE *file = fopen("/proc/self/maps", "r");
    NEED(file != NULL, "no maps");
    while (fgets(line, sizeof line, file) != NULL) {
        unsigned long from, to;
        if (strstr(line, path) == NULL || sscanf(line, "%lx-%lx ", &from, &to) != 2)
            continue;
        NEED(out.count < MAPPINGS, "many mappings");
        out.from[out.count] = from;
        out.to[out.count++] = to;
    }
    fclose(file);
    return out;
}

static size_t blocks_in(const struct set *set, const struct mappings *where)
{
    size_t bytes = 0;
    for (size_t i = 0; i < set->count; i++)
        for (int k = 0; k < where->count; k++)
            if (where->from[k] <= (uintptr_t)set->block[i] &&
                (uintptr_t)set->block[i] + set->size[i] <= where->to[k])
                bytes += set->size[i];
    return bytes;
}

static struct tide_stats statistics(void)
{
    struct tide_stats stats;
    NEED(tide_stats(&stats) == 0, "tide_stats failed");
    return stats;
}

/* Each page of far memory is told by the kernel, or counted by its mapping; on a device by
 * its mapping alone. */
static void residency_is_honest(const struct set *set, bool device)
{
    struct tide_residency mid = mid_residency();
    size_t far = statistics().mid_far_bytes / GUEST_PAGE, near = mid.pages - far;
    NEED(mid.mapped > 0 && mid.mapped <= far, "%zu of %zu pages", (size_t)mid.mapped, far);
    NEED(mid.mapped + mid.resident >= far, "%zu mapped, %zu resident", (size_t)mid.mapped,
         (size_t)mid.resident);
    NEED(!device || (mid.mapped == far && mid.resident <= near), "%zu of %zu pages are mapped",
         (size_t)mid.mapped, far);
    NEED(mid.resident + mid.mapped >= set->bytes / GUEST_PAGE, "%zu pages",
         (size_t)(mid.resident + mid.mapped));
}

static void mapped(char **arguments)
{
    struct set set = {0};
    for (int round = 0; round < 2; round++) {
        set_fill(&set, guest_number(arguments[1]) * MIB);
        struct mappings where = mappings_of(arguments[0]);
        set_check(&set);
        NEED(blocks_in(&set, &where) == set.bytes, "%zu of %zu bytes", blocks_in(&set, &where),
             set.bytes);
        struct tide_stats stats = statistics();
        NEED(stats.mid_far_bytes >= set.bytes && stats.mid_near_bytes == 0 && stats.mid_spills == 0,
             "far %zu, near %zu, spills %zu", (size_t)stats.mid_far_bytes,
             (size_t)stats.mid_near_bytes, (size_t)stats.mid_spills);
        residency_is_honest(&set, strncmp(arguments[0], "/dev/", 5) == 0);
        set_drop(&set);
        malloc_trim(0);
    }
}

static void spills(char **arguments)
{
    size_t most = guest_number(arguments[1]) * MIB;
    struct set set = {0};
    set_fill(&set, guest_number(arguments[2]) * MIB);
    struct mappings where = mappings_of(arguments[0]);
    set_check(&set);
    size_t in = blocks_in(&set, &where);
    struct tide_stats stats = statistics();
    NEED(in <= most && in >= most / 3, "%zu bytes are there", in);
    NEED(stats.mid_far_bytes <= most, "far %zu", (size_t)stats.mid_far_bytes);
    if (set.refused)
        NEED(stats.mid_near_bytes == 0 && in == set.bytes, "near %zu",
             (size_t)stats.mid_near_bytes);
    else
        NEED(stats.mid_spills > 0 && stats.mid_near_bytes > 0, "nothing was spilled");
    set_drop(&set);
}

static void shared(char **arguments)
{
    int status;
    volatile char *block = malloc(5000);
    (void)arguments;
    NEED(block != NULL, "no memory");
    block[77] = 1;
    fflush(stdout);
    pid_t child = fork();
    if (child == 0) {
        block[77] = 2;
        _exit(0);
    }
    NEED(waitpid(child, &status, 0) == child && status == 0, "the child ended with %#x", status);
    NEED(block[77] == 2, "%d", block[77]);
    free((void *)block);
}

static void run(char **words)
{
    execvp(words[0], words);
    NEED(false, "%s: %s", words[0], strerror(errno));
}

static void inherit(char **arguments)
{
    int status;
    void *block = malloc(5000); /* Mid is there */
    pid_t child = block != NULL ? fork() : -1;
    if (child == 0)
        run(arguments);
    NEED(waitpid(child, &status, 0) == child && status == 0, "it ended with %#x", status);
    free(block);
}

static void dirty(char **arguments)
{
    soil(arguments[0], 0, MIB);
    run(arguments + 1);
}

static void as(char **arguments)
{
    uid_t user = (uid_t)guest_number(arguments[0]);
    NEED(setgid(user) == 0 && setuid(user) == 0, "%s", strerror(errno));
    run(arguments + 1);
}

int main(int argc, char **argv)
{
    static const struct guest_case cases[] = {
        {"dirty", dirty}, {"denied", denied},   {"ram", ram},        {"rules", rules},
        {"zero", zero},   {"mapped", mapped},   {"spills", spills},  {"shared", shared},
        {"as", as},       {"inherit", inherit}, {"sync", sync_file}, {"poison", poison},
        {NULL, NULL}};
    NEED(argc > 2 || strcmp(argv[argc - 1], "shared") == 0, "arguments are missing");
    NEED(tide_region_create != NULL, "the library has no regions");
    return guest_main(argv, cases);
}
