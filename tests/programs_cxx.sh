#!/usr/bin/env bash
# programs_cxx.sh - a C++ program with threads, exceptions, aligned new and plugins.
#
# prog_mtcxx.cc says what it does. It is built with -O2, with the shared C++ runtime and
# with one of its own in the program and in each plugin. These plugins show one name only:
# with the unique symbols that g++ makes of templates the loader would never unload
# them, as it does not those that make built.
set -u
. "$(dirname "$0")/lib_real.sh"

CXX=${CXX:-g++}
PARTS=(prog_mtcxx plug_mtcxx_goods plug_mtcxx_faults)

# compile: the objects, from which all programs are linked.
compile()
{
    local part pid status=0
    local -a pids=()
    for part in "${PARTS[@]}"; do
        "$CXX" -std=gnu++17 -O2 -fPIC -pthread -Wall -Wextra -c -o "$TMP/$part.o" "tests/$part.cc" \
            >"$TMP/$part.log" 2>&1 &
        pids+=($!)
    done
    for pid in "${pids[@]}"; do
        wait "$pid" || status=1
    done
    return "$status"
}

# build DIR FLAG...: the program and the plugins, side by side.
build()
{
    local dir=$1 part
    mkdir "$dir"
    echo '{ global: mtcxx_plugin; local: *; };' >"$dir/map"
    "$CXX" -pthread "${@:2}" -o "$dir/prog_mtcxx" "$TMP/prog_mtcxx.o" -ldl 2>"$TMP/link" || return
    for part in "${PARTS[@]:1}"; do
        "$CXX" -pthread -shared "${@:2}" -Wl,--version-script="$dir/map" -o "$dir/$part.so" \
            "$TMP/$part.o" 2>"$TMP/link" || return
    done
}

# run_build NAME CASE DIR THREADS UNLOADED: both arms, and what they must have said at least.
run_build()
{
    local name=$1 case=$2 dir=$3 arm
    for arm in plain served; do
        "$arm" "$case" "$dir/prog_mtcxx" "$dir"/plug_mtcxx_{goods,faults}.so "$4" 600 3
    done
    same "C++ $name: equal sums" "$case"
    proof "C++ $name: served" "$case" 10000 1000
    if (($(grep -cE "^season .* kept, $5 unloaded, sum " "$TMP/$case.served.out") == 3)) &&
        grep -q '^thrown [1-9]' "$TMP/$case.served.out"; then
        ok "C++ $name: exceptions caught, plugins closed"
    else
        bad "C++ $name: exceptions caught, plugins closed" "$TMP/$case".served.{out,err}
    fi
}

run_all()
{
    if ! compile; then
        bad 'C++ program compiles' "$TMP"/*.log
        return
    fi
    if build "$TMP/shared"; then
        run_build 'with libstdc++.so' shared "$TMP/shared" 4 2
        run_build 'with 12 threads' many "$TMP/shared" 12 2
    else
        bad 'C++ program links' "$TMP/link"
    fi
    if [[ ! -e $("$CXX" -print-file-name=libstdc++.a) ]]; then
        skip 'C++ with a static runtime' 'there is no libstdc++.a'
    elif build "$TMP/static" -static-libstdc++; then
        run_build 'with a static runtime' static "$TMP/static" 4 2
    else
        bad 'C++ program with a static runtime links' "$TMP/link"
    fi
}

if ! command -v "$CXX" >/dev/null; then
    skip 'C++ program' "there is no C++ compiler ($CXX)"
    finish
fi
need "$SO" "$PROGS/prog_mtcxx" "$PROGS"/plug_mtcxx_{goods,faults}.so
run_build 'as make built it' stay "$PROGS" 4 '[02]'
run_all
finish
