#!/usr/bin/env bash
# mutants.sh - breaks the library, one line at a time, and demands that a test notices.
#
#   tests/mutants.sh             checks the catalogue and tries a sample of it; or all,
#                                if TEST_LONG is set
#   tests/mutants.sh --all       tries every mutant (make mutants)
#   tests/mutants.sh --only NAME...
#   tests/mutants.sh --sample N [--seed S]
#   tests/mutants.sh --list      name, topic and the test that must turn red
#
# The catalogue is tests/mutants/*.txt; tests/mutants/topics names what must have a
# mutant. A record of the catalogue:
#
#   mutant  its name
#   topic   what it breaks
#   file    the file that is changed
#   after   a line of that file (optional: the line to change comes behind it)
#   - the line to change
#   + what takes its place
#   red     the script in tests/, and the verdict in it that must turn red; the script
#           gives that verdict alone when it is called with ^VERDICT$
#
# Lines are compared without the blanks around them. The line to change, or the one
# of `after`, must be there exactly once. A mutant is survived, and that is a failure,
# when the verdict is not `not ok` with it, or not `ok` without it. One that does not
# compile is a failure too.
#
# Settings: MUTANT_SAMPLE (mutants in a sample, default 8), MUTANT_SEED (which ones;
# default today's date). A test that hangs with a mutant is ended after 20 seconds and
# five times what it takes without.
set -u
. "$(dirname "$0")/lib_prog.sh"
unset MAKEFLAGS MFLAGS MAKELEVEL WERROR CI # a mutant may leave something unused

SAMPLE=${MUTANT_SAMPLE:-8}
SEED=${MUTANT_SEED:-$(date +%Y%m%d)}
SOUND_TREE=$TMP/sound
TREE=$TMP/mutant
export CFLAGS='-O1 -g'
declare -A TOPIC FILE AFTER OLD NEW RED SOUND LIMIT
declare -a NAMES=()

# ---- the catalogue ----------------------------------------------------------------

