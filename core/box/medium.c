/* medium.c - see medium.h */
#include "box/medium.h"

#if defined(__x86_64__)
#include <cpuid.h>
#elif defined(__aarch64__)
#include <sys/auxv.h>
#endif

#include "box/file.h"
#include "box/store.h"

#ifdef TIDE_DEBUG
int (*tide_medium_hook)(const void *at, size_t bytes);
#endif

/* --- the processor's caches ----------------------------------------------------------- */

#if defined(__x86_64__)

enum { MEDIUM_CLFLUSHOPT = 1 << 23, MEDIUM_CLWB = 1 << 24 };

static unsigned medium_features(void)
{
    static _Atomic unsigned known; /* bit 0: it was asked */
    unsigned found = atomic_load_explicit(&known, memory_order_relaxed), a, b = 0, c, d;
    if (found != 0)
        return found;
    if (__get_cpuid_count(7, 0, &a, &b, &c, &d) == 0)
        b = 0;
    found = (b & (MEDIUM_CLFLUSHOPT | MEDIUM_CLWB)) | 1;
    atomic_store_explicit(&known, found, memory_order_relaxed);
    return found;
}

static void medium_flush(uintptr_t at, uintptr_t end)
{
    unsigned features = medium_features();
    for (at &= ~(uintptr_t)(TIDE_LINE - 1); at < end; at += TIDE_LINE) {
        volatile char *line = (volatile char *)at;
        if ((features & MEDIUM_CLWB) != 0)
            __asm__ volatile(".byte 0x66; xsaveopt %0" : "+m"(*line)); /* clwb */
        else if ((features & MEDIUM_CLFLUSHOPT) != 0)
            __asm__ volatile(".byte 0x66; clflush %0" : "+m"(*line)); /* clflushopt */
        else
            __asm__ volatile("clflush %0" : "+m"(*line));
    }
}

static bool medium_can_flush(void)
{
    return true;
}

static void medium_fence(void)
{
    __builtin_ia32_sfence();
}

#elif defined(__aarch64__)

static bool medium_can_flush(void)
{
    return (getauxval(AT_HWCAP) & 1 << 16) != 0; /* HWCAP_DCPOP */
}

/* As far as the memory's persistence goes, where the processor has a word for that. */
static void medium_flush(uintptr_t at, uintptr_t end)
{
    uint64_t type;
    bool far = medium_can_flush();
    __asm__("mrs %0, ctr_el0" : "=r"(type));
    uintptr_t line = (uintptr_t)4 << (type >> 16 & 15);
    for (at &= ~(line - 1); at < end; at += line)
        if (far)
            __asm__ volatile("sys #3, c7, c12, #1, %0" ::"r"(at) : "memory"); /* dc cvap */
        else
            __asm__ volatile("dc cvac, %0" ::"r"(at) : "memory");
}

static void medium_fence(void)
{
    __asm__ volatile("dsb sy" ::: "memory");
}

#else

static void medium_flush(uintptr_t at, uintptr_t end)
{
    (void)at;
    (void)end;
}

static bool medium_can_flush(void)
{
    return false;
}

static void medium_fence(void)
{
}

#endif

/* --- which way --------------------------------------------------------------------------- */

/* "region12" among the parts of the path that /sys/dev/KIND/MAJOR:MINOR leads to. */
static bool medium_nd_region(const char *root, const char *kind, const struct tide_store *store,
                             bool block, char *out, size_t size)
{
    char path[128], target[512];
    struct tide_text text = {path, sizeof path, 0};
    uint64_t id = store->device;
    uint64_t major = block ? (id >> 8 & 0xfff) | (id >> 32 & ~UINT64_C(0xfff)) : store->major;
    uint64_t minor = block ? (id & 0xff) | (id >> 12 & ~UINT64_C(0xff)) : store->minor;
    tide_text_add(&text, root);
    tide_text_add(&text, "/sys/dev/");
    tide_text_add(&text, kind);
    tide_text_add(&text, "/");
    tide_text_number(&text, major, 10);
    tide_text_add(&text, ":");
    tide_text_number(&text, minor & 0xffffffff, 10);
    if (tide_file_link(path, target, sizeof target) <= 0)
        return false;
    for (const char *at = target; (at = strstr(at, "/region")) != NULL; at++) {
        size_t length = 7 + strspn(at + 7, "0123456789");
        if (length == 7 || at[length] != '/' || length > size)
            continue;
        memcpy(out, at + 1, length - 1);
        out[length - 1] = '\0';
        return true;
    }
    return false;
}

/* The platform says that what has left the caches, or is in them, survives. */
static bool medium_is_safe(const char *root, const struct tide_store *store)
{
    char name[32], path[128], said[64];
    struct tide_text text = {path, sizeof path, 0};
    bool block = store->kind == TIDE_STORE_FILE;
    if (!medium_can_flush() ||
        !medium_nd_region(root, block ? "block" : "char", store, block, name, sizeof name))
        return false;
    tide_text_add(&text, root);
    tide_text_add(&text, "/sys/bus/nd/devices/");
    tide_text_add(&text, name);
    tide_text_add(&text, "/persistence_domain");
    if (tide_file_read(path, said, sizeof said) <= 0)
        return false;
    return strncmp(said, "memory_controller", 17) == 0 || strncmp(said, "cpu_cache", 9) == 0;
}

/* A test sees to it that what is written lasts. */
static bool medium_is_hooked(void)
{
#ifdef TIDE_DEBUG
    return tide_medium_hook != NULL;
#else
    return false;
#endif
}

struct tide_medium tide_medium_of(const struct tide_region *region, const char *root)
{
    struct tide_store store;
    int fd = region->extent.fd;
    if (fd < 0)
        return (struct tide_medium){TIDE_MEDIUM_NONE, "private memory ends with the process"};
    if (tide_store_stat(fd, &store) != 0)
        return (struct tide_medium){TIDE_MEDIUM_NONE, "nobody tells what the region is in"};
    if (store.kind == TIDE_STORE_FILE && (store.huge != 0 || tide_store_is_memory(fd)) &&
        !medium_is_hooked())
        return (struct tide_medium){TIDE_MEDIUM_NONE, "a file in memory ends with the machine"};
    if (region->extent.sync && medium_is_safe(root, &store))
        return (struct tide_medium){TIDE_MEDIUM_CACHE, NULL};
    if (store.kind == TIDE_STORE_FILE)
        return (struct tide_medium){TIDE_MEDIUM_FILE, NULL};
    return (struct tide_medium){TIDE_MEDIUM_NONE,
                                "the platform names no persistence domain for this device"};
}

/* --- writing ------------------------------------------------------------------------------ */

int tide_medium_write(const struct tide_medium *medium, const void *at, size_t bytes)
{
    uintptr_t from = (uintptr_t)at, end = from + bytes;
#ifdef TIDE_DEBUG
    int verdict = tide_medium_hook != NULL ? tide_medium_hook(at, bytes) : 0;
    if (verdict < 0)
        return verdict;
#endif
    if (medium->way == TIDE_MEDIUM_CACHE) {
        medium_flush(from, end);
        return 0;
    }
    from &= ~(uintptr_t)4095; /* all there is of larger pages is in the file as well */
    return medium->way == TIDE_MEDIUM_FILE ? tide_store_sync((const void *)from, end - from)
                                           : -ENOTSUP;
}

void tide_medium_drain(const struct tide_medium *medium)
{
#ifdef TIDE_DEBUG
    if (tide_medium_hook != NULL)
        tide_medium_hook(NULL, 0);
#endif
    if (medium->way == TIDE_MEDIUM_CACHE)
        medium_fence();
}
