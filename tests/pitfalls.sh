#!/usr/bin/env bash
# pitfalls.sh - what users of preloaded allocators stumbled over, one program each.
#
#   tests/pitfalls.sh [WORD]   only pitfalls with WORD in their names
#
# The programs prog_pitfall_* say in their first lines what they do; they must
# end with 0 under the preload and print nothing on stderr.
set -u
. "$(dirname "$0")/lib_prog.sh"

WORD=${1:-}
PLAIN=(tls fork threads prodcons errno trim maps step)
OTHERS=(atexit dlopen limit mlock signal idle seccomp second)
need "$SO" "${PLAIN[@]/#/$PROGS/prog_pitfall_}" "${OTHERS[@]/#/$PROGS/prog_pitfall_}" \
    "$PROGS/plug_pitfall.so" "$PROGS/plug_own_malloc.so"

wanted()
{
    [[ $1 == *"$WORD"* ]]
}

program()
{
    printf '%s' "$PROGS/prog_pitfall_$1"
}

run_plain()
{
    local name
    for name in "${PLAIN[@]}"; do
        wanted "$name" && verdict "$name" "$(program "$name")"
    done
    # Far blocks have fast paths of their own.
    wanted step && OPTIONS=header=shadow verdict 'step: header=shadow' "$(program step)"
}

# The library asks nobody for symbols, has one pointer of thread-local memory, which
# needs no call to reach, and stays where it is when it is unloaded.
run_file()
{
    local name
    for name in dlsym __tls_get_addr; do
        if nm -D --undefined-only "$SO" | grep -qw "$name"; then
            bad "file: does not call $name"
        else
            ok "file: does not call $name"
        fi
    done
    readelf -lW "$SO" >"$TMP/segments"
    readelf -dW "$SO" >"$TMP/dynamic"
    if (($(awk '$1 == "TLS" { print $6 }' "$TMP/segments") <= 8)); then
        ok 'file: static TLS of 8 bytes'
    else
        bad 'file: static TLS of 8 bytes' "$TMP/segments"
    fi
    if grep -q 'NODELETE' "$TMP/dynamic" && ! grep -q TEXTREL "$TMP/dynamic"; then
        ok 'file: NODELETE, no TEXTREL'
    else
        bad 'file: NODELETE, no TEXTREL' "$TMP/dynamic"
    fi
}

run_atexit()
{
    preloaded "$(program atexit)"
    if [[ $? -eq 0 && $(cat "$TMP/out") == pcmoad ]]; then
        ok 'atexit: all handlers ran'
    else
        bad 'atexit: all handlers ran' "$TMP/out" "$TMP/err"
    fi
}

run_dlopen()
{
    verdict 'dlopen: a plugin many times' "$(program dlopen)" "$PROGS/plug_pitfall.so"
    verdict 'dlopen: a second malloc' "$(program second)" "$PROGS/plug_own_malloc.so"
    if bare "$(program dlopen)" --late "$SO"; then
        ok 'dlopen: the library itself, and closed'
    else
        bad 'dlopen: the library itself, and closed' "$TMP/out" "$TMP/err"
    fi
}

# limited LIBRARY LOW HIGH: the sum that a process gets which may have 1 GiB.
limited()
{
    # shellcheck disable=SC2016 # the inner shell expands it
    bare env LD_PRELOAD="$1" bash -c 'ulimit -v 1048576; exec "$0" "$@"' \
        "$(program limit)" "${@:2}" && cat "$TMP/out"
}

# Nine tenths of what libc's malloc gives.
run_limit()
{
    local tier range libc ours
    for tier in 'tiny 16 2047' 'mid 2048 32768' 'large 32769 1000000'; do
        read -ra range <<<"$tier"
        libc=$(limited '' "${range[@]:1}")
        ours=$(limited "$SO" "${range[@]:1}")
        if [[ -n $ours && $((ours * 10)) -ge $((libc * 9)) ]]; then
            ok "limit: only ${range[0]} under ulimit -v"
        else
            bad "limit: only ${range[0]} under ulimit -v: $ours bytes, libc $libc" "$TMP/out" \
                "$TMP/err"
        fi
    done
}

run_mlock()
{
    verdict 'mlock: all memory' "$(program mlock)"
    verdict 'mlock: with a limit' "$(program mlock)" limited
}

# Where a signal met the slow path, a message and SIGABRT are right too.
run_signal()
{
    local status
    verdict 'signal: storm on the straight paths' "$(program signal)" steady
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

# The processes mostly sleep: all at once.
run_idle()
{
    local row part i=0
    local -a rows=('16 2000' '2048 32768' '33000 500000' '16 100000'
        '16 2000 remote' '2048 32768 remote' '33000 500000 remote') jobs=()
    for row in "${rows[@]}"; do
        read -ra part <<<"$row"
        LD_PRELOAD=$SO "$(program idle)" "${part[@]}" >"$TMP/idle.$i" 2>&1 &
        jobs+=($!)
        i=$((i + 1))
    done
    for i in "${!rows[@]}"; do
        if wait "${jobs[i]}"; then
            ok "idle: sizes ${rows[i]}"
        else
            bad "idle: sizes ${rows[i]}" "$TMP/idle.$i"
        fi
    done
}

run_seccomp()
{
    local error
    for error in EPERM ENOSYS; do
        verdict "seccomp: $error, threads" "$(program seccomp)" "$error" "$(program tls)"
        verdict "seccomp: $error, fork" "$(program seccomp)" "$error" "$(program fork)"
        verdict "seccomp: $error, errno" "$(program seccomp)" "$error" "$(program errno)"
    done
}

# secure_copy FILE: a set-uid copy of the program, in a place where that counts.
secure_copy()
{
    install -m 4755 -o nobody "$TMP/secure" "$1" 2>/dev/null && chmod 755 "$TMP"
}

run_secure()
{
    local options="tiny_max=1023,stats_at_exit=$TMP/stats" status
    if ! "${CC:-gcc}" -std=gnu17 -pthread -o "$TMP/secure" tests/prog_pitfall_secure.c \
        "$BUILD/libtidepool.a" >"$TMP/out" 2>&1; then
        bad 'secure: links' "$TMP/out"
        return
    fi
    bare env TIDEPOOL_OPTIONS="$options" "$TMP/secure" plain
    if [[ $(cat "$TMP/out") == 1023 && -s $TMP/stats ]]; then
        ok 'secure: an ordinary program obeys the environment'
    else
        bad 'secure: an ordinary program obeys the environment' "$TMP/out" "$TMP/err"
    fi
    rm -f "$TMP/stats"
    if ! secure_copy "$TMP/setuid"; then
        skip 'secure: a set-uid program does not' 'only root can make one of another user'
        return
    fi
    bare env TIDEPOOL_OPTIONS="$options" "$TMP/setuid"
    status=$?
    if ((status == 77)); then
        skip 'secure: a set-uid program does not' "$(cat "$TMP/out")"
    elif [[ $status -eq 0 && $(cat "$TMP/out") == 2047 && ! -e $TMP/stats && ! -s $TMP/err ]]; then
        ok 'secure: a set-uid program does not'
    else
        bad 'secure: a set-uid program does not' "$TMP/out" "$TMP/err"
    fi
}

need "$BUILD/libtidepool.a"
run_plain
wanted file && run_file
wanted atexit && run_atexit
wanted dlopen && run_dlopen
wanted limit && run_limit
wanted mlock && run_mlock
wanted signal && run_signal
wanted idle && run_idle
wanted seccomp && run_seccomp
wanted secure && run_secure
finish
