/* cxxnew.c - see cxxnew.h */
#include "box/cxxnew.h"

#include <link.h>
#include <tidepool/malloc.h>

#include "box/diag.h"
#include "box/image.h"

/* "m" in the mangled names is unsigned long. */
_Static_assert(sizeof(size_t) == sizeof(unsigned long), "size_t is mangled as unsigned long");

typedef void (*cxxnew_handler_fn)(void);

/* ---- The C++ runtime's functions, by weak references ---- */

#define CXXNEW_WEAK extern __attribute__((weak, visibility("default")))

CXXNEW_WEAK cxxnew_handler_fn _ZSt15get_new_handlerv(void); /* std::get_new_handler() */
CXXNEW_WEAK void _ZSt17__throw_bad_allocv(void);            /* std::__throw_bad_alloc() */
CXXNEW_WEAK void *__cxa_allocate_exception(size_t size);
CXXNEW_WEAK void __cxa_throw(void *exception, void *type, void (*destroy)(void *));
CXXNEW_WEAK void _ZNSt9bad_allocD1Ev(void *exception); /* std::bad_alloc::~bad_alloc() */
CXXNEW_WEAK const char _ZTISt9bad_alloc[];             /* typeinfo for std::bad_alloc */
CXXNEW_WEAK const char _ZTVSt9bad_alloc[];             /* vtable for std::bad_alloc */

enum cxxnew_symbol {
    CXXNEW_GET_HANDLER,
    CXXNEW_THROW_BAD_ALLOC,
    CXXNEW_ALLOCATE,
    CXXNEW_THROW,
    CXXNEW_DESTROY,
    CXXNEW_TYPE,
    CXXNEW_VTABLE,
    CXXNEW_SYMBOLS
};

#define CXXNEW_ROW(symbol) #symbol, (const void *)(symbol)

static const struct {
    const char *name;
    const void *weak; /* NULL: not bound */
} cxxnew_symbols[CXXNEW_SYMBOLS] = {
    [CXXNEW_GET_HANDLER] = {CXXNEW_ROW(_ZSt15get_new_handlerv)},
    [CXXNEW_THROW_BAD_ALLOC] = {CXXNEW_ROW(_ZSt17__throw_bad_allocv)},
    [CXXNEW_ALLOCATE] = {CXXNEW_ROW(__cxa_allocate_exception)},
    [CXXNEW_THROW] = {CXXNEW_ROW(__cxa_throw)},
    [CXXNEW_DESTROY] = {CXXNEW_ROW(_ZNSt9bad_allocD1Ev)},
    [CXXNEW_TYPE] = {CXXNEW_ROW(_ZTISt9bad_alloc)},
    [CXXNEW_VTABLE] = {CXXNEW_ROW(_ZTVSt9bad_alloc)},
};

/* ---- The loaded C++ runtime ---- */

enum cxxnew_rank { CXXNEW_RANK_NONE, CXXNEW_RANK_ANY, CXXNEW_RANK_NAME, CXXNEW_RANK_CALLER };

/* One search for the runtime: made at most once per failed call. */
struct cxxnew_runtime {
    const void *caller;
    struct tide_image image;
    enum cxxnew_rank rank; /* of the image; NONE: nothing found */
    bool searched;
};

/* Visits one loaded object; keeps it when it is a better runtime. The object that
 * holds this code is left out: its operators are ours. */
static int cxxnew_visit(struct dl_phdr_info *info, size_t size, void *data)
{
    struct cxxnew_runtime *runtime = data;
    (void)size;
    if (tide_image_holds(info, cxxnew_symbols))
        return 0;
    struct tide_image image = tide_image_of(info);
    if (tide_image_symbol(&image, cxxnew_symbols[CXXNEW_GET_HANDLER].name) == NULL)
        return 0;
    enum cxxnew_rank rank = CXXNEW_RANK_ANY;
    if (tide_image_holds(info, runtime->caller))
        rank = CXXNEW_RANK_CALLER;
    else if (strstr(info->dlpi_name, "/libstdc++.so") || strstr(info->dlpi_name, "/libc++"))
        rank = CXXNEW_RANK_NAME;
    if (rank > runtime->rank) {
        runtime->image = image;
        runtime->rank = rank;
    }
    return 0;
}

