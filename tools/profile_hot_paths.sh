#!/usr/bin/env bash
# profile_hot_paths.sh - where a program spends its time: hot spots and a flame graph, by perf.
#
#   tools/profile_hot_paths.sh [OPTION]... [-- COMMAND [ARGUMENT]...]
#
#   --duration S    seconds to record (PROFILE_DURATION, default 10); the command is ended then;
#                   0: until it ends by itself
#   --so FILE       what is preloaded (default build/libtidepool.so); none: libc's malloc
#   --frequency N   samples a second and thread (default 499)
#   --stacks HOW    dwarf (default: from debug data), fp (frame pointers) or none
#   --from FILE     records nothing: reads what `perf script` printed, of another machine perhaps
#   --out DIR       where it writes (default build/measure/profile): report.txt, hot_spots.csv,
#                   flame.svg, samples.txt (perf script's), folded.txt, counters.csv
#   --self-test     checks the reading of samples and the drawing; needs no perf
#   --help          this text
#
# COMMAND is by default bench_mid_mt_gap of the build directory (BUILD, default build); with one of
# ORDER, ACK, MESSAGE_SIZE and TOTAL_MESSAGE_SIZE it is bench_log, for whose benches these are.
# Samples follow the processor's cycles where the machine shows them, else the kernel's clock. Where
# it has cache and branch counters a second run of the command counts with them.
#
# Verdicts: a function with more than 5 % of the time of its own is a hot spot, above 20 % a
# target; last-level cache misses above 10 % of the loads and branch misses above 5 % are told.
#
# Exit status: 0 profiled; 1 the command failed or gave no samples; 2 bad input, perf is missing
# or may not sample here. After an interruption (130, 143) what was recorded is reported.
set -u
. "$(dirname "${BASH_SOURCE[0]}")/lib_measure.sh"

DURATION=${PROFILE_DURATION:-10}
SO='' OUT='' FROM='' FREQUENCY=499 STACKS=dwarf
FAILED=0
NO_COUNTERS='No cache and no branch counters here: nothing can be said about cache misses and branch
misses.'

take()
{
    case $1 in
    --duration) DURATION=$2 ;;
    --so) SO=$2 ;;
    --frequency) FREQUENCY=$2 ;;
    --stacks) STACKS=$2 ;;
    --from) FROM=$2 ;;
    --out) OUT=$2 ;;
    esac
}

# Something that runs for longer than it is recorded.
default_command()
{
    WORDS=("$BUILD/bench/bench_mid_mt_gap" --ops 100G)
    if has_log_settings; then
        WORDS=("$BUILD/bench/bench_log" --case ancestor --rounds 99 --total 4G)
    fi
}

