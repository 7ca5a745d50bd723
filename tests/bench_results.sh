#!/usr/bin/env bash
# bench_results.sh - what the benches print: JSON, CSV and tables, the same draws for the same
# seed; and what they say of an allocator that is broken.
set -u
. "$(dirname "$0")/lib_bench.sh"

KEYS=(bench threads slots seed case touch ops ops_per_thread warmup_ops_per_thread sizes
    mops_per_s mops_per_cpu_s wall_s cpu_s peak_rss_kib final_rss_kib invol_switches checksum
    other_cpu_s tier_ops)

# A validator that takes everything would make all of this worthless.
test_validator()
{
    local line taken=''
    printf '%s\n' '{"a":1,"b":[1,[2,-3.5e+7]],"c":{"d":null,"e":"x\"y"},"f":[]}' '{}' >"$TMP/good"
    judge 'whole JSON lines are taken' json_lines "$TMP/good"
    while read -r line; do
        echo "$line" >"$TMP/line"
        json_lines "$TMP/line" >"$TMP/out" && taken+=" $line"
    done <<'LINES'
{"a":1,}
{"a":01}
{"a":nan}
{"a" 1}
{"a":1}}
{"a":[1,2}
{a:1}
{"a":.5}
{"a":1
[1]
{"a":"x}
{"a":1,"b"}
LINES
    same 'broken ones are not' '' "$taken"
    : >"$TMP/line"
    json_lines "$TMP/line"
    same 'nor is nothing at all' 1 $?
}

# one_form BENCH COUNT: JSON, CSV and the table of one bench, with as many results.
one_form()
{
    local name=$1 count=$2 key wrong='' args
    read -ra args <<<"$(small "$name")"
    bench "$name" "${args[@]}" --json --quiet || wrong+=" status"
    json_lines "$TMP/out" >"$TMP/err" || wrong+=" JSON:$(<"$TMP/err")"
    (($(wc -l <"$TMP/out") == count)) || wrong+=" $(wc -l <"$TMP/out")-lines"
    for key in "${KEYS[@]}"; do
        (($(grep -c "\"$key\":" "$TMP/out") == count)) || wrong+=" no-$key"
    done
    (($(values case "$TMP/out" | sort -u | wc -l) == count)) || wrong+=' equal-cases'
    ! values mops_per_s "$TMP/out" | grep -qvE '^[0-9.e+-]*[1-9][0-9.e+-]*$' || wrong+=' mops'
    bench "$name" "${args[@]}" --csv --quiet || wrong+=" CSV-status"
    [[ $(awk -F, '{ print NF }' "$TMP/out" | sort -u | wc -l) == 1 ]] || wrong+=' CSV-columns'
    (($(wc -l <"$TMP/out") == count + 1)) || wrong+=' CSV-rows'
    bench "$name" "${args[@]}" || wrong+=' table-status'
    grep -q "^$name.*:" "$TMP/out" && ! grep -q '^{' "$TMP/out" || wrong+=' table'
    [[ ! -s $TMP/err ]] || wrong+=' stderr'
    if [[ -z $wrong ]]; then
        ok "$name${PRELOAD:+ preloaded}: $count results as JSON, CSV and table"
    else
        bad "$name${PRELOAD:+ preloaded}:$wrong" "$TMP/out" "$TMP/err"
    fi
}

test_forms()
{
    local name bare served
    for name in "${BENCHES[@]}"; do
        read -r bare served <<<"$(results_of "$name")"
        PRELOAD='' one_form "$name" "$bare"
        [[ " ${ALLOCATING[*]} " != *" $name "* ]] || PRELOAD=$SO one_form "$name" "$served"
    done
}

# What a bench did: operations and checksums of all results.
work_of()
{
    bench "$@" --json --quiet
    values ops "$TMP/out"
    values checksum "$TMP/out"
}

test_draws()
{
    local name first again served other args
    for name in "${BENCHES[@]}"; do
        [[ $name == bench_start ]] && continue # starts a program: nothing is drawn
        read -ra args <<<"$(small "$name")"
        [[ $name == bench_header ]] && args+=(--case 'local-hot,remote-cold-far-idle')
        first=$(work_of "$name" "${args[@]}" --seed 7)
        again=$(work_of "$name" "${args[@]}" --seed 7)
        same "$name: the same seed, the same work" "$first" "$again"
        other=$(work_of "$name" "${args[@]}" --seed 8)
        judge "$name: another seed, other work" test "$first" != "$other"
        served=$(PRELOAD=$SO work_of "$name" "${args[@]}" --seed 7)
        same "$name: the same work under tidepool" "$first" "$served"
    done
}

# ops_of BENCH ARGUMENT...: of each result, on one line.
ops_of()
{
    bench "$@" --json --quiet
    values ops "$TMP/out" | paste -sd' '
}

test_flags()
{
    same 'ops and threads multiply' '1000 3000' "$(ops_of bench_tiny --ops 1k --threads 1,3)"
    same 'pairs have one source each' '1000 2000' \
        "$(ops_of bench_remote --case pair --ops 1k --threads 2,4)"
    same 'pairs apart, too' '1000 2000' \
        "$(ops_of bench_remote --case apart --ops 1k --threads 2,4)"
    same 'all have as many sources as threads' 4000 \
        "$(ops_of bench_remote --case all --ops 1k --threads 4 --slots 10)"
    same 'churn: threads times makers times blocks' 240 \
        "$(ops_of bench_churn --ops 10 --threads 3 --slots 8)"
    same 'several slots are several results' '500 500 500' \
        "$(ops_of bench_sets --ops 500 --slots 1,2,3)"
    bench bench_mid --ops 100 --threads 1,2 --slots 4,5 --case all --json --quiet
    same 'each has a name' "$(printf 'all threads=%s slots=%s\n' 1 4 1 5 2 4 2 5)" \
        "$(values case "$TMP/out")"
    bench bench_frag --bytes 1M --pause 0 --sizes 1K --other-sizes 2K --free 50 --json --quiet
    same 'frag fills as much as it is told' 1024 "$(values live_kib "$TMP/out")"
    bench bench_frag --slots 100 --ops 7 --free 100 --sizes 1K --pause 0 --json --quiet
    same 'frag: blocks and refills are bounded' "$((100 + 100 + 7 + 7))" \
        "$(values ops "$TMP/out")"
    bench bench_tiny --ops 100 --sizes 16-16,24 --json --quiet
    same 'a range of one size is that size' '"sizes":[16,24],' \
        "$(grep -o '"sizes":[^a-z]*,' "$TMP/out")"
    bench bench_mid --ops 100 --sizes 4K,8K-16K --case all --json --quiet
    same 'a range stands in the JSON with both ends' '"sizes":[4096,[8192,16384]],' \
        "$(grep -o '"sizes":[^a-z]*,' "$TMP/out")"
    bench bench_tiny --ops 100 --touch none
    judge 'touch none writes nothing' grep -q 'touched *nothing' "$TMP/out"
    bench bench_realloc --ops 100 --touch all --case small --slots 1
    judge 'touch all writes all' grep -q 'every byte is written' "$TMP/out"
}

# Memory over time: points in order of time, more of them the longer it takes, never too many.
test_series()
{
    local points
    bench bench_remote --case pair --ops 20k --json --quiet
    # shellcheck disable=SC2020 # two sets of characters are meant
    points=$(grep -o '"rss_series_s_kib":\[\[[^a-z]*\]\]' "$TMP/out" | sed 's/.*:\[//' |
        tr -s '[]' '\n' | awk -F, 'NF == 2 && $1 != "" {
                n++
                if ($1 + 0 < last || $2 + 0 < 500) print "wrong", $0
                last = $1 + 0
            }
            END { if (n > 0 && n <= 256) print "points"; else print "none" }')
    same 'memory over time is a series of points' points "$points"
}

# ---- allocators that are broken ---------------------------------------------------------------

make_broken()
{
    make_so same <<'C'
#include <stddef.h>
void *__libc_malloc(size_t);
void __libc_free(void *);
static char same[4096] __attribute__((aligned(16)));
void *malloc(size_t size) { return size == 3000 ? same : __libc_malloc(size); }
void free(void *block) { if (block != same) __libc_free(block); }
C
    make_so full <<'C'
#include <errno.h>
#include <stddef.h>
void *__libc_malloc(size_t);
void *__libc_realloc(void *, size_t);
void *malloc(size_t size) { return size == 3000 ? (errno = ENOMEM, NULL) : __libc_malloc(size); }
void *realloc(void *block, size_t size)
{
    return size == 3000 ? (errno = ENOMEM, NULL) : __libc_realloc(block, size);
}
C
    make_so forgets <<'C'
#include <stddef.h>
void *__libc_malloc(size_t);
void *realloc(void *block, size_t size) { return __libc_malloc(size); }
C
    make_so dirty <<'C'
#include <stddef.h>
#include <string.h>
void *__libc_malloc(size_t);
void *__libc_memalign(size_t, size_t);
void *calloc(size_t count, size_t size)
{
    return count * size == 3000 ? memset(__libc_malloc(size), 1, size)
                                : memset(__libc_malloc(count * size), 0, count * size);
}
void *aligned_alloc(size_t to, size_t size)
{
    return size == 3000 ? (char *)__libc_memalign(to, size + 16) + 16 : __libc_memalign(to, size);
}
C
    make_so dies <<'C'
#include <stddef.h>
void abort(void);
void *__libc_realloc(void *, size_t);
void *realloc(void *block, size_t size)
{
    if (size > 1 << 20) abort();
    return __libc_realloc(block, size);
}
C
}

test_broken()
{
    local name text
    make_broken
    echo 'no library' >"$TMP/broken.so"
    for name in "${ALLOCATING[@]}"; do
        PRELOAD=$TMP/same.so:$TMP/broken.so ends "$name: an allocator that does not load" 2 err \
            'LD_PRELOAD: .*broken.so does not load' bench "$name"
        [[ ! -s $TMP/out ]] || bad "$name measures something else then" "$TMP/out"
    done
    export PRELOAD=$TMP/same.so
    for name in bench_mid bench_churn bench_frag; do
        ends "$name notices a block that is handed out twice" 1 err 'did not hold what was' \
            bench "$name" --ops 500 --sizes 3000 --slots 40
    done
    ends 'bench_remote notices it too' 1 err 'did not arrive as they were written' \
        bench bench_remote --ops 500 --sizes 3000 --slots 40
    PRELOAD=$TMP/forgets.so
    ends 'bench_realloc notices contents that are lost' 1 err 'did not hold what was written' \
        bench bench_realloc --case small --ops 500
    PRELOAD=$TMP/full.so
    for name in bench_mid bench_remote bench_churn bench_frag; do
        ends "$name tells that malloc failed" 1 err 'malloc failed: Cannot allocate memory' \
            bench "$name" --ops 500 --sizes 3000 --slots 40
    done
    ends 'so does bench_realloc' 1 err 'malloc failed: Cannot allocate memory' \
        bench bench_realloc --case small --sizes 2000-3000 --ops 500
    PRELOAD=$TMP/dirty.so
    ends 'bench_calls notices a block of calloc that is not zero' 1 err 'that is not zero' \
        bench bench_calls --case calloc --sizes 3000 --ops 500
    ends 'and a block that is not aligned' 1 err 'not aligned to 64' \
        bench bench_calls --case align64 --sizes 3000 --ops 500
    PRELOAD=$TMP/dies.so
    ends 'a case that crashes is told' 1 err 'case large slots=16: killed by signal 6' \
        bench bench_realloc --ops 300 --json --quiet
    text=$(values case "$TMP/out" | paste -sd,)
    same 'the results before it are there' 'small slots=1,small slots=16' "$text"
    PRELOAD=
}

test_validator
test_forms
test_draws
test_flags
test_series
test_broken
finish
