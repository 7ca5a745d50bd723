/* override.c - see override.h */
#include "box/override.h"

#include <malloc.h>
#include <stdio.h>
#include <stdlib.h>
#include <tidepool/malloc.h>

#include "box/api.h"
#include "box/cxxnew.h"
#include "box/route.h"

/* ---- libc ---- */

TIDE_EXPORT void *malloc(size_t size)
{
    return tide_route_malloc(size);
}

TIDE_EXPORT void free(void *ptr)
{
    tide_route_free(ptr);
}

TIDE_EXPORT void *calloc(size_t count, size_t size)
{
    return tide_calloc(count, size);
}

TIDE_EXPORT void *realloc(void *ptr, size_t size)
{
    return tide_realloc(ptr, size);
}

TIDE_EXPORT void *reallocarray(void *ptr, size_t count, size_t size)
{
    return tide_reallocarray(ptr, count, size);
}

TIDE_EXPORT void *aligned_alloc(size_t alignment, size_t size)
{
    return tide_aligned_alloc(alignment, size);
}

TIDE_EXPORT int posix_memalign(void **out, size_t alignment, size_t size)
{
    return tide_posix_memalign(out, alignment, size);
}

TIDE_EXPORT void *memalign(size_t alignment, size_t size)
{
    return tide_memalign(alignment, size);
}

TIDE_EXPORT void *valloc(size_t size)
{
    return tide_valloc(size);
}

TIDE_EXPORT void *pvalloc(size_t size)
{
    return tide_pvalloc(size);
}

TIDE_EXPORT size_t malloc_usable_size(void *ptr)
{
    return tide_malloc_usable_size(ptr);
}

TIDE_EXPORT int malloc_trim(size_t pad)
{
    return tide_malloc_trim(pad);
}

TIDE_EXPORT void malloc_stats(void)
{
    tide_api_malloc_stats();
}

TIDE_EXPORT int malloc_info(int options, FILE *stream)
{
    return tide_api_malloc_info(options, stream);
}

TIDE_EXPORT int mallopt(int param, int value)
{
    return tide_api_mallopt(param, value);
}

TIDE_EXPORT struct mallinfo2 mallinfo2(void)
{
    return tide_api_mallinfo2();
}

static int override_int(size_t n)
{
    return n > INT_MAX ? INT_MAX : (int)n;
}

/* The old form with its int fields: what does not fit stays at INT_MAX. */
TIDE_EXPORT struct mallinfo mallinfo(void)
{
    struct mallinfo2 wide = tide_api_mallinfo2();
    return (struct mallinfo){
        .arena = override_int(wide.arena),
        .ordblks = override_int(wide.ordblks),
        .smblks = override_int(wide.smblks),
        .hblks = override_int(wide.hblks),
        .hblkhd = override_int(wide.hblkhd),
        .usmblks = override_int(wide.usmblks),
        .fsmblks = override_int(wide.fsmblks),
        .uordblks = override_int(wide.uordblks),
        .fordblks = override_int(wide.fordblks),
        .keepcost = override_int(wide.keepcost),
    };
}

/* ---- Names that the headers of this libc do not declare ---- */

void cfree(void *ptr);
void free_sized(void *ptr, size_t size);
void free_aligned_sized(void *ptr, size_t alignment, size_t size);
void *__libc_malloc(size_t size);
void *__libc_calloc(size_t count, size_t size);
void *__libc_realloc(void *ptr, size_t size);
void __libc_free(void *ptr);
void *__libc_memalign(size_t alignment, size_t size);
void *__libc_valloc(size_t size);
void *__libc_pvalloc(size_t size);
int __posix_memalign(void **out, size_t alignment, size_t size);

TIDE_EXPORT void cfree(void *ptr)
{
    tide_route_free(ptr);
}

TIDE_EXPORT void free_sized(void *ptr, size_t size)
{
    tide_free_sized(ptr, size);
}

TIDE_EXPORT void free_aligned_sized(void *ptr, size_t alignment, size_t size)
{
    tide_free_aligned_sized(ptr, alignment, size);
}

TIDE_EXPORT void *__libc_malloc(size_t size)
{
    return tide_route_malloc(size);
}

TIDE_EXPORT void *__libc_calloc(size_t count, size_t size)
{
    return tide_calloc(count, size);
}

TIDE_EXPORT void *__libc_realloc(void *ptr, size_t size)
{
    return tide_realloc(ptr, size);
}

TIDE_EXPORT void __libc_free(void *ptr)
{
    tide_route_free(ptr);
}

