#!/usr/bin/env bash
# measure_profile.sh - tools/profile_hot_paths.sh: on canned samples, with a perf made up for the
# test (counters or none, a command that fails), without perf, and with the real one.
set -u
. "$(dirname "$0")/lib_measuring.sh"

PROFILE=tools/profile_hot_paths.sh
OUT=$TMP/profile
SAMPLES=$TMP/samples.txt
need "$SO" "$BUILD/bench/bench_mid_mt_gap"

# sample WEIGHT FRAME...: one sample as perf script prints it, innermost frame first.
sample()
{
    printf 'bench mid 77/78 09:41.250:     %d cycles:u: \n' "$1"
    shift
    printf '\t    %s\n' "$@"
    echo
}

# from NAME STATUS FILE PATTERN: a report of the canned samples.
from()
{
    expect "$@" "$PROFILE" --from "$SAMPLES" --out "$OUT"
}

# ---- canned samples ----------------------------------------------------------------------

test_verdicts()
{
    {
        sample 2000 '4010 a+0x10 (/usr/bin/x)' '4000 main (/usr/bin/x)'
        sample 2001 '4020 b+0x1f (/usr/bin/x)' '4000 main (/usr/bin/x)'
        sample 500 '4030 c (/usr/bin/x)' '4000 main (/usr/bin/x)'
        sample 501 '4040 d (/usr/bin/x)' '4000 main (/usr/bin/x)'
        sample 4998 '4050 e (/usr/bin/x)' '4010 a+0x18 (/usr/bin/x)' '4000 main (/usr/bin/x)'
    } >"$SAMPLES"
    from 'samples from a file' 0 out '^5 samples; few'
    has '20 % is a hot spot' '20.00 .* hot spot  a (x)'
    has 'above 20 % is a target' '20.01 .* target    b (x)'
    has '5 % is no hot spot' '5.00 [ 0-9.]*  *c (x)'
    has 'above 5 % is one' '5.01 .* hot spot  d (x)'
    has 'a caller has what it calls' '^a,x,20.00,[0-9.]*,69.98,1,hot spot' "$OUT/hot_spots.csv"
    units 'every column tells its unit' "$OUT/hot_spots.csv"
    same 'the report is kept' "$(grep -v '^written' "$TMP/out")" "$(cat "$OUT/report.txt")"
}

test_names()
{
    {
        echo '# perf script of another machine'
        sample 10 'f1 std::map<int, char>::find(int const&)+0x1 (/opt/a b/lib x.so.1)' \
            'f0 [unknown] (/opt/libz.so)' 'ff [unknown] ([unknown])'
        sample 10 'ffffffff81 do_syscall_64 ([kernel.kallsyms])' '11 f;g&h (inlined)'
        sample 20 '31 gone (/tmp/old (deleted))'
    } >"$SAMPLES"
    from 'names of all kinds' 0 "$OUT/hot_spots.csv" '^gone,old,50.00,'
    has 'a comma is quoted' '"std::map<int, char>::find(int const&)",lib x.so.1,25.00,' \
        "$OUT/hot_spots.csv"
    has 'outer frames that nobody knows are dropped' \
        $'^10\tbench mid@command\t\\[unknown\\]@libz.so\tstd::map' "$OUT/folded.txt"
    has 'in the picture they are XML' \
        'std::map&lt;int, char&gt;::find(int const&amp;) (lib x.so.1): 25.00 %' "$OUT/flame.svg"
    has 'an inlined function stands below its kernel' $'f;g&h@?\tdo_syscall_64@\\[kernel' \
        "$OUT/folded.txt"
    printf 'x 12 83.5: cycles: \n\t31 one (/x)\n\nx 12 84.5: 3 cycles: \n\t32 three (/x)\n' \
        >"$SAMPLES"
    from 'a sample without a weight counts once' 0 "$OUT/hot_spots.csv" '^one,x,25.00,'
}

# boxes PATTERN: x and width of the boxes whose titles match.
boxes()
{
    grep "<title>$1 " "$OUT/flame.svg" |
        sed 's/.*<rect x="\([0-9.]*\)" y="[0-9]*" width="\([0-9.]*\)".*/\1 \2/' | tr '\n' ' '
}

