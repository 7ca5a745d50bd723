/*
 * override.h - libc's names and the C++ operators, served by this library.
 *
 * owns:      the symbols malloc, free, operator new, ... of the process
 * threads:   any, from the loader's first call on; no state of its own
 * invariant: a name does what libc's (libstdc++'s) does; blocks of all of them
 *            and of the tide_* functions may be mixed
 * uses:      route, api, cxxnew
 * used by:   the program. No box may include this header or name its symbols:
 *            the archive without the libc names is built without this box
 * not here:  any decision; every function is one line on top of route or api
 * test:      tests/entry.sh, tests/cxx.sh
 *
 * libc:          malloc calloc realloc reallocarray free cfree free_sized
 *                free_aligned_sized aligned_alloc posix_memalign memalign valloc
 *                pvalloc malloc_usable_size malloc_trim malloc_stats malloc_info
 *                mallinfo mallinfo2 mallopt
 * old programs:  __libc_malloc __libc_calloc __libc_realloc __libc_free
 *                __libc_memalign __libc_valloc __libc_pvalloc __posix_memalign
 * operator new:  _Znwm                                (size)
 *                _Znam                                (size), []
 *                _ZnwmRKSt9nothrow_t                  (size, nothrow)
 *                _ZnamRKSt9nothrow_t                  (size, nothrow), []
 *                _ZnwmSt11align_val_t                 (size, align)
 *                _ZnamSt11align_val_t                 (size, align), []
 *                _ZnwmSt11align_val_tRKSt9nothrow_t   (size, align, nothrow)
 *                _ZnamSt11align_val_tRKSt9nothrow_t   (size, align, nothrow), []
 * delete:        _ZdlPv                               (ptr)
 *                _ZdaPv                               (ptr), []
 *                _ZdlPvm                              (ptr, size)
 *                _ZdaPvm                              (ptr, size), []
 *                _ZdlPvRKSt9nothrow_t                 (ptr, nothrow)
 *                _ZdaPvRKSt9nothrow_t                 (ptr, nothrow), []
 *                _ZdlPvSt11align_val_t                (ptr, align)
 *                _ZdaPvSt11align_val_t                (ptr, align), []
 *                _ZdlPvmSt11align_val_t               (ptr, size, align)
 *                _ZdaPvmSt11align_val_t               (ptr, size, align), []
 *                _ZdlPvSt11align_val_tRKSt9nothrow_t  (ptr, align, nothrow)
 *                _ZdaPvSt11align_val_tRKSt9nothrow_t  (ptr, align, nothrow), []
 *
 * A C++ program may define some of the operators and leave the others to the
 * library; the standard then says what the others call. So the operators are
 * weak (the program's win, in a static link too) and an array form jumps to the
 * simple form, a sized delete to the unsized one, as they stand in the process
 * and not as they stand here. The library must therefore not be linked with
 * -Bsymbolic.
 */
#ifndef TIDE_BOX_OVERRIDE_H
#define TIDE_BOX_OVERRIDE_H

#include "box/def.h"

#endif