TIDE_EXPORT void *__libc_memalign(size_t alignment, size_t size)
{
    return tide_memalign(alignment, size);
}

TIDE_EXPORT void *__libc_valloc(size_t size)
{
    return tide_valloc(size);
}

TIDE_EXPORT void *__libc_pvalloc(size_t size)
{
    return tide_pvalloc(size);
}

TIDE_EXPORT int __posix_memalign(void **out, size_t alignment, size_t size)
{
    return tide_posix_memalign(out, alignment, size);
}

/* ---- operator new ---- */

#define OVERRIDE_OPERATOR TIDE_EXPORT __attribute__((weak))

/* An address in the calling code; says which C++ runtime is the caller's. */
#define OVERRIDE_CALLER() __builtin_return_address(0)

void *_Znwm(size_t size);
void *_Znam(size_t size);
void *_ZnwmRKSt9nothrow_t(size_t size, const void *nothrow);
void *_ZnamRKSt9nothrow_t(size_t size, const void *nothrow);
void *_ZnwmSt11align_val_t(size_t size, size_t align);
void *_ZnamSt11align_val_t(size_t size, size_t align);
void *_ZnwmSt11align_val_tRKSt9nothrow_t(size_t size, size_t align, const void *nothrow);
void *_ZnamSt11align_val_tRKSt9nothrow_t(size_t size, size_t align, const void *nothrow);

OVERRIDE_OPERATOR void *_Znwm(size_t size)
{
    void *p = tide_route_malloc(size);
    if (TIDE_LIKELY(p != NULL))
        return p;
    return tide_cxxnew_fail(size, 0, OVERRIDE_CALLER());
}

OVERRIDE_OPERATOR void *_Znam(size_t size)
{
    return _Znwm(size);
}

OVERRIDE_OPERATOR void *_ZnwmSt11align_val_t(size_t size, size_t align)
{
    void *p = tide_aligned_alloc(align, size);
    if (TIDE_LIKELY(p != NULL))
        return p;
    return tide_cxxnew_fail(size, align, OVERRIDE_CALLER());
}

OVERRIDE_OPERATOR void *_ZnamSt11align_val_t(size_t size, size_t align)
{
    return _ZnwmSt11align_val_t(size, align);
}

/* The nothrow forms stand for a plain form in try ... catch. While that form is
 * ours it need not be called. Two names tell: `own` is ours in any case, `name`
 * is what the process uses; the empty assembly keeps the compiler from knowing
 * that they were equal here. */
