/*
 * doctor.h - what `tidepool doctor` looks at, and the list of what it finds.
 *
 * A finding is a fact with its value, what it means for the library, and the command that
 * mends it. Whether a source can be had is the library's own verdict (decide.h).
 */
#ifndef TIDEPOOL_DOCTOR_H
#define TIDEPOOL_DOCTOR_H

#include "info.h"

enum doctor_severity {
    DOCTOR_NOTE,    /* good to know; nothing needs to be mended */
    DOCTOR_WARNING, /* works, but not as well as it could, or not for long */
    DOCTOR_ERROR    /* what was asked for is not what the program gets */
};

enum { DOCTOR_FINDINGS = 160, DOCTOR_TEXT = 640, DOCTOR_SEVERITIES = 3 };

struct finding {
    enum doctor_severity severity;
    const char *check; /* what was looked at: "options", "dax" */
    char found[DOCTOR_TEXT], means[DOCTOR_TEXT], mend[DOCTOR_TEXT];
};

struct doctor {
    struct info info;
    struct finding finding[DOCTOR_FINDINGS + 1]; /* the last one takes what is too much */
    int findings, count[DOCTOR_SEVERITIES];
};

/* A new finding, to be filled in. */
struct finding *doctor_find(struct doctor *doctor, enum doctor_severity severity,
                            const char *check);

/* Fills in one of its texts. */
void doctor_say(char text[DOCTOR_TEXT], const char *format, ...)
    __attribute__((format(printf, 2, 3)));

/* The command that sets the good ones of the present options, but key=value in place of
 * what the key has (NULL: none). */
void doctor_mend_option(const struct doctor *doctor, char text[DOCTOR_TEXT], const char *key,
                        const char *value);

/* The commands that make a dax device a node, bring a node's memory in, let this process use
 * all nodes with memory, let this user open a file, and the file of a dax device. */
void doctor_mend_device(char text[DOCTOR_TEXT], const char *name);
void doctor_mend_node(const struct machine *machine, char text[DOCTOR_TEXT], int node);
void doctor_mend_cpuset(const struct machine *machine, char text[DOCTOR_TEXT]);
void doctor_mend_access(char text[DOCTOR_TEXT], const char *path);
void doctor_mend_file(char text[DOCTOR_TEXT], const struct dax_device *device);

/* Bytes in a node's memory blocks that are offline. */
uint64_t doctor_offline(const struct machine *machine, unsigned node);

#endif
