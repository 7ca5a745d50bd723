#!/usr/bin/env bash
# tests/tool_log_live.sh: `tidepool log` on logs that another process uses, or left without
# closing them, and on damaged ones.
# BUILD names the build directory (default: build).
set -u
. "$(dirname "$0")/lib_log.sh"

# ---- logs in use -----------------------------------------------------------------------------

test_in_use()
{
    fresh --brokers=2 --level=4 --checksum
    begin "file:$LOG" hold
    run log stat "$LOG"
    says 'stat of a log in use: who has it' 0 out "^process $PID has it open$"
    says '... what is committed' 0 out '^earliest 0, committed 5, taken 5; next message 9; '
    says '... the reader that gates, by how much, and that it is the slowest' 0 out \
        "^ *0 +gate +2 +3 +3 batches, +[0-9]+ B  $PID .alive.  <- the slowest: appends wait for it"
    says '... the one that does not' 0 out "^ *1 +skip +5 +0 +nothing +$PID .alive.$"
    says '... the session that waits' 0 out '^ *1 +1 +5 +1 +0 +0  waits for batch 5$'
    says '... who appends' 0 out "^ *0 +1  $PID .alive.$"
    run log stat --json "$LOG"
    json '... and in JSON'
    documented stat
    has '... the reader' '"reader": 0' '"policy": "gate"' '"cursor": 2' '"lag": 3' '"keeps": 3' \
        '"keeps_bytes": 160' '"detached": false' '"slowest": true' "\"pid\": $PID" \
        '"state": "alive"'
    run log check "$LOG"
    says 'check of a log in use' 0 out ' 0 errors, 0 notes; 5 batches, 9 messages'
    says '... says that it is' 0 out '^the log is in use: only what is committed '
    run log check --json "$LOG"
    json '... and in JSON'
    same '... that it is' true "$(figure live)"
    run log dump "$LOG"
    check 'dump of a log in use' "$(grep -c '^batch' "$TMP/out")" -eq 5
    run log trim --all "$LOG"
    says 'trim of a log in use: what its reader has passed' 0 out '^gave up 2 batches: 0 to 1;'
    run log create --replace --payload=4K --slots=16 "$LOG"
    says 'create --replace of a log in use: 3' 3 err "is open in process: $PID"
    chmod 400 "$LOG"
    as_other "$TMP/tidepool" log stat "$LOG"
    ((EUID == 0)) && says 'a log of another user: 3' 3 err 'Permission denied'
    chmod 444 "$LOG"
    as_other "$TMP/tidepool" log check "$LOG"
    says 'who may only read can look at it' 0 out ' 0 errors'
    chmod 600 "$LOG"
    end 'nobody noticed'
    run log stat "$LOG"
    says 'afterwards nobody has it' 0 out '^nobody has it open$'
    says '... and no reader, no producer' 0 out '^no readers$'
    run log check "$LOG"
    says '... and all is in order, the one that waits, too' 0 out ' 0 errors, 0 notes; 3 batches'
}

# shellcheck disable=SC2317 # until_true calls it
# differ: of three samples two are not the same. One who appends may get no processor for so long.
differ()
{
    run log stat -w 0.1 -n 3 "$LOG"
    (($(grep '^earliest' "$TMP/out" | sort -u | wc -l) > 1))
}

# Appends without end: what is looked at is overtaken all the time.
test_overtaken()
{
    local i wrong=0
    fresh --brokers=2 --retain=recent --checksum
    begin "file:$LOG" stream
    for ((i = 0; i < 10; i++)); do
        run log check "$LOG"
        ((STATUS == 0)) && grep -q ' 0 errors, 0 notes' "$TMP/out" || wrong=$((wrong + 1))
    done
    same 'check of a log that is being overwritten finds nothing wrong' 0 "$wrong"
    run log tail -n 5 -f --count=200 "$LOG"
    says 'tail of it says what it missed' 0 err \
        '^tidepool log tail: gap: positions [0-9]+ to [0-9]+'
    check '... and shows the rest' "$(grep -c '^batch' "$TMP/out")" -eq 200
    run log tail -n 5 -f --count=200 --json "$LOG"
    says '... in JSON, too' 0 out '"gap": .*"from": [0-9]+, "to": [0-9]+'
    documented 'tail with gaps'
    until_true differ
    check 'stat -w: samples' "$(grep -c '^process .* has it open' "$TMP/out")" -eq 3
    check '... that differ' "$(grep '^earliest' "$TMP/out" | sort -u | wc -l)" -gt 1
    end 'the stream never stopped'
}

test_memfd()
{
    begin memfd new
    local region
    region=$(cat "$TMP/ready")
    run log stat "$region"
    says 'stat of a memfd' 0 out '^earliest 0, committed 5, taken 5; '
    run log dump "$region"
    check 'dump of a memfd' "$(grep -c '^batch' "$TMP/out")" -eq 5
    end 'the owner of the memfd'
}

# Blocks of a heap on the region, as batches.
test_lent()
{
    fresh --brokers=2 --size=4M --checksum
    begin "file:$LOG" lend
    run log dump "$LOG"
    says 'dump of a batch by reference' 0 out \
        '^batch 3, broker 0, client 1, number 3: 1 message, 3016 B by reference$'
    says '... its bytes' 0 out '^  message 6, tag 70, 3000 B: "a+"\.\.\.$'
    run log dump --json "$LOG"
    json '... in JSON'
    documented 'dump of blocks'
    run log check "$LOG"
    says '... check' 0 out ' 0 errors, 0 notes; 5 batches, 8 messages'
    end 'the heap got its blocks back'
    run log stat "$LOG"
    says '... which stat says' 0 out '^blocks by reference: 2 were trimmed, 0 of these wait'
    run log check "$LOG"
    says '... and check' 0 out ' 0 errors, 0 notes; 0 batches'
}

