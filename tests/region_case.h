/*
 * region_case.h - the sources that the tests of regions go over, each in a fresh place.
 */
#ifndef TESTS_REGION_CASE_H
#define TESTS_REGION_CASE_H

#include <tidepool/tidepool.h>

#include "unit_files.h"

enum { REGION_SIZE = 8 << 20, REGION_SEGMENTS = REGION_SIZE / TIDE_REGION_SEGMENT };

/* Which of them can be opened again, and which a child shares. */
static const struct region_source {
    const char *kind; /* for messages */
    const char *text; /* %s: a directory */
    bool tmpfs, again, shared;
} region_sources[] = {
    {"anon", "anon", false, false, false},
    {"near with a delay", "near,delay=40", false, false, false},
    {"auto", "auto", false, false, false},
    {"memfd", "memfd", false, false, true},
    {"memfd with a delay", "memfd,delay=40", false, false, true},
    {"file on a disk", "file:%s/region", false, true, true},
    {"file on tmpfs", "file:%s/region", true, true, true},
    {"file with a delay", "file:%s/region,delay=40", false, true, true},
};

enum { REGION_SOURCES = sizeof region_sources / sizeof region_sources[0] };

static struct tide_region_error region_error;

/* The text of source number i; NULL when this machine has no tmpfs to write to. */
static inline const char *region_text(int i)
{
    static char text[300];
    const char *where = region_sources[i].tmpfs ? unit_tmpfs : unit_disk;
    if (where[0] == '\0')
        return NULL;
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wformat-nonliteral"
    snprintf(text, sizeof text, region_sources[i].text, where);
#pragma GCC diagnostic pop
    return text;
}

static inline tide_region_t *region_made(const char *text, size_t size, unsigned flags)
{
    tide_region_t *region = NULL;
    int ret = tide_region_create(&region, text, size, flags, &region_error);
    if (ret != 0) {
        dprintf(2, "%s gave %d: %s\n", text, ret, region_error.text);
        UNIT_NEED(ret == 0);
    }
    return region;
}

static inline tide_region_t *region_opened(const char *text)
{
    tide_region_t *region = NULL;
    int ret = tide_region_open(&region, text, 0, &region_error);
    if (ret != 0) {
        dprintf(2, "%s gave %d: %s\n", text, ret, region_error.text);
        UNIT_NEED(ret == 0);
    }
    return region;
}

static inline struct tide_region_info region_told(tide_region_t *region)
{
    struct tide_region_info info;
    UNIT_NEED(tide_region_info(region, &info) == 0);
    return info;
}

static inline int region_main(const char *name, const TTest *const *plain, const TTest *const *each)
{
    Suite *suite = suite_create(name);
    TCase *tcase = tcase_create(name);
    tcase_add_checked_fixture(tcase, unit_files_setup, unit_files_teardown);
    for (; *plain != NULL; plain++)
        tcase_add_test(tcase, *plain);
    for (; *each != NULL; each++)
        tcase_add_loop_test(tcase, *each, 0, REGION_SOURCES);
    suite_add_tcase(suite, tcase);
    return unit_run(suite);
}

#endif
