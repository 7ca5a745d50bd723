/* test_frame.c - messages of a batch, written both ways and walked through. */
#include "unit_base.h"

#include "box/frame.h"

enum { ROOM = 1 << 20, GUARD = 64 };

static unsigned char memory[ROOM + 2 * GUARD] __attribute__((aligned(64)));
static unsigned char source[ROOM];

static void check_batch(const unsigned char *batch, const size_t *length, size_t count, size_t size)
{
    size_t at = 0;
    const unsigned char *from = source;
    for (size_t i = 0; i < count; i++) {
        const struct tide_layout_frame *frame = tide_frame_next(batch, size, &at);
        ck_assert_ptr_nonnull(frame);
        ck_assert_uint_eq(frame->length, length[i]);
        ck_assert_uint_eq(frame->tag, i * 3);
        ck_assert_uint_eq((uintptr_t)frame % 8, 0);
        UNIT_HOLD(memcmp(frame + 1, from, length[i]) == 0, "message %zu", i);
        from += length[i];
    }
    ck_assert_uint_eq(at, size);
    ck_assert_ptr_null(tide_frame_next(batch, size, &at));
}

/* Writes the messages; nothing outside their bytes may change. */
static void check_written(const size_t *length, size_t count, bool stream)
{
    struct tide_frame_writer writer;
    size_t size = 0;
    const unsigned char *from = source;
    memset(memory, 0xee, sizeof memory);
    tide_frame_start(&writer, memory + GUARD, stream);
    for (size_t i = 0; i < count; i++) {
        tide_frame_put(&writer, from, length[i], i * 3);
        from += length[i];
        size += tide_frame_bytes(length[i]);
    }
    tide_frame_end(&writer);
    for (size_t i = 0; i < GUARD; i++)
        UNIT_HOLD(memory[i] == 0xee && memory[GUARD + size + i] == 0xee, "guard %zu", i);
    check_batch(memory + GUARD, length, count, size);
}

START_TEST(messages_of_all_lengths)
{
    for (size_t i = 0; i < ROOM; i++)
        source[i] = (unsigned char)(i * 7 + i / 251);
    for (size_t length = 0; length < 300; length++)
        for (int stream = 0; stream < 2; stream++)
            check_written(&length, 1, stream);
    size_t great = ROOM - 100;
    check_written(&great, 1, true);
    check_written(&great, 1, false);
}
END_TEST

START_TEST(batches_of_odd_messages)
{
    size_t length[64];
    uint64_t seed = 11;
    for (size_t i = 0; i < ROOM; i++)
        source[i] = (unsigned char)unit_random(&seed);
    for (int round = 0; round < 200; round++) {
        for (int i = 0; i < 64; i++)
            length[i] = unit_random(&seed) % (round % 2 ? 40 : 3000);
        check_written(length, 64, true);
        check_written(length, 64, false);
    }
}
END_TEST

/* The same bytes as by a writer, but for the pad. */
START_TEST(one_message_needs_no_writer)
{
    for (size_t i = 0; i < ROOM; i++)
        source[i] = (unsigned char)(i * 13 + i / 241);
    for (size_t length = 0; length < 3000; length += 1 + length / 40) {
        size_t size = tide_frame_bytes(length);
        memset(memory, 0xee, sizeof memory);
        tide_frame_one(memory + GUARD, source, length);
        check_batch(memory + GUARD, &length, 1, size);
        UNIT_HOLD(memory[GUARD - 1] == 0xee && memory[GUARD + size] == 0xee, "guards");
        tide_frame_one_streamed(memory + GUARD, source, length);
        check_batch(memory + GUARD, &length, 1, size);
        UNIT_HOLD(memory[GUARD - 1] == 0xee && memory[GUARD + size] == 0xee, "guards");
    }
}
END_TEST

START_TEST(sizes_with_their_frames)
{
    ck_assert_uint_eq(tide_frame_bytes(0), 16);
    ck_assert_uint_eq(tide_frame_bytes(1), 24);
    ck_assert_uint_eq(tide_frame_bytes(8), 24);
    ck_assert_uint_eq(tide_frame_bytes(9), 32);
    ck_assert_uint_eq(tide_frame_bytes(1 << 30), (1 << 30) + 16);
    ck_assert_uint_eq(tide_frame_bytes((1 << 30) + 1), 0);
    ck_assert_uint_eq(tide_frame_bytes(SIZE_MAX), 0);
}
END_TEST

/* Lengths that were damaged never lead out of the batch. */
START_TEST(damaged_frames_end_the_walk)
{
    unsigned char batch[256] = {0};
    struct tide_layout_frame frame = {0, 0, 0};
    uint64_t seed = 3;
    for (int round = 0; round < 100000; round++) {
        size_t size = unit_random(&seed) % sizeof batch, at = 0, steps = 0;
        for (size_t i = 0; i + 16 <= sizeof batch; i += 8) {
            frame.length = (uint32_t)(unit_random(&seed) % (round % 2 ? 64 : UINT32_MAX));
            memcpy(batch + i, &frame, 4);
        }
        const struct tide_layout_frame *found;
        while ((found = tide_frame_next(batch, size, &at)) != NULL) {
            UNIT_HOLD((const unsigned char *)(found + 1) + found->length <= batch + size,
                      "a message reaches out of %zu bytes", size);
            UNIT_HOLD(++steps <= size / 16, "no end");
        }
    }
}
END_TEST

int main(void)
{
    const TTest *const tests[] = {messages_of_all_lengths,     batches_of_odd_messages,
                                  one_message_needs_no_writer, sizes_with_their_frames,
                                  damaged_frames_end_the_walk, NULL};
    return unit_main("frame", tests);
}
