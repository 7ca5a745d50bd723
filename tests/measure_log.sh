#!/usr/bin/env bash
# measure_log.sh - tools/measure_performance_baseline.sh and tools/measure_mutex_contention.sh: what
# they call a success, what they keep, their verdicts.
# shellcheck disable=SC2016 # variables of the benches that are made up
set -u
. "$(dirname "$0")/lib_measuring.sh"

BASELINE=tools/measure_performance_baseline.sh
CONTENTION=tools/measure_mutex_contention.sh
OUT=$TMP/result
need "$BUILD/bench/bench_log"

# fake_log NAME: a bench of the log with four brokers; SEEN of them, GB and MUTEX from the text.
fake_log()
{
    {
        cat
        cat <<'EOT'
echo "09:41:58 gb_per_s: 58"
for way in 'pipe -1 0 0' "level=5 5 ${SEEN-4} 0" "level=4 4 ${SEEN-4} 7" \
    "level=4_mutex 4 ${SEEN-4} ${MUTEX-0}" "level=4_reordered 4 ${SEEN-4} 123456"; do
    read -r name level seen contention <<<"$way"
    printf '{"bench":"b","case":"%s","level":%s,"brokers":4,"brokers_seen":%s,' \
        "${name/_/ }" "$level" "$seen"
    printf '"contention":3,"claim_retries":2,"contention_per_s":%s,"gb_per_s":%s}\n' \
        "$contention" "${GB-1}"
done
echo "words: $*" >&2
EOT
    } | fake "$1"
}

# ---- the baseline ---------------------------------------------------------------------------

test_baseline()
{
    TOTAL_MESSAGE_SIZE=5000000 expect 'a baseline of the real log' 0 out \
        '^verdict: success (3 of 3 runs' "$BASELINE" --runs 3 --out "$OUT"
    has 'it is the set-up of the predecessor' \
        '^bench_log/ancestor 1024 in 1048576 level=5, gb_per_s: 3'
    same 'what each run printed is kept' '3 3' \
        "$(find "$OUT" -name 'run_[123].out' | wc -l) $(find "$OUT" -name 'run_[123].err' | wc -l)"
    has 'with the words for people' 'bench_log: medians of 1 rounds' "$OUT/run_2.out"
    has 'and for programs' '^{"bench":"bench_log"' "$OUT/run_2.out"
    units 'every column of runs.csv tells its unit' "$OUT/runs.csv"
    units 'every column of summary.csv tells its unit' "$OUT/summary.csv"
    TOTAL_MESSAGE_SIZE=2000000 expect 'too little for all brokers is no success' 1 out \
        '^run 1: 2 of 4 brokers seen' "$BASELINE" --runs 1 --out "$OUT"
    ORDER=0 ACK=0 MESSAGE_SIZE=100 TOTAL_MESSAGE_SIZE=5000000 expect 'its settings go along' 0 out \
        '^bench_log/ancestor 100 in 1048500 level=0, gb_per_s: 1 run' "$BASELINE" --runs 1 \
        --out "$OUT"
    same 'what runs of before printed is gone' 1 "$(find "$OUT" -name 'run_*.out' | wc -l)"
    expect 'all runs are made under bash -e' 0 out '^verdict: success (2 of 2' \
        bash -e "$BASELINE" --runs 2 --out "$OUT" -- "$BUILD/bench/bench_log" --case single \
        --sizes 64 --ops 100 --rounds 1
}

# baseline NAME STATUS FILE PATTERN RUNS
baseline()
{
    expect "${@:1:4}" "$BASELINE" --runs "$5" --timeout 5 --out "$OUT" -- "$TMP/bin/bench_log_fake"
}

test_success()
{
    fake_log bench_log_fake <<<'SEEN=4'
    baseline 'four of four brokers are a success' 0 out '^verdict: success (2 of 2' 2
    fake_log bench_log_fake <<<'SEEN=$((4 - N))'
    baseline 'three of four are none' 1 out '^run 2: 3 of 4 brokers seen$' 2
    has 'one run is enough' '^verdict: failure (1 of 2 '
    fake bench_log_fake <<<'echo "{\"gb_per_s\":1}"'
    baseline 'a bench that does not tell is none' 1 out 'does not tell which brokers' 1
    fake_log bench_log_fake <<'EOT'
case $N in
0) echo 'the, reason' >&2; exit 7 ;;
1) exec sleep 30 ;;
2) kill -SEGV $$ ;;
3) echo nothing; exit ;;
esac
EOT
    baseline 'what went wrong is told' 1 out '^run 1: exit status 7: the, reason$' 5
    has 'a run that hangs is ended' '^run 2: still running after 5 s'
    has 'a signal has its name' '^run 3: killed by SIGSEGV'
    has 'no result is told' '^run 4: it printed no line with a JSON object'
    has 'the one that went well counts' '^verdict: failure (1 of 5 '
    has 'what it printed before the end is there' 'the, reason' "$OUT/run_1.err"
    fake_log bench_log_fake <<<'V=(1 2 9) GB=${V[N]}'
    expect '--require is about the spread' 1 out 'unstable' "$BASELINE" --runs 3 --require \
        moderate --out "$OUT" -- "$TMP/bin/bench_log_fake"
    fake slow <<<"((N < 1)) || { echo \$\$ >'$TMP/slow.pid'; exec sleep 60; }
