/* test_crc.c - CRC32C with and without the processor's instruction. */
#include "unit_base.h"

#include "box/crc.h"

START_TEST(known_values)
{
    unsigned char bytes[32];
    ck_assert_uint_eq(tide_crc(0, "123456789", 9), 0xe3069283);
    ck_assert_uint_eq(tide_crc(0, "", 0), 0);
    memset(bytes, 0, sizeof bytes);
    ck_assert_uint_eq(tide_crc(0, bytes, 32), 0x8a9136aa); /* RFC 3720, B.4 */
    memset(bytes, 0xff, sizeof bytes);
    ck_assert_uint_eq(tide_crc(0, bytes, 32), 0x62a8ab43);
    for (int i = 0; i < 32; i++)
        bytes[i] = (unsigned char)i;
    ck_assert_uint_eq(tide_crc(0, bytes, 32), 0x46dd794e);
}
END_TEST

START_TEST(both_ways_agree_at_every_length_and_offset)
{
    unsigned char bytes[300];
    uint64_t seed = 7;
    for (size_t i = 0; i < sizeof bytes; i++)
        bytes[i] = (unsigned char)unit_random(&seed);
    for (size_t at = 0; at < 9; at++)
        for (size_t size = 0; size + at <= sizeof bytes; size++)
            UNIT_HOLD(tide_crc(5, bytes + at, size) == tide_crc_plain(5, bytes + at, size),
                      "%zu bytes from %zu", size, at);
}
END_TEST

START_TEST(parts_give_the_whole)
{
    const char *text = "the quick brown fox jumps over the lazy dog";
    size_t all = strlen(text);
    for (size_t cut = 0; cut <= all; cut++)
        ck_assert_uint_eq(tide_crc(tide_crc(0, text, cut), text + cut, all - cut),
                          tide_crc_plain(0, text, all));
}
END_TEST

START_TEST(a_flipped_bit_shows)
{
    unsigned char bytes[64] = {0};
    uint32_t crc = tide_crc(0, bytes, sizeof bytes);
    for (size_t bit = 0; bit < 8 * sizeof bytes; bit++) {
        bytes[bit / 8] ^= (unsigned char)(1 << bit % 8);
        ck_assert_uint_ne(tide_crc(0, bytes, sizeof bytes), crc);
        bytes[bit / 8] ^= (unsigned char)(1 << bit % 8);
    }
}
END_TEST

int main(void)
{
    const TTest *const tests[] = {known_values, both_ways_agree_at_every_length_and_offset,
                                  parts_give_the_whole, a_flipped_bit_shows, NULL};
    return unit_main("crc", tests);
}
