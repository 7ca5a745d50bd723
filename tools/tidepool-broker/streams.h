/*
 * streams.h - the streams by name, and what becomes of them: appends, trims, deletes, each
 * written into the log first. State is what a walk through the log rebuilds.
 *
 * Entries that are added are gathered, and become one batch of the log when streams_commit is
 * called; nothing but streams_add, streams_find and questions may be called in between. With
 * streams_settle instead, all is as if they had.
 *
 * One thread, one set per process, over the one store.
 */
#ifndef BROKER_STREAMS_H
#define BROKER_STREAMS_H

#include "index.h"
#include "record.h"
#include "store.h"

struct waiter;

struct stream {
    struct stream *next; /* of the same bucket */
    uint64_t hash;
    struct index index;     /* of its runs: their first ids */
    uint64_t count;         /* entries */
    struct sid floor;       /* no entries with lower ids are there */
    struct sid last;        /* the highest id that it ever had */
    uint64_t pin;           /* while it is empty: position of the message that says so */
    struct waiter *waiters; /* who waits for entries; a ring, see block.c */
    struct stream *ready;   /* next of those that have news for waiters */
    uint32_t skip;          /* entries of the oldest run that are gone */
    uint32_t key_size;
    bool moved;            /* places are not in the order of ids: runs were written again */
    bool exists, is_ready; /* one that does not exist is only waited for */
    char key[];
};

/* The stream of this name; `make`: a new one, that does not exist yet, if there is none. NULL:
 * there is none, or no memory. */
struct stream *streams_find(const char *key, size_t size, bool make);

/* Forgets it if it does not exist and nobody waits. */
void streams_forget(struct stream *stream);

/* How many entries go: all in front of `first` (MINID), or all but the newest `most`. */
enum trim_kind { TRIM_NONE, TRIM_COUNT, TRIM_FROM };
struct trim {
    enum trim_kind kind;
    bool about;    /* only whole runs */
    uint64_t most; /* TRIM_COUNT */
    struct sid first;
    uint64_t limit; /* 0: none */
};

/* What one XADD wants. */
enum add_id { ADD_AUTO, ADD_MS, ADD_ID };
struct add {
    const char *key, *text;
    uint32_t key_size, text_size, strings;
    bool only_existing; /* NOMKSTREAM */
    enum add_id how;
    struct sid id; /* a result as well */
    struct trim trim;
    unsigned run; /* a result: for streams_commit's errors */
};
enum add_error {
    ADD_ERRORS = 1,
    ADD_MISSING = ADD_ERRORS, /* NOMKSTREAM, and there is none */
    ADD_SMALL,                /* the id is not above the last one */
    ADD_EXHAUSTED,
    ADD_FULL,
    ADD_MEMORY
};

/* Bytes that this one takes of the log, at most. */
size_t streams_room(const struct add *add);

/* It can become part of the batch that is being gathered. False: streams_commit first. */
bool streams_fits(const tide_log_client_t *client, const struct add *add);

/* Gathers it: it has its id, or an error. The strings are copied. */
int streams_add(tide_log_client_t *client, struct add *add, uint64_t now);

/* Bytes that were gathered since the last call of the two that follow. */
size_t streams_gathered(void);

/* Makes a batch of what was gathered. Returns the error of each run (enum add_error; 0: its
 * entries have their place), for those that were added since the last call. */
const unsigned char *streams_commit(void);

/* The same for all who ask here, but the batch may stay open for what comes later: where the log
 * is nobody else's and ends with the process. */
const unsigned char *streams_settle(void);

/* XTRIM: how many went, or -1: they did, but the log is too full to remember it. */
int64_t streams_trim(struct stream *stream, const struct trim *trim);

/* DEL. False: it is gone, but the log is too full to remember it. */
bool streams_drop(struct stream *stream);

/* Gives up what no stream needs: all in front of the oldest thing that one does. Costs a look
 * at every stream. */
void streams_reclaim(void);

/* Writes the oldest of what is needed again, at the new end, so that the log can give up what
 * is around it: about `messages` of the log are looked at. False: that would gain too little,
 * for most of the log is needed. See clean.c. */
bool streams_clean(uint64_t messages);

/* Rebuilds all from the log. False: see error. See load.c. */
bool streams_load(char *error, size_t len);

struct streams_stat {
    uint64_t streams, entries, runs, added, trimmed, reclaims, moved, bytes;
};
struct streams_stat streams_stat(void);

uint64_t streams_hash(const char *key, size_t size);

/* Streams with waiters that got entries since the last call, as a list by `ready`. */
struct stream *streams_news(void);

void streams_close(void);

#endif
