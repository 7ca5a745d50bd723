#!/usr/bin/env bash
# bench_log.sh - the bench of the log: its flags and preset, and that its figures are what
# their names say.
set -u
. "$(dirname "$0")/lib_bench.sh"

# refuses PATTERN ARGUMENT...
refuses()
{
    ends "bench_log refuses '${*:2}'" 2 err "$1" bench bench_log "${@:2}"
    [[ ! -s $TMP/out ]] || bad "bench_log prints something although it refuses '${*:2}'" "$TMP/out"
}

# few ARGUMENT...: a short run; its JSON lines are in $TMP/out.
few()
{
    bench bench_log --ops 200 --rounds 1 --quiet --json "$@"
}

# The values of a key in the results of the last run, in one line.
of()
{
    values "$1" "$TMP/out" | tr '\n' ' ' | sed 's/ $//'
}

test_flags()
{
    refuses 'levels: 2 is not 0, 4 or 5' --levels 0,2
    refuses 'levels: 6 is not within' --levels 6
    refuses 'levels: 5 stands there twice' --levels 5,5
    refuses 'levels: empty list' --levels ''
    refuses 'brokers: 33 is not within 1..32' --brokers 33
    refuses 'batch: 4 is not within' --batch 4
    refuses "ack: 'all' is not none or ordered" --ack all
    refuses "sequencing: 'two' is not inline or thread" --sequencing two
    refuses "sessions: 'none' is not lockfree, mutex or both" --sessions none
    refuses "cores: 'two' is not own or any" --cores two
    refuses 'total: 0 is not within' --total 0
    refuses 'sizes: in case trip it is 32 bytes, not 64' --case trip --sizes 64
    refuses 'rounds: 0 is not within' --rounds 0
    refuses 'ahead: 0 is not within' --ahead 0
    refuses 'sizes: in case wake it is 8 bytes, not 64' --case wake --sizes 64
    refuses 'slots: 1 is not within 2' --slots 1
    refuses 'sizes: no ranges' --sizes 1K-2K
    refuses 'ordered goes with --sequencing inline' --ack ordered --sequencing thread
    refuses 'ordered goes with --sequencing inline' --case ancestor --sequencing thread
    refuses 'a batch of 17039360 bytes with its frames is above 16777216' --batch 16M
    refuses 'a batch of .* bytes with its frames is above 524288' --brokers 32 --batch 1M
    refuses 'measures no allocator' --expect-mix mid=100
}

