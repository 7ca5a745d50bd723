#!/usr/bin/env bash
# tests/tool_log_repair.sh: `tidepool log repair` and `recover` on logs that were damaged, that
# processes left which were killed, or that a machine left which stopped.
# BUILD names the build directory (default: build).
set -u
. "$(dirname "$0")/lib_log.sh"

# repaired NAME KEPT POSITIONS FIGURE...: what a dry run says, that it changes nothing, and what
# comes of doing it. A figure is "COUNT WORD".
repaired()
{
    local title=$1 kept=$2 positions=$3
    shift 3
    mended "$title" "$kept" "$@"
    run log check "$LOG"
    says "$title: nothing is wrong afterwards" 0 out ': 0 errors, '
    run log dump "$LOG"
    same "$title: what is kept" "0 $positions" "$STATUS $(batches)"
    run log repair "$LOG"
    says "$title: nothing more to do" 0 out '^nothing to do$'
    use fill 3
    check "$title: and it takes more" "$STATUS" -eq 0
}

# ---- words -----------------------------------------------------------------------------------

test_words()
{
    local name
    for name in repair recover; do
        run log "$name"
        says "log $name without a region: 2" 2 err "^tidepool log $name: no region .usage: "
        run log "$name" --jsn "$LOG"
        says "log $name with an unknown flag: 2" 2 err "unknown flag '--jsn'; did you mean '--json'"
        run log "$name" memfd
        says "log $name of private memory: 2" 2 err "'memfd' is memory that ends with its process"
        run log "$name" "$TMP/nothing"
        says "log $name: no such file: 1" 1 err 'nothing: there is no such file'
    done
    run log recover --yes "$LOG"
    says 'log recover has no --yes: 2' 2 err "unknown flag '--yes'"
    fresh
    poke $((AT + 88)) 17
    for name in repair 'repair --yes' recover; do
        # shellcheck disable=SC2086 # words
        run log $name "$LOG"
        says "log $name: a damaged head: 3" 3 err 'no log that can be read: check sum of the head'
    done
    fresh
    begin "file:$LOG" hold
    for name in repair 'repair --yes' recover; do
        # shellcheck disable=SC2086 # words
        run log $name "$LOG"
        says "log $name: it is open: 3" 3 err "open in process:? $PID"
    done
    end 'the program does not notice'
}

# ---- damage ----------------------------------------------------------------------------------

# damaged OFFSET VALUE BYTES: a fresh log of ten batches with that in it.
damaged()
{
    cp "$TMP/good" "$LOG"
    poke "$1" "$2" "$3"
}

test_damage()
{
    local index slots payload ten='0 1 2 3 4 5 6 7 8 9'
    fresh --checksum
    use fill 10
    cp "$LOG" "$TMP/good"
    index=$(part index) slots=$(part slots) payload=$(part payload)
    run log repair "$LOG"
    says 'a log that is right' 0 out '^nothing to do$'
    damaged $((index + 2 * 64 + 16)) 77 8
    repaired 'the number of a message' 10 "$ten" '1 restored'
    damaged $((index + 3 * 64 + 56)) 0 8
    repaired 'an entry that is gone' 10 "$ten" '1 restored'
    damaged $((index + 5 * 64 + 52)) 9 1
    repaired 'an entry of no broker' 10 "$ten" '1 restored'
    damaged $((index + 64 + 8)) 0 8
    repaired 'payload elsewhere' 10 "$ten" '1 restored'
    damaged $((slots + 3 * 128 + 8)) 1234 8
    repaired 'a slot that says something else' 10 "$ten" '1 restored'
    damaged $((AT + 384)) 1000000 8
    repaired 'a prefix that was never committed' 10 "$ten" '1 head'
    damaged $((index + 7 * 64 + 16)) 77 8
    poke $((AT + 384)) 4 8
    repaired 'a number where the prefix is not known yet' 10 "$ten" '1 restored'
    damaged $((payload + 4 * 64 + 20)) 255 1
    run log check "$LOG"
    says 'a byte of payload: check finds it' 1 out '^error payload-sum: place [0-9]+: '
    local place
    place=$(sed -n 's/^error payload-sum: place \([0-9]*\):.*/\1/p' "$TMP/out")
    repaired 'a byte of payload' "$place" '0 1 2 3 4 5 6 7 8' '1 cut' "$((9 - place)) moved"
    damaged $((AT + 640)) 1 8
    repaired 'a lock of nobody' 10 "$ten"
}

