#!/usr/bin/env bash
# stress.sh - the shadow-model stress through the libc names, under the preload,
# in the variants of the library; and first-class heaps.
#
# STRESS_OPS: operations of the first run, default 1,000,000; the variants get a
# tenth of it. The prefixed API and the sanitizers are run by `make check` itself.
set -u
. "$(dirname "$0")/lib_prog.sh"
. "$(dirname "$0")/lib_cases.sh"

CC=${CC:-gcc}
OPS=${STRESS_OPS:-1000000}
DEBUG_SO=$BUILD/libtidepool_dbg.so
need "$SO" "$DEBUG_SO" "$PROGS/prog_heaps" "$PROGS/plug_faulty.so"

if ! "$CC" -std=gnu17 -O2 -g -pthread -fno-builtin -DSTRESS_PLAIN -Iinclude \
    -o "$TMP/stress" tests/stress_shadow.c >"$TMP/make" 2>&1; then
    bad 'stress: compiles' "$TMP/make"
    finish
fi

# run NAME LIBRARY OPTIONS ARGUMENT...
run()
{
    if bare env LD_PRELOAD="$2" TIDEPOOL_OPTIONS="$3" "$TMP/stress" "${@:4}" &&
        [[ ! -s $TMP/err ]]; then
        ok "$1 ($(sed -n 's/^stress: ok //p' "$TMP/out"))"
    else
        bad "$1" "$TMP/out" "$TMP/err"
    fi
}

run 'stress: default' "$SO" '' --ops "$OPS"
run 'stress: two threads' "$SO" '' --ops $((OPS / 10)) --threads 2
run 'stress: 64 threads' "$SO" '' --ops $((OPS / 10)) --threads 64
run 'stress: header=shadow' "$SO" header=shadow --ops $((OPS / 10))
run 'stress: tiny_max=1023' "$SO" tiny_max=1023 --ops $((OPS / 10))
run 'stress: small caches' "$SO" cache=64K,retain=64K --ops $((OPS / 10))
run 'stress: debug build' "$DEBUG_SO" '' --ops $((OPS / 10))
for HEADER in inband shadow; do
    cases "heaps: header=$HEADER" env LD_PRELOAD="$SO" TIDEPOOL_OPTIONS=header=$HEADER \
        "$PROGS/prog_heaps" >"$TMP/heaps"
    sed "s/heaps:/heaps, header=$HEADER:/" "$TMP/heaps"
done
# finds FAULT TEXT [ARGUMENT]: the stress must notice what plug_faulty.c does.
finds()
{
    local status
    bare env FAULT="$1" LD_PRELOAD="$PROGS/plug_faulty.so:$SO" "$TMP/stress" --ops 300000 "${@:3}"
    status=$?
    if ((status == 1)) && grep -qE "^stress: FAIL .*$2" "$TMP/err"; then
        ok "stress: finds a planted fault: $1"
    else
        bad "stress: finds a planted fault: $1 (exit $status)" "$TMP/out" "$TMP/err"
    fi
}

finds twice 'overlap: new block' --no-fork
finds inside 'overlap: new block' --no-fork
finds byte 'was overwritten at' --no-fork
finds align 'is not aligned to 16'
finds null 'NULL for'
finds zero 'is not zero at'
finds lose 'of [0-9]+ kept bytes'
finds errno 'changed errno'
finds usable 'usable size was|overlap: new block'
# The last one: other children may live on for a moment and speak.
finds crash 'child was killed by signal 6'
finish
