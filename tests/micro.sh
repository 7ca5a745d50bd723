#!/usr/bin/env bash
# micro.sh - the benches of single calls: all operations are there, they run under every
# allocator, their JSON is JSON, and what is counted was done.
set -u
. "$(dirname "$0")/lib_bench.sh"
. "$(dirname "$0")/lib_peers.sh"

MICRO=$BUILD/bench/micro
QUICK=(--benchmark_format=json --benchmark_min_time=0.0005)
need "$MICRO/micro_malloc" "$MICRO/micro_box"

# micro PROGRAM ARGUMENT...: output to $TMP/out and $TMP/err. PRELOAD and OPTIONS go along.
micro()
{
    bare env ${PRELOAD:+LD_PRELOAD="$PRELOAD"} ${OPTIONS:+TIDEPOOL_OPTIONS="$OPTIONS"} \
        "$MICRO/$1" "${@:2}"
}

# one_json FILE: it is one JSON object.
one_json()
{
    tr -d '\n' <"$1" >"$TMP/line" && json_lines "$TMP/line"
}

# The values of a key in Google Benchmark's JSON, one a line.
fields()
{
    sed -n "s/^ *\"$1\": \"\\{0,1\\}\\(.*[^\",]\\)\"\\{0,1\\},\\{0,1\\}\$/\\1/p" "$TMP/out"
}

# works NAME PROGRAM: it gives JSON, with a result for every bench and no error.
works()
{
    local status listed
    micro "$2" --benchmark_list_tests
    listed=$(<"$TMP/out")
    micro "$2" "${QUICK[@]}"
    status=$?
    if ((status == 0)) && one_json "$TMP/out" >"$TMP/bad" && [[ $(fields name) == "$listed" ]] &&
        [[ $(fields real_time | wc -l) == $(wc -l <<<"$listed") ]] &&
        ! grep -q error_occurred "$TMP/out"; then
        ok "$1"
    else
        grep -B 12 -A 1 error_occurred "$TMP/out" >>"$TMP/bad"
        bad "$1 (exit $status)" "$TMP/bad" "$TMP/err"
    fi
}

# ---- which operations -------------------------------------------------------------------

# lists PROGRAM PATTERN...: a bench for each.
lists()
{
    local pattern
    micro "$1" --benchmark_list_tests
    for pattern in "${@:2}"; do
        judge "$1 has $pattern" grep -qxE "$pattern" "$TMP/out"
    done
}

test_names()
{
    local tier n='/[0-9]+' clock='/manual_time' calls=(loop 'clock/manual_time') boxes=()
    for tier in tiny mid large; do
        calls+=("malloc_free/$tier$n" "malloc_free/$tier$n/threads:"{2,4,8} "calloc_free/$tier$n"
            "realloc_"{grow,shrink}"/$tier$n$n$clock" "realloc_in_place/$tier$n$n"
            "aligned_alloc_free/$tier$n$n" "usable_size/$tier$n")
        boxes+=("segment_acquire/$tier/reused$clock"
            "segment_acquire/$tier/"{decommitted,fresh}"/iterations:[0-9]+$clock")
    done
    for tier in tiny mid; do
        calls+=("posix_memalign_free/$tier$n$n")
        boxes+=({refill,flush,remote_push,remote_drain}"/$tier$n$n$clock"
            "remote_push/$tier$n$n$clock/threads:2")
    done
    lists micro_malloc "${calls[@]}"
    lists micro_box "${boxes[@]}"
    same 'the shim is the only C++ file' 'bench/micro/micro_shim.cc' "$(find bench -name '*.cc')"
}

# A program that takes a block of each size that it is given, or of every size; the library
# tells which classes that were.
classes_of()
{
    TIDEPOOL_OPTIONS=stats_at_exit=$TMP/stats LD_PRELOAD=$SO "$TMP/sizes" "$@"
    sed 's/"options":{[^}]*}//; s/"tiny":/\ntiny /; s/"mid":/\nmid /; s/"large":/\nlarge /' \
        "$TMP/stats" | tr '{' '\n' | awk '/^(tiny|mid|large)/ { tier = $1 }
            match($0, /^"size":[0-9]+/) { print tier, substr($0, 8, RLENGTH - 7) }'
    rm -f "$TMP/stats"
}

