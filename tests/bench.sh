#!/usr/bin/env bash
# tests/bench.sh: the measuring tools themselves. bench_mid_mt_gap: flags, bad input, repeatable
# draws, the tier mix. bench/compare: results, and what it says when an allocator fails.
# demo_watch: no process is missed. BUILD names the build directory (default: build).
set -u
export LC_ALL=C
unset LD_PRELOAD TIDEPOOL_OPTIONS

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
build=$(realpath "${BUILD:-$root/build}")
gap=$build/bench/bench_mid_mt_gap
compare=$root/bench/compare
library=$build/libtidepool.so
work=$(mktemp -d) || exit 1
trap 'rm -rf "$work"' EXIT
failures=0

ok() { printf 'ok - %s\n' "$1"; }
skip() { printf 'skip - %s: %s\n' "$1" "$2"; }
not_ok()
{
    printf 'not ok - %s\n' "$1"
    failures=$((failures + 1))
    sed 's/^/#   /' "$work/out" "$work/err" 2>/dev/null | tail -n 20
}

# Runs a command with its output in $work/out and $work/err, its status in $status.
run()
{
    "$@" >"$work/out" 2>"$work/err"
    status=$?
}

# is NAME CONDITION...: the test command says whether the name holds.
is()
{
    local name=$1
    shift
    if [ "$@" ]; then ok "$name"; else not_ok "$name"; fi
}

# says NAME FILE PATTERN: the last run ended with $want and FILE has a matching line.
says()
{
    if [ "$status" -eq "$want" ] && grep -q -e "$3" "$work/$2"; then
        ok "$1"
    else
        not_ok "$1 (status $status, expected $want and '$3')"
    fi
}

# The value of a key in a JSON line on standard input.
value() { sed -n "s/.*\"$1\":\"\\{0,1\\}\\([^,\"}]*\\).*/\\1/p"; }

# A shared object made of the C text on standard input.
make_so() { "${CC:-gcc}" -w -O1 -shared -fPIC -x c -o "$work/$1.so" -; }

# ---- bench_mid_mt_gap: input ------------------------------------------------------------

# refuses PATTERN ARGUMENT...: exit 2, the reason on stderr, nothing on stdout.
refuses()
{
    local pattern=$1
    shift
    run "$gap" "$@"
    if [ $status -eq 2 ] && grep -q -e "$pattern" "$work/err" && [ ! -s "$work/out" ]; then
        ok "gap refuses '$*'"
    else
        not_ok "gap refuses '$*' (status $status)"
    fi
}

test_bad_input()
{
    refuses unrecognized --bogus
    refuses "is no option" stray
    refuses "requires an argument" --threads
    refuses "not within" --threads 0
    refuses "not a number" --threads -1
    refuses "not a number" --ops 12x
    refuses "not a number" --ops 1.5
    refuses "not a number" --ops ''
    refuses "not within" --ops 99999999999999999999999999
    refuses "not within" --ops 99999999999G
    refuses "not within" --slots 0
    refuses "empty list" --sizes ''
    refuses "empty entry" --sizes 1024,,2048
    refuses "empty entry" --sizes 1024,
    refuses "not a number" --sizes 1024,4KB
    refuses "not within" --sizes 7
    refuses "not within" --sizes 5G
    refuses "not first, all or none" --touch some
    refuses "not a number" --seed abc
    refuses "add up to 50 %" --expect-mix tiny=50
    refuses "no tier named 'huge'" --expect-mix huge=100
    refuses "is not TIER=PERCENT" --expect-mix mid
    refuses "is not TIER=PERCENT" --expect-mix mid=1e9
    want=0
    run "$gap" --help
    says "gap --help names every flag" out "--expect-mix MIX"
}

# ---- bench_mid_mt_gap: the load ---------------------------------------------------------

# checksum ARGUMENT...: of a short run.
checksum() { "$gap" --ops 20000 --json --quiet "$@" 2>"$work/err" | value checksum; }

