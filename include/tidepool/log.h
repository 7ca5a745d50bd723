/*
 * tidepool/log.h - a totally ordered log in memory.
 *
 * Clients append batches of messages to the rings of brokers. Every batch gets its place in
 * one order over all brokers. Readers read the whole log in that order, without copying.
 *
 *     tide_log_t *log;
 *     tide_log_client_t *client;
 *     tide_log_reader_t *reader;
 *     struct tide_log_batch batch;
 *     tide_log_create(&log, NULL);
 *     tide_log_reader_open(&reader, log, NULL);
 *     tide_log_client_open(&client, log, NULL);
 *     tide_log_append(client, 0, "hello", 5, TIDE_LOG_BLOCK, NULL);
 *     tide_log_read(reader, &batch, 1, TIDE_LOG_BLOCK);
 *
 * Order levels:
 *   0  the order inside each broker; a reader reads one broker
 *   5  one order over all brokers, without a gap; a batch is atomic in it; what one client
 *      appends to one broker keeps its order
 *   4  and what one client appends keeps its order across brokers, each batch once: late and
 *      repeated ones are recognised, early ones wait for those before them
 * Levels 1, 2 and 3 do not exist.
 *
 * Results: 0 or a count; below 0 an error of errno's names, with one meaning each:
 *   -EAGAIN     full, or nothing to read, or others repair the log ("several processes" below);
 *               and the call was not to wait
 *   -ETIMEDOUT  the same after the time that was given
 *   -EMSGSIZE   larger than a quarter of the broker's payload ring, or than 1 GiB
 *   -EINVAL     a value that is not allowed
 *   -ENOMEM     no memory             -ENFILE     no free entry for a client or reader
 *   -ERANGE     the position is trimmed           -ENXIO   the position is in the future
 *   -EOVERFLOW  the reader was overtaken: a gap   -EPIPE   the reader was detached
 *   -EBADMSG    a batch is damaged    -EALREADY   the batch is in the log already, or waits in
 *                                                 it for those before it
 *   -EINPROGRESS  in the log, but not acknowledged in time
 *   -ENOTSUP    nothing here can be durable
 *   -ESTALE     a handle from before a fork, a client whose session was ended or opened anew, or
 *               of a process that was expelled
 *   -EUCLEAN    the log is damaged
 *   -EBUSY      a claim of this client is still out, or handles of the log are open; or somebody
 *               has had a lock, or the repair, of the log for 10 s, which nobody needs who runs
 *   -EXDEV      a block that is not in the log's region
 *   -EPERM      a block of another process's heap -EFAULT  a block that is free
 * tide_log_explain puts the last error of the calling thread into words, with its values.
 *
 * Threads: a log may be used by all threads, a client or a reader by one at a time. A child
 * process after fork has no log: its handles answer -ESTALE.
 * A log in a region in shared memory (memfd, file, device) may be open in up to 32 processes of
 * one host: "several processes" below; one in lanes in up to 32 of any hosts: "several hosts".
 *
 * Whatever others write into a region, and while it is used, no call here reads or writes outside
 * of it: words are copied, then looked at, then used; what cannot be is an error with its value.
 * What a batch says is another matter: a reader that gates is given the memory itself, where a
 * frame may change after tide_log_next has looked at it; one with TIDE_LOG_SKIP is given a copy.
 * Time-outs are nanoseconds: TIDE_LOG_TRY does not wait, TIDE_LOG_BLOCK waits for ever.
 */
#ifndef TIDEPOOL_LOG_H
#define TIDEPOOL_LOG_H

#include <stddef.h>
#include <stdint.h>

#include <tidepool/region.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct tide_log tide_log_t;
typedef struct tide_log_client tide_log_client_t;
typedef struct tide_log_reader tide_log_reader_t;

#define TIDE_LOG_TRY INT64_C(0)
#define TIDE_LOG_BLOCK INT64_C(-1)
#define TIDE_LOG_NONE UINT64_MAX     /* no such number */
#define TIDE_LOG_NO_LEASE UINT64_MAX /* as a lease, but in lanes: never */

/* Who gives the places. */
enum tide_log_sequencing {
    TIDE_LOG_INLINE = 0, /* the appending thread itself */
    TIDE_LOG_STEPPED = 1 /* a sequencer: tide_log_poll, or a thread of tide_log_start */
};

