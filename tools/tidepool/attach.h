/*
 * attach.h - the page of counters of a process, found and read from outside.
 *
 * Nothing is written, sent or stopped: the process does not notice. The layout is that
 * of core/box/counters.h.
 */
#ifndef TIDEPOOL_ATTACH_H
#define TIDEPOOL_ATTACH_H

#include "command.h"

#include "box/counters.h"

enum { ATTACH_PATH = 4096, ATTACH_NODES = 64 };

enum attach_way {
    ATTACH_NAMELESS, /* through /proc/PID/fd */
    ATTACH_FILE,     /* a file that counters=/DIR made */
    ATTACH_MEMORY    /* through /proc/PID/mem: the program closed the descriptor */
};

struct attach {
    enum attach_way way;
    long pid;               /* 0: a file was named */
    char path[ATTACH_PATH]; /* what is read */
    int fd;
    uint64_t offset;                /* of the page in it */
    struct tide_counters_page page; /* of the last sample */
    bool alive;                     /* the process of the page runs */

    bool pages_known; /* see attach_pages */
    uint64_t node_bytes[ATTACH_NODES];
};

/* Finds the page of "PID" or "FILE". EXIT_DONE, or the exit code after a complaint. */
int attach_open(struct attach *attach, const char *target);

/* Reads the page and looks whether the process runs. EXIT_DONE, or the exit code after a
 * complaint. */
int attach_sample(struct attach *attach);

/* Asks the kernel on which nodes the pages of Mid are (/proc/PID/numa_maps). */
void attach_pages(struct attach *attach);

void attach_close(struct attach *attach);

#endif
