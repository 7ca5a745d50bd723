/*
 * plug_pitfall_pagesize.c - a machine whose system pages have 64 KiB, for a library
 * that asks when it runs: stands in front of it in LD_PRELOAD and answers.
 */
#include <sys/auxv.h>

unsigned long getauxval(unsigned long type)
{
    return type == AT_PAGESZ ? 65536 : 0;
}
