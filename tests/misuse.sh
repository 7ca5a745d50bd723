#!/usr/bin/env bash
# misuse.sh - every misuse ends as the table below says.
#
#   tests/misuse.sh [WORD]     only cases with WORD in their names
#
# A row is run at each size of its column and over both header variants. An end
# is `abort` (SIGABRT after exactly one line on stderr, which must match to the
# letter), `either` (abort like that, or alive and sound) or `alive` (exit 0
# and nothing on stderr). A death by any other signal is a failure everywhere.
#
# In the text ADDR is the address that the program printed, SIZE the usable size of
# the block, TIER the tier of the run and CACHED the state in which a block of that
# tier waits; the rest is a regular expression.
set -u
. "$(dirname "$0")/lib_prog.sh"

WORD=${1:-}
declare -A BYTES=([tiny]=200 [mid]=5000 [large]=200000 [huge]=67108864)
need "$SO" "$PROGS/prog_misuse" "$PROGS/prog_corrupt"

# A block in a thread's cache; Large ones are in none.
CACHED='double free: ADDR in free: tier=TIER size=SIZE owner=[0-9]+ state=CACHED'
FREE='double free: ADDR in free: tier=TIER size=SIZE owner=[0-9]+ state=free'
FREED='double free: ADDR in free: tier=TIER size=SIZE owner=[0-9]+ state=(cached|remote|free)'
# A second free by another thread may be found only when the block comes home.
REMOTE=${FREED/in free/in [a-z_]+}
INSIDE='interior pointer: ADDR in free: tier=TIER size=SIZE owner=[1-9][0-9]* state=live'
FOREIGN='foreign pointer: ADDR in free: tier=none size=0 owner=0 state=unknown'
# Reserved memory of ours that holds no block yet.
HOLE='invalid pointer: ADDR in free: tier=none size=0 owner=0 state=none'
CORRUPT='corrupt header: ADDR in [a-z_]+: tier=mid size=SIZE owner=[0-9]+ state=[a-z]+'
ANY='[a-z]+ [a-z]+: 0x[0-9a-f]+ in [a-z_]+: tier=[a-z]+ size=[0-9]+ owner=[0-9]+ state=[a-z]+'

# program | case | sizes | end | text
FREES=(
    "misuse|double_now|tiny mid large huge|abort|$CACHED"
    "misuse|double_later|tiny mid large huge|abort|$CACHED"
    "misuse|double_300_same|tiny mid large huge|abort|$CACHED"
    "misuse|double_300_other|tiny mid large huge|abort|$CACHED"
    "misuse|double_flushed|tiny mid large huge|abort|$FREE"
    "misuse|double_trimmed|tiny mid large huge|abort|$FREE"
    "misuse|double_aligned|tiny mid large huge|abort|$FREED"
    "misuse|double_moved|tiny mid large|abort|$CACHED"
    "misuse|double_by_thread|tiny mid large huge|abort|$REMOTE"
    "misuse|double_remote_own|tiny mid large huge|abort|$REMOTE"
    "misuse|double_remote_two|tiny mid large huge|abort|$REMOTE"
    "misuse|double_remote_same|tiny mid large huge|abort|$REMOTE"
    "misuse|double_remote_race|tiny mid large huge|abort|${REMOTE/ADDR/0x[0-9a-f]+}"
    "misuse|double_of_dead|tiny mid large huge|abort|$FREED"
    "misuse|double_in_child|tiny mid large huge|abort|$CACHED"
    "misuse|double_remote_child|tiny mid large huge|abort|$REMOTE"
    "misuse|realloc_freed|tiny mid large huge|abort|${CACHED/in free/in realloc}"
    "misuse|usable_freed|tiny mid large huge|abort|${CACHED/in free/in malloc_usable_size}"
    "misuse|interior_16|tiny mid large huge|abort|$INSIDE"
    "misuse|interior_1|tiny mid large huge|abort|$INSIDE"
    "misuse|interior_half|tiny mid large huge|abort|$INSIDE"
    "misuse|before_16|tiny mid large huge|abort|$INSIDE"
    "misuse|realloc_32|tiny mid large huge|abort|${INSIDE/in free/in realloc}"
    "misuse|usable_16|tiny mid large huge|abort|${INSIDE/in free/in malloc_usable_size}"
    "misuse|aligned_64|tiny mid large huge|abort|$INSIDE"
    "misuse|foreign_stack|mid|abort|$FOREIGN"
    "misuse|foreign_static|mid|abort|$FOREIGN"
    "misuse|foreign_code|mid|abort|$FOREIGN"
    "misuse|foreign_mapping|mid|abort|$FOREIGN"
    "misuse|foreign_low|mid|abort|$FOREIGN"
    "misuse|foreign_wild|mid|abort|$FOREIGN"
    "misuse|foreign_kernel|mid|abort|$FOREIGN"
    "misuse|foreign_last|mid|abort|$FOREIGN"
    "misuse|foreign_realloc|mid|abort|${FOREIGN/in free/in realloc}"
    "misuse|foreign_usable|mid|abort|${FOREIGN/in free/in malloc_usable_size}"
    "misuse|foreign_brk|mid|alive|"
    "misuse|hole|tiny mid large|abort|$HOLE"
    "misuse|hole_far|tiny mid large|abort|$HOLE"
    "misuse|hole|huge|abort|($HOLE|$FOREIGN)"
)
WRITES=(
    "corrupt|overflow_1|tiny mid large huge|either|$ANY"
    "corrupt|overflow_16|tiny mid large huge|either|$ANY"
    "corrupt|overflow_64_by_8|tiny mid large huge|either|$ANY"
    "corrupt|overflow_64k|tiny mid large huge|either|$ANY"
    "corrupt|underflow_16|mid|abort|$CORRUPT"
    "corrupt|underflow_zero|mid|abort|$CORRUPT"
    "corrupt|late_garbage|tiny mid large|either|$ANY"
    "corrupt|late_pointer|tiny mid large|either|$ANY"
    "corrupt|forged_foreign|tiny mid large|abort|$FOREIGN"
    "corrupt|forged_inside|tiny mid large|abort|$INSIDE"
    "corrupt|forged_owner|mid|abort|$CORRUPT"
    "corrupt|forged_bits|mid|abort|$CORRUPT"
    "corrupt|replayed|mid|either|$ANY"
    "corrupt|retyped|tiny mid|abort|$INSIDE"
)

