/* crash.c - see crash.h */
#include "box/crash.h"

#ifdef TIDE_DEBUG
void (*tide_crash_hook)(enum tide_crash_point point);

#define CRASH_NAME(name) #name,
const char *const tide_crash_names[TIDE_CRASH_COUNT] = {TIDE_CRASH_POINTS(CRASH_NAME)};
#endif
