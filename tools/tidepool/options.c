/* options.c - tidepool options: the table of what can be set */
#include "json.h"

#include <tidepool/options.h>

static const struct flag options_flags[] = {{"json", FLAG_PLAIN, false, 0},
                                            {"help", FLAG_PLAIN, false, 0}};

static void options_help(void)
{
    fputs("tidepool options - what can be set, and how\n"
          "\n"
          "usage: tidepool options [--json]\n"
          "\n"
          "--json writes one object (see JSON.md).\n",
          stdout);
}

static void options_json(void)
{
    struct json json = {0};
    struct tide_option_info info;
    json_begin(&json, "options");
    json_open(&json, "options", '[');
    for (size_t i = 0; tide_option_info(i, &info) == 0; i++) {
        json_open(&json, NULL, '{');
        json_text(&json, "key", info.key);
        json_text(&json, "values", info.values);
        json_text(&json, "default", info.initial);
        json_bool(&json, "live", info.live != 0);
        json_text(&json, "help", info.help);
        json_close(&json, '}');
    }
    json_close(&json, ']');
    json_close(&json, '}');
}

static void options_text(void)
{
    struct tide_option_info info;
    printf("%-14s %-33s %-8s %s\n", "option", "values", "default", "may change");
    for (size_t i = 0; tide_option_info(i, &info) == 0; i++) {
        printf("%-14s %-33s %-8s %s\n", info.key, info.values,
               info.initial[0] != '\0' ? info.initial : "none",
               info.live ? "at any time" : "before start only");
        printf("%14s %s\n", "", info.help);
    }
    fputs("\n"
          "Bytes take the suffixes K, M, G and T (powers of 1024). How to set them, the later\n"
          "place wins:\n"
          "  1. in the program        const char *tide_options = \"mid=near,cache=1M\";\n"
          "  2. in the environment    TIDEPOOL_OPTIONS=mid=near,cache=1M\n"
          "                           (set-uid programs do not read it)\n"
          "  3. while it runs         tide_option_set(\"cache\", \"1M\")\n"
          "\n"
          "tidepool run sets the environment, and checks the values first:\n"
          "  tidepool run --mid=node:1 -- PROGRAM            Mid on NUMA node 1\n"
          "  tidepool run --mid=near,delay=250 -- PROGRAM    as if Mid were 250 ns slower\n"
          "  tidepool run --tiny-max=1023 --stats -- PROGRAM 1 to 2 KiB go to Mid, too\n",
          stdout);
}

static int options_run(int argc, char **argv)
{
    struct flags flags = {"options", options_flags, 2, argv + 1, NULL};
    bool json = false;
    int flag;
    (void)argc;
    while ((flag = flags_next(&flags)) >= 0) {
        if (flag == 1) {
            options_help();
            return EXIT_DONE;
        }
        json = true;
    }
    if (flag == FLAGS_BAD)
        return EXIT_USAGE;
    if (*flags.at != NULL) {
        complain("options", "unexpected argument '%s'", *flags.at);
        return EXIT_USAGE;
    }
    if (json)
        options_json();
    else
        options_text();
    return EXIT_DONE;
}

const struct command command_options = {"options", "what can be set, and how", options_run,
                                        options_help};
