#!/usr/bin/env bash
# broker_asan.sh - the scripts about commands, clients, limits and restarts once more, with a
# broker that was made with ASan and UBSan.
#
# How much memory it holds is not asked: what was freed is kept for a while by the sanitizer.
set -u
. "$(dirname "$0")/lib_broker.sh"
need "$BUILD/asan/tidepool-broker"
export ASAN_OPTIONS=detect_leaks=1:quarantine_size_mb=1 UBSAN_OPTIONS=print_stacktrace=1

for NAME in commands clients limits restart; do
    BROKER=$BUILD/asan/tidepool-broker BROKER_NOISE=2000 timeout -k 5 600 \
        bash "tests/broker_$NAME.sh" >"$TMP/said" 2>&1
    STATUS=$?
    grep -c '^ok - ' "$TMP/said" >"$TMP/count"
    # Its own verdicts, with what was said.
    sed -n '/^not ok/,/^ok/p' "$TMP/said" | grep -v '^ok' >"$TMP/red"
    if ((STATUS == 0)) && [[ ! -s $TMP/red ]]; then
        ok "under sanitizers: $NAME ($(cat "$TMP/count") verdicts)"
    else
        bad "under sanitizers: $NAME (exit $STATUS)" "$TMP/red"
    fi
done
finish