test_load()
{
    local first list
    run "$gap" --ops 30k --threads 3 --slots 64 --seed 9 --sizes 16,1K,40000 --json --quiet
    want=0
    says "gap writes one JSON line" out '^{"bench":"bench_mid_mt_gap","threads":3,"slots":64,'
    is "gap counts the operations of all threads" "$(value ops <"$work/out")" = 90000
    is "gap writes nothing else with --quiet" "$(wc -l <"$work/out")" -eq 1
    run "$gap" --ops 10k --csv --quiet
    is "gap's CSV has as many values as names" "$(awk -F, '{ print NF }' "$work/out" | uniq -c |
        awk '{ print $1 "x" $2 }')" = 2x18
    first=$(checksum)
    is "the same seed gives the same draws" "$(checksum)" = "$first"
    is "another seed gives other draws" "$(checksum --seed 2)" != "$first"
    is "4K is 4096" "$(checksum --sizes 4K,1k)" = "$(checksum --sizes 4096,1024)"
    is "two threads draw differently" "$(checksum --threads 2)" != "$first"
    list=$(seq -s, 8 8 40000)
    is "a list of 5000 sizes is taken" -n "$(checksum --sizes "$list")"
    run "$gap" --ops 20k --touch all
    says "gap --touch all runs" out 'every byte is written'
    run "$gap" --ops 20k --touch none
    says "gap --touch none runs" out 'touched *nothing'
}

# ---- bench_mid_mt_gap: damage and lies --------------------------------------------------

test_bad_allocators()
{
    make_so same <<'C'
#include <stddef.h>
void *__libc_malloc(size_t);
void __libc_free(void *);
static char same[2048] __attribute__((aligned(16)));
void *malloc(size_t size) { return size == 2048 ? same : __libc_malloc(size); }
void free(void *block) { if (block != same) __libc_free(block); }
C
    want=1
    run env LD_PRELOAD="$work/same.so" "$gap" --ops 5k --sizes 2048
    says "one block handed out twice is noticed" err 'did not hold what was written'
    make_so lost <<'C'
int tide_tier_of(const void *block) { return (unsigned long)block >> 5 & 1 ? 2 : 0; }
C
    run env LD_PRELOAD="$work/lost.so" "$gap" --ops 5k --sizes 24
    says "pointers in no tier are noticed" err 'returned pointers are in no tier'
    make_so none <<'C'
#include <errno.h>
#include <stddef.h>
void *__libc_malloc(size_t);
void *malloc(size_t size) { return size == 2048 ? (errno = ENOMEM, NULL) : __libc_malloc(size); }
C
    run env LD_PRELOAD="$work/none.so" "$gap" --ops 5k
    says "a malloc that fails is told" err 'malloc failed: Cannot allocate memory'
}

# ---- bench_mid_mt_gap: the tier mix -----------------------------------------------------

test_mix()
{
    want=0
    run "$gap" --ops 5k
    says "libc's malloc is not tidepool" out 'tier mix *not tidepool'
    want=1
    run "$gap" --ops 5k --expect-mix tiny=25,mid=75
    says "a mix cannot be claimed without tidepool" err 'this is not tidepool'
    if [ ! -e "$library" ]; then
        skip "the tier mix under tidepool" "no $library"
        return
    fi
    want=0
    run env LD_PRELOAD="$library" "$gap" --ops 200k --expect-mix tiny=25,mid=75
    says "1, 2, 4, 8 KiB are a quarter Tiny" out 'served by mid .* (7[45]\.'
    run env LD_PRELOAD="$library" "$gap" --ops 100k --threads 2 --expect-mix tiny=25,mid=75
    says "so are they with two threads" out 'tidepool'
    run env LD_PRELOAD="$library" "$gap" --ops 20k --sizes 64K,40000 --expect-mix large=100
    says "above 32 KiB all is Large" out 'served by large *20000 '
    run env LD_PRELOAD="$library" TIDEPOOL_OPTIONS=tiny_max=1023 "$gap" --ops 200k --json \
        --expect-mix mid=100,tolerance=0
    says "with tiny_max=1023 all is Mid" out '"tier_ops":{"none":0,"tiny":0,"mid":200000,"large":0}'
    want=1
    run env LD_PRELOAD="$library" TIDEPOOL_OPTIONS=tiny_max=1023 "$gap" --ops 200k \
        --expect-mix tiny=25,mid=75
    says "with tiny_max=1023 the usual mix is disproved" err 'mid served 100.00 %, claimed were 75'
    run env LD_PRELOAD="$library" "$gap" --ops 200k --expect-mix mid=100
    says "a wrong claim fails" err 'tiny served 2[45].* claimed were 0 %'
    run env LD_PRELOAD="$library" "$gap" --ops 200k --expect-mix tiny=28,mid=72
    says "three points are out of tolerance" err 'tolerance 1'
    want=0
    run env LD_PRELOAD="$library" "$gap" --ops 200k --expect-mix tiny=28,mid=72,tolerance=4
    says "unless a wider tolerance is given" out 'served by tiny'
}