check_input()
{
    need_number "--duration (PROFILE_DURATION)" "$DURATION" 0 86400
    need_number --frequency "$FREQUENCY" 1 100000
    [[ $STACKS =~ ^(dwarf|fp|none)$ ]] || die "--stacks: '$STACKS' is none of dwarf, fp, none"
    OUT=${OUT:-$BUILD/measure/profile}
    if [[ -n $FROM ]]; then
        ((${#WORDS[@]} == 0)) || die '--from records nothing: leave out the command'
        [[ -f $FROM && -r $FROM ]] || die "$FROM: no such file, or it cannot be read"
    else
        command -v perf >/dev/null || die 'perf is missing: install the package linux-perf' \
            '(Ubuntu: linux-tools), or give samples from elsewhere with --from FILE'
        ((${#WORDS[@]} > 0)) || default_command
        [[ ${WORDS[0]} != "$BUILD/bench/bench_mid_mt_gap" || $DURATION -gt 0 ||
            ${#WORDS[@]} -gt 3 ]] || die '--duration 0: the default command does not end by itself'
        choose_bench "${WORDS[@]}"
        choose_library "$SO"
    fi
    mkdir -p "$OUT" || die "$OUT: cannot be made"
    REPORT=$OUT/report.txt
    : >"$REPORT" || die "$REPORT: cannot be written"
}

# To the screen and into the report.
tell()
{
    printf '%s\n' "$*" | tee -a "$REPORT"
}

# ---- recording ------------------------------------------------------------------------------

# can_sample EVENT: perf can record it, here and for this user.
can_sample()
{
    perf record -q -e "$1" -o "$WORK/probe" -- true >/dev/null 2>"$WORK/err"
}

# can_count EVENT: perf counts it, and not only by name.
can_count()
{
    perf stat -x, -e "$1" -o "$WORK/stat" -- true >/dev/null 2>&1 &&
        ! grep -qE '<not (supported|counted)>' "$WORK/stat" &&
        grep -q -F -e "$1" "$WORK/stat"
}

# Sets EVENT, and tells what the machine lacks.
choose_event()
{
    local event
    CYCLES=0
    if can_count cycles && can_sample cycles; then
        EVENT=cycles
        CYCLES=1
        return 0
    fi
    for event in cpu-clock cpu-clock:u task-clock:u; do
        if can_sample "$event"; then
            EVENT=$event
            tell "This machine shows no counter of processor cycles (a virtual machine, or the" \
                "kernel hides it)."
            tell "Samples follow the kernel's clock ($EVENT): right about where the time goes," \
                "silent about why."
            return 0
        fi
    done
    say "perf may not sample here: $(grep -v '^$' "$WORK/err" | head -n 1)"
    say "kernel.perf_event_paranoid is $(cat /proc/sys/kernel/perf_event_paranoid 2>/dev/null ||
        echo unknown); sampling a program of one's own needs 2 or less, or root"
    exit 2
}

# perf_run PERF-WORD...: one run of the command under perf; STATUS is the command's.
perf_run()
{
    local stop=()
    ((DURATION == 0)) || stop=(timeout -s TERM -k 5 "$DURATION")
    perf "$@" -- ${stop+"${stop[@]}"} env ${PRELOAD:+LD_PRELOAD="$PRELOAD"} "${BENCH[@]}" \
        ${LOG_FLAGS+"${LOG_FLAGS[@]}"} >"$WORK/out" 2>"$WORK/err" </dev/null &
    CHILD=$!
    reap
    if ((DURATION > 0 && STATUS == 124)); then STATUS=0; fi
}

record()
{
    local how=() words
    [[ $STACKS == none ]] || how=(--call-graph "$STACKS")
    [[ $STACKS != dwarf ]] || how[1]+=,4096
    say "recording ${BENCH[*]}$( ((DURATION == 0)) || echo " for $DURATION s")"
    perf_run record -q -e "$EVENT" -F "$FREQUENCY" ${how+"${how[@]}"} -o "$WORK/data"
    words=$(ending "$STATUS" 0 "$WORK/err")
    if [[ -n $words ]]; then
        FAILED=1
        tell "The command did not end well: $words"
    fi
    read_samples
}

# On a machine without the unwinder's help perf names what it can.
read_samples()
{
    if [[ ! -s $WORK/data ]]; then
        FAILED=1
        : >"$OUT/samples.txt"
        return 0
    fi
    perf script -i "$WORK/data" --no-inline -F comm,tid,period,event,ip,sym,dso \
        >"$OUT/samples.txt" 2>"$WORK/err" || say "perf script: $(tail -n 1 "$WORK/err")"
}

# ---- counters -------------------------------------------------------------------------------

# share NAME OF LIMIT WORDS: tells NAME as a share of OF, and whether it is above LIMIT percent.
share()
{
    awk -F, -v name="$1" -v of="$2" -v limit="$3" -v words="$4" '
        { sub(/:.*/, "", $3) }
        $3 == name { part = $1 }
        $3 == of { whole = $1 }
        END {
            if (part !~ /^[0-9]+$/ || whole !~ /^[0-9]+$/ || whole == 0)
                printf "%s: not counted on this machine\n", words
            else
                printf "%s: %.2f %% (%s of %s)%s\n", words, 100 * part / whole, part, whole, \
                    (100 * part / whole > limit ? ": above " limit " %" : "")
        }' "$OUT/counters.csv" | tee -a "$REPORT"
}

# Counts in a second run, so that counting does not disturb the samples.
count()
{
    local event events=()
    for event in cycles instructions branches branch-misses LLC-loads LLC-load-misses; do
        if can_count "$event"; then events+=("$event"); fi
    done
    if ((${#events[@]} == 0)); then
        tell "$NO_COUNTERS"
        return 0
    fi
    say 'counting in a second run'
    perf_run stat -x, -e "$(IFS=,; echo "${events[*]}")" -o "$WORK/stat"
    {
        echo 'value_count,unit_text,event_name'
        awk -F, '/^[0-9]/ { print $1 "," $2 "," $3 }' "$WORK/stat"
    } >"$OUT/counters.csv"
    share LLC-load-misses LLC-loads 10 'last-level cache misses of loads'
    share branch-misses branches 5 'branch misses of branches'
}

# ---- the report -----------------------------------------------------------------------------

# The table, the CSV and the picture out of samples.txt.
report()
{
    local title='flame graph' subtitle=$FROM status=0
    if [[ -z $FROM ]]; then
        title=${BENCH[*]}
        subtitle="$EVENT, ${PRELOAD:-libc malloc}"
    fi
    awk -f "$HOME_DIR/tools/measure/fold.awk" "$OUT/samples.txt" |
        sort -t $'\t' -k 2 >"$OUT/folded.txt"
    statistics hot -v form=text -v most=20 "$OUT/folded.txt" >"$WORK/hot" 2>&1 || status=$?
    tell "$(cat "$WORK/hot")"
    ((status == 0)) || return 1
    statistics hot -v form=csv "$OUT/folded.txt" >"$OUT/hot_spots.csv"
    awk -f "$HOME_DIR/tools/measure/flame.awk" -v title="${title//\\/\\\\}" \
        -v subtitle="${subtitle//\\/\\\\}" "$OUT/folded.txt" >"$OUT/flame.svg"
    echo "written to $OUT: report.txt hot_spots.csv flame.svg samples.txt folded.txt"
}

# on_signal STATUS: ends the recording, which perf then completes, and reports it.
on_signal()
{
    trap '' INT TERM
    say 'interrupted; what was recorded so far:'
    stop_child
    read_samples
    report || true
    exit "$1"
}

profile()
{
    choose_event
    trap_signals
    record
    report || exit 1
    trap - INT TERM
    if ((CYCLES == 0)); then
        tell "$NO_COUNTERS"
    elif ((FAILED == 0)); then
        count
    fi
    ((FAILED == 0))
}

# ---- self-test ------------------------------------------------------------------------------

# self NAME FILE WORDS: a line of the file has the words.
self()
{
    local trouble=
    grep -q -F -e "$3" "$2" || trouble="no '$3'"
    self_verdict "$1" "$trouble" "$2"
}

self_test()
{
    OUT=$WORK
    REPORT=$WORK/report.txt
    FROM=$WORK/samples.txt
    cat >"$FROM" <<'EOT'
prog 12/13 83.000099:     30 cycles:
	  401000 a<b>+0x10 (/usr/bin/prog)
	  401100 main (/usr/bin/prog)

prog 12 83.000199:     10 cycles:
	  402000 [unknown] (/usr/lib/libx.so)
	  401100 main (/usr/bin/prog)
EOT
    self_ends 'samples are reported' 0 'written to' report
    self 'the weight is before the event, not in the time stamp' "$WORK/folded.txt" \
        $'30\tprog@command\tmain@prog\ta<b>@prog'
    self 'three quarters of the time are a target' "$WORK/hot_spots.csv" 'a<b>,prog,75.00,'
    self 'a caller has all of it' "$WORK/flame.svg" 'main (prog): 100.00 %'
    self 'names are written as XML' "$WORK/flame.svg" 'a&lt;b&gt; (prog): 75.00 %'
}

# ------------------------------------------------------------------------------------------

parse_options '--duration --so --frequency --stacks --from --out --' "$@"
check_input
make_work
if [[ -n $FROM ]]; then
    [[ $FROM -ef $OUT/samples.txt ]] || cp "$FROM" "$OUT/samples.txt"
    report
else
    profile
fi