test_classes()
{
    local sizes
    "${CC:-gcc}" -O0 -fno-builtin -x c -o "$TMP/sizes" - <<'END' || bad 'sizes builds'
#include <stdlib.h>
int main(int argc, char **argv)
{
    for (int i = 1; i < argc; i++)
        free(malloc(strtoul(argv[i], 0, 10)));
    for (size_t size = 1; argc == 1 && size <= 2 << 20; size += 15)
        free(malloc(size));
    return 0;
}
END
    micro micro_malloc --benchmark_list_tests
    mapfile -t sizes < <(sed -n 's|^malloc_free/[a-z]*/\([0-9]*\)$|\1|p' "$TMP/out")
    classes_of >"$TMP/all"
    classes_of "${sizes[@]}" >"$TMP/benched"
    judge 'the library has classes of three tiers' \
        test "$(cut -d' ' -f1 "$TMP/all" | uniq -c | awk '$1 > 10' | wc -l)" = 3
    same 'a pair for each class' "$(<"$TMP/all")" "$(<"$TMP/benched")"
}

# ---- under whom -------------------------------------------------------------------------

test_allocators()
{
    local name peer
    PRELOAD='' works 'glibc' micro_malloc
    same 'which does not say that it is tidepool' 'not tidepool' "$(fields malloc)"
    PRELOAD=$SO works 'tidepool' micro_malloc
    judge 'and says so' grep -q '"malloc": "tidepool [0-9]' "$TMP/out"
    for name in "${PEERS[@]}"; do
        if peer=$(need_peer "$name"); then
            PRELOAD=$peer works "$name" micro_malloc
        else
            bad "$name cannot be had" "$TMP/unpack"
        fi
    done
    works 'the boxes' micro_box
    OPTIONS='mid=near,header=shadow' works 'the boxes, header words in the shadow' micro_box
    same 'which they say' shadow "$(fields header)"
    OPTIONS='mid=near,delay=100' works 'the boxes, far memory modelled' micro_box
    same 'which they say, too' 'near,delay=100' "$(fields mid_source)"
}

# ---- was it done? -----------------------------------------------------------------------

# A malloc that counts the calls of one function with a size of 4096, and of 4608 bytes
# refuses the calls 10 to 19.
counting()
{
    make_so counting <<'END'
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
void *__libc_malloc(size_t), *__libc_calloc(size_t, size_t), *__libc_realloc(void *, size_t);
void *__libc_memalign(size_t, size_t);
static long takes, zeroes, grows, aligns, asks, odd;
static long one(long *count, size_t size) { return __atomic_add_fetch(count, size == 4096, 0); }
void *malloc(size_t size)
{
    one(&takes, size);
    if (size != 4608 || odd++ / 10 != 1)
        return __libc_malloc(size);
    errno = ENOMEM;
    return 0;
}
void *calloc(size_t n, size_t size) { one(&zeroes, n * size); return __libc_calloc(n, size); }
void *realloc(void *p, size_t size) { one(&grows, size); return __libc_realloc(p, size); }
void *aligned_alloc(size_t a, size_t size) { one(&aligns, size); return __libc_memalign(a, size); }
int posix_memalign(void **p, size_t a, size_t size)
{
    one(&aligns, size);
    *p = __libc_memalign(a, size);
    return *p ? 0 : ENOMEM;
}
size_t malloc_usable_size(void *p)
{
    static size_t (*next)(void *);
    if (!next)
        next = (size_t (*)(void *))dlsym(RTLD_NEXT, "malloc_usable_size");
    size_t size = next(p);
    one(&asks, size >= 4096 && size < 4200 ? 4096 : 0);
    return size;
}
__attribute__((destructor)) static void tell(void)
{
    fprintf(stderr, "CALLS takes %ld zeroes %ld grows %ld aligns %ld asks %ld\n", takes, zeroes,
            grows, aligns, asks);
}
END
}

