#!/usr/bin/env bash
# pitfalls_signal.sh - malloc and free in signal handlers that interrupt malloc and free.
#
#   tests/pitfalls_signal.sh [WORDS]   only verdicts with WORDS in their names; ^NAME$
#                                      is one
set -u
. "$(dirname "$0")/lib_prog.sh"
. "$(dirname "$0")/lib_pitfalls.sh"

need "$SO" "$PROGS"/prog_pitfall_{step,signal}

# Far blocks have fast paths of their own.
run_step()
{
    local part
    for part in straight slow; do
        OPTIONS=header=inband try "step: $part path" "$(program step)" "$part"
        OPTIONS=header=shadow try "step: $part path, header=shadow" "$(program step)" "$part"
    done
}

# Where a signal met the slow path, a message and SIGABRT are right too.
run_signal()
{
    local status
    try 'signal: storm on the straight paths' "$(program signal)" steady
    wanted 'signal: storm on all paths' || return
    preloaded "$(program signal)" wild
    status=$?
    if ((status == 0)) && [[ ! -s $TMP/err ]]; then
        ok 'signal: storm on all paths (it ran to its end)'
    elif ((status == 134)) && grep -q '^tidepool: ' "$TMP/err"; then
        ok "signal: storm on all paths ($(head -n 1 "$TMP/err"))"
    else
        bad "signal: storm on all paths (exit $status)" "$TMP/out" "$TMP/err"
    fi
}

run_step
run_signal
finish