test_picture()
{
    {
        sample 25 '1 left (/x)' '2 main (/x)'
        sample 25 '1 right (/x)' '2 main (/x)'
        sample 25 '1 left (/x)' '2 main (/x)'
        sample 25 '2 main (/x)'
        sample 25 '1 left-over (/x)' '2 main (/x)'
    } >"$SAMPLES"
    from 'the flame graph is drawn' 0 "$OUT/flame.svg" '<title>main (x): 100.00 %</title>'
    same 'the outermost box is as wide as the picture' '10.00 1180.00 ' "$(boxes main)"
    same 'equal frames are one box, of two fifths' '482.00 472.00 ' "$(boxes left)"
    same 'others stand beside it, behind the caller alone' '246.00 236.00 954.00 236.00 ' \
        "$(boxes left-over)$(boxes right)"
    same 'every box is closed' "$(grep -c '<g>' "$OUT/flame.svg")" \
        "$(grep -c '</g>$' "$OUT/flame.svg")"
    same 'it is one document' '<?xml </svg>' \
        "$(head -c 6 "$OUT/flame.svg")$(tail -n 1 "$OUT/flame.svg")"
    if command -v xmllint >/dev/null; then
        expect 'and well-formed' 0 "$OUT/flame.svg" '</svg>' xmllint --noout "$OUT/flame.svg"
    fi
    : >"$SAMPLES"
    from 'no samples is a failure' 1 out 'no samples: the command ended too soon'
}

# ---- a perf made up -----------------------------------------------------------------------