static const void *cxxnew_find(struct cxxnew_runtime *runtime, const char *name)
{
    if (!runtime->searched)
        dl_iterate_phdr(cxxnew_visit, runtime);
    runtime->searched = true;
    return tide_image_symbol(&runtime->image, name);
}

static const void *cxxnew_get(struct cxxnew_runtime *runtime, enum cxxnew_symbol symbol)
{
    if (cxxnew_symbols[symbol].weak != NULL)
        return cxxnew_symbols[symbol].weak;
    return cxxnew_find(runtime, cxxnew_symbols[symbol].name);
}

static cxxnew_handler_fn cxxnew_handler(struct cxxnew_runtime *runtime)
{
    cxxnew_handler_fn (*get)(void) = cxxnew_get(runtime, CXXNEW_GET_HANDLER);
    return get == NULL ? NULL : get();
}

/* ---- The plain forms ---- */

/* Calls the handler and tries again; NULL as soon as there is no handler. */
static void *cxxnew_retry(struct cxxnew_runtime *runtime, size_t size, size_t align)
{
    if ((align & (align - 1)) != 0)
        return NULL;
    for (;;) {
        cxxnew_handler_fn handler = cxxnew_handler(runtime);
        if (handler == NULL)
            return NULL;
        handler();
        void *p = align == 0 ? tide_malloc(size) : tide_aligned_alloc(align, size);
        if (p != NULL)
            return p;
    }
}

/* `throw std::bad_alloc();` as a compiler writes it: the object is a pointer to
 * the functions in the vtable, which stand behind its first two words. */
static void cxxnew_throw_by_hand(struct cxxnew_runtime *runtime)
{
    void *(*allocate)(size_t) = cxxnew_get(runtime, CXXNEW_ALLOCATE);
    void (*throw)(void *, const void *, const void *) = cxxnew_get(runtime, CXXNEW_THROW);
    const void *destroy = cxxnew_get(runtime, CXXNEW_DESTROY);
    const void *type = cxxnew_get(runtime, CXXNEW_TYPE);
    const void *const *vtable = cxxnew_get(runtime, CXXNEW_VTABLE);
    if (!allocate || !throw || !destroy || !type || !vtable)
        return;
    const void **exception = allocate(sizeof *exception);
    *exception = vtable + 2;
    throw(exception, type, destroy);
}

static _Noreturn void cxxnew_throw(struct cxxnew_runtime *runtime)
{
    void (*thrower)(void) = cxxnew_get(runtime, CXXNEW_THROW_BAD_ALLOC);
    if (thrower != NULL)
        thrower();
    cxxnew_throw_by_hand(runtime);
    tide_diag_fatal("operator new: out of memory, and no C++ runtime to throw std::bad_alloc");
}

TIDE_COLD void *tide_cxxnew_fail(size_t size, size_t align, const void *caller)
{
    struct cxxnew_runtime runtime = {.caller = caller};
    void *p = cxxnew_retry(&runtime, size, align);
    if (p == NULL)
        cxxnew_throw(&runtime);
    return p;
}

/* ---- The nothrow forms ---- */

/* The new_handler's loop for a nothrow form of ours. */
static void *cxxnew_quiet(size_t size, size_t align, const void *caller)
{
    struct cxxnew_runtime runtime = {.caller = caller};
    return cxxnew_retry(&runtime, size, align);
}

#if defined(__x86_64__)

CXXNEW_WEAK void __gxx_personality_v0(void);

/* What the unwinder asks about tide_cxxnew_guard; null in a program without C++,
 * where nothing is thrown. Not static: the assembly below names it. */
extern const void *const tide_cxxnew_personality __attribute__((visibility("hidden")));
const void *const tide_cxxnew_personality __attribute__((used)) =
    (const void *)__gxx_personality_v0;

/* try { return call(size, align, caller); } catch (...) { return NULL; } */
void *tide_cxxnew_guard(const void *call, size_t size, size_t align, const void *caller)
    __attribute__((visibility("hidden")));

/* The table behind .cfi_lsda has one call site, one action and one type: the
 * null type, which stands for catch (...). 0x9b: the personality is given as a
 * relative pointer to a pointer; 0x1b: the table as a relative pointer. */
