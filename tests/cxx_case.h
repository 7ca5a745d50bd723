/*
 * cxx_case.h - operator new and delete in all forms, as a program sees them.
 *
 * Included by prog_cxx_forms.cc (a C++ program) and plug_cxx.cc (a shared object
 * that a C program loads with RTLD_LOCAL). cxx_run() runs every case in this
 * process and prints one line for each. The cases hold with libstdc++'s own
 * operators too; `ours` adds what only this library promises.
 */
#ifndef CXX_CASE_H
#define CXX_CASE_H

#include <cerrno>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <exception>
#include <map>
#include <memory>
#include <new>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

#include <sys/resource.h>
#include <tidepool/malloc.h>
#include <unistd.h>

extern "C" __typeof__(tide_tier_of) tide_tier_of __attribute__((weak));

/* clang leaves these out of <new> unless -fsized-deallocation asks for them. */
void operator delete(void *ptr, std::size_t size) noexcept;
void operator delete[](void *ptr, std::size_t size) noexcept;
void operator delete(void *ptr, std::size_t size, std::align_val_t align) noexcept;
void operator delete[](void *ptr, std::size_t size, std::align_val_t align) noexcept;

static bool ours;
static bool case_failed;

#define EXPECT(cond)                                                                               \
    do {                                                                                           \
        if (!(cond))                                                                               \
            complain(__FILE__, __LINE__, #cond);                                                   \
    } while (0)

static void complain(const char *file, int line, const char *cond)
{
    if (!case_failed)
        std::printf("# %s:%d: expected %s\n", file, line, cond);
    case_failed = true;
}

/* A size and a pointer that the compiler knows nothing about. */
static std::size_t opaque(std::size_t value)
{
    __asm__ volatile("" : "+r"(value));
    return value;
}

template <typename T> static T *keep(T *ptr)
{
    __asm__ volatile("" : "+r"(ptr) : : "memory");
    return ptr;
}

static bool is_ours(void *ptr)
{
    return !ours || (tide_tier_of != nullptr && tide_tier_of(ptr) != TIDE_TIER_NONE);
}

/* ---- The eight forms of new, the twelve of delete ---- */

using std::align_val_t;
using std::nothrow;

enum { NEW_FORMS = 8 };

static bool is_array(int form)
{
    return form % 2 == 1;
}
static bool is_nothrow(int form)
{
    return form / 2 % 2 == 1;
}
static bool is_over_aligned(int form)
{
    return form >= 4;
}

static void *new_by(int form, std::size_t n, std::size_t align = 64)
{
    n = opaque(n);
    switch (form) {
    case 0:
        return keep(::operator new(n));
    case 1:
        return keep(::operator new[](n));
    case 2:
        return keep(::operator new(n, nothrow));
    case 3:
        return keep(::operator new[](n, nothrow));
    case 4:
        return keep(::operator new(n, align_val_t(align)));
    case 5:
        return keep(::operator new[](n, align_val_t(align)));
    case 6:
        return keep(::operator new(n, align_val_t(align), nothrow));
    default:
        return keep(::operator new[](n, align_val_t(align), nothrow));
    }
}

static void delete_simple(int how, void *p, std::size_t n)
{
    if (how == 0)
        ::operator delete(p);
    else if (how == 1)
        ::operator delete(p, n);
    else
        ::operator delete(p, nothrow);
}

static void delete_array(int how, void *p, std::size_t n)
{
    if (how == 0)
        ::operator delete[](p);
    else if (how == 1)
        ::operator delete[](p, n);
    else
        ::operator delete[](p, nothrow);
}

static void delete_aligned(int how, void *p, std::size_t n, align_val_t align)
{
    if (how == 0)
        ::operator delete(p, align);
    else if (how == 1)
        ::operator delete(p, n, align);
    else
        ::operator delete(p, align, nothrow);
}

static void delete_aligned_array(int how, void *p, std::size_t n, align_val_t align)
{
    if (how == 0)
        ::operator delete[](p, align);
    else if (how == 1)
        ::operator delete[](p, n, align);
    else
        ::operator delete[](p, align, nothrow);
}

/* Frees what new_by(form) gave; how: 0 plain, 1 sized, 2 nothrow. */
static void delete_by(int form, int how, void *p, std::size_t n, std::size_t align = 64)
{
    if (is_over_aligned(form) && is_array(form))
        delete_aligned_array(how, p, n, align_val_t(align));
    else if (is_over_aligned(form))
        delete_aligned(how, p, n, align_val_t(align));
    else if (is_array(form))
        delete_array(how, p, n);
    else
        delete_simple(how, p, n);
}

/* What a form does with a request: a block, NULL, or an exception. */
enum class Outcome { block, null, bad_alloc, other };

static Outcome outcome_of(int form, std::size_t n, std::size_t align = 64)
{
    try {
        void *p = new_by(form, n, align);
        if (p == nullptr)
            return Outcome::null;
        delete_by(form, 0, p, n, align);
        return Outcome::block;
    } catch (const std::bad_alloc &e) {
        return e.what() != nullptr ? Outcome::bad_alloc : Outcome::other;
    } catch (...) {
        return Outcome::other;
    }
}

/* ---- Cases: success ---- */

static const std::size_t sizes[] = {0,    1,     16,    100,   1000,   2047,   2048,
                                    3000, 32767, 32768, 32769, 100000, 1048576};

static void every_form_gives_and_takes_blocks()
{
    for (std::size_t n : sizes) {
        for (int form = 0; form < NEW_FORMS; form++) {
            for (int how = 0; how < 3; how++) {
                void *p = new_by(form, n), *q = new_by(form, n);
                EXPECT(p != nullptr && q != nullptr && p != q && is_ours(p) && is_ours(q));
                EXPECT((std::uintptr_t)p % (is_over_aligned(form) ? 64 : 16) == 0);
                std::memset(p, 0x11, n);
                std::memset(q, 0x22, n);
                EXPECT(n == 0 || (*(char *)p == 0x11 && ((char *)p)[n - 1] == 0x11));
                delete_by(form, how, p, n);
                delete_by(form, how, q, n);
            }
        }
    }
}

static void every_alignment_is_met()
{
    for (std::size_t align = 1; align <= 1 << 20; align *= 2) {
        for (std::size_t n : sizes) {
            for (int form = 4; form < NEW_FORMS; form++) {
                void *p = new_by(form, n, align);
                EXPECT(p != nullptr && (std::uintptr_t)p % align == 0 && is_ours(p));
                std::memset(p, 0x33, n);
                delete_by(form, form % 3, p, n, align);
            }
        }
    }
}

static void delete_of_null_does_nothing()
{
    for (int form = 0; form < NEW_FORMS; form++)
        for (int how = 0; how < 3; how++)
            delete_by(form, how, nullptr, 8);
}

struct alignas(128) Wide {
    char bytes[128];
};

static void objects_and_containers_work()
{
    std::map<int, std::string> names;
    std::vector<std::unique_ptr<Wide>> wide;
    for (int i = 0; i < 1000; i++) {
        names[i] = std::string((std::size_t)i * 40, 'x');
        wide.push_back(std::make_unique<Wide>());
        EXPECT((std::uintptr_t)wide.back().get() % 128 == 0 && is_ours(wide.back().get()));
    }
    std::string *array = keep(new std::string[300]);
    Wide *wide_array = keep(new Wide[7]);
    EXPECT((std::uintptr_t)wide_array % 128 == 0);
    EXPECT(names[999].size() == 999 * 40 && is_ours(names[999].data()));
    delete[] array;
    delete[] wide_array;
}

/* ---- Cases: failure without a handler ---- */

static void impossible_sizes_fail_as_the_form_says()
{
    /* Not SIZE_MAX: libstdc++'s own aligned forms round it up to 0. */
    static const std::size_t impossible[] = {(std::size_t)1 << 62, PTRDIFF_MAX,
                                             (std::size_t)PTRDIFF_MAX + 1, SIZE_MAX - 4096};
    for (std::size_t n : impossible) {
        for (int form = 0; form < NEW_FORMS; form++) {
            errno = 0;
            Outcome got = outcome_of(form, n);
            EXPECT(got == (is_nothrow(form) ? Outcome::null : Outcome::bad_alloc));
            if (ours && is_nothrow(form))
                EXPECT(errno == ENOMEM);
        }
    }
}

static void failure_can_be_caught_as_base_kept_and_thrown_again()
{
    std::exception_ptr kept;
    try {
        try {
            new_by(0, SIZE_MAX);
        } catch (const std::exception &) {
            kept = std::current_exception();
            throw;
        }
    } catch (const std::bad_alloc &) {
        EXPECT(kept != nullptr);
    }
    bool again = false;
    try {
        std::rethrow_exception(kept);
    } catch (const std::bad_alloc &) {
        again = true;
    }
    EXPECT(again);
}

static void failure_in_another_thread_is_caught_there()
{
    bool caught = false;
    std::thread([&caught] {
        try {
            std::unique_ptr<char[]> p(new char[opaque((std::size_t)1 << 62)]);
            keep(p.get());
        } catch (const std::bad_alloc &) {
            caught = true;
        }
    }).join();
    EXPECT(caught);
}

static int live_parts;

struct Part {
    Part()
    {
        live_parts++;
    }
    ~Part()
    {
        live_parts--;
    }
};

struct Fussy {
    Part part;
    char bytes[3000];
    explicit Fussy(int i)
    {
        if (i == 7)
            throw std::runtime_error("seven");
    }
};

static void constructors_may_throw()
{
    for (int round = 0; round < 100; round++) {
        std::string text;
        try {
            for (int i = 0; i < 10; i++)
                delete keep(new Fussy(i));
        } catch (const std::runtime_error &e) {
            text = e.what();
        }
        EXPECT(text == "seven" && live_parts == 0);
    }
}

static void unwinding_passes_destructors()
{
    bool caught = false;
    try {
        Part one;
        std::vector<Part> more(5);
        std::vector<char> huge;
        huge.reserve(opaque((std::size_t)PTRDIFF_MAX - 1000));
        keep(huge.data());
    } catch (const std::bad_alloc &) {
        caught = true;
    }
    EXPECT(caught && live_parts == 0);
}

/* ---- Cases: the new_handler ---- */

/* Memory is short while an object of this class lives: the address space may not
 * grow, and blocks of 64 MiB fill what there is, with blocks of 4 MiB in the rest.
 * release() gives one of the large ones back. */
class Squeeze {
  public:
    static constexpr std::size_t BLOCK = (std::size_t)64 << 20;

    Squeeze()
    {
        unsigned long pages = 0;
        std::FILE *f = std::fopen("/proc/self/statm", "r");
        if (f == nullptr || std::fscanf(f, "%lu", &pages) != 1)
            std::abort();
        std::fclose(f);
        getrlimit(RLIMIT_AS, &before);
        struct rlimit now = before;
        now.rlim_cur = pages * (rlim_t)sysconf(_SC_PAGESIZE) + 4 * BLOCK;
        setrlimit(RLIMIT_AS, &now);
        count = fill(blocks, BLOCK);
        small_count = fill(small, BLOCK / 16);
    }
    ~Squeeze()
    {
        setrlimit(RLIMIT_AS, &before);
        while (count > 0)
            release();
        while (small_count > 0)
            std::free(small[--small_count]);
        std::set_new_handler(nullptr);
    }
    bool is_full() const
    {
        return count > 0 && count < MOST;
    }
    void release()
    {
        if (count > 0)
            std::free(blocks[--count]);
    }

  private:
    static constexpr int MOST = 1000;

    static int fill(void **to, std::size_t size)
    {
        int n = 0;
        while (n < MOST && (to[n] = keep(std::malloc(size))) != nullptr)
            n++;
        return n;
    }

    struct rlimit before;
    void *blocks[MOST], *small[MOST];
    int count, small_count;
};

static Squeeze *squeeze;
static int handler_calls;

static void handler_that_frees()
{
    handler_calls++;
    squeeze->release();
}

static void handler_that_frees_in_the_end()
{
    if (++handler_calls % 3 == 0)
        squeeze->release();
}

static void handler_that_resigns()
{
    if (++handler_calls == 2)
        std::set_new_handler(nullptr);
}

struct Enough {};

static void handler_that_throws()
{
    handler_calls++;
    throw Enough();
}

static void handler_that_throws_bad_alloc()
{
    handler_calls++;
    throw std::bad_alloc();
}

static void retry_succeeds_with(std::new_handler handler, int calls)
{
    for (int form = 0; form < NEW_FORMS; form++) {
        const std::size_t wanted = Squeeze::BLOCK / 4 * 3;
        Squeeze s;
        squeeze = &s;
        EXPECT(s.is_full());
        Outcome got = outcome_of(form, wanted, 4096);
        EXPECT(got == (is_nothrow(form) ? Outcome::null : Outcome::bad_alloc));
        handler_calls = 0;
        std::set_new_handler(handler);
        got = outcome_of(form, wanted, 4096);
        EXPECT(got == Outcome::block);
        EXPECT(handler_calls == calls);
    }
}

static void handler_frees_and_the_retry_succeeds()
{
    retry_succeeds_with(handler_that_frees, 1);
}

static void handler_is_called_until_it_helps()
{
    retry_succeeds_with(handler_that_frees_in_the_end, 3);
}

static void handler_may_resign()
{
    for (int form = 0; form < NEW_FORMS; form++) {
        handler_calls = 0;
        std::set_new_handler(handler_that_resigns);
        Outcome got = outcome_of(form, (std::size_t)1 << 62);
        EXPECT(got == (is_nothrow(form) ? Outcome::null : Outcome::bad_alloc));
        EXPECT(handler_calls == 2);
        std::set_new_handler(nullptr);
    }
}

static void handler_may_throw()
{
    for (int form = 0; form < NEW_FORMS; form++) {
        handler_calls = 0;
        std::set_new_handler(handler_that_throws);
        Outcome got = outcome_of(form, (std::size_t)1 << 62);
        EXPECT(got == (is_nothrow(form) ? Outcome::null : Outcome::other));
        EXPECT(handler_calls == 1);
        std::set_new_handler(handler_that_throws_bad_alloc);
        got = outcome_of(form, (std::size_t)1 << 62);
        EXPECT(got == (is_nothrow(form) ? Outcome::null : Outcome::bad_alloc));
        EXPECT(handler_calls == 2);
        std::set_new_handler(nullptr);
    }
    EXPECT(std::uncaught_exceptions() == 0);
}

/* ---- Running ---- */

#define CXX_CASE(name) #name, name

static const struct {
    const char *name;
    void (*run)();
} cxx_cases[] = {
    {CXX_CASE(every_form_gives_and_takes_blocks)},
    {CXX_CASE(every_alignment_is_met)},
    {CXX_CASE(delete_of_null_does_nothing)},
    {CXX_CASE(objects_and_containers_work)},
    {CXX_CASE(impossible_sizes_fail_as_the_form_says)},
    {CXX_CASE(failure_can_be_caught_as_base_kept_and_thrown_again)},
    {CXX_CASE(failure_in_another_thread_is_caught_there)},
    {CXX_CASE(constructors_may_throw)},
    {CXX_CASE(unwinding_passes_destructors)},
    {CXX_CASE(handler_frees_and_the_retry_succeeds)},
    {CXX_CASE(handler_is_called_until_it_helps)},
    {CXX_CASE(handler_may_resign)},
    {CXX_CASE(handler_may_throw)},
};

/* Returns the number of cases that failed. */
static int cxx_run(const char *label, const char *who)
{
    int failures = 0;
    ours = std::strcmp(who, "tidepool") == 0;
    if (ours != (tide_tier_of != nullptr)) {
        std::printf("not ok - %s: runs with %s\n", label, who);
        return 1;
    }
    for (const auto &one : cxx_cases) {
        case_failed = false;
        one.run();
        failures += case_failed;
        std::printf("%s - %s: %s\n", case_failed ? "not ok" : "ok", label, one.name);
        std::fflush(stdout);
    }
    return failures;
}

#endif
