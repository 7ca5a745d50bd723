/*
 * fuzz_resp.c - requests of tidepool-broker's protocol, taken apart in one piece and in parts.
 *
 * The first two bytes say how the rest is cut. What comes out of the parts must be what comes
 * out of the whole: the same requests, in the same bytes, or the same error in the same place.
 * Arguments lie in their request and do not overlap; those of an array, written again, give
 * the bytes that they were read from.
 *
 * FUZZ_PLANT: lose (a request is forgotten), long (an argument is one byte longer).
 */
#include "fuzz.h"

#include "../../tools/tidepool-broker/resp.c"
#include "../../tools/tidepool-broker/sid.c"

enum { MOST = 600, REQUESTS = 2048 };

/* What a run saw: requests by their size and a sum over their arguments. */
struct run {
    struct {
        size_t used;
        uint64_t sum;
    } request[REQUESTS];
    unsigned requests;
    enum resp_result end;
    char error[RESP_ERROR_MAX];
};

static struct resp_args args;

static uint64_t sum_up(const char *data)
{
    uint64_t sum = args.count;
    for (uint32_t i = 0; i < args.count; i++) {
        sum = sum * 31 + args.arg[i].size;
        for (uint32_t j = 0; j < args.arg[i].size; j++)
            sum = sum * 31 + (unsigned char)resp_base(&args, data)[args.arg[i].at + j];
    }
    return sum;
}

/* An array has one form. */
static void check_form(const char *data, size_t used)
{
    char again[MOST + 64];
    size_t len = (size_t)snprintf(again, sizeof again, "*%u\r\n", args.count);
    for (uint32_t i = 0; i < args.count; i++) {
        len += (size_t)snprintf(again + len, sizeof again - len, "$%u\r\n", args.arg[i].size);
        if (len + args.arg[i].size + 2 > sizeof again)
            fuzz_fail("a request of more than %d bytes", MOST);
        memcpy(again + len, data + args.arg[i].at, args.arg[i].size);
        len += args.arg[i].size;
        memcpy(again + len, "\r\n", 2);
        len += 2;
    }
    if (len != used || memcmp(again, data, used) != 0)
        fuzz_fail("written again, a request of %zu bytes has %zu, or others", used, len);
}

static void check_request(const char *data, size_t used, size_t len)
{
    size_t end = 0;
    if (used == 0 || used > len || used > MOST)
        fuzz_fail("a request of %zu bytes of %zu", used, len);
    if (fuzz_plays("long") && args.count > 0)
        args.arg[args.count - 1].size++;
    for (uint32_t i = 0; i < args.count; i++) {
        if (args.arg[i].at < end || args.arg[i].at + (size_t)args.arg[i].size > used)
            fuzz_fail("argument %u at %u, %u bytes, of %zu", i, args.arg[i].at, args.arg[i].size,
                      used);
        end = args.arg[i].at + (size_t)args.arg[i].size;
    }
    if (!args.line && args.count > 0)
        check_form(data, used);
}

/* Reads all of data; each request is first offered with `step` bytes, then with more. */
static void run_all(struct run *run, const char *data, size_t len, size_t step)
{
    struct resp_scan scan = {0, 0, 0, 0};
    size_t at = 0, offered = 0;
    *run = (struct run){.requests = 0, .end = RESP_MORE};
    while (at < len) {
        size_t used = 0;
        offered = offered + step < len - at ? offered + step : len - at;
        /* A block of its own: a byte read behind it is found. */
        char *part = malloc(offered);
        memcpy(part, data + at, offered);
        run->end = resp_next(&scan, &args, part, offered, MOST, &used, run->error);
        if (run->end == RESP_REQUEST) {
            check_request(part, used, offered);
            if (run->requests < REQUESTS) {
                run->request[run->requests].used = used;
                run->request[run->requests++].sum = sum_up(part);
            }
            at += used;
            offered = 0;
        }
        free(part);
        fuzz.step = (unsigned)at;
        if (run->end == RESP_BAD || (run->end == RESP_MORE && offered == len - at))
            return;
    }
}

static void check_number(const char *text, size_t len)
{
    int64_t number;
    char again[64];
    struct sid id, same;
    if (resp_number(text, len, INT64_MIN, INT64_MAX, &number) &&
        ((size_t)snprintf(again, sizeof again, "%lld", (long long)number) != len ||
         memcmp(again, text, len) != 0))
        fuzz_fail("%lld has two forms", (long long)number);
    if (sid_parse(text, len, 0, &id, NULL)) {
        size_t size = sid_write(again, id);
        if (size > sizeof again || !sid_parse(again, size, 1, &same, NULL) ||
            sid_compare(id, same) != 0)
            fuzz_fail("an id does not come back");
    }
}

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
    (void)argc;
    (void)argv;
    fuzz_start();
    return 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct run whole, parts;
    struct fuzz_input in = {data, data + size};
    size_t step = 1 + fuzz_byte(&in) % 40;
    step = fuzz_byte(&in) % 2 != 0 ? step : 1;
    const char *text = (const char *)in.at;
    size_t len = (size_t)(in.end - in.at);
    run_all(&whole, text, len, SIZE_MAX / 2);
    run_all(&parts, text, len, step);
    if (fuzz_plays("lose") && parts.requests > 1)
        parts.requests--;
    FUZZ_TELL("%u requests, then %d %s", whole.requests, whole.end, whole.error);
    if (whole.requests != parts.requests || whole.end != parts.end)
        fuzz_fail("%u requests and %d in one piece, %u and %d in parts of %zu", whole.requests,
                  whole.end, parts.requests, parts.end, step);
    if (whole.end == RESP_BAD && strcmp(whole.error, parts.error) != 0)
        fuzz_fail("'%s' in one piece, '%s' in parts", whole.error, parts.error);
    for (unsigned i = 0; i < whole.requests; i++)
        if (whole.request[i].used != parts.request[i].used ||
            whole.request[i].sum != parts.request[i].sum)
            fuzz_fail("request %u differs", i);
    check_number(text, len < 48 ? len : 48);
    return 0;
}
