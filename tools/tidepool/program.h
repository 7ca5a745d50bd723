/*
 * program.h - files that are executed or loaded: where they are, and what they are.
 */
#ifndef TIDEPOOL_PROGRAM_H
#define TIDEPOOL_PROGRAM_H

#include "command.h"

enum { PROGRAM_PATH = 4096 };

enum program_kind {
    PROGRAM_UNKNOWN, /* cannot be read, or nothing that this knows */
    PROGRAM_DYNAMIC, /* uses the loader, which preloads */
    PROGRAM_STATIC,  /* no loader */
    PROGRAM_OTHER,   /* an executable of another word size or processor */
    PROGRAM_SHARED,  /* a shared object for this processor, not to be executed */
    PROGRAM_SCRIPT   /* opens with #! */
};

/* Finds a program as execvp does. False: nothing executable of that name. */
bool program_find(const char *name, char path[PROGRAM_PATH]);

/* What the file is; for a script, `interpreter` becomes the path behind its #!. */
enum program_kind program_kind(const char *path, char interpreter[PROGRAM_PATH]);

/* Warns on stderr when preloading a library into the program has no effect. */
void program_warn(const char *path);

/* The library to preload, as an absolute path. Without one: a complaint, false. */
bool library_find(char path[PROGRAM_PATH]);

#endif