test_killed()
{
    fresh --brokers=2 --checksum
    use die
    run log stat "$LOG"
    says 'a killed process: stat says so' 0 out '^process [0-9]+ had it open, and ended without'
    says '... of its client, too' 0 out '^ *0 +1  [0-9]+ .dead.$'
    run log check "$LOG"
    says '... check: no error, but a note' 0 out \
        '^note slot-open: broker 0, slot 3: was claimed, and'
    says '... and the sums' 0 out ' 0 errors, 1 notes; 3 batches, 6 messages'
    run log dump "$LOG"
    check '... dump shows what is there' "$(grep -c '^batch' "$TMP/out")" -eq 3
    run log trim --to=1 "$LOG"
    says '... trim puts it in order' 0 out '^gave up 1 batches: 0 to 0; the earliest is 1 now$'
    run log check "$LOG"
    says '... which check says, too' 0 out ' 0 errors, 0 notes; 2 batches, 5 messages'
}

# ---- damage ----------------------------------------------------------------------------------

# damaged NAME OFFSET VALUE BYTES PATTERN: check finds it, in a copy.
damaged()
{
    cp "$LOG" "$TMP/kept"
    poke "$2" "$3" "$4"
    run log check "$LOG"
    says "check: $1" 1 out "$5"
    run log check --json "$LOG"
    check '... and in JSON' "$STATUS" -eq 1 -a -n "$(is_json "$TMP/out" && echo valid)"
    documented 'check'
    cp "$TMP/kept" "$LOG"
}

test_damage()
{
    fresh --brokers=2 --checksum
    use fill 9
    run log check "$LOG"
    says 'check of a log that is right' 0 out \
        ' 0 errors, 0 notes; 9 batches, 18 messages, [0-9]+ byt'
    local index payload slots
    index=$(part index) payload=$(part payload) slots=$(part slots)
    damaged 'a byte of payload' $((payload + 20)) 255 1 \
        '^error payload-sum: place 0: check sum is not that of its payload$'
    damaged 'the number of a message' $((index + 2 * 64 + 16)) 77 8 \
        '^error entry-base: place 2: number of its first message is 77, must be 3$'
    damaged 'an entry that is gone' $((index + 3 * 64 + 56)) 0 8 \
        '^error entry-(hole|seq): place 3: '
    damaged 'a slot that another one wrote' $((slots + 3 * 128 + 8)) 1234 8 \
        '^error slot-entry: place 4: number in its slot is 1234, must be 4$'
    damaged 'payload elsewhere' $((index + 64 + 8)) 0 8 \
        '^error payload-place: place 1: offset of its payload is 0, must be [0-9]+ to [0-9]+$'
    damaged 'a counter' $((AT + 512)) 1000 8 \
        '^error head-order: head: next place is [0-9]+, must be 1000 to 1032$'
    damaged 'the head' $((AT + 88)) 17 8 \
        '^error head: head: check sum of the head is [0-9]+, must be [0-9]+$'
    damaged "the region's area for the log" 4120 0 8 '^error head: head: check sum of the area'
    cp "$LOG" "$TMP/kept"
    poke $((index + 64 + 8)) 0
    run log dump "$LOG"
    says 'dump of a damaged batch: 3' 3 out \
        '^batch 1, .*: damaged: its payload is outside of the log'
    says '... says so at the end' 3 err '^tidepool log dump: 1 batch is damaged'
    check '... and shows the others' "$(grep -c '^batch' "$TMP/out")" -eq 9
    run log check --most=0 "$LOG"
    says 'check --most=0' 1 out '^\.\.\. and [0-9]+ more$'
    cp "$TMP/kept" "$LOG"
    poke $((AT + 88)) 17
    run log stat "$LOG"
    says 'stat of a damaged head: 3' 3 err 'no log that can be read: check sum of the head: [0-9]+'
    cp "$TMP/kept" "$LOG"
    truncate -s 1048064 "$LOG"
    run log stat "$LOG"
    says 'a file that is cut off: 3' 3 err 'a region has at least|the region is cut off'
    run log check "$LOG"
    check '... check: 3' "$STATUS" -eq 3
}

# Whatever the bytes are: an exit code, and no signal.
test_noise()
{
    local i where wrong=''
    fresh --brokers=2 --level=4 --checksum
    use fill 9
    cp "$LOG" "$TMP/kept"
    for ((i = 0; i < 25; i++)); do
        cp "$TMP/kept" "$LOG"
        where=$((AT + 256 + (RANDOM * 32768 + RANDOM) % 30000))
        head -c $((RANDOM % 400 + 1)) /dev/urandom |
            dd of="$LOG" bs=1 seek="$where" conv=notrunc 2>/dev/null
        for command in check dump stat tail; do
            TEST_SECONDS=60 run log "$command" "$LOG"
            ((STATUS <= 3)) || wrong+=" $command at $where: $STATUS"
        done
    done
    same 'random bytes end no command by a signal' '' "$wrong"
}

test_in_use
test_overtaken
test_memfd
test_lent
test_killed
test_damage
test_noise
finish