echo '{\"level\":5,\"brokers\":1,\"brokers_seen\":1,\"gb_per_s\":1}'"
    interrupted 'a signal in the second run' "$TMP/slow.pid" "$BASELINE" --runs 5 --out "$OUT" -- \
        "$TMP/bin/slow"
    has 'the run so far is described' '^verdict: failure (1 of 5 '
}

# ---- contention -----------------------------------------------------------------------------

# contention NAME STATUS FILE PATTERN RUNS
contention()
{
    expect "${@:1:4}" "$CONTENTION" --runs "$5" --timeout 60 --out "$OUT" -- \
        "$TMP/bin/bench_log_fake"
}

test_contention()
{
    TOTAL_MESSAGE_SIZE=1000000 expect 'contention in the real log' 0 out \
        '^verdict: with the mutex' "$CONTENTION" --runs 2 --clients 3 --out "$OUT"
    has 'by three clients, both forms' 'sessions both .*--threads 3 '
    same 'all forms are there' 'level 5 level 4 lock-free level 4 mutex' \
        "$(column form_name "$OUT/contention.csv")"
    same 'with all runs' '2 2 2' "$(column runs_count "$OUT/contention.csv")"
    units 'every column of contention.csv tells its unit' "$OUT/contention.csv"
    units 'every column of runs.csv tells its unit' "$OUT/runs.csv"
}

# verdict PATTERN MUTEX...: the verdict when the mutex was taken so often in each second.
verdict()
{
    fake_log bench_log_fake <<<"V=(${*:2}) MUTEX=\${V[N]}"
    contention "${*:2} a second: $1" 0 out "^verdict: with the mutex .* per second: $1$" $(($# - 1))
}

test_verdicts()
{
    verdict 'the lock-free form is not needed' 99.9
    verdict 'consider the lock-free form' 100
    verdict 'consider the lock-free form' 1000
    verdict 'use the lock-free form' 1000.1
    verdict 'consider the lock-free form' 5 500 50000
    same 'the table has medians, least and most' '0 7 500,0 7 5,0 7 50000' "$(
        for name in contention_per_s contention_min_per_s contention_max_per_s; do
            column $name "$OUT/contention.csv"
            echo
        done | paste -sd,)"
    same 'the reordered way is none of the forms' 3 "$(grep -c '^level' "$OUT/contention.csv")"
    same 'both counters are told' '3 3 3,2 2 2' "$(column contention_count "$OUT/contention.csv"),$(
        column claim_retries_count "$OUT/contention.csv")"
    fake bench_log_fake <<<'echo "{\"level\":5,\"contention_per_s\":0,\"gb_per_s\":1}"'
    contention 'a form that is missing is told' 1 out '^level 4 mutex *not measured$' 1
    has 'and there is no verdict then' '^verdict: none, the mutex was not measured$'
    fake bench_log_fake <<<'echo broken >&2; exit 7'
    contention 'a run that fails is told' 1 out '^run 1: exit status 7: broken' 1
    fake slow <<<"echo \$\$ >'$TMP/slow.pid'; exec sleep 60"
    rm -f "$TMP/slow.pid"
    interrupted 'a signal in the first run' "$TMP/slow.pid" "$CONTENTION" --runs 5 --out "$OUT" -- \
        "$TMP/bin/slow"
}

# refuses SCRIPT PATTERN ARGUMENT...
refuses()
{
    expect "${1##*/} refuses '${*:3}'" 2 err "$2" "$1" --out "$OUT" "${@:3}"
}

test_input()
{
    local script
    for script in "$BASELINE" "$CONTENTION"; do
        refuses "$script" 'not within' --runs 0
        refuses "$script" 'not a whole number' --runs 1.5
        refuses "$script" 'not within' --timeout 0
        refuses "$script" "unknown option '--bogus'" --bogus
        refuses "$script" 'no such program' -- "$TMP/absent"
        NUM_ITERATIONS=x refuses "$script" "NUM_ITERATIONS): 'x'"
        ACK=2 refuses "$script" "ACK: '2' is neither 0 (none) nor 1 (ordered)"
        MESSAGE_SIZE=1k refuses "$script" "MESSAGE_SIZE: '1k' is not a whole number"
        expect "${script##*/} --help tells the exit status" 0 out '^Exit status: 0 ' \
            "$script" --help
    done
    ORDER=3 refuses "$BASELINE" "ORDER: '3' is none of the levels 0, 4, 5"
    ORDER=5 refuses "$CONTENTION" 'ORDER=5: the levels are 4 and 5 here'
    refuses "$CONTENTION" 'clients (CLIENTS): 65 is not within 1..64' --clients 65
    CLIENTS=0 refuses "$CONTENTION" 'clients (CLIENTS): 0 is not within'
}

self_tests "$BASELINE"
self_tests "$CONTENTION"
test_baseline
test_success
test_contention
test_verdicts
test_input
finish
