/*
 * tidepool/region.h - regions: one piece of memory, lent out in segments.
 *
 * A region is a contiguous mapping of a source, cut into segments of 512 KiB. Segments
 * are lent to heaps made on the region (tide_heap_create_on) and, in contiguous runs, to
 * whoever asks (tide_region_take: rings, tables), and return to it. A table in the
 * region's own memory says what each segment is, so that a region in a file, a memfd or a
 * device can be opened again, by this process or another one, and knows what is where.
 *
 * Sources, as text (the same language as the option mid=):
 *   anon, near     private memory
 *   auto, node:N   private memory, preferably on far memory or on node N
 *   memfd          shared memory without a name; another process opens it as
 *                  file:/proc/PID/fd/N, with the descriptor that tide_region_info tells
 *   file:PATH      a file on a disk, tmpfs, hugetlbfs or fsdax (MAP_SYNC is tried first)
 *   dax:/dev/daxX.Y  a devdax device, whole
 *   ...,delay=NS   with any of them: a model of far memory, for tests
 *
 * Threads: every function may be called from any thread at any time, except that nobody
 * may be inside a call on a region that is being closed. Several processes may have one
 * shared region open and take and give segments of it, all on one host: the locks that tell
 * which of them still runs do not reach another host that sees the same device.
 * Several hosts: of a device, and of a region with a log that several hosts have (tidepool/log.h),
 * opening and closing write nothing to header and table, and exchange nothing there. So any
 * number of hosts may have it open. The first call of a handle that takes or gives segments
 * (tide_region_take, tide_region_give, blocks of a heap, tide_region_reclaim, making or removing
 * a log) draws the handle's number, and frees segments that stayed TIDE_REGION_MOVE because a
 * process ended in such a call, if nobody else of this host has the region open. That needs
 * exchanges: such calls are for one host at a time, for as long as it has the region open, and
 * nothing finds out when two do so. What the last one wrote to header and table is written back
 * when it closes the region, and is fetched by the first such call of the next one.
 * tide_log_create_on, tide_log_open, tide_log_remove, and tide_log_close by who did the first two,
 * take a lock in the header by an exchange: they are for the host where the log was made.
 * tide_log_open is refused, and writes nothing, where another machine is seen to have the log in
 * lanes. tide_log_attach, and all that follows it, exchange nothing, and leave the header alone.
 * Fork: a private region is copied, and both sides go on. Of a shared one the child keeps
 * the mapping, which is the same memory, but its handle answers -ESTALE, and its heaps
 * give NULL with errno ESTALE; freeing and closing still work and change nothing for the
 * parent. A child that wants to go on opens the region anew.
 * Files: all space is allocated when the region is made, and again when it is opened (of
 * a sparse copy), so that a full disk is an error then and no SIGBUS later. Nobody may
 * truncate the file while it is open.
 */
#ifndef TIDEPOOL_REGION_H
#define TIDEPOOL_REGION_H

#include <stddef.h>
#include <stdint.h>

#include <tidepool/heap.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct tide_region tide_region_t;

enum {
    TIDE_REGION_SEGMENT = 512 << 10, /* bytes; also the unit of a region's size */
    TIDE_REGION_LEAST = 1 << 20,     /* bytes of the smallest region */
    TIDE_REGION_AREA = 4096,         /* bytes of each area, see tide_region_area */
    TIDE_REGION_TEXT = 256
};

/* Flags of tide_region_create. */
enum {
    TIDE_REGION_REPLACE = 1, /* a region that is there already is lost, though another host that
                                sees the same device may have it open: -EBUSY tells of this one */
    TIDE_REGION_STRICT = 2   /* node:N, auto: every page is brought in now, and is there */
};

/* What went wrong, in words: one line with the values, no newline. */
struct tide_region_error {
    int code; /* what the call returned */
    char text[TIDE_REGION_TEXT];
};

/* Makes a region of `size` bytes, a multiple of TIDE_REGION_SEGMENT (and of the alignment of
 * a device, or of the huge pages of hugetlbfs). 0: as large as the device or the existing
 * file is. A file that does not exist is made, with mode 0600; one that does must be empty or
 * large enough; what is behind the region's end is not used. 0 and *out, or a negative errno, with
 * `error` (may be NULL) filled in:
 *   -EINVAL   no such source, or a size that is not allowed
 *   -ENOENT   the file or device does not exist     -EACCES  no permission
 *   -ENXIO    the device is in system-ram mode      -ENODEV  no such node, no such kind of file
 *   -EFBIG    the file or device is smaller than `size`, or this process may make no such file
 *   -EEXIST   there is a region already             -EBUSY   and somebody has it open
 *   -ENOSPC, -ENOMEM   not that much room           -ENFILE  too many regions are open
 * Of space error->text has the bytes that are wanted and those that there are. After an error a
 * file that was not there is not there, an empty one is empty, and any other has the bytes that it
 * had. */
int tide_region_create(tide_region_t **out, const char *source, size_t size, unsigned flags,
                       struct tide_region_error *error);

/* Opens a region that is in a file or a device. `size`: what it must have; 0: any. Besides
 * the errors above: -EPROTO not a region, of another layout, or damaged; -EBADFD the file is
 * shorter than the region in it; both values are in error->text. It may be longer. */
int tide_region_open(tide_region_t **out, const char *source, size_t size,
                     struct tide_region_error *error);

/* Ends the use of a region: 0, or -EBUSY while there are heaps or an open log on it. Segments
 * that are lent by tide_region_take stay so in the memory of a file or a device. NULL: 0. */
