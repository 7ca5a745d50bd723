#!/usr/bin/env bash
# measure_runs.sh - tools/measure_performance_simple.sh: statistics, verdicts, failing runs.
set -u
. "$(dirname "$0")/lib_measuring.sh"

SIMPLE=tools/measure_performance_simple.sh
GAP=$BUILD/bench/bench_mid_mt_gap
OUT=$TMP/result
need "$SO" "$GAP"

# measure NAME STATUS FILE PATTERN OPTION... -- BENCH...: as expect, under libc's malloc.
measure()
{
    expect "${@:1:4}" "$SIMPLE" --so none --out "$OUT" "${@:5}"
}

# verdict_of WORD VALUE...: what these values must be called.
verdict_of()
{
    local word=$1
    shift
    fake_values values "$@"
    measure "CV of $* is $word" 0 out "verdict  $word" --runs $# -- "$TMP/bin/values"
}

test_real()
{
    NUM_ITERATIONS=3 expect 'three runs of the gap bench under tidepool' 0 out \
        'mops_per_s: 3 runs' "$SIMPLE" --out "$OUT" -- "$GAP" --ops 20k
    same 'a row for each' '1 2 3' "$(column run_no "$OUT/runs.csv")"
    units 'every column of runs.csv tells its unit' "$OUT/runs.csv"
    units 'every column of summary.csv tells its unit' "$OUT/summary.csv"
    # `((n++))` gives status 1 when n was 0: under set -e that was the end after one run.
    expect 'all runs are made under bash -e' 0 out 'mops_per_s: 3 runs' \
        bash -e "$SIMPLE" --runs 3 --out "$OUT" -- "$GAP" --ops 20k
    fake shown <<<'echo "{\"mops_per_s\":1,\"tier_ops\":null}"'
    expect 'a run that tidepool did not serve fails' 1 "$OUT/runs.csv" 'tidepool did not serve it' \
        "$SIMPLE" --runs 1 --out "$OUT" -- "$TMP/bin/shown"
}

test_counts()
{
    fake_values one 7
    measure 'one run has no spread' 0 out 'stdev    n/a: it takes two runs' --runs 1 -- \
        "$TMP/bin/one"
    has 'and no verdict' 'CV       n/a .*verdict  unknown (one run tells nothing'
    same 'and an empty cell' '' "$(column stdev_mops_per_s "$OUT/summary.csv")"
    fake_values two 3 5
    measure 'two runs: the variance is that of a sample' 0 out 'variance 2 .*divided by 1' \
        --runs 2 -- "$TMP/bin/two"
    same 'the median is between them' 4 "$(column median_mops_per_s "$OUT/summary.csv")"
    fake_values ten 10 1 9 2 8 3 7 4 6 5
    measure 'ten runs: p95 = p99 = max is said' 0 out 'p95 = p99 = max: 20 runs are the fewest' \
        --runs 10 -- "$TMP/bin/ten"
    has 'the statistics of 1..10' 'mean     5.5 .*median   5.5 .*min 1 .*max 10'
    same 'the standard deviation of 1..10' 3.02765 "$(column stdev_mops_per_s "$OUT/summary.csv")"
    same 'the summary says it too' 10,10 "$(column p95_mops_per_s "$OUT/summary.csv"),$(
        column p99_mops_per_s "$OUT/summary.csv")"
    # shellcheck disable=SC2046 # the numbers are words
    fake_values hundred $(seq 100 -1 1)
    measure 'a hundred runs tell p95 from p99 from max' 0 out 'p95      95 .*p99      99 *$' \
        --runs 100 -- "$TMP/bin/hundred"
    # shellcheck disable=SC2046
    fake_values twenty $(seq 1 20)
    measure 'twenty runs tell p95 from max, not p99' 0 out 'p95      19 .*p99      20 .*p99 = max' \
        --runs 20 -- "$TMP/bin/twenty"
}

test_verdicts()
{
    verdict_of stable 91 100 109
    verdict_of moderate 90 100 110
    verdict_of moderate 80.1 100 119.9
    verdict_of unstable 80 100 120
    verdict_of stable 5 5 5
    fake_values wide 80 100 120
    measure '--require moderate fails on an unstable result' 1 out 'unstable' --runs 3 \
        --require moderate -- "$TMP/bin/wide"
    fake_values middle 90 100 110
    measure '--require moderate takes a moderate one' 0 out 'moderate' --runs 3 \
        --require moderate -- "$TMP/bin/middle"
    fake_values middle 90 100 110
    measure '--require stable does not' 1 out 'moderate' --runs 3 --require stable -- \
        "$TMP/bin/middle"
}

test_output()
{
    fake stamps <<'EOT'
echo '2031-07-04 09:41:58.250 INFO mops_per_s: 58 MB/s'
echo '09:41:58 {"mops_per_s":58}'
echo 'in the middle {"mops_per_s":41} of a line'
echo '{"mops_per_s":"09:41:58"'
echo '{"bench":"b","note":"\"mops_per_s\":99,","inner":{"mops_per_s":1},"mops_per_s":12.5}'
echo '2031-07-04 09:41:59 end'
EOT
    measure 'seconds of a time stamp are no figure' 0 out 'b, mops_per_s: 1 run$' --runs 1 -- \
        "$TMP/bin/stamps"
    same 'the JSON line is' 12.5 "$(column mops_per_s "$OUT/runs.csv")"
    fake cases <<'EOT'
for c in x y; do echo "{\"bench\":\"b\",\"case\":\"$c\",\"mops_per_s\":$N}"; done
EOT
    measure 'results of one run are kept apart' 0 out '^b/y, mops_per_s: 2 runs' --runs 2 -- \
        "$TMP/bin/cases"
    fake other <<<'echo "{\"wall_s\":0.5,\"mops_per_s\":null}"'
    measure 'a metric that is no number is no result' 1 "$OUT/runs.csv" 'no number mops_per_s' \
        --runs 1 -- "$TMP/bin/other"
    measure 'another metric can be chosen' 0 "$OUT/summary.csv" '^wall_s,result,1,0,0.5,' --runs 1 \
        --metric wall_s -- "$TMP/bin/other"
    same 'it has one column' 1 "$(head -n 1 "$OUT/runs.csv" | tr , '\n' | grep -cx wall_s)"
}

