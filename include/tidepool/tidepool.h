/*
 * tidepool/tidepool.h - everything: the malloc family, heaps, regions, the log, options, stats.
 */
#ifndef TIDEPOOL_TIDEPOOL_H
#define TIDEPOOL_TIDEPOOL_H

#include <tidepool/heap.h>
#include <tidepool/log.h>
#include <tidepool/malloc.h>
#include <tidepool/options.h>
#include <tidepool/region.h>
#include <tidepool/stats.h>
#include <tidepool/version.h>

#endif
