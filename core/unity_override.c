/*
 * unity_override.c - the library as one translation unit, with libc's names:
 * what is preloaded or replaces malloc in a static program.
 */
#include "unity.c"

#include "box/override.c"