/* How level 4 guards a client's order. The results are the same. */
enum tide_log_sessions {
    TIDE_LOG_LOCKFREE = 0, /* one thread at a time per client; nobody waits for it */
    TIDE_LOG_MUTEX = 1     /* one mutex for all clients */
};

/* What is overwritten when a broker's ring is full. Nothing that a gating reader still has to
 * read, in any case; then an append blocks, or says -EAGAIN or -ETIMEDOUT. */
enum tide_log_retain {
    TIDE_LOG_KEEP_UNREAD = 0, /* what all gating readers have read; nothing if there is none */
    TIDE_LOG_KEEP_RECENT = 1, /* the same; the oldest if there is none */
    TIDE_LOG_KEEP_ALL = 2     /* nothing, until tide_log_trim */
};

/* What becomes of a reader that is too slow. */
enum tide_log_policy {
    TIDE_LOG_GATE = 0,  /* appends wait for it; it reads in place */
    TIDE_LOG_SKIP = 1,  /* it is overtaken, gets one -EOVERFLOW, and goes on; it reads copies */
    TIDE_LOG_DETACH = 2 /* it gates until an append cannot go on otherwise; then it gets -EPIPE
                           from now on, and what it was reading is gone */
};

enum tide_log_start {
    TIDE_LOG_EARLIEST = 0, /* all that is kept */
    TIDE_LOG_LATEST = 1,   /* what comes from now on */
    TIDE_LOG_POSITION = 2
};

/* Who else writes to the log's memory, and how they see each other's stores. */
enum tide_log_coherence {
    TIDE_LOG_COHERENT = 0,   /* the processors of one host */
    TIDE_LOG_NONCOHERENT = 1 /* hosts whose caches do not know of each other */
};

/* A new log. Zero in a field (TIDE_LOG_OPTIONS sets the level) is its default. */
struct tide_log_options {
    unsigned level;      /* 0, 4 or 5 */
    unsigned brokers;    /* 1 to 32; 1 */
    unsigned clients;    /* open at once, up to 65536; 64. At level 4 client ids are below this */
    unsigned readers;    /* open at once, up to 4096; 16 */
    unsigned window;     /* level 4: how far a batch may be ahead of its turn; 64. Never more than
                            an eighth of `slots`, which is kept free for those it waits for */
    unsigned sequencing; /* enum tide_log_sequencing */
    unsigned sessions;   /* enum tide_log_sessions */
    unsigned retain;     /* enum tide_log_retain */
    unsigned checksum;   /* 1: each batch has a CRC32C, and readers look at it. Without it nothing
                            can be durable (tide_log_sync) */
    uint64_t slots;      /* batches that a broker's ring holds, 2 to 16777216; 4096 */
    uint64_t payload;    /* bytes that it holds, a multiple of 64, from 256; 16 MiB. For all
                             brokers together less than 64 GiB */
    uint64_t first;      /* where positions and message numbers begin */
    unsigned coherence;  /* enum tide_log_coherence */
    unsigned nodes;      /* TIDE_LOG_NONCOHERENT: processes that have it at once, 1 to 32; 1 */
    uint64_t lease;      /* and ns after which one that is not heard of is fenced, 10 ms to an
                            hour; 10 s. Elsewhere, level 4: as tide_log_set_number says */
};
#define TIDE_LOG_OPTIONS                                                                           \
    {                                                                                              \
        5, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0                                                \
    }

/* TIDE_LOG_NONCOHERENT: nothing in the log's memory is changed in one step by several writers.
 * Each line has one writer, who writes it back out of its caches, and whoever reads it fetches it
 * anew. Each client has a lane of its own in each broker: `slots` (1024) and `payload` (1 MiB) are
 * those of a lane, and `clients` is 8 by default. Order levels 4 and 5; `sequencing` is to be
 * TIDE_LOG_STEPPED. Client ids are below `clients`, with one open handle each; all readers gate.
 * A client that is opened anew begins an epoch: what was visible of the one before has its place by
 * then. Dropped is what was fenced or not visible (`hold`), and what waits for a missing number.
 * At level 4 a batch of a higher number than its turn waits in its lane, and one of a lower number
 * than that cannot go by the same broker (-EINVAL). An append learns neither position nor base.
 * tide_log_open knows such a log; if it was open when the machine stopped: -EUCLEAN. Processes of
 * several hosts have it by tide_log_attach. Not here (-ENOTSUP): tide_log_sync and durable
 * acknowledgements, tide_log_trim_to, append by reference, counts of brokers, readers, sessions. */