int tide_region_close(tide_region_t *region);

/* The first byte of the region. Offsets count from here; nothing else is in its memory. */
void *tide_region_base(const tide_region_t *region);

struct tide_region_info {
    void *base;
    uint64_t size;       /* bytes, header and table included */
    uint64_t capacity;   /* bytes of the segments that can be lent */
    uint64_t free_bytes; /* of those that are not */
    uint64_t lent_bytes; /* by tide_region_take */
    uint64_t heap_bytes; /* to heaps of this handle */
    uint64_t left_bytes; /* to heaps of others: processes that run, or that ended */
    uint64_t segments;   /* size / TIDE_REGION_SEGMENT; the first ones hold the header */
    uint64_t largest;    /* free segments in the longest run */
    uint64_t heaps;      /* of this handle */
    uint64_t align;      /* bytes: pages, or what the device or hugetlbfs asks for */
    uint8_t id[16];      /* drawn when it was made */
    int fd;              /* of a file, memfd or device; else -1 */
    int shared;          /* 1: others may have the same memory */
    int sync;            /* 1: mapped with MAP_SYNC: flushed lines are durable */
    int fresh;           /* 1: made by this handle, 0: opened */
    const char *source;  /* the source's text; lives as long as the handle */
};

/* Fills *out: 0, or -ESTALE. Looks at every segment. */
int tide_region_info(tide_region_t *region, struct tide_region_info *out);

/* Takes `segments` contiguous segments, for the purpose `tag` (any value; it is kept in the
 * table). The first fit, so that a region taken in the same order gives the same offsets. The
 * memory is not zeroed. 0 and *offset from the base; -ENOMEM, -EINVAL for none, -ESTALE. */
int tide_region_take(tide_region_t *region, size_t segments, uint64_t tag, uint64_t *offset);

/* Gives the run that starts at `offset` back: 0; -EINVAL when none of tide_region_take does;
 * -ESTALE. */
int tide_region_give(tide_region_t *region, uint64_t offset);

/* What a segment is. */
enum tide_region_state {
    TIDE_REGION_FREE = 0,
    TIDE_REGION_HEAD = 1, /* header and table */
    TIDE_REGION_HEAP = 2, /* blocks of one size of a heap */
    TIDE_REGION_RUN = 3,  /* first of a run: one large block of a heap */
    TIDE_REGION_LENT = 4, /* first of a run: by tide_region_take */
    TIDE_REGION_PART = 5, /* a further segment of a run */
    TIDE_REGION_MOVE = 6  /* on the way from one state to another */
};

struct tide_region_segment {
    enum tide_region_state state;
    uint32_t block;   /* HEAP: bytes from block to block */
    uint64_t length;  /* RUN, LENT: segments of the run; PART: how far back the first one is */
    uint64_t tag;     /* LENT: as given; HEAP, RUN: the heap's number in this region */
    uint64_t session; /* who took it: every handle that takes some has another number */
};

/* Segment number `index`: 0, -ENOENT behind the last one, -ESTALE. */
int tide_region_segment(tide_region_t *region, uint64_t index, struct tide_region_segment *out);

/* Areas of TIDE_REGION_AREA bytes at fixed places of the header, zero in a new region. */
enum { TIDE_REGION_AREA_LOG = 0, TIDE_REGION_AREA_USER = 1 };

/* The library's log writes the first, the second is the program's. NULL: no such area. */
void *tide_region_area(const tide_region_t *region, unsigned which);

/* Frees what heaps of ended processes left behind, but for segments (and large blocks) that
 * batches of the region's log are in and that are not trimmed (tide_log_append_block). Number
 * of segments; -EBUSY when another handle has the region open; -EPROTO when there is a log
 * that cannot be read, or one in lanes; -ENOMEM; -ESTALE. Handles of other hosts are not seen:
 * none may have a heap on the region. */
long tide_region_reclaim(tide_region_t *region);

/* Says that the region moved here from another machine (a disk put elsewhere, a copy that was
 * restored), and that no process there uses it any more. Without that a log in it that was open on
 * that machine (/etc/machine-id tells them apart) cannot be opened or removed: -EBUSY, for nobody
 * here can see whether its processes still run. It holds for this handle, until it is closed; a
 * call that succeeds on the log settles it for all. Never say so of a device that two hosts share.
 * 0, -ESTALE. */
int tide_region_moved(tide_region_t *region);

/* In words which region an address is in, its source and the offset ("dax:/dev/dax0.0,
 * offset 0x4c000"): for a handler of SIGBUS, which a device raises for a broken line. Async-
 * signal-safe. Length of the text, or -ENOENT. */
int tide_region_where(const volatile void *address, char *buf, size_t len);

/* A new heap whose blocks all are in the region: up to 32 KiB as Mid blocks, above that
 * up to 256 KiB in classes of powers of two, above that as runs of segments, below 4 GiB;
 * alignments up to 512 KiB. NULL with errno ENOMEM when no such place is left (or the size is
 * more), never memory elsewhere. tide_free,
 * tide_realloc (which leaves a block in its region), tide_malloc_usable_size and
 * tide_tier_of (TIDE_TIER_MID) take its blocks like all others. Everything of it is
 * given back by tide_heap_destroy, but for what the region's log has (tidepool/log.h). NULL
 * with errno ENOMEM or ESTALE. */
tide_heap_t *tide_heap_create_on(tide_region_t *region) TIDE_ATTR_UNUSED_RESULT;

#ifdef __cplusplus
}
#endif

#endif
