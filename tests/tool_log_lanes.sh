#!/usr/bin/env bash
# tests/tool_log_lanes.sh: `tidepool log check`, `repair` and `recover` on logs in lanes that are in
# use, were damaged, or left by a process that was killed.
# BUILD names the build directory (default: build).
set -u
. "$(dirname "$0")/lib_log.sh"

# lanes LEVEL COUNT ARGUMENT...: a log in lanes of so many batches in $LOG.
lanes()
{
    rm -f "$LOG"
    run log create --size=4M --payload=4K --slots=16 "$LOG"
    use lanes "$@"
}

# at NAME: where a part of the log is in the file, as its head says.
at()
{
    local -A offset=([sessions]=128 [readers]=136 [nodes]=144 [lanes]=152 [index]=160 [slots]=168
        [payload]=176)
    echo $((AT + $(word $((AT + ${offset[$1]})))))
}

# repaired NAME KEPT COUNT CHANGE FIGURE...: what a dry run says, among it this change; that it
# writes nothing, and what comes of doing it: COUNT batches can be read. A figure is "COUNT WORD".
repaired()
{
    local title=$1 kept=$2 count=$3 change=$4
    shift 4
    run log check "$LOG"
    check "$title: check finds it" "$STATUS" -eq 1
    mended "$title" "$kept" "$@"
    check "... tells what" "$(grep -cE "^    $change$" "$TMP/dry")" -eq 1
    check "... all of it" "$(grep -E '^errors: [1-9][0-9]*, afterwards 0$' "$TMP/dry")"
    run log check "$LOG"
    says "$title: nothing is wrong afterwards" 0 out ": 0 errors, 0 notes; $count batches"
    run log repair "$LOG"
    says "$title: nothing more to do" 0 out '^nothing to do$'
    use more 2
    same "$title: what is kept is read, and it takes more" "0 $count" "$STATUS $(cat "$TMP/out")"
    run log check "$LOG"
    says "... and is in order" 0 out ": 0 errors, 0 notes; "
}

# damaged OFFSET VALUE BYTES: the sound log with that in it.
damaged()
{
    cp "$TMP/good" "$LOG"
    poke "$@"
}

# ---- damage ----------------------------------------------------------------------------------

test_damage()
{
    local index slots payload lane
    lanes 5 6
    same 'a log in lanes is made' 0 "$STATUS"
    cp "$LOG" "$TMP/good"
    index=$(at index) slots=$(at slots) payload=$(at payload) lane=$(at lanes)
    run log repair "$LOG"
    says 'a log that is right' 0 out '^nothing to do$'
    run log repair --yes "$LOG"
    says '... with --yes' 0 out '^nothing to do$'
    check '... stays as it is' -z "$(cmp "$LOG" "$TMP/good" 2>&1)"
    damaged $((index + 2 * 64 + 16)) 77 8
    repaired 'the number of a message' 6 6 'restored place 2: slot 3, message 2' '1 restored'
    damaged $((index + 3 * 64 + 56)) 0 8
    repaired 'an entry that is gone' 6 6 'restored place 3: slot 4, message 3' '1 restored'
    damaged $((index + 64 + 40)) 99 4
    repaired 'an entry of no client' 6 6 'restored place 1: slot 2, message 1' '1 restored'
    damaged $((slots + 3 * 64 + 16)) 1234 4
    repaired 'a slot that says something else' 6 6 'slot lane 0, slot 3' '1 slots'
    damaged $((AT + 384)) 1000000 8
    repaired 'a prefix that was never committed' 6 6 \
        'head places that are committed: 1000000, becomes 6' '1 head'
    damaged $((AT + 512)) 5000000 8
    repaired 'a wrong beginning' 6 6 'head first place that is kept: 5000000, becomes 0' '1 head'
    damaged $((lane + 16)) 1000000 8
    repaired 'a lane that was released' 6 6 \
        'line lane 0: first slot that is not free: 1000000, becomes 1' '1 lines'
    damaged "$(($(at sessions) + 136))" 9 8
    repaired 'a session in no state' 6 6 'line client 0: state: 9, becomes 0' '1 lines'
    damaged "$(at readers)" 0 8
    poke "$(($(at readers) + 16))" 44 8
    repaired 'a reader that wants nothing that there is' 6 6 \
        'line reader 0: where it wants to begin: 44, becomes 0' '1 lines'
    damaged "$(($(at nodes) + 384 + 272))" 7 8
    repaired 'a node in no standing' 6 6 'line node 1: standing: 7, becomes 0' '1 lines'
    damaged $((index + 64 * 9 + 56)) 3 8
    repaired 'an entry of another place' 6 6 'wiped entry 9: says place 2' '1 wiped'
    damaged $((payload + 2 * 64 + 17)) 255 1
    repaired 'a byte of payload' 2 5 'moved place 3: to place 2' '3 moved' '1 cut'
    damaged $((payload + 17)) 255 1
    repaired 'a byte of the first payload' 5 5 'cut place 0' '1 cut'
    lanes 4 6
    poke $((payload + 2 * 64 + 17)) 255 1
    repaired 'level 4: a byte of payload' 2 2 'fenced place 3' '3 fenced' '1 cut'
}