# ---- bench/compare ----------------------------------------------------------------------

# A bench whose behaviour is text on standard input: sh, with the count of its runs in $n.
make_bench()
{
    {
        # shellcheck disable=SC2016
        printf '#!/bin/sh\nn=$(($(cat "%s" 2>/dev/null) + 1))\necho $n >"%s"\n' \
            "$work/$1.runs" "$work/$1.runs"
        cat
    } >"$work/$1"
    chmod +x "$work/$1"
}

# shellcheck disable=SC2016
result_line='printf "{\"mops_per_s\":$m,\"mops_per_cpu_s\":$m,\"wall_s\":1,\"cpu_s\":1,"
printf "\"peak_rss_kib\":1000,\"final_rss_kib\":1,\"invol_switches\":0,\"checksum\":\"$c\"}\n"'

test_compare()
{
    printf 'this is no shared object\n' >"$work/broken.so"
    make_so idle <<<'int idle_allocator;'
    want=0
    run "$compare" --rounds 2 --allocs glibc --so "$work/idle.so" --csv "$work/c.csv" \
        --json "$work/c.json" -- "$gap" --ops 20k
    says "compare prints a row for each allocator" out '^idle.so .*[0-9]'
    is "its CSV has a row per run" "$(wc -l <"$work/c.csv")" -eq 5
    is "its rounds begin with different allocators" \
        "$(awk -F, 'NR > 1 { printf "%s ", $2 }' "$work/c.csv")" = "glibc idle.so idle.so glibc "
    is "its JSON has both" "$(grep -o '"runs":2' "$work/c.json" | wc -l)" -eq 2
    want=1
    run "$compare" --rounds 2 --allocs glibc --so "$work/broken.so" --csv "$work/c.csv" -- \
        "$gap" --ops 20k
    says "a shared object that does not load is an error" err 'broken.so: does not load'
    says "the others are measured all the same" out '^glibc .*[0-9]'
    is "only their rows are in the CSV" "$(grep -c '^[12],glibc,' "$work/c.csv")" -eq 2
    run "$compare" --rounds 1 --allocs glibc --expect-mix mid=100 --so "$work/idle.so" -- "$gap" \
        --ops 20k
    want=0
    says "a mix is not asked of what has no tiers" out '^glibc'
}

test_compare_failures()
{
    # shellcheck disable=SC2016
    make_bench crash <<<'[ -z "$LD_PRELOAD" ] || [ $n -lt 3 ] || kill -SEGV $$
m=$n c=1; '"$result_line"
    want=1
    run "$compare" --rounds 3 --allocs glibc --so "$work/idle.so" -- "$work/crash"
    says "a crash in the middle is told" err 'idle.so: round 2, killed by SIGSEGV'
    says "what ran before is kept" out '^idle.so '
    is "the other one ran all its rounds" "$(grep -c . "$work/crash.runs")" -eq 1
    # shellcheck disable=SC2016
    make_bench median <<<'m=$(echo 0 9 1 5 | cut -d" " -f$((n + 1))) c=1; '"$result_line"
    want=0
    run "$compare" --rounds 3 --allocs glibc -- "$work/median"
    says "the median of 9, 1, 5 is 5, its spread 1..9" out '^glibc *5\.00 *1\.0\.\.9\.0 '
    # shellcheck disable=SC2016
    make_bench other <<<'m=1 c=$n; '"$result_line"
    want=1
    run "$compare" --rounds 2 --allocs glibc -- "$work/other"
    says "different work is noticed" err 'the checksums differ'
    make_bench silent <<<'echo no JSON here'
    run "$compare" --rounds 1 --allocs glibc -- "$work/silent"
    says "a bench without a JSON line is an error" err 'no complete JSON line'
    make_bench slow <<<'sleep 20'
    run "$compare" --rounds 1 --timeout 1 --allocs glibc -- "$work/slow"
    says "a run that hangs is ended" err 'still running after 1 s'
    make_bench wrong <<<'echo the reason >&2; exit 7'
    run "$compare" --rounds 1 --allocs glibc -- "$work/wrong"
    says "a failing bench is told with its words" err 'exit status 7: the reason'
}