# Clients' numbers and messages tell which batch was where; at level 4 what is given up is noted.
test_several()
{
    local index payload place level
    for level in 4 5; do
        fresh --level="$level" --checksum
        use fill 10
        cp "$LOG" "$TMP/good"
        index=$(part index) payload=$(part payload)
        damaged $((index + 2 * 64 + 56)) 0 8
        poke $((index + 3 * 64)) 0 8
        poke $((index + 7 * 64 + 16)) 77 8
        repaired "level $level: several entries" 10 '0 1 2 3 4 5 6 7 8 9' '3 restored'
        same '... nothing is guessed' '' "$(grep '^  guessed' "$TMP/dry")"
        damaged $((payload + 4 * 64 + 20)) 255 1
        poke $((index + 8 * 64 + 52)) 9 1
        run log check "$LOG"
        place=$(sed -n 's/^error payload-sum: place \([0-9]*\):.*/\1/p' "$TMP/out")
        repaired "level $level: an entry and a payload" "$place" '0 1 2 3 4 5 6 7 8' '1 restored' \
            '1 cut' "$((9 - place)) moved"
        run log check "$LOG"
        same '... a batch is missing at level 4 only' $((5 - level)) \
            "$(grep -c "^note entry-number: place $place: " "$TMP/out")"
    done
    damaged $((index + 2 * 64 + 56)) 0 8
    run log repair --json "$LOG"
    same 'JSON: what was guessed' 0 "$(figure guessed)"
    documented repair
}

# What only the check finds: a mark in the index of those that are done with.
test_found_by_check()
{
    fresh --checksum
    use fill 10
    poke "$(part retired)" 255 8
    mended 'marks of being done with' 10
    run log check "$LOG"
    says '... nothing is wrong afterwards' 0 out ': 0 errors, 0 notes'
}

test_level_0()
{
    fresh --level=0 --checksum
    use fill 5
    poke $(($(part payload) + 20)) 255 1
    run log repair --yes "$LOG"
    says 'level 0: a damaged batch is given up' 0 out '^  cut  *1  '
    run log check "$LOG"
    says '... and nothing is wrong afterwards' 0 out ': 0 errors, 0 notes; 4 batches'
}

# ---- killed ----------------------------------------------------------------------------------

test_killed()
{
    local level
    for level in 0 4 5; do
        fresh --level="$level"
        use fill 6
        use die
        run log repair --json "$LOG"
        check "level $level, a killed writer: repair --json" "$STATUS" -eq 1
        check '... is JSON' "$(is_json "$TMP/out" && echo yes)" = yes
        same '... says what it is' 'killed true false' \
            "$(figure left) $(figure due) $(figure 'done')"
        documented repair
        cp "$LOG" "$TMP/killed"
        run log recover --json "$LOG"
        check "level $level: recover --json" "$STATUS" -eq 0
        check '... is JSON' "$(is_json "$TMP/out" && echo yes)" = yes
        same '... says what came of it' 'true 9' "$(figure repaired) $(figure kept)"
        documented recover
        cp "$TMP/killed" "$LOG"
        run log repair --yes "$LOG"
        says "level $level: repair --yes does it as well" 0 out '^done:$'
        run log check "$LOG"
        says '... and nothing is wrong afterwards' 0 out ': 0 errors, [01] notes; 9 batches'
        run log recover "$LOG"
        says '... nor is there anything to recover' 0 out 'was in order, opened and closed .* 9 bat'
    done
}

