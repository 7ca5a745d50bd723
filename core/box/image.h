/*
 * image.h - what a loaded object defines, without dlsym.
 *
 * owns:      nothing; reads the dynamic sections that the loader mapped
 * threads:   any, inside a dl_iterate_phdr callback, whose lock keeps objects loaded
 * invariant: allocates nothing and calls nothing that could
 * uses:      def
 * used by:   foreign, cxxnew
 * not here:  which object is wanted
 * test:      tests/test_image.c
 *
 * The formats are those of the System V ABI (DT_HASH) and of the GNU extension
 * DT_GNU_HASH.
 */
#ifndef TIDE_BOX_IMAGE_H
#define TIDE_BOX_IMAGE_H

#include <link.h>

#include "box/def.h"

/* The parts of an object's dynamic section that a search needs. */
struct tide_image {
    uintptr_t base;
    const ElfW(Sym) * symbols; /* NULL: not a usable object */
    const char *strings;
    const ElfW(Half) * versions; /* one per symbol, or NULL */
    const uint32_t *gnu, *sysv;  /* DT_GNU_HASH, DT_HASH: at least one is there */
};

struct tide_image tide_image_of(const struct dl_phdr_info *info);

/* Where the object defines the symbol, or NULL. */
const void *tide_image_symbol(const struct tide_image *image, const char *name);

/* True when the address lies in one of the object's segments. */
bool tide_image_holds(const struct dl_phdr_info *info, const void *address);

#endif
