#!/usr/bin/env bash
# entry.sh - the exact semantics of every libc entry point.
#
# The cases are in prog_entry.c and prog_entry_names.c. They run with libc's own
# malloc first: what is promised to be as in glibc is checked against glibc. Then
# they run with the library, in every way in which a program can get it.
set -u
. "$(dirname "$0")/lib_prog.sh"
. "$(dirname "$0")/lib_cases.sh"

CC=${CC:-gcc}
DEBUG_SO=$BUILD/libtidepool_dbg.so
PROGRAMS=(prog_entry prog_entry_names)

need "$SO" "$DEBUG_SO" "$BUILD/libtidepool.a" "${PROGRAMS[@]/#/$PROGS/}"

# compile OUTPUT FLAGS... : links both programs; OUTPUT gets their names appended.
compile()
{
    local program
    for program in "${PROGRAMS[@]}"; do
        "$CC" -std=gnu17 -g -pthread -Iinclude -w -o "$TMP/$1.$program" "tests/$program.c" \
            "${@:2}" >"$TMP/make" 2>&1 || return
    done
}

under_libc()
{
    local program
    for program in "${PROGRAMS[@]}"; do
        cases libc "$PROGS/$program" libc libc
    done
}

# with NAME LIBRARY OPTIONS ARGUMENT...
with()
{
    local program
    for program in "${PROGRAMS[@]}"; do
        cases "$1" env LD_PRELOAD="$2" TIDEPOOL_OPTIONS="$3" "$PROGS/$program" "$1" tidepool \
            "${@:4}"
    done
}

under_preload()
{
    with preload "$SO" ''
    with 'preload, second thread' "$SO" '' thread
    with 'preload, header=shadow' "$SO" header=shadow
    with 'preload, tiny_max=1023' "$SO" tiny_max=1023
    with 'preload, debug build' "$DEBUG_SO" ''
}

# The calls must be there whatever the optimiser makes of malloc.
optimised()
{
    local program
    if ! compile optimised -O2; then
        bad 'optimised: compiles' "$TMP/make"
        return
    fi
    for program in "${PROGRAMS[@]}"; do
        cases 'libc, -O2' "$TMP/optimised.$program" 'libc, -O2' libc
        cases 'preload, -O2' env LD_PRELOAD="$SO" "$TMP/optimised.$program" 'preload, -O2' tidepool
    done
}

# linked NAME FLAGS...: with the static archive.
linked()
{
    local program
    if ! compile linked "$BUILD/libtidepool.a" "${@:2}"; then
        bad "$1: links" "$TMP/make"
        return
    fi
    for program in "${PROGRAMS[@]}"; do
        cases "$1" "$TMP/linked.$program" "$1" tidepool
    done
}

under_archive()
{
    linked archive
    if has_static libc.a "$CC"; then
        linked 'archive, -static' -static
    else
        skip 'archive, -static' 'there is no libc.a'
    fi
}

# The loader gives malloc@GLIBC_2.2.5 a symbol of ours only if it has no version.
names_have_no_version()
{
    if ! command -v nm >/dev/null; then
        skip 'names have no version' 'nm is missing'
    elif nm -D --defined-only "$SO" >"$TMP/out" && grep -q ' T malloc$' "$TMP/out" &&
        ! grep -q '@' "$TMP/out"; then
        ok 'names have no version'
    else
        bad 'names have no version' "$TMP/out"
    fi
}

under_libc
under_preload
optimised
under_archive
names_have_no_version
finish
