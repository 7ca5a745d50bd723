/*
 * stress_options.h - the options of the stress programs that end processes: how many ends, for
 * how long, which of the ways, and where the region lies.
 */
#ifndef TESTS_STRESS_OPTIONS_H
#define TESTS_STRESS_OPTIONS_H

#include <getopt.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

static uint64_t seed = 1;
static char source[300]; /* of the region */

struct stress_options {
    uint64_t ops, seconds; /* seconds: 0, or instead of so many operations */
    const char *only;      /* ways with this word in their names; "": all */
};

/* False: these are no options of the program `name`; it said which there are. */
static inline bool stress_options_read(struct stress_options *self, int argc, char **argv,
                                       const char *name)
{
    static const struct option known[] = {
        {"ops", 1, 0, 'o'}, {"seconds", 1, 0, 's'}, {"seed", 1, 0, 'e'}, {"only", 1, 0, 'w'},
        {"dir", 1, 0, 'd'}, {"region", 1, 0, 'r'},  {0, 0, 0, 0}};
    const char *dir = access("/dev/shm", W_OK) == 0 ? "/dev/shm" : "/tmp";
    bool good = true;
    *self = (struct stress_options){.ops = 1000000, .only = ""};
    for (int c; (c = getopt_long(argc, argv, "", known, NULL)) != -1;) {
        if (c == 'o')
            self->ops = strtoull(optarg, NULL, 10);
        else if (c == 's')
            self->seconds = strtoull(optarg, NULL, 10);
        else if (c == 'e')
            seed = strtoull(optarg, NULL, 10);
        else if (c == 'w')
            self->only = optarg;
        else if (c == 'd')
            dir = optarg;
        else if (c == 'r')
            snprintf(source, sizeof source, "%s", optarg);
        else
            good = false;
    }
    if (optind < argc)
        self->ops = strtoull(argv[optind++], NULL, 10);
    if (source[0] == '\0')
        snprintf(source, sizeof source, "file:%s/%s.%d", dir, name, (int)getpid());
    good = good && optind >= argc && self->ops != 0;
    if (!good)
        dprintf(2,
                "usage: %s [--ops N | N] [--seconds N] [--seed N] [--only WORD] "
                "[--dir DIRECTORY | --region SOURCE]\n",
                name);
    return good;
}

#endif