# fake_perf EVENTS [forbidden|anything]: it can count these events; `record` runs the command
# behind --: never, for any event, or for those that it can count and cpu-clock.
fake_perf()
{
    fake perf <<EOT
counted='$1' out='' event=''
while [[ \$# -gt 0 && \$1 != -- ]]; do
    [[ \$1 != -o ]] || out=\$2
    [[ \$1 != -e ]] || event=\$2
    [[ \$1 != record && \$1 != stat && \$1 != script ]] || what=\$1
    shift
done
if [[ \$what == stat ]]; then
    : >"\$out"
    for e in \${event//,/ }; do
        v='<not supported>'
        [[ \$counted != *"\$e="* ]] || v=\${counted#*"\$e="} v=\${v%% *}
        echo "\$v,,\$e,1000,100.00,," >>"\$out"
    done
    exit 0
elif [[ \$what == record ]]; then
    [[ '${2:-}' != forbidden ]] || { echo 'Access limited by the kernel' >&2; exit 255; }
    [[ -n "${2:-}\$counted" || \$event == cpu-clock* ]] || { echo "no \$event" >&2; exit 255; }
    echo data >"\$out"
    shift
    trap 'kill \$!; wait; exit 143' TERM
    "\$@" &
    wait \$!
else
    printf 'b 1 7 cycles: \n\t10 work (/b)\n\n'
fi
EOT
}

# with_fake NAME STATUS FILE PATTERN COMMAND...: the profile of a command by the made-up perf.
with_fake()
{
    PATH=$TMP/bin:$PATH expect "${@:1:4}" "$PROFILE" --duration 5 --so none --out "$OUT" -- "${@:5}"
}

test_counters()
{
    fake_perf 'cycles=100 branches=1000 branch-misses=50 LLC-loads=800 LLC-load-misses=100 '
    with_fake 'LLC misses above 10 % are told' 0 "$OUT/report.txt" \
        'cache misses of loads: 12.50 % (100 of 800): above 10 %' true
    has 'branch misses of 5 % are not above it' 'branch misses of branches: 5.00 % (50 of 1000)$'
    units 'the counts have units' "$OUT/counters.csv"
    fake_perf 'cycles=100 branches=1000 branch-misses=51 '
    with_fake 'branch misses of 5.1 % are' 0 out 'branches: 5.10 % (51 of 1000): above 5 %' true
    has 'what is not counted is told' 'cache misses of loads: not counted on this machine'
    fake_perf ''
    with_fake 'a machine without counters is told in words' 0 out \
        'shows no counter of processor cycles' true
    has 'and what that means for samples' "follow the kernel's clock (cpu-clock)"
    has 'and for misses' 'No cache and no branch counters here'
    has 'the profile is made all the same' '100.00 .* target    work (b)'
    fake_perf '' anything
    with_fake 'a counter that is there by name only is none' 0 out \
        'shows no counter of processor cycles' true
}

test_failing()
{
    fake_perf ''
    with_fake 'a command that fails' 1 out 'did not end well: exit status 7: the reason' \
        bash -c 'echo the reason >&2; exit 7'
    has 'its profile is kept' 'target    work (b)'
    with_fake 'a command that is killed' 1 out 'killed by SIGSEGV' bash -c 'kill -SEGV $$'
    expect 'a command that goes on is ended in time' 0 out 'target    work (b)' \
        env PATH="$TMP/bin:$PATH" "$PROFILE" --duration 1 --so none --out "$OUT" -- sleep 60
    fake_perf '' forbidden
    with_fake 'a machine that forbids samples' 2 err 'may not sample here: Access limited' true
    has 'says what would allow them' 'perf_event_paranoid is' err
    path_without perf
    expect 'without perf the package is named' 2 err 'missing: install the package linux-perf' \
        env PATH="$BARE_PATH" "$PROFILE" --out "$OUT"
    expect 'samples from elsewhere need no perf' 1 out 'no samples' env PATH="$BARE_PATH" \
        "$PROFILE" --out "$OUT" --from "$SAMPLES"
}

test_interruption()
{
    fake_perf ''
    interrupted 'a signal while it records' "$TMP/pid" env PATH="$TMP/bin:$PATH" "$PROFILE" \
        --duration 60 --so none --out "$OUT" -- \
        bash -c "echo \$\$ >'$TMP/pid'; exec sleep 60"
    has 'what was recorded is reported' 'target    work (b)'
}

# ---- the real one ---------------------------------------------------------------------------

# sampled NAME: a profile of at least 100 samples, for as long as that takes: of a few, where the
# processors are busy, a function may well have none.
sampled()
{
    local seconds count
    for seconds in 1 4 16 64; do
        PROFILE_DURATION=$seconds run "$PROFILE" --out "$OUT"
        count=$(sed -n 's/^\([0-9]*\) samples.*/\1/p' "$TMP/out")
        ((STATUS == 0 && ${count:-0} < 100)) || break
    done
    if ((STATUS == 0 && ${count:-0} >= 100)); then
        ok "$1"
    else
        bad "$1 (exit $STATUS, ${count:-no} samples)" "$TMP/out" "$TMP/err"
    fi
}

test_real()
{
    local name
    if ! perf record -q -e cpu-clock -o "$TMP/probe" -- true >/dev/null 2>"$TMP/err" &&
        ! perf record -q -e cpu-clock:u -o "$TMP/probe" -- true >/dev/null 2>"$TMP/err"; then
        skip 'a profile of the gap bench' "perf may not sample here: $(head -n 1 "$TMP/err")"
        return
    fi
    sampled 'a profile of the gap bench'
    for name in malloc free; do
        has "$name of tidepool is found" "^$name,libtidepool.so,[0-9.]*," "$OUT/hot_spots.csv"
    done
    has 'and who calls it' $'@bench_mid_mt_gap\tfree@libtidepool.so$' "$OUT/folded.txt"
    ORDER=5 sampled 'with a setting of the log, of its bench'
    has 'which reads what it wrote' '^log_sum,bench_log,[0-9.]*,' "$OUT/hot_spots.csv"
}

# refuses PATTERN ARGUMENT...
refuses()
{
    expect "refuses '${*:2}'" 2 err "$1" "$PROFILE" --out "$OUT" "${@:2}"
}

test_input()
{
    refuses 'not a whole number' --duration 1.5
    refuses 'not within' --frequency 0
    refuses "'lbr' is none of" --stacks lbr
    refuses "unknown option '--bogus'" --bogus
    refuses 'nothing stands behind' --
    refuses 'no such file' --from "$TMP/absent"
    refuses 'leave out the command' --from "$SAMPLES" -- true
    refuses 'does not end by itself' --duration 0
    refuses 'no such program' -- "$TMP/absent"
    PROFILE_DURATION=soon refuses "PROFILE_DURATION): 'soon'"
    ORDER=5 refuses 'ORDER=5 is for benches of the log' -- true
    expect '--help tells the exit status' 0 out '^Exit status: 0 profiled' "$PROFILE" --help
}

self_tests "$PROFILE"
test_verdicts
test_names
test_picture
test_counters
test_failing
test_interruption
test_real
test_input
finish
