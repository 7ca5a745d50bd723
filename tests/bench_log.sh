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
    refuses "sessions: 'none' is not lockfree or mutex" --sessions none
    refuses 'rounds: 0 is not within' --rounds 0
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
    judge 'acks at every level' few --case single --sizes 1K --ack ordered
}

test_flags
test_figures
test_ancestor
test_ways
finish
