/*
 * life.h - what the processes of a stress program share, which are killed at random moments: how a
 * finding is said, and what a batch says of itself.
 *
 * Whoever includes it has said PROGRAM, its name, and has `world`, memory that all its processes
 * share, with `history` and `failed`; `way`, of which there are several, with `name`; and SENT, how
 * many events there may be.
 */
#ifndef TESTS_LIFE_H
#define TESTS_LIFE_H

#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include <tidepool/log.h>

#include "stress_options.h"

enum { WORDS = 5 };

/* The region's file, where it is one. */
static void clear(void)
{
    if (strncmp(source, "file:", 5) == 0)
        unlink(source + 5);
}

/* ---- findings -------------------------------------------------------------------------------- */

__attribute__((format(printf, 1, 2), noreturn)) static void fail(const char *format, ...)
{
    char text[300], why[200] = "";
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    tide_log_explain(why, sizeof why);
    if (atomic_exchange(&world->failed, 1) == 0)
        dprintf(2,
                PROGRAM ": FAIL %s: %s (%s)\n"
                        "once more, with other moments: " PROGRAM " --seed %llu --only '%s'\n",
                way->name, text, why, (unsigned long long)seed, way->name);
    clear();
    _exit(1); /* the parent's children end with it */
}

static void panic(const char *text)
{
    fail("%s", text);
}

static uint64_t draw(uint64_t *state)
{
    *state ^= *state << 13;
    *state ^= *state >> 7;
    *state ^= *state << 17;
    return *state;
}

static void nap(uint64_t micros)
{
    struct timespec time = {(time_t)(micros / 1000000), (long)(micros % 1000000) * 1000};
    nanosleep(&time, NULL);
}

static uint64_t note(struct log_event event)
{
    return log_note(&world->history, event);
}

/* ---- batches --------------------------------------------------------------------------------- */

/* What a batch says: which event it is, whose, and what follows from these. */
static void fill(uint64_t *words, uint64_t ref, uint64_t client, uint64_t number)
{
    words[0] = ref;
    words[1] = client;
    words[2] = number;
    for (int i = 3; i < WORDS; i++)
        words[i] = ref * 31 + client * 7 + number + (uint64_t)i;
}

/* Its words, if it is what somebody sent. */
static bool look(const struct tide_log_batch *batch, uint64_t *words)
{
    uint64_t want[WORDS];
    size_t at = 0;
    const struct tide_log_frame *frame = tide_log_next(batch, &at);
    if (frame == NULL || frame->length < sizeof want || batch->count != 1)
        return false;
    memcpy(words, frame + 1, sizeof want);
    fill(want, words[0], batch->client, batch->number);
    return words[0] < SENT && memcmp(words, want, sizeof want) == 0;
}

#endif
