#!/usr/bin/env bash
# pitfalls.sh - what users of preloaded allocators stumbled over, one program each.
#
#   tests/pitfalls.sh [WORDS]   only verdicts with WORDS in their names; ^NAME$ is one
#
# The programs prog_pitfall_* say in their first lines what they do; they must
# end with 0 under the preload and print nothing on stderr. Signals have a script of
# their own: pitfalls_signal.sh.
set -u
. "$(dirname "$0")/lib_prog.sh"
. "$(dirname "$0")/lib_pitfalls.sh"

PLAIN=(tls fork threads prodcons errno trim maps adopt keys pagesize zero)
OTHERS=(atexit dlopen limit mlock idle seccomp second commit valgrind)
need "$SO" "${PLAIN[@]/#/$PROGS/prog_pitfall_}" "${OTHERS[@]/#/$PROGS/prog_pitfall_}" \
    "$PROGS"/plug_{pitfall,pitfall_pagesize,own_malloc}.so

run_plain()
{
    local name
    for name in "${PLAIN[@]}"; do
        try "$name" "$(program "$name")"
    done
    OPTIONS=retain=1G try 'trim: what may be retained goes too' "$(program trim)"
    try 'keys: handlers before the first block' "$(program keys)" handlers
    try 'commit: what is only reserved is not charged' "$(program commit)" charge
    try 'commit: huge pages keep nothing' "$(program commit)" huge
}

# The library asks nobody for symbols or blocks, has one pointer of thread-local memory,
# which needs no call to reach, and stays where it is when it is unloaded. The object to preload
# would call its own malloc; the archive without libc's names shows such a call.
run_file()
{
    local name api=$BUILD/libtidepool_api.a
    need "$api"
    for name in dlsym __tls_get_addr malloc calloc realloc; do
        if readelf -rW "$SO" | grep -qE " $name(@| )" || nm -u "$api" | grep -qw "$name"; then
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
    local options name
    for options in '' tiny_max=1023; do
        name="atexit: all handlers ran${options:+, $options}"
        OPTIONS=$options preloaded "$(program atexit)" ${options:+aligned}
        if [[ $? -eq 0 && $(cat "$TMP/out") == pcmoad ]]; then
            ok "$name"
        else
            bad "$name" "$TMP/out" "$TMP/err"
        fi
    done
}

run_dlopen()
{
    local name='dlopen: the library itself, and closed'
    try 'dlopen: a plugin many times' "$(program dlopen)" "$PROGS/plug_pitfall.so"
    try 'dlopen: a second malloc' "$(program second)" "$PROGS/plug_own_malloc.so"
    wanted "$name" || return
    bare "$(program dlopen)" --late "$SO"
    conclude "$name" $?
}

# A library that believes that the pages of this machine have 64 KiB.
run_pagesize()
{
    bare env LD_PRELOAD="$PROGS/plug_pitfall_pagesize.so:$SO" "$(program pagesize)" 65536
    conclude 'pagesize: that of another machine' $?
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
        wanted "limit: only ${range[0]} under ulimit -v" || continue
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
    try 'mlock: all memory' "$(program mlock)"
    try 'mlock: with a limit' "$(program mlock)" limited
}

# The processes mostly sleep: all at once.
run_idle()
{
    local row part i=0
    local -a rows=() all=('16 2000' '2048 32768' '33000 500000' '16 100000'
        '16 2000 remote' '2048 32768 remote' '33000 500000 remote'
        '16 2000 threads' '2048 32768 threads' '16 100000 threads' '33000 500000 threads'
        '33000 500000 sparse' '1100000 3000000') jobs=()
    for row in "${all[@]}"; do
        wanted "idle: sizes $row" || continue
        rows+=("$row")
        read -ra part <<<"$row"
        LD_PRELOAD=$SO timeout -k 5 "${TEST_SECONDS:-500}" "$(program idle)" "${part[@]}" \
            >"$TMP/idle.$i" 2>&1 &
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
        try "seccomp: $error, threads" "$(program seccomp)" "$error" "$(program tls)"
        try "seccomp: $error, fork" "$(program seccomp)" "$error" "$(program fork)"
        try "seccomp: $error, errno" "$(program seccomp)" "$error" "$(program errno)"
        try "seccomp: $error, zeros" "$(program seccomp)" "$error" "$(program zero)"
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

# Instructions that callgrind counted in the library: the lines of cost behind each
# `ob=`, but for those behind `calls=`, which are other functions' costs. An object has its
# name where it comes first, as the caller or as the one that is called (`cob=`).
counted()
{
    awk '/^c?ob=/ { split($1, part, "="); if ($2 != "") ours[part[2]] = $2 ~ /libtidepool/ }
        /^ob=/ { id = part[2] }
        /^calls=/ { getline; next }
        /^[-+*0-9]/ && ours[id] { sum += $2 }
        END { print sum + 0 }' "$1"
}

# memcheck puts its own malloc in front of ours; all other tools must see ours.
run_valgrind()
{
    local name='valgrind: callgrind counts the library' file=$TMP/callgrind
    if ! command -v valgrind >/dev/null; then
        skip valgrind 'it is not installed'
        return
    fi
    try 'valgrind: memcheck finds nothing' valgrind -q --error-exitcode=9 "$(program valgrind)"
    try 'valgrind: no tool, blocks are ours' valgrind -q --tool=none "$(program valgrind)" served
    if wanted "$name"; then
        preloaded valgrind -q --tool=callgrind --callgrind-out-file="$file" \
            "$(program valgrind)" served && (($(counted "$file") > 1000000))
        conclude "$name" $?
    fi
    name='valgrind: memcheck finds a fault'
    if wanted "$name"; then
        preloaded valgrind -q --error-exitcode=9 "$(program valgrind)" fault
        (($? == 9)) && grep -q 'is 0 bytes after a block of size 100 alloc' "$TMP/err"
        conclude "$name" $?
    fi
}

need "$BUILD/libtidepool.a"
run_plain
section file && run_file
section atexit && run_atexit
run_dlopen
section pagesize && run_pagesize
run_limit
run_mlock
run_idle
run_seccomp
run_valgrind
section secure && run_secure
finish