test_failures()
{
    fake mixed <<'EOT'
case $N in
1) echo 'the, reason' >&2; exit 7 ;;
2) kill -SEGV $$ ;;
3) sleep 30 ;;
4) echo nothing ;;
*) echo "{\"mops_per_s\":$((N + 10))}" ;;
esac
EOT
    measure 'failed runs end with 1' 1 out 'mops_per_s: 2 runs (4 rows left out' --runs 6 \
        --timeout 5 -- "$TMP/bin/mixed"
    sed 's/"[^"]*"/x/' "$OUT/runs.csv" >"$TMP/plain.csv"
    same 'the others are kept' '10     15' "$(column mops_per_s "$TMP/plain.csv")"
    has 'an exit status is told with its words' '^2,.*exit status 7: the, reason' "$OUT/runs.csv"
    has 'a signal is told' '^3,.*killed by SIGSEGV' "$OUT/runs.csv"
    has 'a run that hangs is ended and told' '^4,.*still running after 5 s' "$OUT/runs.csv"
    has 'no result is told' '^5,.*no line with a JSON object' "$OUT/runs.csv"
    printf 'no library\n' >"$TMP/broken.so"
    expect 'a library that does not load is told' 1 err 'does not load' "$SIMPLE" --runs 1 \
        --so "$TMP/broken.so" --out "$OUT" -- "$GAP" --ops 1k
    expect 'and nothing is described' 1 err 'no usable row' "$SIMPLE" --runs 1 \
        --so "$TMP/broken.so" --out "$OUT" -- "$GAP" --ops 1k
}

# A signal in the third run: two are there.
test_interruption()
{
    fake slow <<<"((N < 2)) || { echo \$\$ >'$TMP/slow.pid'; exec sleep 60; }
echo \"{\\\"mops_per_s\\\":\$N}\""
    interrupted 'a signal in the third run' "$TMP/slow.pid" \
        "$SIMPLE" --so none --runs 9 --out "$OUT" -- "$TMP/bin/slow"
    has 'the runs so far are described' 'mops_per_s: 2 runs'
    same 'and written' '1 2' "$(column run_no "$OUT/runs.csv")"
}

test_log_settings()
{
    local name
    for name in ORDER ACK MESSAGE_SIZE TOTAL_MESSAGE_SIZE; do
        expect "$name is refused with a bench of the allocator" 2 err \
            "$name=1 is for benches of the log; bench_mid_mt_gap is none" \
            env "$name=1" "$SIMPLE" --runs 1 --out "$OUT" -- "$GAP" --ops 1k
    done
    fake bench_log_append <<<'echo "{\"gb_per_s\":1}"; echo "$*" >&2; exit 3'
    ACK=0 TOTAL_MESSAGE_SIZE=4096 measure 'a bench of the log gets those that are set' 1 err \
        'quiet --ack none --total 4096$' --runs 1 -- "$TMP/bin/bench_log_append"
    ORDER=4 ACK=1 MESSAGE_SIZE=64 measure 'in its own words' 1 err \
        'quiet --levels 4 --ack ordered --sizes 64$' --runs 1 -- "$TMP/bin/bench_log_append"
    for name in ORDER=x ORDER=2 ORDER=05 ACK=2 MESSAGE_SIZE=7 TOTAL_MESSAGE_SIZE=0; do
        expect "$name is refused" 2 err "^measure_performance_simple.sh: ${name%=*}: " \
            env "$name" "$SIMPLE" --runs 1 --out "$OUT" -- "$TMP/bin/bench_log_append"
    done
    ORDER=0 ACK=0 MESSAGE_SIZE=100 TOTAL_MESSAGE_SIZE=100000 expect \
        'without a command they choose the bench of the log' 0 out \
        '^bench_log/ancestor 100 in 1048500 level=0, gb_per_s: 2 runs' "$SIMPLE" --runs 2 \
        --out "$OUT"
    has 'which runs without the allocator' ' --levels 0 --ack none .* libc malloc$'
}

# refuses PATTERN ARGUMENT...
refuses()
{
    expect "refuses '${*:2}'" 2 err "$1" "$SIMPLE" --out "$OUT" "${@:2}"
}

test_input()
{
    refuses 'not within' --runs 0
    refuses 'not a whole number' --runs 1.5
    refuses 'not a whole number' --runs -3
    refuses 'not within' --timeout 0
    refuses 'needs a value' --runs
    refuses "unknown option '--bogus'" --bogus
    refuses 'nothing stands behind' --
    refuses 'no such program' -- "$TMP/absent"
    refuses 'cannot be read' --so "$TMP/absent.so" -- "$GAP"
    refuses 'is no key' --metric 'a b' -- "$GAP"
    refuses 'neither stable nor moderate' --require good -- "$GAP"
    NUM_ITERATIONS=many refuses "NUM_ITERATIONS): 'many'" -- "$GAP"
    expect '--help tells the exit status' 0 out '^Exit status: 0 all runs done' "$SIMPLE" --help
}

self_tests "$SIMPLE"
test_real
test_counts
test_verdicts
test_output
test_failures
test_interruption
test_log_settings
test_input
finish