# Reads all records; a line that is none of the above is a fault.
read_catalogue()
{
    local text name=''
    while IFS= read -r text; do
        case $text in
        '' | '#'*) ;;
        'mutant  '*)
            name=${text#mutant  }
            [[ -v TOPIC[$name] ]] && fault "$name: there are two"
            NAMES+=("$name")
            TOPIC[$name]='' FILE[$name]='' AFTER[$name]='' RED[$name]=''
            ;;
        'topic   '*) TOPIC[$name]=${text#topic   } ;;
        'file    '*) FILE[$name]=${text#file    } ;;
        'after   '*) AFTER[$name]=${text#after   } ;;
        '- '*) OLD[$name]=${text#- } ;;
        '+ '*) NEW[$name]=${text#+ } ;;
        'red     '*) RED[$name]=${text#red     } ;;
        *) fault "no record has a line like: $text" ;;
        esac
    done < <(cat tests/mutants/*.txt)
}

FAULTS=()
fault()
{
    FAULTS+=("$1")
}

# line_of NAME: the number of the line to change; nothing if it is not clear which.
ROOT=.
line_of()
{
    [[ -f $ROOT/${FILE[$1]} ]] && OLD=${OLD[$1]} AFTER=${AFTER[$1]} awk '
        { gsub(/^[ \t]+|[ \t]+$/, "") }
        $0 == ENVIRON["AFTER"] && ENVIRON["AFTER"] != "" { anchors++; behind = 1 }
        $0 == ENVIRON["OLD"] { all++; if (behind && !first) first = FNR; last = FNR }
        END {
            if (ENVIRON["AFTER"] == "" && all == 1) print last
            if (anchors == 1 && first) print first
        }' "$ROOT/${FILE[$1]}"
}

# Every record is whole, its line is found, its test exists; no topic is without one.
check_catalogue()
{
    local name topic script
    for name in "${NAMES[@]}"; do
        script=tests/${RED[$name]%% *}
        if [[ -z ${OLD[$name]:-} || -z ${NEW[$name]:-} || ${RED[$name]} != *' '* ]]; then
            fault "$name: a part is missing"
        elif [[ ${OLD[$name]} == "${NEW[$name]}" ]]; then
            fault "$name: changes nothing"
        elif [[ -z $(line_of "$name") ]]; then
            fault "$name: ${FILE[$name]} has not exactly one such line: ${OLD[$name]}"
        elif [[ ! -x $script ]]; then
            fault "$name: there is no $script"
        elif ! grep -q "^${TOPIC[$name]}  " tests/mutants/topics; then
            fault "$name: there is no topic '${TOPIC[$name]}'"
        fi
    done
    while read -r topic _; do
        [[ $topic == '#'* || " ${TOPIC[*]} " == *" $topic "* ]] || fault "$topic: has no mutant"
    done <tests/mutants/topics
    if ((${#FAULTS[@]} == 0)); then
        ok "catalogue: ${#NAMES[@]} mutants, each with its line, its test and its topic"
    else
        printf '%s\n' "${FAULTS[@]}" >"$TMP/faults"
        bad 'catalogue: each mutant has its line, its test and its topic' "$TMP/faults"
    fi
}

# The first $1 names in an order that the seed decides.
sample()
{
    local name
    for name in "${NAMES[@]}"; do
        printf '%s %s\n' "$(cksum <<<"$SEED $name" | cut -d' ' -f1)" "$name"
    done | sort -n | head -n "$1" | cut -d' ' -f2
}

# ---- the library ------------------------------------------------------------------

# Two copies of what the library and the tests are made of; one stays as it is. Both use
# the programs that are built already.
make_trees()
{
    local tree
    mkdir -p "$PROGS"
    for tree in "$SOUND_TREE" "$TREE"; do
        mkdir -p "$tree/build"
        cp -r Makefile core include tests tools "$tree"
        ln -s "$PROGS" "$tree/build/tests"
    done
    ROOT=$SOUND_TREE
    build "$SOUND_TREE" && return
    bad 'the library builds' "$TMP/make"
    exit 1
}

build()
{
    make -C "$1" -s BUILD="$1/build" "$1"/build/libtidepool.{so,a} >"$TMP/make" 2>&1
}

# change NAME: puts the other line in its place; restore NAME takes it back.
change()
{
    local file=${FILE[$1]}
    NEW=${NEW[$1]} awk -v at="$(line_of "$1")" '{ print FNR == at ? ENVIRON["NEW"] : $0 }' \
        "$ROOT/$file" >"$TREE/$file"
}

restore()
{
    cat "$ROOT/${FILE[$1]}" >"$TREE/${FILE[$1]}"
}

# verdict_of TREE SCRIPT-AND-VERDICT: prints `ok`, `not ok`, `skip`, or nothing.
verdict_of()
{
    local script=${2%% *} name=${2#* }
    BUILD=$1/build "$1/tests/$script" "^$name\$" >"$TMP/log" 2>&1 </dev/null
    NAME=$name awk '
        function is(prefix, rest) {
            prefix = prefix " - " ENVIRON["NAME"]
            rest = substr($0, length(prefix) + 1)
            return index($0, prefix) == 1 && (rest == "" || rest ~ /^( \(|: )/)
        }
        is("ok") || is("not ok") { print substr($0, 1, index($0, " - ") - 1); skip = 0; exit }
        /^skip - / { skip = 1 }
        END { if (skip) print "skip" }' "$TMP/log"
}

verdict_with_limit()
{
    TEST_SECONDS=${LIMIT[$1]} HANG_SECONDS=15 verdict_of "$TREE" "$1"
}

# ---- trying -----------------------------------------------------------------------

# try NAME: needs a tree that is as it should be, and leaves it so.
try()
{
    local red=${RED[$1]} begin
    if [[ ! -v SOUND[$red] ]]; then
        begin=$SECONDS
        SOUND[$red]=$(verdict_of "$SOUND_TREE" "$red")
        LIMIT[$red]=$((20 + 5 * (SECONDS - begin)))
    fi
    if [[ ${SOUND[$red]} == skip ]]; then
        skip "$1" "'$red' is skipped here"
        return
    elif [[ ${SOUND[$red]} != ok ]]; then
        bad "$1: without it, '$red' must be ok" "$TMP/log"
        return
    fi
    change "$1"
    if ! build "$TREE"; then
        bad "$1: does not compile" "$TMP/make"
    elif [[ $(verdict_with_limit "$red") == 'not ok' ]]; then
        ok "$1: $red turns red"
    else
        bad "$1: SURVIVED: '$red' does not turn red" "$TMP/log"
    fi
    restore "$1"
}

try_all()
{
    local name begin=$SECONDS
    ((${#FAULTS[@]} == 0)) || return
    make_trees
    for name in "$@"; do
        try "$name"
    done
    echo "# $# mutants in $((SECONDS - begin)) s"
}

list()
{
    local name
    for name in "${NAMES[@]}"; do
        printf '%-32s %-20s %s\n' "$name" "${TOPIC[$name]}" "${RED[$name]}"
    done
}

only()
{
    local name
    for name in "$@"; do
        [[ -v TOPIC[$name] ]] || fault "there is no mutant '$name'"
    done
    printf 'not ok - %s\n' ${FAULTS+"${FAULTS[@]}"} | grep -v '^not ok - $'
    ((${#FAULTS[@]} == 0)) || exit 2
    try_all "$@"
}

MODE=${1:-${TEST_LONG:+--all}}
MODE=${MODE:---sample}
read_catalogue
if [[ $MODE == --sample ]]; then
    SAMPLE=${2:-$SAMPLE}
    [[ ${3:-} == --seed ]] && SEED=$4
fi
case $MODE in
--list) list ;;
--only) only "${@:2}" ;;
--all)
    check_catalogue
    try_all "${NAMES[@]}"
    ;;
--sample)
    check_catalogue
    echo "# a sample of $SAMPLE; again: tests/mutants.sh --sample $SAMPLE --seed $SEED"
    mapfile -t PICKED < <(sample "$SAMPLE")
    try_all "${PICKED[@]}"
    ;;
*)
    echo "usage: tests/mutants.sh [--all | --only NAME... | --sample N [--seed S] | --list]" >&2
    exit 2
    ;;
esac
finish