/* ---- the log ---------------------------------------------------------------------------- */

/* Makes a log in memory of its own. `options` NULL: level 5 and the defaults. It is in no region,
 * so no block goes by reference: for these a region "anon" or "memfd", and tide_log_create_on. */
int tide_log_create(tide_log_t **out, const struct tide_log_options *options);

/* Makes a log in a region: in a run of its segments, as tide_region_take gives them. It is in
 * the region from then on, beyond tide_log_close; a region in a file or a device carries it to
 * the next process. Besides the errors of tide_log_create:
 *   -ENOSPC  no run of free segments is as long: tide_log_explain tells the longest one and
 *            what is needed
 *   -EEXIST  there is a log in the region already; a region has at most one
 *   -EBUSY   a log in it is open, or somebody is about to make one: the process is in
 *            tide_log_explain's words
 *   -ESTALE  the handle of the region is from before a fork */
int tide_log_create_on(tide_log_t **out, tide_region_t *region,
                       const struct tide_log_options *options);

/* Opens the log that is in a region, with all that it held: batches, positions, sessions,
 * what is trimmed. When other processes have it open, this one joins them; a process has one
 * handle of it. When those that had it before all ended, and one of them without
 * tide_log_close, the log is put in order first: what was committed is as it was; appends that
 * were back are in the log, those behind a batch that was not finished perhaps at lower
 * positions than they were told; clients and readers of before are gone.
 * When the machine stopped while it was open, what is durable is there, and of what came later
 * the batches that are whole: of logs at levels 4 and 5 with checksums. Others are -EUCLEAN then.
 *   -ENOENT   there is no log in the region
 *   -EBUSY    this process has it open; or another one has, and its sessions are TIDE_LOG_MUTEX; or
 *             one of another machine (tide_region_moved); or somebody is at it for 10 seconds
 *   -ENFILE   32 processes have it open
 *   -EPROTO   not a log, of another version, or damaged: both values are in the words
 *   -EUCLEAN  it cannot be put in order: the values are in the words
 *   -ESTALE   the handle of the region is from before a fork */
int tide_log_open(tide_log_t **out, tide_region_t *region);

/* Several processes. Each opens the region (its name, or the memfd's descriptor that it was given,
 * as file:/proc/self/fd/N), and then the log; whoever may open the file may do all of this. All
 * calls work in all of them, in any mixture: appends, readers, sequencers (tide_log_poll and
 * tide_log_start), trims, syncs. Blocks (tide_log_append_block) come from one process at a time:
 * -EPERM in the others, until that one closed the log or ended.
 *
 * When one of them ends without tide_log_close, another one finds out, and repairs the log: who
 * waits in a call, or finds nothing to read or no room, looks a hundred times a second. Nobody is
 * taken for dead because of time that went by. For the time of the repair calls of all processes
 * wait (5 to 102 ms for each GiB of it, the smaller the batches the more), but only so long: with
 * TIDE_LOG_TRY they say -EAGAIN, with a time-out -ETIMEDOUT in the end, and what is in the log
 * already and waits for its acknowledgement -EINPROGRESS; tide_log_explain says so. tide_log_poll
 * and tide_log_reclaim do nothing then, and tide_log_committed says what is known. What has no
 * time-out of its own (commit, abort, done, trims, tide_log_sync, opening and closing) waits to the
 * end; after 10 s (and 1 s for each 8 GiB of the log; tide_log_sync: also of another's sync) it is
 * -EBUSY, and nothing is done: a claim is still out, a handle still open. A call that finds out
 * that somebody is dead repairs the log itself, whatever its time-out. Whoever repairs may die as
 * well: then the next one does it from the beginning, at once. One that stands still (SIGSTOP) may
 * store again when it runs: it holds all of them up until then, or until it is killed, with
 * TIDE_LOG_BLOCK for ever. tide_log_explain says which process it is. Afterwards:
 *   - what is committed is as it was; what was appended has its place, or gets one
 *   - claims of the dead are gone, and what they had room for is free; claims of others stay
 *   - batches behind a place that the dead one had taken and not filled are at lower positions
 *     than their appends were told, but for those that waited to be acknowledged
 *   - readers of the dead hold nobody back; its sessions (level 4) are ended: what waits for a
 *     batch of theirs is dropped, clients get -ESTALE, open the session anew, and send again
 *     what is not below tide_log_acked
 * A process that is stopped in the middle of a call, or takes long for it (a long read), holds
 * a repair up until it ends the call: the others go on as far as they can, but for 0.2 to 0.8 s now
 * and then, in which one tries it again. Processes of another namespace of process ids, and of one
 * that called exec with the log open, are known to be gone only when nobody else has the region. */

