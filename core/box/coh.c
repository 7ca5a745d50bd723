/* coh.c - see coh.h */
#include "box/coh.h"

#ifdef TIDE_DEBUG
void (*tide_coh_hook)(void);
#endif
