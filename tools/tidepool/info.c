/* info.c - tidepool info: the memory of this machine, and what the library does with it */
#include "info.h"

static const struct flag info_flags[] = {
    {"json", FLAG_PLAIN, false, 0},  {"help", FLAG_PLAIN, false, 0}, {"mems", FLAG_VALUE, false, 0},
    {"probe", FLAG_PLAIN, false, 0}, {"sysfs", FLAG_VALUE, true, 0}, /* instead of /sys: tests */
    {"root", FLAG_VALUE, true, 0}};                                  /* a machine of files: tests */

enum { INFO_FLAGS = sizeof info_flags / sizeof info_flags[0] };

static void info_help(void)
{
    fputs("tidepool info - what memory there is, what the library would use, and why\n"
          "\n"
          "usage: tidepool info [--probe] [--json] [--mems=LIST]\n"
          "\n"
          "Shows the memory nodes, the dax devices, the limits of this process, and the decision\n"
          "that the library would make here with the current TIDEPOOL_OPTIONS. To see another:\n"
          "  TIDEPOOL_OPTIONS=mid=node:1 tidepool info\n"
          "\n"
          "A far node is one that has memory and no processors. mid=auto takes the nearest of\n"
          "them: on the own socket by the latency that the firmware tells (HMAT), else by the\n"
          "kernel's distance; and near memory when there is none. Tiny and Large are always near. "
          "What cannot\n"
          "be had (a node without memory, a refused policy) is replaced by near memory.\n"
          "The numactl command shown places *all* of a program's memory like Mid.\n"
          "\n"
          "--probe measures the latency and bandwidth of each node (as tidepool doctor --probe).\n"
          "--mems=LIST decides as for a process that may use these nodes only (cpusets, "
          "containers).\n"
          "\n"
          "--json writes one object: its members are in JSON.md, next to this command's sources\n"
          "and in PREFIX/share/doc/tidepool.\n",
          stdout);
}

static void info_collect(struct info *info)
{
    tide_source_sysfs = info->machine.sys;
    info->options = settings_environment();
    if (info->options != NULL)
        info->too_long = !settings_read(&info->settings, info->options, "TIDEPOOL_OPTIONS");
    if (info->too_long)
        info->settings.count = 0;
    settings_check(&info->settings);
    decide(&info->decision, &info->settings, &info->machine);
}

static bool info_probe(struct info *info, const char *command)
{
    if (!info->machine.fake) {
        probe_nodes(&info->machine, info->probe);
        return true;
    }
    complain(command, "--probe measures this machine, not one of files");
    return false;
}

int info_begin(struct info *info, char **argv, const char *command, void (*help)(void), bool *json)
{
    struct flags flags = {command, info_flags, INFO_FLAGS, argv + 1, NULL};
    struct machine_where where = {.command = command};
    bool probe = false;
    int flag;
    while ((flag = flags_next(&flags)) >= 0) {
        if (flag == 1) {
            help();
            return EXIT_DONE;
        }
        if (flag == 0)
            *json = true;
        else if (flag == 2)
            where.mems = flags.value;
        else if (flag == 3)
            probe = true;
        else if (flag == 4)
            where.sysfs = flags.value;
        else
            where.root = flags.value;
    }
    if (flag == FLAGS_BAD)
        return EXIT_USAGE;
    if (*flags.at != NULL) {
        complain(command, "unexpected argument '%s'", *flags.at);
        return EXIT_USAGE;
    }
    if (!machine_read(&info->machine, &where))
        return EXIT_USAGE;
    info_collect(info);
    return probe && !info_probe(info, command) ? EXIT_USAGE : -1;
}

static int info_run(int argc, char **argv)
{
    static struct info info;
    bool json = false;
    int code = info_begin(&info, argv, "info", info_help, &json);
    (void)argc;
    if (code >= 0)
        return code;
    if (json)
        info_json(&info);
    else
        info_text(&info);
    return EXIT_DONE;
}

const struct command command_info = {"info", "what memory is here, and what the library would use",
                                     info_run, info_help};