test_what_cannot_be_mended()
{
    local name
    lanes 5 6
    poke $((AT + 64)) 4 4
    for name in repair 'repair --yes'; do
        # shellcheck disable=SC2086 # words
        run log $name "$LOG"
        says "log $name: a damaged geometry: 3" 3 err 'no log that can be read: check sum of the h'
    done
    lanes 5 6
    poke $((AT + 8)) 9 4
    run log repair --yes "$LOG"
    says 'another layout: 3' 3 err 'no log that can be read: layout version: 9'
}

test_json()
{
    lanes 5 6
    poke $(($(at index) + 2 * 64 + 16)) 77 8
    run log repair --json "$LOG"
    check 'repair --json' "$STATUS" -eq 1
    check '... is JSON' "$(is_json "$TMP/out" && echo yes)" = yes
    same '... says what it is' 'closed true false 1 restored 2 0' \
        "$(figure left) $(figure due) $(figure 'done') $(figure restored) $(figure kind)\
 $(figure position) $(figure errors)"
    documented repair
    run log repair --json --yes "$LOG"
    same '... and does it' '0 true' "$STATUS $(figure 'done')"
}

# ---- in use ----------------------------------------------------------------------------------

test_open()
{
    local name
    rm -f "$LOG"
    run log create --size=4M --payload=4K --slots=16 "$LOG"
    begin "file:$LOG" lanes 5 6
    for name in check 'check --json'; do
        # shellcheck disable=SC2086 # words
        run log $name "$LOG"
        says "log $name: it is open: 3" 3 err "checked when nobody has it open: process $PID$"
    done
    for name in repair 'repair --yes' recover; do
        # shellcheck disable=SC2086 # words
        run log $name "$LOG"
        says "log $name: it is open: 3" 3 err "open in process $PID$"
    done
    run log repair --yes --force "$LOG"
    says '... with --force, too' 3 err "open in process $PID$"
    end 'the program does not notice'
    run log check "$LOG"
    says 'log check: it was closed' 0 out ': 0 errors, 0 notes; 6 batches'
}

# A process that attached is in no table of this host's.
test_nodes()
{
    local node
    lanes 5 6
    node=$(($(at nodes) + 384))
    poke $((node + 256)) 77 8
    poke $((node + 272)) 1 8
    poke $(($(at index) + 2 * 64 + 16)) 77 8
    cp "$LOG" "$TMP/before"
    run log repair --yes "$LOG"
    says 'a node that was not left: 3' 3 err 'process has node 1, or did not leave it.*--force'
    check '... and nothing was done' -z "$(cmp "$LOG" "$TMP/before" 2>&1)"
    run log repair --yes --force "$LOG"
    says '... but with --force' 0 out '^    line node 1: standing: 1, becomes 0$'
    lanes 5 6
    poke $((AT + 640)) 77 8
    poke $((AT + 656)) 1 8
    run log recover "$LOG"
    says 'a sequencer that attached: recover: 3' 3 err 'sequencer is a process that attached'
    run log repair --yes "$LOG"
    says '... repair: 3' 3 err 'a process that attached is the sequencer.*--force'
    run log repair --yes --force "$LOG"
    says '... but with --force' 0 out "^    head the sequencer's name: 77, becomes 0$"
    run log recover "$LOG"
    says '... and it opens' 0 out ' 6 batches kept$'
}

# ---- killed ----------------------------------------------------------------------------------

test_killed()
{
    local level
    for level in 4 5; do
        lanes "$level" 6 die
        check "level $level: a process is killed" "$STATUS" -ne 0
        cp "$LOG" "$TMP/killed"
        run log check "$LOG"
        says '... check' 0 out ': 0 errors, .*; 6 batches'
        run log recover --json "$LOG"
        same '... recover: all that was visible is there' '0 true 9' \
            "$STATUS $(figure repaired) $(figure kept)"
        run log check "$LOG"
        says '... in order' 0 out ': 0 errors, 0 notes; 9 batches'
        cp "$TMP/killed" "$LOG"
        run log repair "$LOG"
        says '... repair' 1 out '^would be done'
        told 6 kept
        told 3 placed
        check '... does nothing' -z "$(cmp "$LOG" "$TMP/killed" 2>&1)"
        poke $(($(at index) + 2 * 64 + 16)) 77 8
        run log repair --yes "$LOG"
        says '... and with damage' 0 out '^done:$'
        told 1 restored
        told 3 placed
        run log check "$LOG"
        says '... in order' 0 out ': 0 errors, 0 notes; 9 batches'
        use more 1
        same '... and all is read' "0 9" "$STATUS $(cat "$TMP/out")"
    done
}

# ---- a machine that stopped ------------------------------------------------------------------

test_outage()
{
    lanes 5 6
    poke "$STATE" 1
    poke "$BOOT" 4711
    run log recover "$LOG"
    says 'a machine that stopped: recover: 3' 3 err 'the machine stopped'
    run log repair "$LOG"
    says '... repair' 1 out '^would be done'
    run log repair --yes "$LOG"
    says '... does it' 0 out '^done:$'
    use more 1
    same '... and all is read' "0 6" "$STATUS $(cat "$TMP/out")"
    rm -f "$LOG"
    run log create --size=4M --payload=4K --slots=16 "$LOG"
    use lanes
    poke "$STATE" 1
    poke "$BOOT" 4711
    run log repair --yes "$LOG"
    says 'without check sums: 1' 1 err 'cannot be put in order: .*no check sums'
}

test_damage
test_what_cannot_be_mended
test_json
test_open
test_nodes
test_killed
test_outage
finish
