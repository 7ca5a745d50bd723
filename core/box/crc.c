/* crc.c - see crc.h */
#include "box/crc.h"

#if defined(__x86_64__)
#include <cpuid.h>
#endif

/* Four bits at a time: the polynomial's remainders of 0..15, reflected. */
static const uint32_t crc_nibble[16] = {
    0x00000000, 0x105ec76f, 0x20bd8ede, 0x30e349b1, 0x417b1dbc, 0x5125dad3, 0x61c69362, 0x7198540d,
    0x82f63b78, 0x92a8fc17, 0xa24bb5a6, 0xb21572c9, 0xc38d26c4, 0xd3d3e1ab, 0xe330a81a, 0xf36e6f75,
};

uint32_t tide_crc_plain(uint32_t crc, const void *data, size_t size)
{
    const unsigned char *at = data;
    crc = ~crc;
    for (size_t i = 0; i < size; i++) {
        crc ^= at[i];
        crc = crc >> 4 ^ crc_nibble[crc & 15];
        crc = crc >> 4 ^ crc_nibble[crc & 15];
    }
    return ~crc;
}

#if defined(__x86_64__)

__attribute__((target("sse4.2"))) static uint32_t crc_fast(uint32_t crc, const void *data,
                                                           size_t size)
{
    const unsigned char *at = data;
    uint64_t sum = (uint32_t)~crc, word;
    for (; size >= sizeof word; size -= sizeof word, at += sizeof word) {
        memcpy(&word, at, sizeof word);
        sum = __builtin_ia32_crc32di(sum, word);
    }
    for (; size > 0; size--, at++)
        sum = __builtin_ia32_crc32qi((uint32_t)sum, *at);
    return ~(uint32_t)sum;
}

static bool crc_has_instruction(void)
{
    static _Atomic int known; /* 0 not asked yet, 1 no, 2 yes */
    int answer = atomic_load_explicit(&known, memory_order_relaxed);
    if (answer == 0) {
        unsigned a, b, c = 0, d;
        answer = __get_cpuid(1, &a, &b, &c, &d) && (c & bit_SSE4_2) ? 2 : 1;
        atomic_store_explicit(&known, answer, memory_order_relaxed);
    }
    return answer == 2;
}

uint32_t tide_crc(uint32_t crc, const void *data, size_t size)
{
    return crc_has_instruction() ? crc_fast(crc, data, size) : tide_crc_plain(crc, data, size);
}

#else

uint32_t tide_crc(uint32_t crc, const void *data, size_t size)
{
    return tide_crc_plain(crc, data, size);
}

#endif
