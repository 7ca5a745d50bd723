/*
 * cpu.h - what the processor offers beyond C.
 *
 * owns:      nothing
 * threads:   any
 * invariant: no function enters the kernel
 * uses:      def
 * used by:   lock, page, segment
 * not here:  system calls (sys), time (clock)
 * test:      tests/test_cpu.c
 */
#ifndef TIDE_BOX_CPU_H
#define TIDE_BOX_CPU_H

#include "box/def.h"

/* Tells the core that this is a spin loop. */
TIDE_INLINE void tide_cpu_pause(void)
{
#if defined(__x86_64__)
    __builtin_ia32_pause();
#else
    __asm__ volatile("yield" ::: "memory");
#endif
}

/* The line will be written soon. Any address may be asked for. */
TIDE_INLINE void tide_cpu_prefetch(const void *p)
{
    __builtin_prefetch(p, 1);
}

/* High 64 bits of a 64 x 64 bit product. */
TIDE_INLINE uint64_t tide_cpu_mulhi(uint64_t a, uint64_t b)
{
    return (uint64_t)(((unsigned __int128)a * b) >> 64);
}

/* True when the program runs on valgrind's synthetic processor. The sequence is
 * valgrind's documented client-request preamble: on a real processor it only
 * rotates a register back to where it was. */
TIDE_INLINE bool tide_cpu_on_valgrind(void)
{
#if defined(__x86_64__)
    volatile uint64_t args[6] = {0x1001, 0, 0, 0, 0, 0};
    uint64_t result = 0;
    __asm__ volatile("rolq $3, %%rdi ; rolq $13, %%rdi\n\t"
                     "rolq $61, %%rdi ; rolq $51, %%rdi\n\t"
                     "xchgq %%rbx, %%rbx"
                     : "=d"(result)
                     : "a"(&args[0]), "0"(result)
                     : "cc", "memory");
    return result != 0;
#else
    return false;
#endif
}

#endif
