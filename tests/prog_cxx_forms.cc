/* prog_cxx_forms.cc - `prog_cxx_forms LABEL libc|tidepool`; see cxx_case.h. */
#include "cxx_case.h"

int main(int argc, char **argv)
{
    return argc == 3 && cxx_run(argv[1], argv[2]) == 0 ? 0 : 1;
}