test_compare_input()
{
    want=2
    run "$compare" --rounds 0 -- "$gap"
    says "compare refuses zero rounds" err "0 is not within"
    run "$compare" --rounds
    says "compare refuses a flag without value" err '\-\-rounds needs a value'
    run "$compare" --bogus -- "$gap"
    says "compare refuses an unknown flag" err "unknown option '--bogus'"
    run "$compare" --allocs glibc
    says "compare refuses to run nothing" err 'no bench given'
    run "$compare" --allocs glibc -- "$work/absent"
    says "compare refuses an absent bench" err 'no such program'
    run "$compare" --allocs glibc,hoard -- "$gap"
    says "compare refuses an unknown allocator" err "'hoard' is none of"
    run "$compare" --rounds 3 -- "$gap" --threads 0
    says "compare refuses what the bench refuses" err 'refuses its arguments: .*threads: 0 is not'
    run "$compare" --rounds 3 -- "$gap" --bogus
    says "and tells why" err "refuses its arguments: .*unrecognized option '--bogus'"
    is "it says so once" "$(wc -l <"$work/err")" -eq 2
    run "$compare" --csv "$work" -- "$gap"
    says "compare refuses a file that cannot be written" err "cannot write $work"
    is "in one line" "$(wc -l <"$work/err")" -eq 1
    run "$compare" --so "$work/absent.so" --allocs glibc -- "$gap"
    says "compare refuses an absent shared object" err "cannot read $work/absent.so"
    run env COMPARE_LIBDIRS="$work" BUILD="$work" "$compare" --allocs glibc,jemalloc -- "$gap"
    says "an absent peer is named by its package" err 'install the package libjemalloc2'
    want=0
    cp "$work/idle.so" "$work/libtidepool.so"
    run env COMPARE_LIBDIRS="$work" BUILD="$work" "$compare" --rounds 1 -- "$gap" --ops 1k
    says "absent peers are not dropped silently" out 'not installed: tcmalloc (package libtcmalloc'
}

# ---- demo_watch -------------------------------------------------------------------------

test_watch()
{
    local log=$work/watch.log
    "${CC:-gcc}" -std=gnu17 -O1 -o "$work/watch" "$root/tools/demo_watch.c" ||
        not_ok "demo_watch builds"
    run "$work/watch" "$work/idle.so" "$log" true
    if [ $status -eq 120 ]; then
        skip "demo_watch" "tracing is not allowed on this machine"
        return
    fi
    run "$work/watch" "$work/idle.so" "$log" \
        sh -c "sleep 0.1 & LD_PRELOAD=$work/idle.so sleep 0; kill -9 \$\$"
    want=137
    says "demo_watch returns how the command ended" "${log##*/}" "no.*sh"
    is "it sees every process" "$(wc -l <"$log")" -eq 3
    is "it tells who has the library" "$(awk -F'\t' '$2 == "yes" { print $4 }' "$log")" = "sleep 0 "
}

[ -x "$gap" ] || { printf 'not ok - %s is not built\n' "$gap"; exit 1; }
test_bad_input
test_load
test_bad_allocators
test_mix
test_compare
test_compare_failures
test_compare_input
test_watch
[ $failures -eq 0 ]
