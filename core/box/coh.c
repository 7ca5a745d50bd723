/* coh.c - see coh.h */
#include "box/coh.h"

#if defined(__x86_64__)
#include <cpuid.h>
#endif

#ifdef TIDE_DEBUG
void (*tide_coh_hook)(void);
const struct tide_coh_model *tide_coh_model;
#endif

/* --- the processor's ways ------------------------------------------------------------- */

#if defined(__x86_64__)

/* Bits of cpuid leaf 7, and one that says that it was asked. */
enum { COH_KNOWN = 1, COH_CLFLUSHOPT = 1 << 23, COH_CLWB = 1 << 24 };

static unsigned coh_features(void)
{
    static _Atomic unsigned known;
    unsigned found = atomic_load_explicit(&known, memory_order_relaxed), a, b = 0, c, d;
    if (TIDE_LIKELY(found != 0))
        return found;
    if (__get_cpuid_count(7, 0, &a, &b, &c, &d) == 0)
        b = 0;
    found = (b & (COH_CLFLUSHOPT | COH_CLWB)) | COH_KNOWN;
    atomic_store_explicit(&known, found, memory_order_relaxed);
    return found;
}

/* Writes the lines back; with `keep`, copies of them may stay in the caches. */
static void coh_flush(uintptr_t at, uintptr_t end, bool keep)
{
    unsigned features = coh_features();
    for (at &= ~(uintptr_t)(TIDE_LINE - 1); at < end; at += TIDE_LINE) {
        volatile char *line = (volatile char *)at;
        if (keep && (features & COH_CLWB) != 0)
            __asm__ volatile(".byte 0x66; xsaveopt %0" : "+m"(*line)::"memory"); /* clwb */
        else if ((features & COH_CLFLUSHOPT) != 0)
            __asm__ volatile(".byte 0x66; clflush %0" : "+m"(*line)::"memory"); /* clflushopt */
        else
            __asm__ volatile("clflush %0" : "+m"(*line)::"memory");
    }
}

static void coh_fence_stores(void)
{
    __builtin_ia32_sfence();
}

/* Loads behind it come after the flushes before it; lfence would not see to that. */
static void coh_fence_loads(void)
{
    __builtin_ia32_mfence();
}

#elif defined(__aarch64__)

static void coh_flush(uintptr_t at, uintptr_t end, bool keep)
{
    uint64_t type;
    __asm__("mrs %0, ctr_el0" : "=r"(type));
    uintptr_t line = (uintptr_t)4 << (type >> 16 & 15);
    for (at &= ~(line - 1); at < end; at += line)
        if (keep)
            __asm__ volatile("dc cvac, %0" ::"r"(at) : "memory");
        else
            __asm__ volatile("dc civac, %0" ::"r"(at) : "memory");
}

static void coh_fence_stores(void)
{
    __asm__ volatile("dsb sy" ::: "memory");
}

static void coh_fence_loads(void)
{
    __asm__ volatile("dsb sy" ::: "memory");
}

#else
#error "no way to write lines back on this processor"
#endif

/* --- memory that is not coherent ------------------------------------------------------- */

#ifdef TIDE_DEBUG
/* Also a point where another thread may go on. */
static bool coh_simulates(enum tide_coh coh)
{
    TIDE_COH_POINT();
    return coh == TIDE_COH_SIMULATED;
}
#endif

void tide_coh_write_back(enum tide_coh coh, const void *at, size_t bytes)
{
#ifdef TIDE_DEBUG
    if (coh_simulates(coh)) {
        tide_coh_model->wrote(at, bytes);
        return;
    }
#endif
    (void)coh;
    coh_flush((uintptr_t)at, (uintptr_t)at + bytes, true);
}

void tide_coh_fence(enum tide_coh coh)
{
#ifdef TIDE_DEBUG
    if (coh_simulates(coh)) {
        tide_coh_model->drain();
        return;
    }
#endif
    (void)coh;
    coh_fence_stores();
}

void tide_coh_fetch(enum tide_coh coh, const void *at, size_t bytes)
{
#ifdef TIDE_DEBUG
    if (coh_simulates(coh)) {
        tide_coh_model->fresh(at, bytes);
        return;
    }
#endif
    (void)coh;
    coh_flush((uintptr_t)at, (uintptr_t)at + bytes, false);
    coh_fence_loads();
}