#define OVERRIDE_OWN(own, name)                                                                    \
    extern __attribute__((visibility("hidden"), alias(#name))) __typeof__(name) own
OVERRIDE_OWN(tide_override_new, _Znwm);
OVERRIDE_OWN(tide_override_new_array, _Znam);
OVERRIDE_OWN(tide_override_new_aligned, _ZnwmSt11align_val_t);
OVERRIDE_OWN(tide_override_new_array_aligned, _ZnamSt11align_val_t);
OVERRIDE_OWN(tide_override_quiet, _ZnwmRKSt9nothrow_t);
OVERRIDE_OWN(tide_override_quiet_aligned, _ZnwmSt11align_val_tRKSt9nothrow_t);

TIDE_INLINE const void *override_hide(const void *name)
{
    __asm__("" : "+r"(name));
    return name;
}

#define OVERRIDE_IN_FORCE(name) override_hide((const void *)(name))

OVERRIDE_OPERATOR void *_ZnwmRKSt9nothrow_t(size_t size, const void *nothrow)
{
    const void *plain = OVERRIDE_IN_FORCE(_Znwm);
    (void)nothrow;
    if (TIDE_LIKELY(plain == (const void *)tide_override_new)) {
        void *p = tide_route_malloc(size);
        if (TIDE_LIKELY(p != NULL))
            return p;
        plain = NULL;
    }
    return tide_cxxnew_nothrow("_ZnwmRKSt9nothrow_t", plain, size, 0, OVERRIDE_CALLER());
}

OVERRIDE_OPERATOR void *_ZnamRKSt9nothrow_t(size_t size, const void *nothrow)
{
    const void *plain = OVERRIDE_IN_FORCE(_Znam);
    if (TIDE_LIKELY(plain == (const void *)tide_override_new_array))
        return tide_override_quiet(size, nothrow);
    return tide_cxxnew_nothrow("_ZnamRKSt9nothrow_t", plain, size, 0, OVERRIDE_CALLER());
}

OVERRIDE_OPERATOR void *_ZnwmSt11align_val_tRKSt9nothrow_t(size_t size, size_t align,
                                                           const void *nothrow)
{
    const void *plain = OVERRIDE_IN_FORCE(_ZnwmSt11align_val_t);
    (void)nothrow;
    if (TIDE_LIKELY(plain == (const void *)tide_override_new_aligned)) {
        void *p = tide_aligned_alloc(align, size);
        if (TIDE_LIKELY(p != NULL))
            return p;
        plain = NULL;
    }
    return tide_cxxnew_nothrow("_ZnwmSt11align_val_tRKSt9nothrow_t", plain, size, align,
                               OVERRIDE_CALLER());
}

OVERRIDE_OPERATOR void *_ZnamSt11align_val_tRKSt9nothrow_t(size_t size, size_t align,
                                                           const void *nothrow)
{
    const void *plain = OVERRIDE_IN_FORCE(_ZnamSt11align_val_t);
    if (TIDE_LIKELY(plain == (const void *)tide_override_new_array_aligned))
        return tide_override_quiet_aligned(size, align, nothrow);
    return tide_cxxnew_nothrow("_ZnamSt11align_val_tRKSt9nothrow_t", plain, size, align,
                               OVERRIDE_CALLER());
}

/* ---- operator delete ---- */

void _ZdlPv(void *ptr);
void _ZdaPv(void *ptr);
void _ZdlPvm(void *ptr, size_t size);
void _ZdaPvm(void *ptr, size_t size);
void _ZdlPvRKSt9nothrow_t(void *ptr, const void *nothrow);
void _ZdaPvRKSt9nothrow_t(void *ptr, const void *nothrow);
void _ZdlPvSt11align_val_t(void *ptr, size_t align);
void _ZdaPvSt11align_val_t(void *ptr, size_t align);
void _ZdlPvmSt11align_val_t(void *ptr, size_t size, size_t align);
void _ZdaPvmSt11align_val_t(void *ptr, size_t size, size_t align);
void _ZdlPvSt11align_val_tRKSt9nothrow_t(void *ptr, size_t align, const void *nothrow);
void _ZdaPvSt11align_val_tRKSt9nothrow_t(void *ptr, size_t align, const void *nothrow);

OVERRIDE_OPERATOR void _ZdlPv(void *ptr)
{
    tide_route_free(ptr);
}

OVERRIDE_OPERATOR void _ZdaPv(void *ptr)
{
    _ZdlPv(ptr);
}

OVERRIDE_OPERATOR void _ZdlPvm(void *ptr, size_t size)
{
    (void)size;
    _ZdlPv(ptr);
}

OVERRIDE_OPERATOR void _ZdaPvm(void *ptr, size_t size)
{
    (void)size;
    _ZdaPv(ptr);
}

OVERRIDE_OPERATOR void _ZdlPvRKSt9nothrow_t(void *ptr, const void *nothrow)
{
    (void)nothrow;
    _ZdlPv(ptr);
}

OVERRIDE_OPERATOR void _ZdaPvRKSt9nothrow_t(void *ptr, const void *nothrow)
{
    (void)nothrow;
    _ZdaPv(ptr);
}

OVERRIDE_OPERATOR void _ZdlPvSt11align_val_t(void *ptr, size_t align)
{
    (void)align;
    tide_route_free(ptr);
}

OVERRIDE_OPERATOR void _ZdaPvSt11align_val_t(void *ptr, size_t align)
{
    _ZdlPvSt11align_val_t(ptr, align);
}

OVERRIDE_OPERATOR void _ZdlPvmSt11align_val_t(void *ptr, size_t size, size_t align)
{
    (void)size;
    _ZdlPvSt11align_val_t(ptr, align);
}

OVERRIDE_OPERATOR void _ZdaPvmSt11align_val_t(void *ptr, size_t size, size_t align)
{
    (void)size;
    _ZdaPvSt11align_val_t(ptr, align);
}

OVERRIDE_OPERATOR void _ZdlPvSt11align_val_tRKSt9nothrow_t(void *ptr, size_t align,
                                                           const void *nothrow)
{
    (void)nothrow;
    _ZdlPvSt11align_val_t(ptr, align);
}

OVERRIDE_OPERATOR void _ZdaPvSt11align_val_tRKSt9nothrow_t(void *ptr, size_t align,
                                                           const void *nothrow)
{
    (void)nothrow;
    _ZdaPvSt11align_val_t(ptr, align);
}
