#!/usr/bin/env bash
# cxx.sh - operator new and delete, exceptions, and the new_handler.
#
# The cases are in cxx_case.h. They run with libstdc++'s own operators first, and
# then with the library and every way in which a C++ runtime can be there: shared,
# static, inside one plugin, or not at all.
set -u
. "$(dirname "$0")/lib_prog.sh"
. "$(dirname "$0")/lib_cases.sh"

CXX=${CXX:-g++}
DEBUG_SO=$BUILD/libtidepool_dbg.so
ARCHIVE=$BUILD/libtidepool.a
STATIC=(-static-libstdc++ -static-libgcc)

if ! command -v "$CXX" >/dev/null; then
    skip cxx "there is no C++ compiler ($CXX)"
    finish
fi
need "$SO" "$DEBUG_SO" "$ARCHIVE" "$PROGS"/prog_cxx_{forms,replace,host} "$PROGS/plug_cxx.so"

preload()
{
    cases "$1" env LD_PRELOAD="$SO" "${@:2}"
}

# compile NAME SOURCE FLAGS...: makes $TMP/program, or fails with a verdict.
compile()
{
    "$CXX" -std=gnu++17 -O2 -g -pthread -Iinclude -w -o "$TMP/program" "tests/$2" "${@:3}" \
        >"$TMP/make" 2>&1 && return
    bad "$1: links" "$TMP/make"
    return 1
}

shared_runtime()
{
    cases libstdc++ "$PROGS/prog_cxx_forms" libstdc++ libc
    preload preload "$PROGS/prog_cxx_forms" preload tidepool
    cases 'preload, debug build' env LD_PRELOAD="$DEBUG_SO" "$PROGS/prog_cxx_forms" \
        'preload, debug build' tidepool
    compile archive prog_cxx_forms.cc "$ARCHIVE" &&
        cases archive "$TMP/program" archive tidepool
}

static_runtime()
{
    if ! has_static libstdc++.a "$CXX"; then
        skip 'static runtime' 'there is no libstdc++.a'
        return
    fi
    local name='static runtime, preload'
    compile "$name" prog_cxx_forms.cc "${STATIC[@]}" &&
        preload "$name" "$TMP/program" "$name" tidepool
    name='static runtime, archive'
    compile "$name" prog_cxx_forms.cc "$ARCHIVE" "${STATIC[@]}" &&
        cases "$name" "$TMP/program" "$name" tidepool
    name='bare runtime, archive'
    compile "$name" prog_cxx_bare.cc "$ARCHIVE" "${STATIC[@]}" &&
        cases "$name" "$TMP/program" "$name"
    if ! has_static libc.a "$CXX"; then
        skip 'static program, archive' 'there is no libc.a'
        return
    fi
    name='static program, archive'
    compile "$name" prog_cxx_forms.cc "$ARCHIVE" -static &&
        cases "$name" "$TMP/program" "$name" tidepool
}

# The program is C and the plugin local: no reference of the library is bound.
runtime_in_a_plugin()
{
    local host=$PROGS/prog_cxx_host plugin=$PROGS/plug_cxx.so name
    cases 'plugin, libstdc++' "$host" 'plugin, libstdc++' libc "$plugin"
    preload plugin "$host" plugin tidepool "$plugin"
    has_static libstdc++.a "$CXX" || return
    name='plugin with a static runtime'
    compile "$name" plug_cxx.cc -shared -fPIC "${STATIC[@]}" || return
    preload "$name" "$host" "$name" tidepool "$TMP/program"
    # Two runtimes: each plugin must get the handler and the exceptions of its own.
    name='two plugins'
    preload "$name" "$host" "$name" tidepool "$TMP/program" "$plugin"
    preload "$name" "$host" "$name" tidepool "$plugin" "$TMP/program"
    # An object with the old hash table only.
    name='plugin with DT_HASH'
    compile "$name" plug_cxx.cc -shared -fPIC -Wl,--hash-style=sysv "${STATIC[@]}" &&
        preload "$name" "$host" "$name" tidepool "$TMP/program"
}

no_runtime()
{
    local status text='tidepool: operator new: out of memory, and no C++ runtime to throw'
    preloaded "$PROGS/prog_cxx_host" 'no runtime' starve
    status=$?
    if ((status == 134)) && [[ $(wc -l <"$TMP/err") == 1 && ! -s $TMP/out ]] &&
        grep -qxF "$text std::bad_alloc" "$TMP/err"; then
        ok 'no runtime: one line on stderr and abort'
    else
        bad "no runtime: one line on stderr and abort (exit $status)" "$TMP/out" "$TMP/err"
    fi
}

# A program with some operators of its own.
replaced_operators()
{
    local name
    cases 'replaced, libstdc++' "$PROGS/prog_cxx_replace" 'replaced, libstdc++'
    preload 'replaced, preload' "$PROGS/prog_cxx_replace" 'replaced, preload'
    name='replaced, archive'
    compile "$name" prog_cxx_replace.cc "$ARCHIVE" && cases "$name" "$TMP/program" "$name"
    has_static libstdc++.a "$CXX" || return
    name='replaced, static runtime, archive'
    compile "$name" prog_cxx_replace.cc "$ARCHIVE" "${STATIC[@]}" &&
        cases "$name" "$TMP/program" "$name"
}

shared_runtime
static_runtime
runtime_in_a_plugin
no_runtime
replaced_operators
finish
