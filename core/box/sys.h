/*
 * sys.h - the system call instruction.
 *
 * owns:      nothing
 * threads:   any
 * invariant: errno is never touched; failure is a return value in -4095..-1
 * uses:      def
 * used by:   its lower neighbours only (vmem, numa, file, clock, lock,
 *            park, store, owner)
 * not here:  what a call means
 * test:      tests/test_vmem.c, tests/test_file.c (through their users)
 *
 * malloc runs before libc is ready, inside functions that libc calls, and under
 * free(), which must keep errno: so the library enters the kernel by itself.
 * The calling conventions are those of syscall(2).
 */
#ifndef TIDE_BOX_SYS_H
#define TIDE_BOX_SYS_H

#include <sys/syscall.h>

#include "box/def.h"

#if defined(__x86_64__)

TIDE_INLINE long tide_sys6(long nr, long a, long b, long c, long d, long e, long f)
{
    long ret;
    register long r10 __asm__("r10") = d;
    register long r8 __asm__("r8") = e;
    register long r9 __asm__("r9") = f;
    __asm__ volatile("syscall"
                     : "=a"(ret)
                     : "a"(nr), "D"(a), "S"(b), "d"(c), "r"(r10), "r"(r8), "r"(r9)
                     : "rcx", "r11", "memory");
    return ret;
}

#elif defined(__aarch64__)

TIDE_INLINE long tide_sys6(long nr, long a, long b, long c, long d, long e, long f)
{
    register long x8 __asm__("x8") = nr;
    register long x0 __asm__("x0") = a;
    register long x1 __asm__("x1") = b;
    register long x2 __asm__("x2") = c;
    register long x3 __asm__("x3") = d;
    register long x4 __asm__("x4") = e;
    register long x5 __asm__("x5") = f;
    __asm__ volatile("svc 0"
                     : "+r"(x0)
                     : "r"(x8), "r"(x1), "r"(x2), "r"(x3), "r"(x4), "r"(x5)
                     : "memory");
    return x0;
}

#else
#error "tidepool knows the system calls of Linux on x86-64 and aarch64"
#endif

TIDE_INLINE long tide_sys4(long nr, long a, long b, long c, long d)
{
    return tide_sys6(nr, a, b, c, d, 0, 0);
}

TIDE_INLINE long tide_sys3(long nr, long a, long b, long c)
{
    return tide_sys6(nr, a, b, c, 0, 0, 0);
}

#endif
