/*
 * plug_cxx.cc - the cases of cxx_case.h in a shared object, as an extension of
 * an interpreter would be: C++ inside, opened by a C program with RTLD_LOCAL.
 */
#include "cxx_case.h"

extern "C" int plug_cxx_run(const char *label, const char *who)
{
    return cxx_run(label, who);
}
