/*
 * order.pml - the order index: places are taken and filled by several, found out to be a
 * committed prefix by whoever looks, read, trimmed, and used again a lap later.
 *
 * As in core/box: writer is tide_order_take and tide_order_fill, and before them a slot of
 * tide_ring_claim, of which there are as many as entries; frontier is tide_order_frontier, the
 * reader is tide_sub_poll with tide_sub_done, the trimmer is trim_ordered with trim_gate and
 * trim_places, one at a time behind head.trimmer.
 *
 * Holds: the committed word only grows, and covers only entries that are filled (C1, A2);
 * a reader gets each place once, whole (T1, R2); no entry is filled again before its place was
 * read and trimmed; nobody waits for ever.
 *
 * Twins that must not hold: EARLY (the entry says that it is valid before it is), PASS (the
 * prefix goes over a place that is not filled), BACK (the committed word is stored, not swapped:
 * a slow looker takes it back), UNGATED (what is committed is trimmed, read or not).
 */
#define ENTRIES 2
#define WRITERS 2
#define PLACES 4 /* in all */

byte taken, committed, trimmed;
byte claimed;         /* slots of the ring; as many are free as places were trimmed */
byte seq[ENTRIES];    /* place + 1 */
byte what[ENTRIES];   /* the rest of the entry: place + 1 too */
byte cursor;
byte filled;          /* places that are filled, a bit for each */

inline look(word, place)
{
    word = committed;
    place = word;
    do
    :: seq[place % ENTRIES] == place + 1 -> place++
#ifdef PASS
    :: seq[(place + 1) % ENTRIES] == place + 2 -> place = place + 2
#endif
    :: else -> break
    od;
    if
    :: place > word ->
#ifdef BACK
        d_step { assert(committed <= place); committed = place }
#else
        do
        :: d_step { committed == word -> committed = place }; break
        :: d_step { committed != word -> word = committed };
            if :: place > word :: else -> break fi
        od
#endif
    :: else
    fi;
    skip;
    d_step {
        assert((filled & ((1 << committed) - 1)) == (1 << committed) - 1);
        word = 0;
        place = 0
    }
}

proctype writer()
{
    byte place;
    do
    :: claimed == PLACES -> break
    :: d_step { claimed < PLACES && claimed < trimmed + ENTRIES -> claimed++ };
        d_step { place = taken; taken++ };
        assert(place < trimmed + ENTRIES);
        assert(place < ENTRIES || cursor > place - ENTRIES);
#ifdef EARLY
        seq[place % ENTRIES] = place + 1;
        d_step { what[place % ENTRIES] = place + 1; filled = filled | (1 << place) };
#else
        what[place % ENTRIES] = place + 1;
        d_step { seq[place % ENTRIES] = place + 1; filled = filled | (1 << place) };
#endif
        place = 0
    od
}

/* Somebody who waits for an ack. */
proctype looker()
{
    byte word, place;
end:
    do
    :: committed < PLACES && seq[committed % ENTRIES] == committed + 1 -> look(word, place)
    od
}

proctype reader()
{
    byte next;
end:
    do
    :: seq[next % ENTRIES] == next + 1 ->
        assert(what[next % ENTRIES] == next + 1);
        next++;
        if
        :: true /* the cursor follows later */
        :: cursor = next
        fi
    :: cursor != next -> cursor = next
    od
}

proctype trimmer()
{
    byte word, place, limit;
end:
    do
    :: trimmed < PLACES && (committed > trimmed || seq[trimmed % ENTRIES] == trimmed + 1) ->
        look(word, place);
        limit = committed;
#ifndef UNGATED
        if :: cursor < limit -> limit = cursor :: else fi;
#endif
        if :: limit > trimmed -> trimmed = limit :: else -> cursor > trimmed fi;
        limit = 0
    od
}

init
{
    atomic { run writer(); run writer(); run looker(); run reader(); run trimmer() };
    timeout ->
    assert(taken == PLACES && committed == PLACES && cursor == PLACES && trimmed == PLACES)
}
