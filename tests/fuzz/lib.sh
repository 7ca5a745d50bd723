# shellcheck shell=bash disable=SC2034
# lib.sh - for scripts that run the fuzz harnesses; they read lib_prog.sh first.
#
# HARNESSES are those of tests/fuzz/fuzz_*.c. What fuzzing finds is kept under $BUILD/fuzz:
# corpus/NAME grows from run to run, NAME-crash-* are inputs that ended a harness.

HARNESSES=(api option peek topo resp hostile)
CORPUS=tests/fuzz/corpus
KEPT=$BUILD/fuzz
FUZZERS=$BUILD/tests/fuzz

# What is freed is soon forgotten: the harnesses are about our own memory, not libc's.
export ASAN_OPTIONS=detect_leaks=0:abort_on_error=1:allocator_may_return_null=1
ASAN_OPTIONS+=:quarantine_size_mb=8
export UBSAN_OPTIONS=print_stacktrace=1:halt_on_error=1

# The same addresses each time, where that is allowed.
STEADY=()
setarch "$(uname -m)" -R true 2>/dev/null && STEADY=(setarch "$(uname -m)" -R)

# replay NAME PLANT OPTIONS FILE...: inputs through the harness, its words in $TMP/out and
# $TMP/err.
replay()
{
    bare env FUZZ_PLANT="$2" TIDEPOOL_OPTIONS="$3" ${STEADY+"${STEADY[@]}"} \
        "$FUZZERS/replay_$1" "${@:4}"
}

# The file where executions of this build of fuzz_hostile are counted, and how many there are.
hostile_counts()
{
    printf '%s/hostile-%s.counts' "$KEPT" "$(sha256sum <"$FUZZERS/fuzz_hostile" | cut -c 1-16)"
}

hostile_done()
{
    local file
    file=$(hostile_counts)
    if [[ -e $file ]]; then
        awk -F '[= ]' '{ all += $14 + $16 } END { printf "%d", all }' "$file"
    else
        echo 0
    fi
}

# fuzz NAME SECONDS SEED OPTIONS LOG [FLAG...]: fuzzes from the corpus and from what earlier runs
# kept. The fuzzer's words go to the file LOG; the flags are its own.
fuzz()
{
    local -a more=(-max_len=1100 -timeout=120)
    [[ $1 != hostile ]] || more=(-max_len=230 -timeout=60)
    local counts=''
    [[ $1 != hostile ]] || counts=$(hostile_counts)
    [[ ! -e tests/fuzz/fuzz_$1.dict ]] ||
        more=(-max_len=2600 -timeout=120 -dict="tests/fuzz/fuzz_$1.dict")
    mkdir -p "$KEPT/corpus/$1"
    {
        env TIDEPOOL_OPTIONS="$4" ${counts:+FUZZ_COUNTS="$counts"} \
            ${STEADY+"${STEADY[@]}"} "$FUZZERS/fuzz_$1" \
            -max_total_time="$2" -seed="$3" -len_control=20 -print_final_stats=1 \
            -artifact_prefix="$KEPT/$1-" "${more[@]}" "${@:6}" "$KEPT/corpus/$1" "$CORPUS/$1" \
            </dev/null >"$5" 2>&1
    } 2>/dev/null
}

# fuzz_verdict NAME STATUS LOG TITLE [OPTIONS]: what came of a run of the fuzzer.
fuzz_verdict()
{
    local log=$3 executions before after input
    executions=$(sed -n 's/^stat::number_of_executed_units: *//p' "$log")
    before=$(sed -nE 's/^#[0-9]+[[:space:]]+INITED cov: ([0-9]+) .*/\1/p' "$log")
    after=$(sed -nE 's/^#[0-9]+[[:space:]]+DONE +cov: ([0-9]+) .*/\1/p' "$log")
    if (($2 == 0)) && ((${executions:-0} > 0)); then
        ok "$4 ($executions executions, coverage $before to $after)"
        return
    fi
    input=$(sed -nE 's/.*Test unit written to (.*)/\1/p' "$log" | tail -n 1)
    grep -aE '^fuzz: |ERROR:|runtime error|^ +#[0-9]+ .*/(core|tests)/' "$log" |
        head -n 10 >"$log.found"
    [[ -n $input ]] && printf 'once more: %sFUZZ_TRACE=1 %s %s\n' "${5:+TIDEPOOL_OPTIONS=$5 }" \
        "$FUZZERS/replay_$1" "$input" >>"$log.found"
    bad "$4 (exit $2; ${input:-no input was kept}; $log)" "$log.found"
}

# fuzz_shrink NAME: of many kept inputs only those stay that add to the coverage.
fuzz_shrink()
{
    local -a kept=("$KEPT/corpus/$1"/*)
    ((${#kept[@]} > 3000)) || return
    rm -rf "$KEPT/merged"
    mkdir -p "$KEPT/merged"
    "$FUZZERS/fuzz_$1" -merge=1 "$KEPT/merged" "$KEPT/corpus/$1" </dev/null \
        >"$KEPT/merge.log" 2>&1 &&
        rm -rf "$KEPT/corpus/$1" && mv "$KEPT/merged" "$KEPT/corpus/$1"
}
