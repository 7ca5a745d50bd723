/*
 * decide.h - what the library would use on this machine, with these settings, and why.
 *
 * The decision is the library's own: the source box makes it, this only asks and
 * explains. Under a sysfs root of a test the same rules are applied to that root.
 */
#ifndef TIDEPOOL_DECIDE_H
#define TIDEPOOL_DECIDE_H

#include "machine.h"
#include "setting.h"

#include "box/option.h"
#include "box/source.h"

enum { DECIDE_REJECTED = TIDE_TOPO_NODES + MACHINE_DAX + 1, DECIDE_NOTES = 8, DECIDE_LINE = 256 };

struct rejection {
    char what[80], why[DECIDE_LINE];
};

struct decision {
    char asked[TIDE_OPTION_TEXT]; /* the value of mid= */
    bool asked_by_default;
    uint64_t tiny_max;

    struct tide_source mid;
    int error;           /* of the source box: 0, -EINVAL, -ENODEV, -EPERM (shared memory) */
    const char *placing; /* "ok", the name of an error, or NULL: not tried */

    const char *header, *header_why;

    struct rejection rejected[DECIDE_REJECTED];
    int rejections;
    char note[DECIDE_NOTES][DECIDE_LINE];
    int notes;
    char numactl[256]; /* "": nothing to place */
    char daxctl[128];  /* "": the node comes from no dax device */
};

/* The settings have been checked (settings_check). */
void decide(struct decision *decision, const struct settings *settings,
            const struct machine *machine);

#endif
