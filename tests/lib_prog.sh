# shellcheck shell=bash disable=SC2034
# lib_prog.sh - for scripts that run the programs prog_* under the preload.
#
# Sets BUILD (absolute), SO, PROGS and TMP; ok, bad and skip print one verdict
# each; `finish` ends the script: 0 when nothing failed. `until_true COMMAND...` waits for what a
# busy machine may take its time for: two minutes at most, then it fails.

cd "$(dirname "${BASH_SOURCE[0]}")/.." || exit 2
BUILD=${BUILD:-build}
[[ $BUILD == /* ]] || BUILD=$PWD/$BUILD
SO=$BUILD/libtidepool.so
PROGS=$BUILD/tests
TMP=$(mktemp -d)
trap 'rm -rf "$TMP"' EXIT
FAILED=0
export LC_ALL=C
unset TIDEPOOL_OPTIONS
ulimit -c 0

ok()
{
    echo "ok - $1"
}

# bad NAME [FILE...]: the files are what the program said.
bad()
{
    local file
    echo "not ok - $1"
    FAILED=$((FAILED + 1))
    for file in "${@:2}"; do
        sed 's/^/    | /' "$file" | tail -n 12
    done
}

skip()
{
    echo "skip - $1: $2"
}

until_true()
{
    local end=$((SECONDS + 120))
    until "$@"; do
        ((SECONDS < end)) || return 1
        sleep 0.1
    done
}

# Builds what is not there yet: programs and the library.
need()
{
    local file
    for file in "$@"; do
        [[ -e $file ]] || make -s BUILD="$BUILD" "$file" >"$TMP/make" 2>&1 || {
            bad "build ${file##*/}" "$TMP/make"
            exit 1
        }
    done
}

# Runs a command, its output to $TMP/out and $TMP/err, and returns its status;
# the shell says nothing when it dies by a signal. One that hangs ends with 124
# after TEST_SECONDS.
# OPTIONS: TIDEPOOL_OPTIONS.
bare()
{
    { timeout -k 5 "${TEST_SECONDS:-500}" "$@" >"$TMP/out" 2>"$TMP/err" </dev/null; } 2>/dev/null
}

preloaded()
{
    bare env LD_PRELOAD="$SO" ${OPTIONS:+TIDEPOOL_OPTIONS="$OPTIONS"} "$@"
}

# verdict NAME COMMAND...: the command must end with 0 (77: cannot be done here)
# and say nothing on stderr.
verdict()
{
    local status
    preloaded "${@:2}"
    status=$?
    if ((status == 77)); then
        skip "$1" "$(tail -n 1 "$TMP/out")"
    elif ((status == 0)) && [[ ! -s $TMP/err ]]; then
        ok "$1"
    else
        bad "$1 (exit $status)" "$TMP/out" "$TMP/err"
    fi
}

finish()
{
    exit $((FAILED > 0))
}
