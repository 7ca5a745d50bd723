/*
 * prog_cxx_replace.cc - a program that defines operator new and delete itself.
 *
 * It defines only the two simple forms, and the aligned pair. The standard says
 * that all other forms then end up in these: arrays, sized deletes, nothrow forms.
 * Their blocks carry a header, so that a form which went to the library's free
 * instead would be caught by any allocator. The same holds with libstdc++'s own
 * forms. `prog_cxx_replace LABEL`
 */
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <new>

/* Leaving the sized forms out is what is tested here. */
#pragma GCC diagnostic ignored "-Wsized-deallocation"

/* clang leaves these out of <new> unless -fsized-deallocation asks for them. */
void operator delete(void *ptr, std::size_t size) noexcept;
void operator delete[](void *ptr, std::size_t size) noexcept;
void operator delete(void *ptr, std::size_t size, std::align_val_t align) noexcept;
void operator delete[](void *ptr, std::size_t size, std::align_val_t align) noexcept;

static const std::uint64_t MAGIC = 0x7469646570306f6cULL;
static const std::size_t HEADER = 256;

static int news, deletes;
static bool refuse;

static void *give(std::size_t size, std::size_t align)
{
    news++;
    if (refuse)
        throw std::bad_alloc();
    char *base = static_cast<char *>(std::aligned_alloc(align, size + HEADER));
    if (base == nullptr)
        std::abort();
    *reinterpret_cast<std::uint64_t *>(base) = MAGIC;
    return base + HEADER;
}

static void take(void *ptr)
{
    if (ptr == nullptr)
        return;
    deletes++;
    char *base = static_cast<char *>(ptr) - HEADER;
    if (*reinterpret_cast<std::uint64_t *>(base) != MAGIC) {
        std::puts("not ok - a block came back that was not given out");
        std::abort();
    }
    std::free(base);
}

void *operator new(std::size_t size)
{
    return give(size, 16);
}
void operator delete(void *ptr) noexcept
{
    take(ptr);
}
void *operator new(std::size_t size, std::align_val_t align)
{
    return give(size, static_cast<std::size_t>(align));
}
void operator delete(void *ptr, std::align_val_t) noexcept
{
    take(ptr);
}

static void *new_by(int form)
{
    const auto align = std::align_val_t(64);
    switch (form) {
    case 0:
        return ::operator new(100);
    case 1:
        return ::operator new[](100);
    case 2:
        return ::operator new(100, std::nothrow);
    case 3:
        return ::operator new[](100, std::nothrow);
    case 4:
        return ::operator new(100, align);
    case 5:
        return ::operator new[](100, align);
    case 6:
        return ::operator new(100, align, std::nothrow);
    default:
        return ::operator new[](100, align, std::nothrow);
    }
}

static void delete_by(int form, void *p)
{
    const auto align = std::align_val_t(64);
    switch (form) {
    case 0:
        return ::operator delete(p);
    case 1:
        return ::operator delete[](p);
    case 2:
        return ::operator delete(p, std::nothrow);
    case 3:
        return ::operator delete[](p, std::nothrow);
    case 4:
        return ::operator delete(p, std::size_t(100));
    case 5:
        return ::operator delete[](p, std::size_t(100));
    case 6:
        return ::operator delete(p, align);
    case 7:
        return ::operator delete[](p, align);
    case 8:
        return ::operator delete(p, 100, align);
    case 9:
        return ::operator delete[](p, 100, align);
    case 10:
        return ::operator delete(p, align, std::nothrow);
    default:
        return ::operator delete[](p, align, std::nothrow);
    }
}

/* Every form of new with every form of delete reaches the program's own. */
static bool all_forms_reach_the_program()
{
    for (int form = 0; form < 8; form++) {
        for (int how = form < 4 ? 0 : 6; how < (form < 4 ? 6 : 12); how++) {
            news = deletes = 0;
            void *volatile p = new_by(form);
            if (p == nullptr || news != 1)
                return false;
            delete_by(how, p);
            if (deletes != 1)
                return false;
        }
    }
    return true;
}

/* The program's operator throws: the nothrow forms give NULL. */
static bool refusal_is_null_or_bad_alloc()
{
    bool good = true;
    refuse = true;
    for (int form = 0; form < 8; form++) {
        bool thrown = false;
        void *volatile p = nullptr;
        try {
            p = new_by(form);
        } catch (const std::bad_alloc &) {
            thrown = true;
        }
        good = good && p == nullptr && thrown == (form / 2 % 2 == 0);
    }
    refuse = false;
    return good;
}

int main(int argc, char **argv)
{
    if (argc != 2)
        return 2;
    bool reach = all_forms_reach_the_program();
    bool refusal = refusal_is_null_or_bad_alloc();
    std::printf("%s - %s: all forms reach the program's\n", reach ? "ok" : "not ok", argv[1]);
    std::printf("%s - %s: nothrow forms catch\n", refusal ? "ok" : "not ok", argv[1]);
    return reach && refusal ? 0 : 1;
}