/* Several hosts: logs in lanes (TIDE_LOG_NONCOHERENT) that were made with `nodes` above 1. Who
 * makes such a log, or opens it, is node 0, and has the sequencer: it alone gives the places, trims
 * and expels, by tide_log_poll or a thread of tide_log_start. Others open the region, which is the
 * same device or file for all, when the log was made, and then attach as nodes 1 to nodes - 1: one
 * process each. They append and read by loads and stores alone, and nobody has to wake them: who
 * waits looks again, at least each millisecond. What node 0 does with the log as a whole (make,
 * open, close, remove), and segments of the region, are for one host: region.h, "Several hosts".
 * Clients and readers belong to nodes, as many to each: `clients` and `readers` are multiples of
 * `nodes` (and by default the next ones to 8 and 16), and node k has the client ids from
 * k * clients / nodes up to, not including, (k + 1) * clients / nodes.
 * A node that is held is refused to a second process. It becomes free when its process closes the
 * log, or is fenced: by tide_log_expel, or by the sequencer when it did not hear of it for a lease.
 * A process tells that it lives in calls on the log and its handles; one that makes none for an
 * eighth of a lease runs a thread of tide_log_start, which does nothing else there. Fenced is: what
 * its clients appended and has no place is dropped, its readers hold nobody back, all its calls are
 * -ESTALE, and after one more lease the node is free. All hosts' clocks should run alike. Who
 * stands still in an append for longer than a lease may still write there (make logs with
 * checksums); a sequencer in a step one line at most, all of it if its clock stood still as well.
 *
 * A sequencer that ends without tide_log_close is followed by whoever opens the log on the same
 * host, at once; or by who attaches with `sequence`, on any host, after a lease and a half. The one
 * before finds out in less than that: its tide_log_poll is -ESTALE, its node stays. What others
 * appended meanwhile gets its place from the next one. */
struct tide_log_role {
    unsigned node;     /* 1 to nodes - 1 */
    unsigned sequence; /* 1: the sequencer, too */
};

/* Attaches to the log in lanes that is in the region: waits for the sequencer's answer.
 *   -ENOENT   there is no log in the region (yet)   -EPROTO  none in lanes, or damaged
 *   -EINVAL   the log was made with one node; no such node
 *   -EBUSY    another process has the node, or is the sequencer; or this one has the log open
 *   -EAGAIN, -ETIMEDOUT   no sequencer answered in time, or, with `sequence`, the one before may
 *             still live
 *   -ESTALE   the handle of the region is from before a fork            -ENOMEM */
int tide_log_attach(tide_log_t **out, tide_region_t *region, const struct tide_log_role *role,
                    int64_t timeout);

/* Expels another process, which lives, but is to have the log no more: as if it had ended, except
 * that what its claims have room for is not used again before it closed the log or ended. All
 * its calls answer -ESTALE from now on, and what its readers were reading is gone. 0; -ESRCH: no
 * other process of this id has the log open; -EBUSY: it is in the middle of a call, or does a
 * sync: let it run, or kill it; or others repair the log just now.
 * Of a log in lanes `process` is a node: it is fenced at once. -ENOTSUP: this process is not the
 * sequencer. */
int tide_log_expel(tide_log_t *log, uint64_t process);

