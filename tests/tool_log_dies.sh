#!/usr/bin/env bash
# tests/tool_log_dies.sh: `tidepool log repair` and `recover` that are killed in the middle. What
# they leave tells that it has to be put in order, and comes to the same when that is done again.
# BUILD names the build directory (default: build).
set -u
. "$(dirname "$0")/lib_log.sh"

DIES=$PROGS/prog_logdies
need "$DIES"

# dies NAME:COUNT ARGUMENT...: the command, killed there; STATUS 137, or its own.
dies()
{
    local at=$1
    shift
    { CRASH_AT=$at "$DIES" "$@" >"$TMP/out" 2>"$TMP/err"; } 2>/dev/null
    STATUS=$?
}

# entry I MEMBER-OFFSET VALUE BYTES: into the order index.
entry()
{
    poke $((INDEX + $1 * 64 + $2)) "$3" "$4"
}

# dumped: what a reader would get.
dumped()
{
    run log dump "$LOG"
    echo "$STATUS $(grep -v '^log' "$TMP/out" | cksum)"
}

# killed_at COMMAND POINT...: $TMP/hurt is put in order by the command, killed at each point, and
# then by the same one; it must come to what $WHOLE says. Every point must be come to.
killed_at()
{
    local command=$1 point
    shift
    for point; do
        cp "$TMP/hurt" "$LOG"
        # shellcheck disable=SC2086 # words
        dies "$point" log $command "$LOG"
        check "$TITLE: $command, killed at $point" "$STATUS" -eq 137
        if [[ $command == recover ]]; then
            run log check "$LOG"
            check '... check finds no error' "$STATUS" -eq 0
        fi
        # shellcheck disable=SC2086 # words
        run log $command "$LOG"
        check '... and once more' "$STATUS" -eq 0
        same '... comes to the same' "$WHOLE" "$(dumped)"
        run log check "$LOG"
        says '... and nothing is wrong' 0 out ': 0 errors, '
        use fill 3
        check '... and it takes more' "$STATUS" -eq 0
    done
}

# whole COMMAND: what an undisturbed one comes to, of $LOG as it is.
whole()
{
    cp "$LOG" "$TMP/hurt"
    # shellcheck disable=SC2086 # words
    run log $1 "$LOG"
    check "$TITLE: $1" "$STATUS" -eq 0
    WHOLE=$(dumped)
}

test_damage()
{
    local level
    for level in 4 5; do
        TITLE="level $level, damaged"
        fresh --level="$level" --checksum
        use fill 10
        INDEX=$(part index)
        entry 2 56 0 8
        entry 3 0 0 8
        entry 5 16 77 8
        poke $(($(part payload) + 6 * 64 + 20)) 255 1
        whole 'repair --yes'
        same '... loses a batch' 9 "$(dumped >"$TMP/sum" && batches | wc -w)"
        killed_at 'repair --yes' mend_restored:{1,2,3} mend_given_up:1 mend_shortened:1 \
            room_begun:1 mend_begun:1 mend_tables:1 mend_prefix:1 mend_moving:1 mend_moved:1 \
            mend_judged:1 mend_ordered:1 mend_released:1 open_mended:1 open_synced:1 room_begun:2 \
            room_ended:1
    done
}

test_killed()
{
    local level
    for level in 0 4 5; do
        TITLE="level $level, a killed writer"
        fresh --level="$level" --checksum
        use fill 6
        use die
        whole 'repair --yes'
        killed_at 'repair --yes' mend_begun:1 mend_tables:1 mend_released:1 open_mended:1 \
            room_begun:1
        cp "$TMP/hurt" "$LOG"
        whole recover
        killed_at recover claims_settled:1 open_mended:1 room_begun:1
    done
}

test_damage
test_killed
finish