# A writer without end that is killed at some moment: batches are there, in order, and stay.
test_killed_anywhere()
{
    local i before
    for i in 1 2 3; do
        fresh --payload=64K --slots=256 --retain=recent --checksum
        begin "file:$LOG" stream
        sleep "0.0$i"
        kill -KILL "$PID"
        wait "$PID" 2>/dev/null
        PID=
        run log repair "$LOG"
        says "killed while it appends, $i" 1 out '^would be done'
        before=$(sed -n 's/^  kept *\([0-9]*\) .*/\1/p' "$TMP/out")
        check '... keeps batches' "${before:-0}" -gt 10
        run log recover "$LOG"
        says '... recover' 0 out 'log: put in order in [0-9.]+ ms, [0-9]+ batches kept$'
        run log check "$LOG"
        says '... in order' 0 out ': 0 errors, 0 notes; '
    done
}

# ---- a machine that stopped ------------------------------------------------------------------

# stopped: the log was open on another boot of the machine.
stopped()
{
    poke "$STATE" 1
    poke "$BOOT" 4711
}

test_outage()
{
    fresh --checksum
    use fill 10
    cp "$LOG" "$TMP/good"
    stopped
    repaired 'a machine that stopped' 10 '0 1 2 3 4 5 6 7 8 9'
    cp "$TMP/good" "$LOG"
    stopped
    run log recover "$LOG"
    says '... recover' 0 out 'log: put in order in [0-9.]+ ms, 10 batches kept$'
    fresh
    use fill 10
    stopped
    run log repair "$LOG"
    says 'without checksums nobody can tell: 1' 1 err 'cannot be put in order: .*check'
    run log recover "$LOG"
    says '... nor can recover: 3' 3 err 'check'
}

# A process that another boot saw killed with the log open; MACHINE: of another machine, too.
die_elsewhere()
{
    local machine=$1
    echo 01234567-89ab-cdef-0123-456789abcdef >"$TMP/boot"
    echo 0123456789abcdef0123456789abcdef >"$TMP/machine"
    # shellcheck disable=SC2016 # its own variables
    { LOG=$LOG SO=$SO PROG=$PROG MACHINE=$machine AT=$TMP unshare -rm bash -c '
        mount --bind "$AT/boot" /proc/sys/kernel/random/boot_id || exit 77
        if [ "$MACHINE" -ne 0 ]; then mount --bind "$AT/machine" /etc/machine-id || exit 77; fi
        LD_PRELOAD=$SO "$PROG" "file:$LOG" die' >"$TMP/out" 2>"$TMP/err"; } 2>/dev/null
    STATUS=$?
}

test_another_machine()
{
    fresh --checksum
    use fill 4
    die_elsewhere 0
    if [ "$STATUS" -eq 77 ] || grep -q '^unshare:' "$TMP/err"; then
        skip 'another boot or machine' 'no namespace of our own to mount in'
        return
    fi
    run log recover "$LOG"
    says 'another boot, and nobody has the region open: 0' 0 out 'put in order in'
    if [ "$(tr -d '\n' </etc/machine-id 2>/dev/null | wc -c)" -ne 32 ]; then
        skip 'another machine' 'this one has no /etc/machine-id'
        return
    fi
    die_elsewhere 1
    run log stat "$LOG"
    says 'another machine: stat tells it' 0 out 'of another machine has it open'
    run log recover "$LOG"
    says '... recover refuses it: 3' 3 err 'of another machine has the log open.*--force'
    run log repair --yes "$LOG"
    says '... so does repair: 3' 3 err 'of another machine has the log open.*--force'
    use fill 1
    check '... and tide_log_open' "$STATUS" -ne 0
    run log recover --force "$LOG"
    says '... but not with --force' 0 out 'put in order in'
    run log recover "$LOG"
    says '... which settles it' 0 out 'was in order'
}

test_words
test_another_machine
test_damage
test_several
test_found_by_check
test_level_0
test_killed
test_killed_anywhere
test_outage
finish