/* Removes the log from the region and gives its segments back; also one that is damaged.
 * -ENOENT; -EBUSY: it is open, or, in lanes, a node is not free, or a sequencer shows itself within
 * a lease; -EPROTO: in the region's area is nothing that this library wrote; -ESTALE; or an error
 * of the medium: the segments are given back by the next call that succeeds. */
int tide_log_remove(tide_region_t *region);

/* Bytes that a log with these options takes, or an error. */
int64_t tide_log_size(const struct tide_log_options *options);

/* Ends it, threads of tide_log_start too. -EBUSY while clients or readers are open. NULL: 0.
 * A log in a region stays there: tide_log_open finds it. It is put on the region's medium, if
 * there is one; when that fails, the log is closed, and the result is the medium's error. */
int tide_log_close(tide_log_t *log);

/* One step of the sequencer over all brokers: how many batches it dealt with. 0 always when
 * sequencing is inline, and while others repair the log. Any thread may call it, several at once
 * too. */
int64_t tide_log_poll(tide_log_t *log);

/* A thread that does tide_log_poll while there is anything to do and sleeps otherwise. Up to 32,
 * each on processor `cpu`, from the start (-1: any). -EINVAL: no such one, or not allowed. */
int tide_log_start(tide_log_t *log, int cpu);

/* The number of batches in the committed prefix: batches at positions below have their final
 * place, and readers get them. */
uint64_t tide_log_committed(tide_log_t *log);

/* Waits until the batch at this position is committed. */
int tide_log_wait_committed(tide_log_t *log, uint64_t position, int64_t timeout);

/* Puts all batches that are committed now on the medium of the log's region: of a file by
 * msync; where stores to the mapping are stores to persistent memory (MAP_SYNC, and the
 * platform names a persistence domain), by writing lines back. One call at a time does the
 * work, for all that wait. The payload and the order come before the mark that says so, and at
 * level 4 what each session expects next.
 *   -ENOTSUP  there is no such medium: no region, private memory, memfd, tmpfs, hugetlbfs, a
 *             device without a persistence domain; or the log has no checksums, without which
 *             nobody can tell what is whole when the machine stopped; -EINVAL: order level 0
 *   -EIO ...  the medium failed. From then on every such call says so, for the kernel does not
 *             tell what it has dropped; the log goes on without */
int tide_log_sync(tide_log_t *log);

/* Positions below are durable. It only grows, from `first` of the options; 0: nothing can be. */
uint64_t tide_log_durable(tide_log_t *log);

/* Waits until the batch at this position is durable; syncs what is committed then, unless another
 * call is about to. The time-out does not cut the caller's own sync short. TIDE_LOG_TRY only looks.
 * Errors as tide_log_sync; -EAGAIN, -ETIMEDOUT. */
int tide_log_wait_durable(tide_log_t *log, uint64_t position, int64_t timeout);

/* Gives up batches below `position` (level 0: of that broker, else `broker` is ignored), but for
 * what gating readers need. *earliest (may be NULL): the earliest position now kept. */
int tide_log_trim(tide_log_t *log, unsigned broker, uint64_t position, uint64_t *earliest);

/* Gives up the oldest batches until the rings hold at most `bytes` of payload together, or
 * what is left is still needed or not committed. Returns bytes held, or an error. */
int64_t tide_log_trim_to(tide_log_t *log, uint64_t bytes);

/* The last error of this thread in words, with its values. Its length; at most len - 1 bytes
 * and a NUL are written. */
int tide_log_explain(char *buf, size_t len);

/* ---- appending --------------------------------------------------------------------------- */

/* When an append is back. Not at level 0, which has no commits. Beyond NONE the time-out is
 * for the acknowledgement as well (tide_log_commit: that of the claim): -EINPROGRESS says that
 * the batch is in the log, and was not acknowledged in time. A batch that waits for others at
 * level 4 waits for them here; where a sequencer gives the places, somebody has to run it. */
enum tide_log_ack {
    TIDE_LOG_ACK_NONE = 0,    /* when the log has the bytes. The batch gets a place, also when
                                 the process is killed, if the log is in a shared region.
                                 Level 4 with a sequencer: unless the session ends, or is opened
                                 anew, before; tide_log_acked tells */
    TIDE_LOG_ACK_ORDERED = 1, /* when the batch is in the committed prefix: it has its final
                                 place, and keeps it when the process is killed */
    TIDE_LOG_ACK_DURABLE = 2  /* when that is on the region's medium too, for the day when the
                                 machine stops: see tide_log_sync. Where that is refused with
                                 -ENOTSUP, opening such a client is, too */
};

