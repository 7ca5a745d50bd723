/*
 * crew.pml - calls of two processes on a log that both have open, and a third one that repairs
 * it when one of them died.
 *
 * As in core/box/crew.c: enter is tide_crew_enter, leave tide_crew_leave, stop tide_crew_stop and
 * go_on tide_crew_go_on. What a caller stores to its `busy` waits in its processor's buffer, in
 * order, until it comes to memory at any time, or at once by an exchange of its own or by the
 * repairer's barrier. A caller claims the next slot and publishes it; it may die at any step. One
 * repair finds all that died until then.
 *
 * Holds: no living caller is inside while the repairer works on the words; what a dead one
 * claimed is padded; a dead one is not waited for, and nobody waits for ever.
 *
 * Twins that must not hold: NO_BARRIER (what is in buffers is not waited for), NO_LOOK (the
 * generation is looked at before `busy`, not after it), NO_WAIT (`busy` is not waited for), ONCE
 * (the generation is not raised again), ALL (those that are dead are waited for, too).
 */
#define CALLERS 2
#define TURNS 3

mtype = { BUSY };

byte generation;
bool busy[CALLERS]; /* as the others see it */
bool inside[CALLERS], dead[CALLERS], left[CALLERS], forgotten[CALLERS];
byte claim[CALLERS]; /* 0, or 1 while it is claimed and not published */
byte padded[CALLERS];
chan buffer0 = [4] of { mtype, bool };
chan buffer1 = [4] of { mtype, bool };

inline put(value)
{
    if
    :: me == 0 -> buffer0!BUSY(value)
    :: me == 1 -> buffer1!BUSY(value)
    fi
}

inline enter()
{
#ifdef NO_LOOK
    if
    :: generation == mine -> put(true)
#else
    put(true);
    if
    :: generation == mine
#endif
    :: else ->
        do
        :: put(false);
            atomic { generation % 2 == 0 -> mine = generation };
            atomic {
                (me == 0 && empty(buffer0)) || (me == 1 && empty(buffer1)) -> busy[me] = true
            };
            if
            :: generation == mine -> break
            :: else
            fi
        od
    fi
}

proctype caller(byte me)
{
    byte mine, turn;
    {
        do
        :: turn == TURNS -> break
        :: turn < TURNS ->
            enter();
            inside[me] = true;
            claim[me] = 1;
            claim[me] = 0;
            inside[me] = false;
            put(false);
            turn++
        od
    } unless { dead[me] };
    skip;
    d_step { left[me] = true; turn = 0; mine = 0 }
}

proctype death()
{
    do
    :: dead[0] = !left[0]; break
    :: dead[1] = !left[1]; break
    :: break
    od
}

proctype drain()
{
    bool value;
end:
    do
    :: atomic { buffer0?BUSY(value) -> busy[0] = value; value = false }
    :: atomic { buffer1?BUSY(value) -> busy[1] = value; value = false }
    od
}

#ifdef ALL
#define IS_OUT(p) (!busy[p])
#else
#define IS_OUT(p) (dead[p] || !busy[p])
#endif
#define NONE_INSIDE ((dead[0] || !inside[0]) && (dead[1] || !inside[1]))

/* Of one that is dead, for good. */
inline pad(p)
{
    if
    :: dead[p] && !forgotten[p] ->
        assert(NONE_INSIDE);
        padded[p] = claim[p];
        claim[p] = 0;
        assert(NONE_INSIDE);
        forgotten[p] = true
    :: else
    fi
}

proctype repairer()
{
end:
    do
    :: (dead[0] && !forgotten[0]) || (dead[1] && !forgotten[1]) ->
        generation = generation + 1;
#ifndef NO_BARRIER
        empty(buffer0);
        empty(buffer1);
#endif
#ifndef NO_WAIT
        IS_OUT(0);
        IS_OUT(1);
#endif
        pad(0);
        pad(1);
#ifndef ONCE
        generation = generation + 1
#endif
    od
}

init
{
    atomic { run drain(); run caller(0); run caller(1); run repairer(); run death() };
    timeout ->
    assert(left[0] && left[1] && generation % 2 == 0);
    assert(claim[0] == 0 && claim[1] == 0 && padded[0] + padded[1] <= 1)
}