test_figures()
{
    few --case batch --sizes 100,1K --batch 4K
    same 'one result for each way and size' '-1 0 4 5 -1 0 4 5' "$(of level)"
    same 'a batch is of whole messages' '4000 4000 4000 4000 4096 4096 4096 4096' \
        "$(of batch_bytes)"
    same 'operations are messages, in whole batches' '200 200 200 200 200 200 200 200' "$(of ops)"
    # With one round the ratio follows from the rates.
    paste -d' ' <(values level "$TMP/out") <(values mops_per_s "$TMP/out") \
        <(values ratio_to_pipe "$TMP/out") >"$TMP/rates"
    same 'the pipe is as fast as itself' '1.000 1.000' \
        "$(awk '$1 < 0 { print $3 }' "$TMP/rates" | paste -sd' ')"
    # shellcheck disable=SC2016 # awk's own variables
    judge 'the ratio to the pipe is that of the rates' awk '
        $1 < 0 { pipe = $2 }
        { off = $2 / pipe - $3; if (off * off > (0.001 + 0.001 * $3) ^ 2) exit 1 }
        END { exit NR != 8 }' "$TMP/rates"
    same 'every way reads the same sum where frames cut no words' 1 \
        "$(grep '"message_bytes":1024' "$TMP/out" | sed 's/.*"checksum":"\([^"]*\).*/\1/' |
            sort -u | wc -l)"
    few --case single --sizes 100 --levels 5
    same 'single: a batch is a message' '100 100' "$(of batch_bytes)"
}

test_ancestor()
{
    few --case ancestor --ops 3k
    same 'ancestor: level 5 and the pipe' '-1 5' "$(of level)"
    same 'ancestor: 4 brokers' '4 4' "$(of brokers)"
    same 'ancestor: 1 KiB messages' '1024 1024' "$(of message_bytes)"
    same 'ancestor: in 1 MiB batches' '1048576 1048576' "$(of batch_bytes)"
    ends 'ancestor: acks are ordered' 0 out 'inline, ack ordered' \
        bench bench_log --case ancestor --ops 100 --rounds 1
}

# Several clients, brokers and forms; a bench that found a wrong order or sum would fail.
test_ways()
{
    judge 'several clients and brokers' few --case batch --threads 3 --brokers 5 --batch 2K
    judge 'a sequencer of its own' few --case batch --threads 2 --brokers 2 --sequencing thread
    judge 'level 4 by mutex' few --case batch --threads 2 --levels 4 --sessions mutex
    judge 'rings of few slots' few --case single --slots 2 --sizes 64 --threads 2
    judge 'a pipe that is never far ahead' few --case single,solo --sizes 64 --ahead 1
    judge 'acks at every level' few --case single --sizes 1K --ack ordered
    judge 'acks of batches that are early' few --case sessions --ack ordered --threads 2
    judge 'threads where the kernel puts them' few --case batch --cores any
}

# What sleepers get: each message, and not before it was sent.
test_wakes()
{
    few --case wake --ops 5
    same 'wake: a futex, levels 0 and 5, a sequencer' '-1 0 5 5' "$(of level)"
    # shellcheck disable=SC2016 # awk's own variables
    judge 'wake: nobody has a message before it was sent, or sooner than 99 of 100' awk '
        $1 <= 0 || $2 < $1 || $3 < 0 { exit 1 } END { exit NR != 4 }' \
        <(paste -d' ' <(values wake_p50_us "$TMP/out") <(values wake_p99_us "$TMP/out") \
            <(values idle_percent "$TMP/out"))
    few --case batch --sizes 1K
    same 'wake: figures of that case alone' '0.00 0.00 0.00 0.00' "$(of wake_p50_us)"
}

# figure KEY WAY: what the result of this way says.
figure()
{
    grep "\"case\":\"[^\"]* $2\"" "$TMP/out" | values "$1" -
}

# within NAME LOW VALUE HIGH
within()
{
    judge "$1: $3 is within $2..$4" \
        awk -v low="$2" -v value="$3" -v high="$4" 'BEGIN { exit !(value >= low && value <= high) }'
}

test_ratios()
{
    local slot=$((128 + 64))
    few --case single --sizes 1K --ops 1k
    # shellcheck disable=SC2016 # awk's own variables
    judge 'ratios to the levels are those of the rates' awk -v zero="$(figure mops_per_s level=0)" \
        -v five="$(figure mops_per_s level=5)" -v four="$(figure mops_per_s level=4)" \
        -v to_zero="$(figure ratio_to_level0 level=5)" \
        -v to_five="$(figure ratio_to_level5 level=4)" '
        function near(a, b) { return (a - b) ^ 2 < (0.002 + 0.002 * b) ^ 2 }
        BEGIN { exit !(near(five / zero, to_zero) && near(four / five, to_five)) }' /dev/null
    same 'the pipe has none of them' '0.000 0.000' \
        "$(figure ratio_to_level0 pipe) $(figure ratio_to_level5 pipe)"
    # A frame of 16 bytes, the next multiple of 64, a slot and an entry of the index.
    same 'bytes written: frame, slot and index entry' \
        "$(awk -v s=$slot 'BEGIN { printf "%.4f", (1088 + s) / 1024 }')" \
        "$(figure written_of_payload level=5)"
    same 'level 0 has no index' "$(awk 'BEGIN { printf "%.4f", (1088 + 128) / 1024 }')" \
        "$(figure written_of_payload level=0)"
    few --case batch --total 10M --threads 2 --batch 64K
    same 'a total is that of all clients, in whole batches' 10240 "$(figure ops level=5)"
}

# sometimes NAME KEY ARGUMENT...: one of forty runs has a KEY above 0 in some result. Threads meet
# by chance: where they have one processor, in every second run.
sometimes()
{
    local name=$1 key=$2 try
    for try in {1..40}; do
        few "${@:3}"
        if values "$key" "$TMP/out" | grep -q '[1-9]'; then
            ok "$name"
            return
        fi
    done
    bad "$name, in none of $try runs" "$TMP/out" "$TMP/err"
}

test_sessions()
{
    few --case sessions --threads 3 --ops 4k --brokers 2
    same 'sessions: level 5, and level 4 in three ways' '-1 5 4 4 4' "$(of level)"
    same 'all brokers are seen' '0 2 2 2 2' "$(of brokers_seen)"
    same 'in order nothing is out of its turn' '0.0 0.0' \
        "$(figure reordered_percent level=4) $(figure reordered_percent 'level=4 mutex')"
    within 'half of it is where that is wanted' 40 \
        "$(figure reordered_percent 'level=4 reordered')" 60
    sometimes 'the mutex is found taken' contention \
        --case sessions --sessions mutex --threads 8 --ops 20k --levels 4
    sometimes 'claims for room are lost' claim_retries \
        --case single --sizes 64 --slots 1M --threads 8 --ops 50k --levels 5
    few --case single --sizes 64 --ops 10k --levels 5
    same 'one client loses none' 0 "$(figure claim_retries level=5)"
}

test_solo()
{
    judge 'one thread alone' few --case solo --ops 1k --sizes 64,16K
    same 'at all levels' '-1 0 4 5 -1 0 4 5' "$(of level)"
    judge 'with rings that hold hardly anything' few --case solo --slots 2 --levels 0,5
    judge 'with brokers, acks and large batches' few --case solo --batch 512K --brokers 8 \
        --ack ordered --sizes 1K --ops 3k
    judge 'and a sequencer' few --case solo --sequencing thread --ops 1k
}

test_busy()
{
    few --case busy --threads 2
    same 'busy: as many clients as asked, and five times as many' '2 2 10' "$(of clients)"
    same 'they append the same' '1' "$(values ops "$TMP/out" | sort -u | wc -l)"
}

test_trip()
{
    few --case trip --ops 640
    same 'trip: a line, two levels, a sequencer' '-1 0 5 5' "$(of level)"
    same 'the line is as fast as itself' 1.000 "$(figure times_raw raw)"
    # shellcheck disable=SC2016 # awk's own variables
    judge 'times the line are those of the trips' awk -v raw="$(figure trip_ns raw)" \
        -v five="$(figure trip_ns level=5)" -v times="$(figure times_raw level=5)" '
        BEGIN { exit !((five / raw - times) ^ 2 < (0.01 + 0.01 * times) ^ 2) }' /dev/null
    few --case trip --ops 64 --levels 4,5 --sequencing thread
    same 'both levels through a sequencer' '-1 4 5' "$(of level)"
    ends 'people get nanoseconds' 0 out 'trip 32 in 32 level=0 .* ns .* x raw' \
        bench bench_log --case trip --ops 64 --rounds 1
}

test_lanes()
{
    few --case noncoherent --total 2M
    same 'noncoherent: the pipe, level 5, by a sequencer, in lanes, in groups' '-1 5 5 5 5' \
        "$(of level)"
    same 'all append the same' '1' "$(values ops "$TMP/out" | sort -u | wc -l)"
    few --case noncoherent --total 2M --threads 2 --levels 4
    same 'two clients in lanes' '2 2 2 2 2' "$(of clients)"
    refuses 'a batch of .* bytes with its frames is above 4194304' --case noncoherent --threads 4 \
        --batch 5M
    few --case flush --sizes 64,4K
    same 'flush: the pipe, level 5, in lanes, in groups' '-1 5 5 5 -1 5 5 5' "$(of level)"
    ends 'people get the ratio to level 5' 0 out 'level=5 lanes held .* x level 5' \
        bench bench_log --case flush --sizes 64 --ops 64 --rounds 1
}

test_flags
test_figures
test_ancestor
test_ways
test_wakes
test_ratios
test_sessions
test_busy
test_solo
test_trip
test_lanes
finish
