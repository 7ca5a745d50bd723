/*
 * crc.h - CRC32C (Castagnoli), by the processor's instruction where it has one.
 *
 * owns:      nothing
 * threads:   pure functions
 * invariant: tide_crc(0, "123456789", 9) == 0xe3069283
 * uses:      def
 * used by:   layout, broker, sub
 * not here:  what is covered by a CRC (layout)
 * test:      tests/test_crc.c
 */
#ifndef TIDE_BOX_CRC_H
#define TIDE_BOX_CRC_H

#include "box/def.h"

/* The CRC of more bytes, after those that gave `crc` (0 at the start). */
uint32_t tide_crc(uint32_t crc, const void *data, size_t size);

/* The same without the instruction. */
uint32_t tide_crc_plain(uint32_t crc, const void *data, size_t size);

#endif
