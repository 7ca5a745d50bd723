/*
 * log.h - what the subcommands of `tidepool log` share: a log looked at from outside, numbers
 * of the command line, messages as text.
 *
 * A look maps the region's file for reading only. It does not take part in the log: no entry
 * of a table, no lock, no write, so that it works on a log that a process has open.
 */
#ifndef TIDEPOOL_LOG_COMMAND_H
#define TIDEPOOL_LOG_COMMAND_H

#include "command.h"
#include "json.h"

#include "box/lanes.h"
#include "box/logroom.h"
#include "box/peek.h"

#include <tidepool/region.h>

enum { LOG_TEXT = 4200 };

/* A subcommand of `log`: its name with "log " in front, as complaints begin. */
int log_create(char **argv);
int log_stat(char **argv);
int log_dump(char **argv);
int log_check(char **argv);
int log_tail(char **argv);
int log_trim(char **argv);
int log_repair(char **argv);
int log_recover(char **argv);
int log_expel(char **argv);
void log_create_help(void);
void log_stat_help(void);
void log_dump_help(void);
void log_check_help(void);
void log_tail_help(void);
void log_trim_help(void);
void log_repair_help(void);
void log_recover_help(void);
void log_expel_help(void);

/* --- words and numbers -------------------------------------------------------------- */

/* What a subcommand does with a flag; false after a complaint. */
typedef bool log_take_flag(void *wish, int flag, const char *value);

/* Reads flags that may stand on both sides of REGION; *region NULL after --help, whose index
 * is `help`. EXIT_DONE, or EXIT_USAGE after a complaint. */
int log_read_flags(struct flags *flags, int help, log_take_flag *take, void *wish,
                   const char **region);

/* The same with up to `most` words, REGION the first one; those that are not there are NULL. */
int log_read_words(struct flags *flags, int help, log_take_flag *take, void *wish,
                   const char **words, unsigned most);

/* A number, or (units) bytes with K, M, G or T behind it: all of the text; false: it is none. */
bool log_digits(const char *text, bool units, uint64_t *out);

/* A number, or (units) bytes with K, M, G or T behind it; false after a complaint, which calls
 * it --FLAG, or PROCESS where `flag` is NULL. */
bool log_number(const char *command, const char *flag, const char *text, bool units, uint64_t least,
                uint64_t most, uint64_t *out);

/* One of the words, as its index; false after a complaint. */
bool log_word(const char *command, const char *flag, const char *text, const char *const *words,
              unsigned count, unsigned *out);

/* The source of a region as the library takes it, "file:PATH" for a plain path. False after a
 * complaint: it is of a kind that ends with its process. */
bool log_source(const char *command, const char *region, char source[LOG_TEXT]);

/* Bytes as text with the escapes of C, or as hexadecimal digits; at most 4 * size + 1. */
void log_escape(char *out, const unsigned char *bytes, size_t size);
void log_hex(char *out, const unsigned char *bytes, size_t size);

/* --- a look --------------------------------------------------------------------------- */

enum log_state {
    LOG_NO_FILE,
    LOG_NO_REGION,
    LOG_NO_LOG,
    LOG_DAMAGED,
    LOG_LANES, /* one in memory that is not coherent */
    LOG_THERE
};

struct log_look {
    const char *command;
    char source[LOG_TEXT], path[LOG_TEXT];
    int fd;
    unsigned char *base; /* of the region's file or device */
    uint64_t size;       /* bytes of it */
    struct tide_region region;
    struct tide_logroom room; /* a copy */
    struct tide_peek peek;
    struct tide_lanes lanes; /* LOG_LANES: the memory behind its pointers is only read */
    enum log_state state;
    struct tide_layout_fault fault; /* LOG_DAMAGED */
};

/* Maps the region and finds the log in it. EXIT_DONE with state LOG_THERE, or the exit code
 * after a complaint. */
int log_look_open(struct log_look *look, const char *command, const char *region);

/* The same for commands that know logs in lanes, too: state LOG_THERE or LOG_LANES. */
int log_look_both(struct log_look *look, const char *command, const char *region);

/* The same, but EXIT_DONE whatever is found: look->state tells it. */
int log_look_any(struct log_look *look, const char *command, const char *region);

void log_look_close(struct log_look *look);

/* Who has the log open now: the process id of one of them, or 0; *is: whether that one runs. */
uint32_t log_look_owner(const struct log_look *look, enum tide_owner_is *is);

/* What tide_owner_look says, but never TIDE_OWNER_BEFORE. */
enum tide_owner_is log_look_judge(const struct log_look *look, const struct tide_owner *owner,
                                  struct tide_owner_seen *seen);

/* Of whom an entry of a table of the log is: does that process still have the log? */
enum tide_owner_is log_look_member(const struct log_look *look, uint64_t whose);

/* A repair of it began and did not end: places and slots may be half written. */
bool log_look_is_mending(const struct log_look *look);

/* The log that was found is still the one that is there. */
bool log_look_same(const struct log_look *look);

/* --- repairs ---------------------------------------------------------------------------- */

/* How a log was left: a word, or (long) a sentence's end. */
const char *log_left(enum tide_logroom_need need, bool long_form);

/* Opens the region for writing; `force`: processes of other machines are gone. EXIT_DONE, or
 * EXIT_ERROR after a complaint. */
int log_open_region(const char *command, const struct log_look *look, bool force,
                    tide_region_t **region);

/* Complains in the library's words: EXIT_ERROR. */
int log_complain(const char *command, const char *source);

/* The private copy of a region that a repair is tried on; NULL: no memory. */
unsigned char *log_copy(const struct log_look *look);

struct log_wish {
    bool yes, json, force;
};

/* `repair` for a log in lanes that no process of this host has open: the exit code. */
int log_repair_lanes(const struct log_look *look, const struct log_wish *wish);

/* What positions are to people: at level 0 slot indexes begin one later. */
uint64_t log_shown(const struct log_look *look, uint64_t position);

#endif
