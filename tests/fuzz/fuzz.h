/*
 * fuzz.h - what the fuzz harnesses share: reading the input, and speaking up.
 *
 * Owns: the place in the input, the way in which a finding ends the process.
 * Threads: one at a time.
 * Invariant: reading behind the end of an input gives zeroes.
 * Uses: libc.
 * Used by: fuzz_api.c, fuzz_option.c, fuzz_peek.c, fuzz_topo.c, fuzz_resp.c, fuzz_hostile.c,
 * fuzz_main.c.
 * Not here: what an input means.
 *
 * A harness defines LLVMFuzzerTestOneInput. Linked by clang -fsanitize=fuzzer it is a
 * fuzzer; linked with fuzz_main.c it replays files, whatever the compiler. For AFL++:
 *   make FUZZ_CC=afl-clang-fast BUILD=afl afl/tests/fuzz/fuzz_api
 *   afl-fuzz -m none -i tests/fuzz/corpus/api -o out -- afl/tests/fuzz/fuzz_api
 *
 * The corpus: inputs with a name were written for what the name says, or found it; the
 * others (cov-*) each reach a place in the library that no input before them does.
 * Environment: FUZZ_TRACE=1 tells each step in words. FUZZ_PLANT=NAME makes the harness
 * itself misbehave, to see whether that is found (its file lists the names).
 */
#ifndef TIDE_FUZZ_H
#define TIDE_FUZZ_H

#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

int LLVMFuzzerInitialize(int *argc, char ***argv);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* Code that is slow under sanitizers and reads only what it was told to; what it does is
 * not of interest to the fuzzer. */
#ifdef __clang__
#define FUZZ_PLAIN __attribute__((no_sanitize("address", "undefined", "coverage")))
#else
#define FUZZ_PLAIN __attribute__((no_sanitize("address", "undefined")))
#endif

struct fuzz_input {
    const uint8_t *at, *end;
};

static inline uint8_t fuzz_byte(struct fuzz_input *in)
{
    return in->at < in->end ? *in->at++ : 0;
}

/* Where the harness is in the input, for the report. */
static struct {
    unsigned step, thread;
    bool child; /* of a fork: ends without leaving a file behind */
    bool trace;
    const char *plant;
} fuzz;

static inline void fuzz_start(void)
{
    fuzz.trace = getenv("FUZZ_TRACE") != NULL;
    fuzz.plant = getenv("FUZZ_PLANT") != NULL ? getenv("FUZZ_PLANT") : "";
}

/* Is this fault to be played? Costs next to nothing when none is. */
static inline bool fuzz_plays(const char *name)
{
    return fuzz.plant[0] != '\0' && strcmp(fuzz.plant, name) == 0;
}

/* A line on stderr without allocating. */
static inline void fuzz_line(const char *head, const char *format, va_list args)
{
    char line[640];
    int len = snprintf(line, sizeof line, "fuzz: %s step %u thread %u%s: ", head, fuzz.step,
                       fuzz.thread, fuzz.child ? " (forked child)" : "");
    len += vsnprintf(line + len, sizeof line - (size_t)len - 1, format, args);
    if (len > (int)sizeof line - 2)
        len = sizeof line - 2;
    line[len++] = '\n';
    if (write(STDERR_FILENO, line, (size_t)len) < 0)
        _exit(3);
}

/* A finding: says it and ends the process, in the way that the fuzzer notices. */
__attribute__((noreturn, format(printf, 1, 2))) static inline void fuzz_fail(const char *format,
                                                                             ...)
{
    va_list args;
    va_start(args, format);
    fuzz_line("FAIL", format, args);
    va_end(args);
    if (fuzz.child)
        _exit(1);
    abort();
}

__attribute__((format(printf, 1, 2))) static inline void fuzz_tell(const char *format, ...)
{
    va_list args;
    va_start(args, format);
    fuzz_line("-", format, args);
    va_end(args);
}

/* Only with FUZZ_TRACE. */
#define FUZZ_TELL(...)                                                                             \
    do {                                                                                           \
        if (fuzz.trace)                                                                            \
            fuzz_tell(__VA_ARGS__);                                                                \
    } while (0)

#endif
