/*
 * told.h - what the processor is told about caches: a call is made in single steps, and each
 * instruction that flushes a line or is a fence is noted. x86-64 only, and not with sanitizers.
 */
#ifndef TESTS_TOLD_H
#define TESTS_TOLD_H

#include "unit_base.h"

#if defined(__x86_64__) && !UNIT_SANITIZED
#define TOLD 1

#include <cpuid.h>
#include <signal.h>
#include <ucontext.h>

/* One letter each: w clwb, o clflushopt, f clflush, s sfence, m mfence, l lfence. */
static char told[256];
static volatile unsigned told_count;

static inline char told_letter(const unsigned char *at)
{
    static const char fence[] = "-----lms";
    bool prefixed = *at == 0x66;
    at += prefixed;
    at += (*at & 0xf0) == 0x40; /* REX */
    if (at[0] != 0x0f || at[1] != 0xae)
        return 0;
    unsigned mode = at[2] >> 6, which = at[2] >> 3 & 7;
    if (mode == 3)
        return fence[which];
    return which == 7 ? (prefixed ? 'o' : 'f') : which == 6 && prefixed ? 'w' : 0;
}

static void told_step(int number, siginfo_t *info, void *context)
{
    (void)number;
    (void)info;
    const ucontext_t *at = context;
    char letter = told_letter((const unsigned char *)at->uc_mcontext.gregs[REG_RIP]);
    if (letter != 0 && told_count < sizeof told - 1)
        told[told_count++] = letter;
}

/* What `call` tells it. The trap flag is changed beside the red zone. */
static inline const char *told_by(void (*call)(void))
{
    struct sigaction action = {.sa_sigaction = told_step, .sa_flags = SA_SIGINFO}, before;
    memset(told, 0, sizeof told);
    told_count = 0;
    ck_assert_int_eq(sigaction(SIGTRAP, &action, &before), 0);
    __asm__ volatile("lea -128(%%rsp), %%rsp\n\tpushfq\n\torq $0x100, (%%rsp)\n\tpopfq\n\t"
                     "lea 128(%%rsp), %%rsp" ::
                         : "memory", "cc");
    call();
    __asm__ volatile("lea -128(%%rsp), %%rsp\n\tpushfq\n\tandq $-0x101, (%%rsp)\n\tpopfq\n\t"
                     "lea 128(%%rsp), %%rsp" ::
                         : "memory", "cc");
    ck_assert_int_eq(sigaction(SIGTRAP, &before, NULL), 0);
    return told;
}

/* How this processor flushes a line; `keep`: it may stay in the cache. */
static inline char told_best(bool keep)
{
    unsigned a, b, c, d;
    if (__get_cpuid_count(7, 0, &a, &b, &c, &d) == 0)
        b = 0;
    return keep && (b >> 24 & 1) != 0 ? 'w' : (b >> 23 & 1) != 0 ? 'o' : 'f';
}

/* So many lines, and a fence behind them (0: none). */
static inline void told_is(const char *got, char flush, unsigned lines, char fence)
{
    char want[256];
    memset(want, flush, lines);
    want[lines] = fence;
    want[lines + 1] = '\0';
    ck_assert_str_eq(got, want);
}

#endif
#endif
