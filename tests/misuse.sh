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
# the block and TIER the tier of the run; the rest is a regular expression.
set -u
. "$(dirname "$0")/lib_prog.sh"

WORD=${1:-}
declare -A BYTES=([tiny]=200 [mid]=5000 [large]=200000 [huge]=67108864)
need "$SO" "$PROGS/prog_misuse" "$PROGS/prog_corrupt"

FREED='double free: ADDR in free: tier=TIER size=SIZE owner=[0-9]+ state=(free|cached|remote)'
# A second free by another thread may be found only when the block comes home.
REMOTE='double free: ADDR in [a-z_]+: tier=TIER size=SIZE owner=[0-9]+ state=(free|cached|remote)'
INSIDE='interior pointer: ADDR in free: tier=TIER size=SIZE owner=[0-9]+ state=live'
FOREIGN='foreign pointer: ADDR in free: tier=none size=0 owner=0 state=unknown'
# Reserved memory of ours that holds no block yet.
HOLE='(foreign|invalid) pointer: ADDR in free: tier=[a-z]+ size=0 owner=0 state=(none|unknown)'
CORRUPT='corrupt header: ADDR in [a-z_]+: tier=mid size=SIZE owner=[0-9]+ state=[a-z]+'
ANY='[a-z]+ [a-z]+: 0x[0-9a-f]+ in [a-z_]+: tier=[a-z]+ size=[0-9]+ owner=[0-9]+ state=[a-z]+'

# program | case | sizes | end | text
FREES=(
    "misuse|double_now|tiny mid large huge|abort|$FREED"
    "misuse|double_later|tiny mid large huge|abort|$FREED"
    "misuse|double_300_same|tiny mid large huge|abort|$FREED"
    "misuse|double_300_other|tiny mid large huge|abort|$FREED"
    "misuse|double_flushed|tiny mid large huge|abort|$FREED"
    "misuse|double_trimmed|tiny mid large huge|abort|$FREED"
    "misuse|double_aligned|tiny mid large huge|abort|$FREED"
    "misuse|double_moved|tiny mid large|abort|$FREED"
    "misuse|double_by_thread|tiny mid large huge|abort|$REMOTE"
    "misuse|double_remote_own|tiny mid large huge|abort|$REMOTE"
    "misuse|double_remote_two|tiny mid large huge|abort|$REMOTE"
    "misuse|double_remote_same|tiny mid large huge|abort|$REMOTE"
    "misuse|double_of_dead|tiny mid large huge|abort|$FREED"
    "misuse|double_in_child|tiny mid large huge|abort|$FREED"
    "misuse|double_remote_child|tiny mid large huge|abort|$REMOTE"
    "misuse|realloc_freed|tiny mid large huge|abort|${FREED/in free/in realloc}"
    "misuse|usable_freed|tiny mid large huge|abort|${FREED/in free/in malloc_usable_size}"
    "misuse|interior_16|tiny mid large huge|abort|$INSIDE"
    "misuse|interior_1|tiny mid large huge|abort|$INSIDE"
    "misuse|interior_half|tiny mid large huge|abort|$INSIDE"
    "misuse|before_16|tiny mid|abort|$INSIDE"
    "misuse|before_16|large huge|abort|$ANY"
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
    "misuse|hole|tiny mid large huge|abort|$HOLE"
    "misuse|hole_far|tiny mid large huge|abort|$HOLE"
)
WRITES=(
    "corrupt|overflow_1|tiny mid large huge|either|$ANY"
    "corrupt|overflow_16|tiny mid large huge|either|$ANY"
    "corrupt|overflow_64_by_8|tiny mid large huge|either|$ANY"
    "corrupt|overflow_64k|tiny mid large huge|either|$ANY"
    "corrupt|underflow_16|mid|abort|$CORRUPT"
    "corrupt|underflow_zero|mid|abort|$CORRUPT"
    "corrupt|late_garbage|tiny mid large huge|either|$ANY"
    "corrupt|late_pointer|tiny mid large huge|either|$ANY"
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

# run_case NAME PROGRAM CASE TIER END TEXT; OPTIONS is set.
run_case()
{
    local name=$1 program=$2 case=$3 tier=$4 end=$5 text=$6 status addr usable why
    preloaded "$PROGS/prog_$program" "$case" "${BYTES[$tier]}"
    status=$?
    read -r addr usable <"$TMP/out"
    if ((status == 77)); then
        skip "$name" "$(tail -n 1 "$TMP/out")"
        return
    fi
    text=${text//ADDR/$addr}
    text=${text//SIZE/$usable}
    text=${text//TIER/${tier/huge/large}}
    why=$(judge "$end" "$text" "$status")
    # each bit of forged_bits dies with a line of its own
    if [[ -z $why && $case != forged_bits && $end == abort && $(wc -l <"$TMP/err") -ne 1 ]]; then
        why='more than one line'
    fi
    if [[ -z $why ]]; then
        ok "$name"
    else
        bad "$name: $why" "$TMP/out" "$TMP/err"
    fi
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

# With misuse=warn the same line and life goes on, with ignore no line.
run_policies()
{
    local row program case sizes end text tier status addr usable
    for row in "${FREES[@]}"; do
        IFS='|' read -r program case sizes end text <<<"$row"
        [[ $case == *"$WORD"* && $end == abort ]] || continue
        for tier in $sizes; do
            OPTIONS=misuse=ignore
            run_case "$case, $tier, misuse=ignore" "$program" "$case" "$tier" alive ''
            OPTIONS=misuse=warn
            preloaded "$PROGS/prog_$program" "$case" "${BYTES[$tier]}"
            status=$?
            read -r addr usable <"$TMP/out"
            text=${text//ADDR/$addr}
            text=${text//SIZE/$usable}
            text=${text//TIER/${tier/huge/large}}
            if ((status == 77)); then
                skip "$case, $tier, misuse=warn" "$(tail -n 1 "$TMP/out")"
            elif ((status == 0)) && [[ $(grep -cE "^tidepool: $text\$" "$TMP/err") -ge 1 ]]; then
                ok "$case, $tier, misuse=warn"
            else
                bad "$case, $tier, misuse=warn (exit $status): $text" "$TMP/out" "$TMP/err"
            fi
        done
    done
}

run_rows "${FREES[@]}"
run_rows "${WRITES[@]}"
run_policies
for CASE in foreign_stack foreign_static foreign_mapping foreign_wild hole; do
    [[ $CASE == *"$WORD"* ]] || continue
    OPTIONS=foreign=leak
    run_case "$CASE, foreign=leak" misuse "$CASE" mid alive ''
done
finish
