/*
 * session.pml - order level 4: one client whose batches come by two brokers, held back, fenced
 * when a gap outlasts the lease, opened anew and sent again.
 *
 * As in core/box: broker is seq_submit, submit is tide_session_submit with session_enter, judge
 * is session_judge with session_place_held, leave is session_leave, place is session_place
 * (tide_order_take, then tide_order_fill). tide_session_open fences and opens in one turn behind
 * the door; here the lease does the first half and the client the second. The list that is
 * handed over is a set: judge takes batches in any order. A producer that orders its own batch has
 * the door before it publishes (tide_session_try, tide_session_submit_in); what it does there is
 * the same.
 *
 * Holds: the client's batches have their places in its order, without a gap (F1, F2), each once
 * (D1), as many places as were taken; nothing of an epoch gets a place when its fence is there
 * (S1); whoever sees that a batch does not wait any more, and no fence, may count on its place
 * (A1); a batch that never comes stops nobody for ever.
 *
 * Twins that must not hold: DROP_FIRST (held batches are dropped before the fence is there),
 * NO_EPOCH (batches of before the fence are judged like others), WIN_FIRST (without the door:
 * the client's turn is won, then a place is taken), TAKE_FIRST (the other way round).
 */
#ifdef RESEND
#define BATCHES 2
#define SENDINGS 5 /* each once more in the second epoch, and one resent */
#else
#define BATCHES 3
#define SENDINGS 6
#endif
#define BIT(ref) (1 << (ref))

byte number[SENDINGS], epoch_of[SENDINGS]; /* what the slots say */
byte sendings;
chan ring[2] = [SENDINGS] of { byte };
#if defined(WIN_FIRST) || defined(TAKE_FIRST)
bool lost = true;
#else
bool lost; /* a producer died, and its batch is a pad */
#endif

byte expected, epoch = 1;
bool fenced;
byte hold[BATCHES]; /* ref + 1 */
byte held;
bool door;
byte list;  /* refs handed over to whoever has the door */
byte gone;  /* refs that were held, and dropped by the fence */
bool lease; /* was over once */

byte taken, entries, entry[SENDINGS]; /* the order index: number + 1 */

inline place(ref)
{
    assert(!fenced && epoch_of[ref] == epoch);
    d_step { at = taken; taken++; assert(at == number[ref]) };
    d_step { entry[at] = number[ref] + 1; entries++; at = 0 }
}

#ifdef NO_EPOCH
#define IS_STALE(ref) fenced
#else
#define IS_STALE(ref) (fenced || epoch_of[ref] != epoch)
#endif

inline judge(ref)
{
    if
    :: IS_STALE(ref) || number[ref] < expected -> skip /* dropped */
    :: !IS_STALE(ref) && number[ref] == expected ->
        place(ref);
        expected++;
        do
        :: expected < BATCHES && hold[expected] != 0 ->
            d_step { from = hold[expected] - 1; hold[expected] = 0 };
            place(from);
            d_step { held--; expected++ }
        :: else -> break
        od;
        from = 0
    :: !IS_STALE(ref) && number[ref] > expected ->
        if
        :: hold[number[ref]] != 0 -> skip /* the same once more: dropped */
        :: else -> d_step { hold[number[ref]] = ref + 1; held++ }
        fi
    fi
}

inline leave()
{
    do
    :: atomic { list == 0 -> door = false; break }
    :: atomic { list != 0 -> mine = list; list = 0 };
        which = 0;
        do
        :: mine == 0 -> break
        :: mine != 0 && (mine & BIT(which)) == 0 -> which++
        :: mine & BIT(which) -> d_step { mine = mine & ~BIT(which) }; judge(which)
        od;
        which = 0
    od
}

inline submit(ref)
{
#if defined(WIN_FIRST) || defined(TAKE_FIRST)
    expected >= number[ref]; /* instead of being held */
    if
    :: IS_STALE(ref) || number[ref] < expected -> skip
    :: else ->
#ifdef TAKE_FIRST
        d_step { at = taken; taken++ };
#endif
        d_step { won = expected == number[ref]; if :: won -> expected++ :: else fi };
        if
        :: won ->
#ifdef WIN_FIRST
            d_step { at = taken; taken++ };
#endif
            assert(at == number[ref]);
            d_step { entry[at] = number[ref] + 1; entries++ }
        :: else
        fi
    fi
#else
    atomic {
        won = !door;
        if :: won -> door = true :: else -> list = list | BIT(ref) fi
    };
    if
    :: won -> won = false; judge(ref); leave()
    :: else
    fi
#endif
}

proctype broker(byte me)
{
    byte ref, at, from, mine, which;
    bool won;
end:
    do
    :: atomic { ring[me]?ref ->
        if
        :: true
        :: !lost && !lease && number[ref] < BATCHES - 1 -> lost = true; goto end
        fi };
        submit(ref);
        ref = 0
    od
}

/* The lease of a gap is over: at any time, for there is no saying when. */
proctype expirer()
{
    byte at, from, mine, which, i;
end:
    atomic { held > 0 && !door -> door = true };
#ifndef DROP_FIRST
    d_step { fenced = true; lease = true };
#endif
    do
    :: i < BATCHES && hold[i] != 0 ->
        d_step { gone = gone | BIT(hold[i] - 1); hold[i] = 0; i++ }
    :: i < BATCHES && hold[i] == 0 -> i++
    :: i == BATCHES -> break
    od;
    held = 0;
#ifdef DROP_FIRST
    d_step { fenced = true; lease = true };
#endif
    leave()
}

/* Sees a batch of its own that waits no longer, then looks whether there is a fence. The state
 * before the epoch: whoever opens the session writes them the other way round. */
proctype watcher()
{
    byte i;
    bool closed;
end:
    gone != 0;
    do
    :: gone & BIT(i) -> break
    :: (gone & BIT(i)) == 0 -> i++
    od;
    closed = fenced;
    assert(closed || epoch != epoch_of[i] || number[i] < expected)
}

inline send(n)
{
    d_step { number[sendings] = n; epoch_of[sendings] = my_epoch; sendings++ };
    if
    :: ring[0]!(sendings - 1)
    :: ring[1]!(sendings - 1)
    fi
}

proctype client()
{
    byte at, from, mine, which, next, my_epoch = 1;
    bool resent;
    do
    :: fenced ->
        atomic { !door -> door = true };
        my_epoch = epoch + 1;
        epoch = my_epoch;
        fenced = false;
        next = expected;
        leave()
    :: !fenced && next < BATCHES -> send(next); next++
#ifdef RESEND
    :: !fenced && next > 0 && !resent -> resent = true; send(next - 1)
#endif
    :: expected == BATCHES -> break
    od
}

init
{
    atomic { run broker(0); run broker(1); run expirer(); run watcher(); run client() };
    timeout ->
    assert(expected == BATCHES && taken == BATCHES && entries == BATCHES);
    assert(entry[0] == 1 && entry[1] == 2 && entry[BATCHES - 1] == BATCHES);
    assert(!door && list == 0 && held == 0)
}
