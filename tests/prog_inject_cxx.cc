// prog_inject_cxx.cc - a C++ program that does nothing but start, with libstdc++ and its
// streams; inject.sh lets the library's system calls fail meanwhile.
#include <iostream>

int main()
{
    return std::cout ? 0 : 1;
}