# done_by BENCH WHICH: at least as many calls as the bench says, and not many more: what it did
# to find out how many it needs.
done_by()
{
    local calls said
    PRELOAD=$TMP/counting.so micro micro_malloc "${QUICK[@]}" --benchmark_filter="^$1\$"
    said=$(fields iterations)
    calls=$(sed -n "s/.*CALLS.* $2 \\([0-9]*\\).*/\\1/p" "$TMP/err")
    if ((${said:-0} > 0 && ${calls:-0} >= ${said:-0} && ${calls:-0} <= 4 * ${said:-0} + 2000)); then
        ok "$1: the calls are as many as the operations"
    else
        bad "$1: ${said:-no} operations, ${calls:-no} calls" "$TMP/out" "$TMP/err"
    fi
}

test_work()
{
    counting
    done_by malloc_free/mid/4096 takes
    done_by malloc_free/mid/4096/threads:2 takes
    done_by calloc_free/mid/4096 zeroes
    done_by realloc_grow/tiny/1024/4096/manual_time grows
    done_by aligned_alloc_free/mid/4096/64 aligns
    done_by posix_memalign_free/mid/4096/64 aligns
    done_by usable_size/mid/4096 asks
    PRELOAD=$TMP/counting.so ends 'a block that cannot be had is an error' 1 out 'out of memory' \
        micro micro_malloc "${QUICK[@]}" --benchmark_filter='^malloc_free/mid/4(608|096)$'
    judge 'the error is in the JSON' one_json "$TMP/out"
    same 'of that bench alone' 1 "$(grep -c error_occurred "$TMP/out")"
    PRELOAD=$SO OPTIONS=tiny_max=1023 ends 'a block of another tier is an error' 1 out \
        'a block is in tier mid' \
        micro micro_malloc "${QUICK[@]}" --benchmark_filter='^malloc_free/tiny/1152$'
}

# ---- flags ------------------------------------------------------------------------------

test_flags()
{
    local program
    for program in micro_malloc micro_box; do
        ends "$program: an unknown flag" 2 err 'unrecognized.*--speed' micro $program --speed
        ends "$program: a word" 2 err 'unrecognized.*more' micro $program more
        ends "$program: an unknown format" 2 err 'bad value of a flag' \
            micro $program --benchmark_format=xml
        ends "$program: a time that is no number" 2 err 'not a time above 0' \
            micro $program --benchmark_min_time=soon
        ends "$program: no time" 2 err 'not a time above 0' micro $program --benchmark_min_time=-1
        ends "$program: a filter that fits nothing" 2 err 'no bench was run' \
            micro $program --benchmark_filter=nothing
        ends "$program: no repetition" 2 err 'no bench was run' \
            micro $program --benchmark_repetitions=0 --benchmark_filter=4096
        ends "$program: help" 0 out 'benchmark_format' micro $program --help
    done
    echo 'no library' >"$TMP/broken.so"
    PRELOAD=$TMP/broken.so ends 'an allocator that does not load' 2 err \
        'LD_PRELOAD: .*broken.so does not load' micro micro_malloc "${QUICK[@]}"
    ends 'a table' 0 out '^malloc_free/mid/4096 .* ns' \
        micro micro_malloc --benchmark_filter='free/mid/4096$' --benchmark_min_time=0.0005
    ends 'CSV' 0 out '^"malloc_free/mid/4096",' micro micro_malloc --benchmark_format=csv \
        --benchmark_filter='free/mid/4096$' --benchmark_min_time=0.0005
}

# A machine without the package, played by a dpkg-query that knows none.
test_missing()
{
    mkdir -p "$TMP/bin"
    printf '#!/bin/sh\nexit 1\n' >"$TMP/bin/dpkg-query"
    chmod +x "$TMP/bin/dpkg-query"
    PATH=$TMP/bin:$PATH ends 'make micro tells which package is missing' 2 err \
        'MISSING package libbenchmark-dev' bare make -s BUILD="$BUILD" micro
    bare tools/deps.sh list check
    judge 'make check installs the package' grep -qx libbenchmark-dev "$TMP/out"
}

test_names
test_classes
test_allocators
test_work
test_flags
test_missing
finish
