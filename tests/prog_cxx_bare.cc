/*
 * prog_cxx_bare.cc - a program that takes next to nothing from the C++ runtime.
 *
 * With a static runtime it has no std::__throw_bad_alloc and no new_handler: the
 * library must put the exception together from what is there. `prog_cxx_bare LABEL`
 */
#include <cstddef>
#include <cstdio>
#include <exception>
#include <new>

/* std::__throw_bad_alloc(), not asked for by this reference. */
extern "C" void _ZSt17__throw_bad_allocv() __attribute__((weak));

static volatile std::size_t huge = static_cast<std::size_t>(1) << 62;

static const char *what_is_thrown()
{
    try {
        char *volatile p = new char[huge];
        delete[] p;
        return "nothing";
    } catch (const std::bad_alloc &e) {
        return e.what();
    }
}

int main(int argc, char **argv)
{
    if (argc != 2)
        return 2;
    if (_ZSt17__throw_bad_allocv != nullptr) {
        std::printf("skip - %s: the runtime brought std::__throw_bad_alloc\n", argv[1]);
        return 0;
    }
    for (int i = 0; i < 3; i++) {
        const char *text = what_is_thrown();
        bool good = text[0] == 's' && text[5] == 'b'; /* std::bad_alloc */
        std::printf("%s - %s: failure number %d threw %s\n", good ? "ok" : "not ok", argv[1], i,
                    text);
    }
    bool in_flight = std::uncaught_exceptions() != 0;
    std::printf("%s - %s: no exception is left\n", in_flight ? "not ok" : "ok", argv[1]);
    return in_flight;
}
