#!/usr/bin/env bash
# verify_cache_alignment.sh - holds the structs that threads share to the declared cache lines.
#
#   tools/verify_cache_alignment.sh [OPTION]... [LIBRARY]
#
#   --table FILE   the declaration (default: verify_cache_alignment.txt beside this script)
#   --csv FILE     writes the layout found, one row per member
#   --self-test    plants one violation of every rule in a library of its own
#   --help         this text
#
# LIBRARY is a shared object with debug data (-g); default: build/libtidepool.so (BUILD). Sizes,
# offsets and alignments are read from its debug data and its symbols with readelf; nothing is
# taken from the sources.
#
# The table says for each struct and member where it is, to which group of lines it belongs and
# who writes it. It fails, and names each mismatch, when
#   - a struct or an object is not there, or its size or alignment is another one;
#   - a member is at another offset, is gone, or is new and not in the table;
#   - members of two groups share a line, or one group has two writers;
#   - a group marked with ! does not fit in one line;
#   - two global objects with different writers share a line.
#
# Exit status: 0 as declared; 1 mismatches; 2 bad input, no debug data, readelf is missing.
set -u
. "$(dirname "${BASH_SOURCE[0]}")/lib_measure.sh"

TABLE=$HOME_DIR/tools/verify_cache_alignment.txt
LIBRARY='' CSV=''

take()
{
    case $1 in
    --table) TABLE=$2 ;;
    --csv) CSV=$2 ;;
    esac
}

operand()
{
    [[ -z $LIBRARY ]] || die "one library at a time, not $LIBRARY and $1"
    LIBRARY=$1
}

# verify LIBRARY TABLE FORM: prints the layout; mismatches on stderr.
verify()
{
    command -v readelf >/dev/null || die 'readelf is missing: install the package binutils'
    [[ -f $1 && -r $1 ]] || die "$1: cannot be read (run make)"
    [[ -f $2 && -r $2 ]] || die "$2: cannot be read"
    readelf -sW "$1" >"$WORK/symbols" 2>"$WORK/err" || die "$1: $(tail -n 1 "$WORK/err")"
    readelf -W --debug-dump=info "$1" >"$WORK/dwarf" 2>"$WORK/err" ||
        die "$1: $(tail -n 1 "$WORK/err")"
    awk -f "$HOME_DIR/tools/measure/layout.awk" -v form="$3" from=table "$2" from=symbols \
        "$WORK/symbols" from=dwarf "$WORK/dwarf"
}

report()
{
    local status=0 count
    (verify "$LIBRARY" "$TABLE" text) 2>"$WORK/problems" || status=$?
    cat "$WORK/problems" >&2
    ((status <= 1)) || die "$LIBRARY: not verified"
    if [[ -n $CSV ]]; then
        (verify "$LIBRARY" "$TABLE" csv) >"$CSV" 2>/dev/null || true
        [[ -s $CSV ]] || die "$CSV: cannot be written"
    fi
    count=$(grep -c '^MISMATCH' "$WORK/problems") || true
    if ((status == 0)); then
        echo "verdict: as declared in ${TABLE##*/}, no mismatch"
    else
        echo "verdict: $count mismatch$( ((count == 1)) || echo es) with ${TABLE##*/}"
    fi
    return $status
}

# ---- self-test ------------------------------------------------------------------------------

GOOD_STRUCT='struct box { _Atomic long mine; long more; _Alignas(64) long theirs[8]; };'
GOOD_TABLE='struct box 128 aligned 64 64
    mine 0 own! me
    more 8 own! me
    theirs 64 in all
object hot 8 me
object cold 64 all'

# plant STRUCT [OBJECTS]: a library with these.
plant()
{
    "${CC:-gcc}" -g -shared -fPIC -x c -o "$WORK/planted.so" - <<EOT
$1
struct box box;
${2:-_Alignas(64) long hot = 1; _Alignas(64) long cold[8] = {1\};}
EOT
}

# expect NAME STATUS WORDS: what the planted library must give.
expect()
{
    self_ends "$@" verify "$WORK/planted.so" "$WORK/table" text
}

# wrong_table NAME SED WORDS: the good struct against a table changed by sed.
wrong_table()
{
    sed "$2" <<<"$GOOD_TABLE" >"$WORK/table"
    expect "$1" 1 "$3"
    printf '%s\n' "$GOOD_TABLE" >"$WORK/table"
}

# wrong_struct NAME STRUCT WORDS [OBJECTS]
wrong_struct()
{
    plant "$2" "${4:-}"
    expect "$1" 1 "$3"
}

self_test()
{
    command -v "${CC:-gcc}" >/dev/null || die 'the self-test needs gcc (CC)'
    printf '%s\n' "$GOOD_TABLE" >"$WORK/table"
    plant "$GOOD_STRUCT"
    expect 'a struct as declared passes' 0 'struct box: 128 bytes, aligned to 64'
    wrong_table 'another size' 's/box 128/box 192/' 'box: 128 bytes, the table says 192'
    wrong_table 'another offset' 's/more 8/more 16/' 'box.more: at byte 8, the table says 16'
    wrong_table 'a member that is gone' 's/more 8/less 8/' 'no such member'
    wrong_table 'two writers in a group' 's/more 8 own! me/more 8 own! you/' 'written by you'
    wrong_table 'an unknown object' 's/hot/warm/' 'warm: the library has no such object'
    wrong_table 'an unknown struct' 's/struct box/struct bag/' 'bag: the library has no such struct'
    wrong_struct 'a new member' "${GOOD_STRUCT/long more/long more, new}" 'box.new: at byte 16'
    wrong_struct 'a lost alignment' "${GOOD_STRUCT/_Alignas(64) /}" \
        'box.theirs: shares bytes 0..63 with the group own!'
    wrong_struct 'a group of two lines' "${GOOD_STRUCT/long more/long filler[8], more}" \
        'own! must lie in one line'
    wrong_struct 'objects of two writers in a line' "$GOOD_STRUCT" 'shares a line with' \
        '_Alignas(64) struct { long hot, cold[8]; } both = {1}; 
        extern long hot __attribute__((alias("both"))), cold[8] __attribute__((alias("both")));'
    plant "$GOOD_STRUCT"
    strip -g "$WORK/planted.so"
    expect 'a library without debug data' 2 'no debug data'
}

# ------------------------------------------------------------------------------------------

parse_options '--table --csv' "$@"
LIBRARY=${LIBRARY:-$BUILD/libtidepool.so}
make_work
report
