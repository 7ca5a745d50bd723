/*
 * claim.pml - a ring whose producers claim slots and publish them, and what is done about one
 * that dies, or goes on sleeping, with a claim out.
 *
 * As in core/box: claim is tide_ring_claim (which also says beforehand, in the producer's entry,
 * what it is about to claim), publish is tide_ring_publish, the reader is tide_sub_poll at
 * level 0 (tide_ring_see), release is trim_slots. There the publish word is stored: claims that
 * nobody will publish are padded by tide_mend alone, while nobody else is at work, which is
 * crew.pml. Where somebody repairs while others are, both sides have to compare and swap as here.
 *
 * Repair. A producer that is dead, or whose handle is taken from it (fenced: it may still be
 * awake, somewhere), has left a note of the slot that it was about to claim. That slot is padded
 *   - when it was claimed and nobody published it,
 *   - when no other producer that is awake has a note of the same slot: one of the two lost the
 *     race for it and will write down another one, or has it and will publish it,
 *   - by compare and swap: the fenced one fails, and leaves,
 *   - and is not released before the fenced one has left: what protects the publish word does
 *     not protect the bytes, which it may be writing.
 *
 * Holds: each batch is delivered once, whole, in the order of the ring, unless it was padded;
 * nobody writes into a slot that is not his; nobody waits for ever (no end but the right one).
 *
 * Twins that must not hold: TIME (whatever is not published for a while is padded, by a store),
 * STORE (fenced, but both sides store), NOTE (others' notes are not looked at), REUSE (padded
 * slots are released at once).
 */
#define SLOTS 2
#define PRODUCERS 2
#define BATCHES 2 /* of each producer */
#define CLAIMS 5  /* in all */

#define PUBLISHED(index) (2 * (index) + 2)
#define PADDED(index) (2 * (index) + 3)
#define IS_DONE(index) (word[(index) % SLOTS] >= PUBLISHED(index))
#define AWAKE(p) (!dead[p] && !left[p])

byte head, released;     /* next index to claim; indexes below are free again */
byte word[SLOTS];        /* publish words: the stamp of a lap stays until the next one */
byte first[SLOTS], second[SLOTS]; /* what a slot holds: who wrote it, in two steps */
byte note[PRODUCERS];    /* index + 1 */
bool dead[PRODUCERS], fenced[PRODUCERS], left[PRODUCERS];
byte keep[SLOTS];        /* producer + 1 that may still write into a padded slot */
byte sent[PRODUCERS], delivered[PRODUCERS];

inline compare_and_swap(at, old, new, won)
{
    d_step { won = at == old; if :: won -> at = new :: else fi }
}

proctype producer(byte me)
{
    byte index, seen, tag, at;
    bool won;
    {
        do
        :: sent[me] == BATCHES || head == CLAIMS -> break
        :: else ->
            do
            :: fenced[me] || head == CLAIMS -> goto done
            :: !fenced[me] && head < CLAIMS && head < released + SLOTS -> /* else it waits */
                index = head;
                if
                :: index < released + SLOTS ->
                    note[me] = index + 1;
                    compare_and_swap(head, index, index + 1, won);
                    if :: won -> break :: else fi
                :: else
                fi
            od;
            at = index % SLOTS;
            seen = word[at];
            tag = 16 * (me + 1) + sent[me];
            if
            :: seen < PUBLISHED(index) ->
                assert(index >= released);
                first[at] = tag;
                assert(index >= released);
                second[at] = tag;
#if defined(TIME) || defined(STORE)
                word[at] = PUBLISHED(index);
                won = true;
#else
                compare_and_swap(word[at], seen, PUBLISHED(index), won);
#endif
            :: else -> won = false
            fi;
            if
            :: won -> sent[me]++
            :: else -> assert(fenced[me]); goto done /* it fails closed */
            fi
        od
    } unless { dead[me] };
done:
    skip;
    d_step { left[me] = true; seen = 0; index = 0; tag = 0; at = 0 }
}

/* At any moment, one of them. */
proctype death()
{
    if
    :: dead[0] = !left[0]
    :: dead[1] = !left[1]
    :: fenced[0] = true
    :: fenced[1] = true
    :: skip
    fi
}

#define CLAIMED(p) (note[p] != 0 && note[p] <= head && !IS_DONE(note[p] - 1))
#ifdef NOTE
#define UNDISPUTED(p) true
#else
#define UNDISPUTED(p) (note[1 - (p)] != note[p] || !AWAKE(1 - (p)))
#endif
#ifdef TIME
#define MAY_REPAIR(p) (CLAIMED(p))
#else
#define MAY_REPAIR(p) ((dead[p] || fenced[p]) && CLAIMED(p) && UNDISPUTED(p))
#endif

inline repair(p)
{
    index = note[p] - 1;
    at = index % SLOTS;
    seen = word[at];
    if
    :: seen < PUBLISHED(index) && head > index && index >= released ->
#if defined(TIME) || defined(STORE)
        word[at] = PADDED(index)
#else
        d_step { /* who may still write is told before the pad is seen: one step is enough here */
            if
            :: word[at] == seen -> word[at] = PADDED(index); keep[at] = (dead[p] -> 0 : p + 1)
            :: else
            fi
        }
#endif
    :: else
    fi;
    index = 0; at = 0; seen = 0
}

byte cursor;
#define OVER (left[0] && left[1] && cursor == head)

active proctype repairer()
{
    byte index, at, seen;
end:
    do
    :: MAY_REPAIR(0) -> repair(0)
    :: MAY_REPAIR(1) -> repair(1)
    od
}

#ifdef REUSE
#define IS_KEPT(at) false
#else
#define IS_KEPT(at) (keep[at] != 0 && !left[keep[at] - 1])
#endif

active proctype reader()
{
    byte a, b, who;
end:
    do
    :: word[cursor % SLOTS] == PUBLISHED(cursor) && cursor < head ->
        a = first[cursor % SLOTS];
        b = second[cursor % SLOTS];
        assert(a == b && a != 0);
        who = a / 16 - 1;
        assert(a % 16 == delivered[who]); /* each once, in order */
        delivered[who]++;
        d_step { cursor++; a = 0; b = 0; who = 0 }
    :: word[cursor % SLOTS] == PADDED(cursor) && cursor < head -> cursor++
    od
}

active proctype trimmer()
{
end:
    do
    :: released < cursor && !IS_KEPT(released % SLOTS) ->
        d_step { keep[released % SLOTS] = 0; released++ }
    od
}

init
{
    atomic { run producer(0); run producer(1); run death() };
    /* Nothing moves any more: all has been delivered that was published. */
    timeout ->
    assert(OVER);
    assert(delivered[0] >= sent[0] && delivered[0] <= sent[0] + 1);
    assert(delivered[1] >= sent[1] && delivered[1] <= sent[1] + 1)
}
