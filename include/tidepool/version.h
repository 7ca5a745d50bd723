/*
 * tidepool/version.h - which tidepool this is.
 *
 * The macros tell what a program was compiled against, tide_version() what it
 * runs with. The numbers follow semantic versioning; the soname carries
 * TIDE_VERSION_MAJOR.
 */
#ifndef TIDEPOOL_VERSION_H
#define TIDEPOOL_VERSION_H

#define TIDE_VERSION_MAJOR 0
#define TIDE_VERSION_MINOR 1
#define TIDE_VERSION_PATCH 0
#define TIDE_VERSION_STRING "0.1.0"

#ifdef __cplusplus
extern "C" {
#endif

/* The version of the running library, as "MAJOR.MINOR.PATCH". Static storage,
 * never NULL. Safe from any thread and from signal handlers. */
const char *tide_version(void);

#ifdef __cplusplus
}
#endif

#endif