struct tide_log_client_options {
    unsigned id;   /* who appends: told to readers. Level 4: its session, below `clients` */
    unsigned join; /* level 4. 1: share the open session instead of opening it anew */
    unsigned ack;  /* enum tide_log_ack */
    unsigned hold; /* TIDE_LOG_NONCOHERENT. 1: appends that ask for no acknowledgement are made
                      visible in groups, of 8 batches or 64 KiB; see tide_log_flush */
};

/* Opens a client; `options` NULL: id 0. At level 4 the session is opened anew: handles of
 * before get -ESTALE, early batches that still wait are dropped, and numbers go on behind
 * the last batch that has its place. Handles that join share the numbers: each sets its own
 * by tide_log_set_number. */
int tide_log_client_open(tide_log_client_t **out, tide_log_t *log,
                         const struct tide_log_client_options *options);

/* -EBUSY while a claim is out; on any error the client stays open. NULL: 0. */
int tide_log_client_close(tide_log_client_t *client);

/* What became of a batch. */
struct tide_log_at {
    uint64_t position; /* TIDE_LOG_NONE while it is not known: stepped, or held at level 4 */
    uint64_t base;     /* number of its first message; NONE as well, and at level 0 */
    uint64_t number;   /* of the batch, counted by the client */
};

struct tide_log_message {
    const void *data;
    size_t size;
    uint64_t tag; /* the reader gets it back */
};

/* Appends one message with tag 0, or several as one batch, to the ring of a broker. *at may be
 * NULL. The bytes are the log's own once the call is back. */
int tide_log_append(tide_log_client_t *client, unsigned broker, const void *data, size_t size,
                    int64_t timeout, struct tide_log_at *at);
int tide_log_append_batch(tide_log_client_t *client, unsigned broker,
                          const struct tide_log_message *messages, size_t count, int64_t timeout,
                          struct tide_log_at *at);

/* Makes visible what `hold` of this client's options kept back. So does tide_log_client_close. */
int tide_log_flush(tide_log_client_t *client);

/* The number of the client's next batch. Level 4: a batch whose number is below the expected
 * one is refused with -EALREADY, one above it waits, one too far above gets -EAGAIN, or, if the
 * call may wait, waits for those before it as for space.
 *
 * A batch that never comes holds back all of its client behind it, their slots, and in the end who
 * wants to append to these rings. So the session is ended in one to two of the log's `lease` (10 s
 * unless it was made with another, or none), or by who opens it anew (tide_log_client_open, by any
 * thread): what waits is dropped, the client's calls get -ESTALE, others go on; see tide_log_acked.
 * The same goes for several clients that are ahead of their turns and fill the rings with batches
 * large against them, so that none finds room for the one that the others wait for. */
int tide_log_set_number(tide_log_client_t *client, uint64_t number);

/* Level 4: the number expected next of this client; all below have their places. */
int tide_log_acked(tide_log_client_t *client, uint64_t *expected);

/* Room for messages in the ring itself. */
struct tide_log_claim {
    tide_log_client_t *client;
    unsigned char *data;
    uint32_t size, used, count; /* bytes of room, bytes and messages put */
};

/* What a message takes of a claim. */
#define TIDE_LOG_ROOM(size) (((size_t)(size) + 16 + 7) & ~(size_t)7)

/* Claims `bytes` (the sum of TIDE_LOG_ROOM over its messages) in one piece, up to a quarter of the
 * ring or 1 GiB. Every claim is to be committed or aborted: an open one holds its broker back.
 * Batches behind it wait where a sequencer gives places; nothing behind it is used again: once the
 * ring is full, all others' appends wait. Any thread that has the struct may abort it. */
int tide_log_claim(tide_log_client_t *client, unsigned broker, size_t bytes, int64_t timeout,
                   struct tide_log_claim *claim);

/* The next message of the claim: where its `size` bytes go. NULL: not so much room is left. */
void *tide_log_put(struct tide_log_claim *claim, size_t size, uint64_t tag);

