/*
 * logref.h - append by reference: blocks of heaps that become batches of a log where they are,
 * and return to their heaps.
 *
 * owns:      the first frame's flag from append to return; the word that names a block's heap
 * threads:   any
 * invariant: a block is either its program's, or the log's, or on its way home; only one that
 *            is live, and of the heap that it was of, is given back
 * uses:      logapi, heaps, route, life, mid, page, region
 * used by:   programs, logapi by tide_logapi_drainer
 * not here:  when a block is done with (trim), the ring in between (retire)
 * test:      tests/test_logref.c, tests/test_logref_threads.c
 */
#ifndef TIDE_BOX_LOGREF_H
#define TIDE_BOX_LOGREF_H

#include "box/logapi.h"

/* Gives back what waits in the retire ring. How many blocks. */
int64_t tide_logref_drain(tide_log_t *log);

#endif
