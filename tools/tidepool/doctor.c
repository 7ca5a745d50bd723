/* doctor.c - tidepool doctor: what is wrong here, and the commands that mend it */
#include "doctor_checks.h"

#include <stdarg.h>
#include <string.h>

static void doctor_help(void)
{
    fputs(
        "tidepool doctor - what is wrong here, and the command that mends it\n"
        "\n"
        "usage: tidepool doctor [--probe] [--json] [--mems=LIST]\n"
        "\n"
        "Looks at what stands between a program and far memory, with the current "
        "TIDEPOOL_OPTIONS:\n"
        "  options  bad values; a source that is not there or may not be used; a cap= that does\n"
        "           not fit. The verdict is the library's own, as at the start of a program\n"
        "  dax      CXL and dax devices that are no memory node yet, or that this user may not\n"
        "           open; CXL memory that nobody has made a region of\n"
        "  node     memory that is offline; nodes that the cpuset leaves out\n"
        "  kernel   refused memory policies, what migrate= and thp= need, weights\n"
        "  limits   address space, data, mappings, locked memory, overcommit\n"
        "  preload  a second malloc in LD_PRELOAD\n"
        "\n"
        "Each finding says what was found, what it means, and what mends it. Nothing is changed:\n"
        "read a command before you run it, most of them need root.\n"
        "  error    the program does not get what was asked for\n"
        "  warning  it works, but not as well as it could, or not for long\n"
        "  note     good to know; nothing needs to be mended\n"
        "\n"
        "Try it: TIDEPOOL_OPTIONS=mid=node:7 tidepool doctor\n"
        "\n"
        "--probe measures each node that this process may use: the latency of reads that wait for\n"
        "one another, and the bandwidth of all processors (16 at most) together. It takes a "
        "quarter\n"
        "of the free memory, 64 MiB at most, and about half a second a node; the figures are\n"
        "called measured, to tell them from the firmware's (HMAT). Best on an idle machine.\n"
        "--mems=LIST looks as for a process that may use these nodes only.\n"
        "--json writes one object (see JSON.md).\n"
        "\n"
        "Exit codes: 0 nothing to mend (or notes alone), 1 errors or warnings, 2 usage, 3 error.\n",
        stdout);
}

struct finding *doctor_find(struct doctor *doctor, enum doctor_severity severity, const char *check)
{
    struct finding *finding = &doctor->finding[doctor->findings];
    doctor->findings += doctor->findings < DOCTOR_FINDINGS;
    doctor->count[severity]++;
    *finding = (struct finding){.severity = severity, .check = check};
    return finding;
}

void doctor_say(char text[DOCTOR_TEXT], const char *format, ...)
{
    va_list list;
    va_start(list, format);
    vsnprintf(text, DOCTOR_TEXT, format, list);
    va_end(list);
}

static void doctor_look(struct doctor *doctor)
{
    doctor_check_options(doctor);
    doctor_check_devices(doctor);
    doctor_check_nodes(doctor);
    doctor_check_kernel(doctor);
    doctor_check_limits(doctor);
    doctor_check_preload(doctor);
}

static int doctor_run(int argc, char **argv)
{
    static struct doctor doctor;
    bool json = false;
    int code = info_begin(&doctor.info, argv, "doctor", doctor_help, &json);
    (void)argc;
    if (code >= 0)
        return code;
    doctor_look(&doctor);
    if (json)
        doctor_json(&doctor);
    else
        doctor_text(&doctor);
    return doctor.count[DOCTOR_ERROR] + doctor.count[DOCTOR_WARNING] != 0 ? EXIT_ABSENT : EXIT_DONE;
}

const struct command command_doctor = {"doctor", "what is wrong here, and what mends it",
                                       doctor_run, doctor_help};
