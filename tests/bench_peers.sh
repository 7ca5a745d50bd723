#!/usr/bin/env bash
# bench_peers.sh - every bench runs under every allocator that it is to be compared with, and
# does the same work. Debian's packages: the machine's, or unpacked under $BUILD/deps.
set -u
. "$(dirname "$0")/lib_bench.sh"

# find_peer PACKAGE FILE: prints where the shared object is.
find_peer()
{
    local place
    for place in /usr/lib/*-linux-gnu*; do
        [[ -e $place/$2 ]] && printf '%s' "$place/$2" && return
    done
    tools/deps.sh unpack "$1" "$BUILD/deps/peers" >"$TMP/unpack" 2>&1
    find "$BUILD/deps/peers" -name "$2" -print -quit 2>/dev/null | grep .
}

# What all results of a bench did, and their cases: the last word in work.
work_of()
{
    local args
    read -ra args <<<"$(small "$1")"
    bench "$1" "${args[@]}" --json --quiet || echo "status $?"
    json_lines "$TMP/out"
    [[ ! -s $TMP/err ]] || cat "$TMP/err"
    paste -d' ' <(values case "$TMP/out") <(values ops "$TMP/out") <(values checksum "$TMP/out") |
        grep -v '^given '
}

test_peer()
{
    local peer=$1 name object
    if ! object=$(find_peer "$2" "$3"); then
        bad "$peer: no $3, and the package $2 cannot be had" "$TMP/unpack"
        return
    fi
    for name in "${ALLOCATING[@]}"; do
        PRELOAD=$object work_of "$name" >"$TMP/work"
        if cmp -s "$TMP/work" "$TMP/glibc.$name"; then
            ok "$name under $peer"
        else
            bad "$name under $peer" "$TMP/work" "$TMP/err"
        fi
    done
}

for name in "${ALLOCATING[@]}"; do
    PRELOAD='' work_of "$name" >"$TMP/glibc.$name"
    judge "$name under glibc" grep -q '[0-9a-f]\{16\}$' "$TMP/glibc.$name"
done
test_peer jemalloc libjemalloc2 libjemalloc.so.2
test_peer mimalloc libmimalloc2.0 libmimalloc.so.2.0
test_peer tcmalloc libtcmalloc-minimal4 libtcmalloc_minimal.so.4
finish
