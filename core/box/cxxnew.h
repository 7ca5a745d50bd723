/*
 * cxxnew.h - what the C++ operators new do when there is no memory.
 *
 * owns:      nothing; the new_handler and the exceptions belong to the C++ runtime
 * threads:   any
 * invariant: a plain form gets a block or an exception, never NULL; a nothrow
 *            form gets a block or NULL, never an exception
 * uses:      diag, the public malloc family
 * used by:   override
 * not here:  the operators (override), freeing
 * test:      tests/cxx.sh
 *
 * The library is C and does not link to a C++ runtime, so the runtime's own
 * functions are found when they are needed:
 *   1. by weak references, which the linker or the loader has bound;
 *   2. where these are null, in the symbol tables of the loaded objects, walked
 *      by hand (dlsym may allocate). A runtime is an object that exports
 *      std::get_new_handler; the caller's own object is preferred, then one
 *      that is called libstdc++ or libc++, then the first.
 * std::bad_alloc is thrown by the runtime's std::__throw_bad_alloc. A static
 * runtime may have been linked without it: then the exception is put together
 * from the parts that every program has that catches std::bad_alloc. A process
 * where even these are missing cannot catch it: it ends with a message.
 */
#ifndef TIDE_BOX_CXXNEW_H
#define TIDE_BOX_CXXNEW_H

#include "box/def.h"

/* The end of the plain forms. Calls the new_handler and tries again, until there
 * is a block; throws std::bad_alloc when there is no handler. What the handler
 * throws passes through. align 0: a form without alignment; an alignment that is
 * no power of two throws at once. caller: an address in the calling code. */
void *tide_cxxnew_fail(size_t size, size_t align, const void *caller);

/* The end of the nothrow forms: the same, with NULL for every exception. `form`
 * is the mangled name of the operator. `plain` is the plain operator that the
 * program defined in place of ours, which must then serve the request, or NULL.
 *
 * The runtime's operator of that name does the catching; it calls the plain
 * form that is in force. Only a program that holds both a static runtime and
 * our static archive has no such second definition: there a small landing pad
 * catches, on x86-64. On other machines an exception of the new_handler leaves
 * the nothrow form in that one kind of program, which ends in std::terminate. */
void *tide_cxxnew_nothrow(const char *form, const void *plain, size_t size, size_t align,
                          const void *caller);

#endif