# Checks the end in $1 with the text in $2; prints why it is not as it should be.
judge()
{
    local end=$1 want=$2 status=$3 lines
    lines=$(wc -l <"$TMP/err")
    if ((status == 0)) && [[ $end != abort ]]; then
        ((lines == 0)) || echo 'alive, but it said something'
    elif ((status != 134)) || [[ $end == alive ]]; then
        echo "exit $status"
    elif ((lines == 0)); then
        echo 'died without a word'
    elif grep -qvE "^tidepool: $want\$" "$TMP/err"; then
        echo "another line than: tidepool: $want"
    fi
}

# Runs a case with OPTIONS; sets STATUS and TEXT, the line that is wanted.
run_program()
{
    local program=$1 case=$2 tier=$3 addr='' usable=''
    preloaded "$PROGS/prog_$program" "$case" "${BYTES[$tier]}"
    STATUS=$?
    read -r addr usable <"$TMP/out"
    TEXT=${4//ADDR/$addr}
    TEXT=${TEXT//SIZE/$usable}
    TEXT=${TEXT//TIER/${tier/huge/large}}
    case $tier in
    tiny | mid) TEXT=${TEXT/CACHED/cached} ;;
    *) TEXT=${TEXT/CACHED/free} ;;
    esac
}

# settle NAME WHY: the verdict of the program that ran last.
settle()
{
    if ((STATUS == 77)); then
        skip "$1" "$(tail -n 1 "$TMP/out")"
    elif [[ -z $2 ]]; then
        ok "$1"
    else
        bad "$1: $2" "$TMP/out" "$TMP/err"
    fi
}

# run_case NAME PROGRAM CASE TIER END TEXT
run_case()
{
    local name=$1 case=$3 end=$5 why
    run_program "${@:2:3}" "$6"
    why=$(judge "$end" "$TEXT" "$STATUS")
    # each bit of forged_bits dies with a line of its own
    if [[ -z $why && $case != forged_bits && $end == abort && $(wc -l <"$TMP/err") -ne 1 ]]; then
        why='more than one line'
    fi
    settle "$name" "$why"
}

# Both lists, over both header variants.
run_rows()
{
    local row program case sizes end text tier header
    for row in "$@"; do
        IFS='|' read -r program case sizes end text <<<"$row"
        [[ $case == *"$WORD"* ]] || continue
        for tier in $sizes; do
            for header in inband shadow; do
                OPTIONS=header=$header
                run_case "$case, $tier, $header" "$program" "$case" "$tier" "$end" "$text"
            done
        done
    done
}

# With misuse=warn the same line at least once, and life goes on; with ignore no
# line.
run_policies()
{
    local row program case sizes end text tier why
    for row in "${FREES[@]}"; do
        IFS='|' read -r program case sizes end text <<<"$row"
        [[ $case == *"$WORD"* && $end == abort ]] || continue
        for tier in $sizes; do
            OPTIONS=misuse=ignore
            run_case "$case, $tier, misuse=ignore" "$program" "$case" "$tier" alive ''
            OPTIONS=misuse=warn
            run_program "$program" "$case" "$tier" "$text"
            why=
            grep -qE "^tidepool: $TEXT\$" "$TMP/err" || why="no line: tidepool: $TEXT"
            ((STATUS == 0)) || why="exit $STATUS"
            settle "$case, $tier, misuse=warn" "$why"
        done
    done
}

run_rows "${FREES[@]}"
run_rows "${WRITES[@]}"
run_policies
for CASE in foreign_stack foreign_static foreign_mapping foreign_wild; do
    [[ $CASE == *"$WORD"* ]] || continue
    OPTIONS=foreign=leak
    run_case "$CASE, foreign=leak" misuse "$CASE" mid alive ''
done
finish
