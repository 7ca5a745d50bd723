#!/usr/bin/env bash
# inject.sh - the library's system calls fail, one after the other, while it works and
# while it starts.
#
#   tests/inject.sh [WORD]   only runs with WORD in their names
#
# prog_inject_run.c and prog_inject_start.c say what must hold then.
set -u
. "$(dirname "$0")/lib_prog.sh"
. tests/lib_cases.sh

WORD=${1:-}
RUNS=(tiny mid large huge aligned realloc calloc threads remote fork trim heaps figures)
RUN=$PROGS/prog_inject_run
START=$PROGS/prog_inject_start
need "$SO" "$BUILD/libtidepool.a" "$RUN" "$START" "$PROGS/prog_inject_cxx"

wanted()
{
    [[ $1 == *"$WORD"* ]]
}

# run NAME RUN [,OPTIONS], with small magazines: most of what is freed goes on to the pages
run()
{
    wanted "$1" &&
        cases "$1" env LD_PRELOAD="$SO" TIDEPOOL_OPTIONS="mid=near,cache=64K${3:-}" "$RUN" "$2" "$1"
}

# With 256 MiB of address space the windows are small, and further ones are opened.
run_windows()
{
    # shellcheck disable=SC2016 # the inner shell expands it
    wanted "$1" && cases "$1" bash -c 'ulimit -v 262144; exec env "$@"' - LD_PRELOAD="$SO" \
        TIDEPOOL_OPTIONS="mid=near$2" "$RUN" windows "$1"
}

# The archive, where the library's text is a part of the program's.
run_static()
{
    wanted "$1" || return
    if [[ ! -e $TMP/static ]] && ! "${CC:-gcc}" -std=gnu17 -g -pthread -fno-builtin-malloc \
        -fno-builtin-free -fno-builtin-calloc -fno-builtin-realloc -Iinclude -o "$TMP/static" \
        tests/prog_inject_run.c "$BUILD/libtidepool.a" >"$TMP/out" 2>&1; then
        bad 'static: links' "$TMP/out"
        return
    fi
    cases "$1" env TIDEPOOL_OPTIONS=mid=near "$TMP/static" "$2" "$1"
}

for name in "${RUNS[@]}"; do
    run "$name" "$name"
done
run 'mid, header=shadow' mid ,header=shadow
run 'heaps, tiny_max=1023' heaps ,tiny_max=1023
run_windows windows ''
run_windows 'windows, header=shadow' ,header=shadow
run_static 'archive, calloc' calloc
run_static 'archive, huge' huge
wanted start && cases start "$START" "$SO" "$START" --target
wanted start && cases start "$START" "$SO" "$PROGS/prog_inject_cxx"
finish