__asm__(".pushsection .text\n"
        ".p2align 4\n"
        ".globl tide_cxxnew_guard\n"
        ".hidden tide_cxxnew_guard\n"
        ".type tide_cxxnew_guard, @function\n"
        "tide_cxxnew_guard:\n"
        "    .cfi_startproc\n"
        "    .cfi_personality 0x9b, tide_cxxnew_personality\n"
        "    .cfi_lsda 0x1b, .Ltide_cxxnew_table\n"
        "    endbr64\n"
        "    subq $8, %rsp\n"
        "    .cfi_def_cfa_offset 16\n"
        "    movq %rdi, %rax\n"
        "    movq %rsi, %rdi\n"
        "    movq %rdx, %rsi\n"
        "    movq %rcx, %rdx\n"
        ".Ltide_cxxnew_try:\n"
        "    call *%rax\n"
        ".Ltide_cxxnew_end:\n"
        "    addq $8, %rsp\n"
        "    .cfi_def_cfa_offset 8\n"
        "    ret\n"
        ".Ltide_cxxnew_catch:\n"
        "    .cfi_def_cfa_offset 16\n"
        "    endbr64\n"
        "    movq %rax, %rdi\n"
        "    call __cxa_begin_catch@PLT\n"
        "    call __cxa_end_catch@PLT\n"
        "    xorl %eax, %eax\n"
        "    addq $8, %rsp\n"
        "    .cfi_def_cfa_offset 8\n"
        "    ret\n"
        "    .cfi_endproc\n"
        ".size tide_cxxnew_guard, . - tide_cxxnew_guard\n"
        ".weak __cxa_begin_catch\n"
        ".weak __cxa_end_catch\n"
        ".popsection\n"
        ".pushsection .gcc_except_table, \"a\", @progbits\n"
        ".p2align 2\n"
        ".Ltide_cxxnew_table:\n"
        "    .byte 0xff\n" /* landing pads are relative to the function */
        "    .byte 0x00\n" /* types are absolute pointers */
        "    .uleb128 .Ltide_cxxnew_types - .Ltide_cxxnew_sites\n"
        ".Ltide_cxxnew_sites:\n"
        "    .byte 0x01\n" /* call sites are uleb128 */
        "    .uleb128 .Ltide_cxxnew_actions - .Ltide_cxxnew_site\n"
        ".Ltide_cxxnew_site:\n"
        "    .uleb128 .Ltide_cxxnew_try - tide_cxxnew_guard\n"
        "    .uleb128 .Ltide_cxxnew_end - .Ltide_cxxnew_try\n"
        "    .uleb128 .Ltide_cxxnew_catch - tide_cxxnew_guard\n"
        "    .uleb128 1\n" /* the first action */
        ".Ltide_cxxnew_actions:\n"
        "    .byte 1, 0\n" /* type 1, then no more */
        "    .p2align 3\n"
        "    .quad 0\n"
        ".Ltide_cxxnew_types:\n"
        ".popsection\n");

#else

static void *tide_cxxnew_guard(const void *call, size_t size, size_t align, const void *caller)
{
    void *(*f)(size_t, size_t, const void *) = call;
    return f(size, align, caller);
}

#endif

/* Calls the runtime's nothrow form; the reference to std::nothrow is not read. */
static void *cxxnew_library_form(const void *form, size_t size, size_t align)
{
    static const char nothrow[1];
    if (align == 0) {
        void *(*simple)(size_t, const void *) = form;
        return simple(size, nothrow);
    }
    void *(*aligned)(size_t, size_t, const void *) = form;
    return aligned(size, align, nothrow);
}

TIDE_COLD void *tide_cxxnew_nothrow(const char *form, const void *plain, size_t size, size_t align,
                                    const void *caller)
{
    struct cxxnew_runtime runtime = {.caller = caller};
    void *p = NULL;
    if (plain != NULL || cxxnew_handler(&runtime) != NULL) {
        const void *library = cxxnew_find(&runtime, form);
        if (library != NULL)
            p = cxxnew_library_form(library, size, align);
        else if (plain != NULL)
            p = tide_cxxnew_guard(plain, size, align, caller);
        else
            p = tide_cxxnew_guard((const void *)cxxnew_quiet, size, align, caller);
    }
    if (p == NULL)
        errno = ENOMEM;
    return p;
}
