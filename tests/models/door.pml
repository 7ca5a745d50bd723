/*
 * door.pml - the door of a session that stays with a handle between its calls, and two others
 * that call for it.
 *
 * As in core/box: keep is tide_door_keep, part tide_door_part with tide_session_part, call
 * tide_door_call, answer tide_door_answer, enter tide_door_enter, leave tide_door_leave. What
 * whoever keeps the door stores waits in its processor's buffer, in order, until it comes to
 * memory at any time, or at once by an atomic operation of its own or by the barrier. Behind
 * the door a batch is counted: read, and then written, so that two at a time are found out.
 *
 * Holds: one at a time is behind the door; each batch is counted by the end, also those that
 * were handed over; nobody is behind the door then.
 *
 * Twins that must not hold: NO_BARRIER (whoever calls looks at once who is inside), UNASKED (it
 * does not look), NO_LOOK (who goes out does not look at the door), UNANSWERED (who finds the
 * door called for, coming, leaves it at that), AGAIN (a door that was called for stays with a
 * handle again).
 */
#define OPEN 0
#define TAKEN 1 /* with what was handed over in `list` */
#define KEPT 2
#define CALLED 3 /* the same */
#define TURNS 2  /* batches of each time that the door stays */
#define ALL (2 * TURNS + 2)
#define BIT(ref) (1 << (ref))

mtype = { INSIDE, COUNT };

byte door, list;
bool called;
bool inside; /* as the others see it */
byte count;
chan buffer = [5] of { mtype, byte }; /* of whoever keeps the door */
bool over;

/* Whoever is behind the door, in memory that everybody sees. */
inline judge(refs)
{
    do
    :: refs == 0 -> break
    :: refs & 1 -> now = count; count = now + 1; refs = refs >> 1
    :: refs != 0 && (refs & 1) == 0 -> refs = refs >> 1
    od;
    now = 0
}

inline leave()
{
    do
    :: atomic { list == 0 -> door = OPEN; break }
    :: atomic { list != 0 -> mine = list; list = 0 };
        judge(mine)
    od
}

inline answer()
{
    atomic {
        won = door == CALLED;
        if
        :: won -> door = TAKEN; mine = list; list = 0
        :: else
        fi
    };
    if
    :: won -> called = true; judge(mine); leave(); won = false
    :: else
    fi
}

/* By whoever has no buffer, or nothing in it. */
inline submit(ref)
{
    do
    :: atomic { door == OPEN -> door = TAKEN };
        mine = 1;
        judge(mine);
        leave();
        break
    :: atomic { door == TAKEN || door == CALLED -> list = list | BIT(ref); break }
    :: atomic { door == KEPT -> door = CALLED; list = 0 };
#ifndef NO_BARRIER
        empty(buffer);
#endif
#ifndef UNASKED
        look = inside;
#endif
        if
        :: !look -> answer()
        :: else -> look = false
        fi
    od
}

inline part()
{
    buffer!INSIDE(0);
    atomic {
        empty(buffer);
        kept = false;
        won = door == KEPT;
        if
        :: won -> door = OPEN
        :: else
        fi
    };
    if
    :: won -> won = false
#ifndef UNANSWERED
    :: else -> answer()
#else
    :: else
#endif
    fi
}

/* One batch of whoever keeps the door, or does not any more. */
inline turn(ref)
{
    if
    :: kept ->
        buffer!INSIDE(1);
        if
        :: door == KEPT ->
            own++;
            buffer!COUNT(own);
            buffer!INSIDE(0);
#ifndef NO_LOOK
            if
            :: door == KEPT
            :: else -> atomic { empty(buffer) -> skip }; answer()
            fi;
#endif
            done = true
        :: else -> part()
        fi
    :: else
    fi;
    if
    :: !done -> submit(ref)
    :: else -> done = false
    fi
}

inline keep()
{
    atomic { door == OPEN -> door = TAKEN };
#ifndef AGAIN
    if
    :: called -> leave()
    :: else ->
#endif
        own = count;
        atomic {
            won = list == 0;
            if
            :: won -> door = KEPT; kept = true
            :: else
            fi
        };
        if
        :: won -> won = false
        :: else -> leave()
        fi
#ifndef AGAIN
    fi
#endif
}

/* Opens the session, appends, closes it, and the same once more. */
proctype keeper()
{
    byte now, mine, own, i, times;
    bool won, kept, look, done;
    do
    :: times == 2 -> break
    :: times < 2 ->
        keep();
        do
        :: i < TURNS -> turn(times * TURNS + i); i++
        :: i == TURNS -> break
        od;
        i = 0;
        if
        :: kept -> part()
        :: kept && times == 1 -> kept = false /* makes no call any more */
        :: else
        fi;
        times++
    od;
    over = true
}

proctype rival(byte me)
{
    byte now, mine;
    bool won, look;
    submit(me)
}

/* The buffer of whoever keeps the door. */
proctype drain()
{
    byte value;
end:
    do
    :: atomic { buffer?INSIDE(value) -> inside = value; value = 0 }
    :: atomic { buffer?COUNT(value) -> count = value; value = 0 }
    od
}

init
{
    atomic { run drain(); run keeper(); run rival(2 * TURNS); run rival(2 * TURNS + 1) };
    timeout ->
    assert(over && (door == OPEN || door == KEPT) && list == 0);
    assert(count == ALL)
}
