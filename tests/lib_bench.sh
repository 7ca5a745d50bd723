# shellcheck shell=bash disable=SC2034
# lib_bench.sh - for the scripts that test the benches. Reads lib_prog.sh.
#
# BENCHES has all of them, ALLOCATING those that measure an allocator; small BENCH prints
# arguments with which it ends at once.
. "$(dirname "${BASH_SOURCE[0]}")/lib_prog.sh"
unset LD_PRELOAD

ALLOCATING=(bench_mid_mt_gap bench_mid bench_tiny bench_sets bench_remote bench_churn bench_frag
    bench_realloc bench_calls bench_start)
BENCHES=("${ALLOCATING[@]}" bench_header bench_stride bench_log)
need "$SO" "${BENCHES[@]/#/$BUILD/bench/}"

small()
{
    case $1 in
    bench_sets) echo --ops 2k --slots 50,100 ;;
    bench_remote) echo --ops 2k --slots 64 ;;
    bench_churn) echo --ops 30 --slots 16 ;;
    bench_frag) echo --bytes 1M --pause 0 ;;
    bench_realloc) echo --ops 200 ;;
    bench_start) echo --ops 3 ;;
    bench_header) echo --ops 300 --slots 1500 --rounds 1 ;;
    bench_stride) echo --ops 500 --slots 50,100 --rounds 1 ;;
    bench_log) echo --ops 300 --rounds 1 ;;
    *) echo --ops 2k ;;
    esac
}

# How many results a bench gives with these arguments, without and with a preload.
results_of()
{
    case $1 in
    bench_mid | bench_sets) echo 2 2 ;;
    bench_calls | bench_remote) echo 3 3 ;;
    bench_realloc) echo 4 4 ;;
    bench_start) echo 2 3 ;;
    bench_header) echo 68 68 ;;
    bench_stride) echo 16 16 ;;
    bench_log) echo 75 75 ;;
    *) echo 1 1 ;;
    esac
}

# bench NAME ARGUMENT...: output to $TMP/out and $TMP/err. PRELOAD and OPTIONS go along.
bench()
{
    bare env ${PRELOAD:+LD_PRELOAD="$PRELOAD"} ${OPTIONS:+TIDEPOOL_OPTIONS="$OPTIONS"} \
        "$BUILD/bench/$1" "${@:2}"
}

# judge NAME TEST...: the words are a command that says whether the name holds.
judge()
{
    if "${@:2}"; then ok "$1"; else bad "$1" "$TMP/out" "$TMP/err"; fi
}

# same NAME WANTED GOT
same()
{
    if [[ $2 == "$3" ]]; then ok "$1"; else bad "$1: '$3', not '$2'" "$TMP/err"; fi
}

# ends NAME STATUS FILE PATTERN COMMAND...: the command ends with the status, and FILE (out or
# err) has a line that matches.
ends()
{
    local status
    "${@:5}"
    status=$?
    if ((status == $2)) && grep -qe "$4" "$TMP/$3"; then
        ok "$1"
    else
        bad "$1 (status $status, not $2 with '$4' in $3)" "$TMP/out" "$TMP/err"
    fi
}

# The values of a key in the JSON lines of a file, one a line.
values()
{
    sed -n "s/.*\"$1\":\"\\{0,1\\}\\([^,\"}]*\\).*/\\1/p" "$2"
}

# A shared object $TMP/NAME.so made of the C text on standard input.
make_so()
{
    "${CC:-gcc}" -w -O1 -shared -fPIC -fno-builtin -x c -o "$TMP/$1.so" - || bad "$1.so builds"
}

# Every line of the files is one whole JSON object, as RFC 8259 has it. Prints the bad lines.
json_lines()
{
    awk '
        function blank() { sub(/^[ \t]+/, "", rest) }
        function take(pattern) {
            if (!match(rest, "^" pattern)) return 0
            rest = substr(rest, RLENGTH + 1)
            blank()
            return 1
        }
        function text() { return take("\"([^\"\\\\]|\\\\[\"\\\\/bfnrt])*\"") }
        function member(named) { return (!named || (text() && take(":"))) && value() }
        function list(last, named) {
            if (take(last)) return 1
            do if (!member(named)) return 0
            while (take(","))
            return take(last)
        }
        function value() {
            if (take("[{]")) return list("}", 1)
            if (take("\\[")) return list("]", 0)
            if (text() || take("true") || take("false") || take("null")) return 1
            return take("-?(0|[1-9][0-9]*)([.][0-9]+)?([eE][-+]?[0-9]+)?")
        }
        { rest = $0; blank() }
        substr(rest, 1, 1) != "{" || !value() || rest != "" { print FILENAME ": " $0; wrong = 1 }
        END { exit wrong || NR == 0 }' "$@"
}
