/*
 * diag.h - assertions, and the one way in which the library speaks up.
 *
 * owns:      the misuse policy and its counters
 * threads:   any, signal handlers too; allocates nothing
 * invariant: one misuse gives one line on stderr, written with one write
 * uses:      file
 * used by:   every box
 * not here:  finding misuse (route's judge, page)
 * test:      tests/test_diag.c, tests/misuse.sh
 */
#ifndef TIDE_BOX_DIAG_H
#define TIDE_BOX_DIAG_H

#include "box/def.h"

/* Internal consistency. CHECK stays in the release build: it guards against
 * handing memory out twice. DEBUG costs nothing outside `make debug`. */
#define TIDE_CHECK(cond)                                                                           \
    do {                                                                                           \
        if (TIDE_UNLIKELY(!(cond)))                                                                \
            tide_diag_fatal("internal check failed: " #cond);                                      \
    } while (0)
#ifdef TIDE_DEBUG
#define TIDE_ASSERT(cond) TIDE_CHECK(cond)
#else
#define TIDE_ASSERT(cond) ((void)0)
#endif

/* Values of the option misuse=. */
enum tide_misuse { TIDE_MISUSE_ABORT, TIDE_MISUSE_WARN, TIDE_MISUSE_IGNORE };

/* One case of misuse. Strings have static storage. */
struct tide_fault {
    const char *what;  /* "double free", "invalid pointer", ... */
    const char *call;  /* "free", "realloc", ... */
    const char *tier;  /* "tiny", "mid", "large", "none" */
    const char *state; /* "live", "free", "cached", "remote", "none", "unknown" */
    uintptr_t addr;
    size_t size;    /* usable bytes of the block, 0 when there is none */
    uint32_t owner; /* heap id, 0 when there is none */
};

/* A line of text built in a fixed buffer; what does not fit is cut off. */
struct tide_text {
    char *buf;
    size_t size, len;
};

void tide_text_add(struct tide_text *text, const char *string);
/* Words of somebody else's: at most 64 characters and "...", control characters as '?'. */
void tide_text_quote(struct tide_text *text, const char *string);
void tide_text_number(struct tide_text *text, uint64_t value, unsigned base);

void tide_diag_policy(enum tide_misuse policy);

/* Reports the fault as the policy says. Returns only when it does not abort. */
void tide_diag_misuse(const struct tide_fault *fault);

/* Misuse that was reported and did not end the process. */
uint64_t tide_diag_misuses(void);

/* "tidepool: TEXT" and abort. */
_Noreturn void tide_diag_fatal(const char *text);

/* "tidepool: TEXT" on stderr, nothing more. */
void tide_diag_say(const char *text);

#endif