/* Makes the messages that were put a batch. */
int tide_log_commit(struct tide_log_claim *claim, struct tide_log_at *at);

/* Nobody ever sees them. */
int tide_log_abort(struct tide_log_claim *claim);

/* ---- appending by reference ----------------------------------------------------------------
 *
 * A block of a heap on the region that the log is in (tide_heap_create_on, tide_log_create_on)
 * becomes a batch where it is: nothing is copied, it takes a slot of the ring and no payload
 * bytes, and readers get the block's own address. From then on it belongs to the log: nobody
 * may write to it or free it. When it is trimmed, or dropped at level 4, it
 * returns to its heap: tide_log_reclaim does that, and so do tide_log_trim, tide_log_trim_to,
 * tide_log_poll, tide_log_close and every append, for what is trimmed by then.
 *
 *     void *block = tide_log_block(heap, size, tag);
 *     memcpy(TIDE_LOG_BODY(block), data, size);           // or made there in the first place
 *     tide_log_append_block(client, 0, block, TIDE_LOG_ROOM(size), TIDE_LOG_BLOCK, NULL);
 *
 * A heap that is destroyed (tide_heap_destroy) leaves the segments with blocks that are in the
 * log to tide_region_reclaim, and so does a process that ends. That call keeps what is in the
 * log: who opens the region and the log again reads the blocks where they are, at the same
 * offset, and calls it once more when they are trimmed. */

/* A block of `heap` with room for one message of `size` bytes, its frame in front. Not
 * appended, it is given back by tide_free. NULL with errno ENOMEM or ESTALE. */
void *tide_log_block(tide_heap_t *heap, size_t size, uint64_t tag);

/* Where the message of such a block begins. */
#define TIDE_LOG_BODY(block) ((void *)((char *)(block) + 16))

/* Appends the first `bytes` bytes of the block (as the heap gave it, in any way) as one batch:
 * one frame or several, each at a multiple of 8 with flags 0, none behind them. On every
 * error but -EINPROGRESS the block is the caller's as before; that one tells as well, with the
 * reason in tide_log_explain's words, when a batch that was to be acknowledged cannot be: the
 * medium failed, or the session was opened anew. Besides the errors of tide_log_append:
 *   -EXDEV     not in the log's region, or the log is in none
 *   -EPERM     of a heap of another process or handle
 *   -EINVAL    not the start of a block, or no frames
 *   -EFAULT    free
 *   -EMSGSIZE  more bytes than the block has, or 1 GiB; or more messages than 2^32 less what
 *              the rings can hold, divided by the slots of all brokers
 *   -EALREADY  in the log already (the flag of its first frame says so) */
int tide_log_append_block(tide_log_client_t *client, unsigned broker, void *block, size_t bytes,
                          int64_t timeout, struct tide_log_at *at);

/* Gives blocks that are trimmed back to their heaps: how many, or -ESTALE. */
int64_t tide_log_reclaim(tide_log_t *log);

/* ---- reading ------------------------------------------------------------------------------ */

struct tide_log_reader_options {
    unsigned policy;   /* enum tide_log_policy */
    unsigned start;    /* enum tide_log_start */
    uint64_t position; /* TIDE_LOG_POSITION: a batch's */
    unsigned broker;   /* level 0 */
};

/* Opens a reader; `options` NULL: gates, from the earliest, broker 0. */
int tide_log_reader_open(tide_log_reader_t **out, tide_log_t *log,
                         const struct tide_log_reader_options *options);

/* NULL: 0. -EBUSY, and it stays open: whoever repairs the log stands still. */
int tide_log_reader_close(tide_log_reader_t *reader);

/* A batch in the log's memory. */
struct tide_log_batch {
    uint64_t position; /* level 0: in its broker */
    uint64_t base;     /* number of its first message; NONE at level 0 */
    uint64_t number;   /* counted by its client */
    const unsigned char *data;
    uint32_t size;  /* bytes of data: frames */
    uint32_t count; /* messages */
    uint32_t client, broker;
};

/* Up to `most` batches in order. They stay as they are until the next call of tide_log_read,
 * tide_log_done or tide_log_reader_close. Returns how many, or
 *   -EAGAIN, -ETIMEDOUT  none yet
 *   -EOVERFLOW           overtaken: tide_log_gap tells from where to where; the next call
 *                        goes on there
 *   -EPIPE               detached
 *   -EBADMSG             the next batch is damaged. The reader stays in front of it: open another
 *                        one behind it (TIDE_LOG_POSITION)
 *   -ENOMEM              TIDE_LOG_SKIP: no memory for a copy        -EINVAL  `most` below 1 */
int tide_log_read(tide_log_reader_t *reader, struct tide_log_batch *batches, int most,
                  int64_t timeout);

/* What was read is done with: the log may overwrite it. -EPIPE when the reader was detached
 * before: what was read since the last call that succeeded may have been overwritten. */
int tide_log_done(tide_log_reader_t *reader);

/* The positions that the last -EOVERFLOW was about: from *from up to, not including, *to. */
int tide_log_gap(tide_log_reader_t *reader, uint64_t *from, uint64_t *to);

enum { TIDE_LOG_LENT = 1 }; /* the batch was appended by reference */

/* In front of each message, at a multiple of 8 bytes; the message is right behind it. */
struct tide_log_frame {
    uint32_t length; /* bytes of the message */
    uint32_t flags;  /* 0, but TIDE_LOG_LENT in the first one of a block */
    uint64_t tag;
};

/* The message at *at (0 at first) of a batch, or NULL behind the last one; *at moves on.
 * Message i of a batch has the number batch->base + i. */
static inline const struct tide_log_frame *tide_log_next(const struct tide_log_batch *batch,
                                                         size_t *at)
{
    const void *there = batch->data + *at;
    const struct tide_log_frame *frame = (const struct tide_log_frame *)there;
    if (*at > batch->size || batch->size - *at < sizeof *frame)
        return NULL;
    uint32_t length = *(const volatile uint32_t *)&frame->length;
    if (length > batch->size - *at - sizeof *frame)
        return NULL;
    *at += TIDE_LOG_ROOM(length);
    return frame;
}

/* ---- looking at it ------------------------------------------------------------------------ */

struct tide_log_stat {
    unsigned level, brokers, clients, readers, sequencing, sessions, retain, checksum;
    uint64_t slots, payload, size;
    uint64_t earliest;   /* position of the oldest batch that is kept; level 0: see the brokers */
    uint64_t committed;  /* positions below are committed */
    uint64_t taken;      /* positions below were given */
    uint64_t messages;   /* numbers below were given to messages */
    uint64_t collisions; /* times another append took the room that one was about to claim */
    uint64_t contention; /* level 4: times a session or the mutex was found taken */
    uint64_t copied;     /* bytes that tide_log_append and _append_batch copied, with frames */
    uint64_t lent;       /* bytes appended by reference, with frames */
    uint64_t retired;    /* blocks that wait for tide_log_reclaim */
    unsigned coherence;  /* enum tide_log_coherence */
};
int tide_log_stat(tide_log_t *log, struct tide_log_stat *out);

struct tide_log_broker_stat {
    uint64_t claimed;    /* batches ever claimed, aborted ones too */
    uint64_t released;   /* of these: free again */
    uint64_t used_bytes; /* of payload */
    uint64_t unscanned;  /* claimed, not seen by the sequencer yet (stepped) */
};
int tide_log_stat_broker(tide_log_t *log, unsigned broker, struct tide_log_broker_stat *out);

struct tide_log_reader_stat {
    int open;
    unsigned policy, broker;
    int detached;
    int slowest;     /* 1: it is the one that holds the log back */
    uint64_t cursor; /* positions below are done with */
    uint64_t lag;    /* batches that are committed and not done with */
    uint64_t holds;  /* of these: kept for nobody else */
};
/* Entry number `reader` (below `readers`) of the table of readers; -ENOENT behind it; -EUCLEAN. */
int tide_log_stat_reader(tide_log_t *log, unsigned reader, struct tide_log_reader_stat *out);

struct tide_log_session_stat {
    unsigned epoch;    /* 0: never open */
    uint64_t expected; /* number of its next batch */
    uint64_t held, late, refused;
};
/* Level 4: the session of a client; -ENOENT behind the last one. */
int tide_log_stat_session(tide_log_t *log, unsigned client, struct tide_log_session_stat *out);

#ifdef __cplusplus
}
#endif

#endif
