#!/usr/bin/env bash
# misuse.sh - every misuse ends as the table below says.
#
#   tests/misuse.sh [WORDS]    only verdicts with WORDS in their names; ^NAME$ is one
#
# A row is run at each size and each header variant of its columns (`both`: inband and
# shadow). An end is `abort` (SIGABRT after exactly one line on stderr, which must be
# the text to the letter) or `alive` (exit 0 and nothing on stderr, and the program
# found the allocator sound). Any other end is a failure.
#
# In the text ADDR and SIZE are the address and the usable size that the program
# printed, and TIER is the tier of the run. CACHED is how a block of that tier looks
# that its owner freed, REMOTE one that another thread freed. A thread's heap has the
# number in which the threads began to allocate; memory that is nobody's has owner 0.
set -u
. "$(dirname "$0")/lib_prog.sh"

WORDS=${1:-}
declare -A BYTES=([tiny]=200 [mid]=5000 [wide]=50000 [large]=140000 [huge]=67108864)
need "$SO" "$PROGS/prog_misuse" "$PROGS/prog_corrupt"

DOUBLE='double free: ADDR in free: tier=TIER size=SIZE'
ASKED=${DOUBLE/in free/in malloc_usable_size}
INSIDE='interior pointer: ADDR in free: tier=TIER size=SIZE owner=1 state=live'
FOREIGN='foreign pointer: ADDR in free: tier=none size=0 owner=0 state=unknown'
# Reserved memory of ours that holds no block yet.
HOLE='invalid pointer: ADDR in free: tier=none size=0 owner=0 state=none'
# A broken header is seen by free; a broken canary when the block goes back to its page.
HEADER='corrupt header: ADDR in free: tier=mid size=SIZE owner=1 state=unknown'
CANARY='corrupt header: ADDR in free: tier=mid size=SIZE owner=1 state=free'

# program | case | sizes | header variants | end | text
FREES=(
    "misuse|double_now|tiny mid wide large huge|both|abort|$DOUBLE CACHED"
    "misuse|double_later|tiny mid wide large huge|both|abort|$DOUBLE CACHED"
    "misuse|double_300_same|tiny mid wide large huge|both|abort|$DOUBLE CACHED"
    "misuse|double_300_other|tiny mid wide large huge|both|abort|$DOUBLE CACHED"
    "misuse|double_flushed|tiny|both|abort|$DOUBLE owner=1 state=free"
    "misuse|double_flushed|mid wide large huge|both|abort|$DOUBLE owner=0 state=free"
    "misuse|double_trimmed|tiny mid wide large huge|both|abort|$DOUBLE owner=0 state=free"
    "misuse|double_aligned|tiny mid wide large|both|abort|$DOUBLE owner=1 state=cached"
    "misuse|double_aligned|huge|both|abort|$DOUBLE owner=0 state=free"
    "misuse|double_moved|tiny mid wide large|both|abort|$DOUBLE CACHED"
    # Tiny: the mark of a free block is gone with the write; nobody gets the block again.
    "corrupt|double_scribbled|tiny|both|alive|"
    "corrupt|double_scribbled|mid|both|abort|$DOUBLE CACHED"
    "corrupt|double_scribbled|large|both|abort|$DOUBLE CACHED"
    "misuse|double_by_thread|tiny mid wide large huge|both|abort|$DOUBLE CACHED"
    "misuse|double_remote_own|tiny mid wide large huge|both|abort|$DOUBLE REMOTE"
    "misuse|double_remote_two|tiny mid wide large huge|both|abort|$DOUBLE REMOTE"
    "misuse|double_remote_same|tiny mid wide large huge|both|abort|$DOUBLE REMOTE"
    "misuse|double_remote_race|tiny mid huge|both|abort|$DOUBLE REMOTE"
    "misuse|double_remote_race|large|both|abort|$DOUBLE owner=1 state=free"
    "misuse|double_of_dead|tiny|both|abort|$DOUBLE owner=2 state=cached"
    "misuse|double_of_dead|mid|both|abort|$DOUBLE owner=2 state=remote"
    "misuse|double_of_dead|large huge|both|abort|$DOUBLE owner=0 state=free"
    "misuse|double_in_child|tiny mid wide large huge|both|abort|$DOUBLE CACHED"
    "misuse|double_remote_child|tiny mid wide large huge|both|abort|$DOUBLE REMOTE"
    "misuse|realloc_freed|tiny mid wide large huge|both|abort|${DOUBLE/in free/in realloc} CACHED"
    "misuse|usable_freed|tiny mid wide large huge|both|abort|$ASKED CACHED"
    "misuse|interior_16|tiny mid wide large huge|both|abort|$INSIDE"
    "misuse|interior_1|tiny mid wide large huge|both|abort|$INSIDE"
    "misuse|interior_half|tiny mid wide large huge|both|abort|$INSIDE"
    "misuse|before_16|tiny mid wide large huge|both|abort|$INSIDE"
    "misuse|realloc_32|tiny mid wide large huge|both|abort|${INSIDE/in free/in realloc}"
    "misuse|usable_16|tiny mid wide large huge|both|abort|${INSIDE/free:/malloc_usable_size:}"
    "misuse|aligned_64|tiny mid wide large huge|both|abort|$INSIDE"
    # The page's allocation bit decides when the block comes back; or malloc does, when
    # the block is handed out first. The shadow is out of the writer's reach.
    "corrupt|replayed|mid|inband|abort|$DOUBLE owner=1 state=free"
    "corrupt|replayed|mid|shadow|abort|$DOUBLE CACHED"
    "corrupt|replayed_popped|mid|inband|abort|${DOUBLE/in free/in malloc} owner=1 state=live"
    "corrupt|replayed_popped|mid|shadow|abort|$DOUBLE CACHED"
    # The other entry of the block comes home while a user has it.
    "corrupt|replayed_held|tiny|both|abort|$DOUBLE owner=1 state=live"
    "corrupt|replayed_held|mid|inband|abort|$DOUBLE owner=1 state=live"
    "corrupt|replayed_held|mid|shadow|abort|$DOUBLE CACHED"
    "corrupt|replayed_remote|tiny|both|abort|$DOUBLE owner=1 state=free"
    "corrupt|replayed_remote|mid|inband|abort|$DOUBLE owner=1 state=free"
    "corrupt|replayed_remote|mid|shadow|abort|$DOUBLE REMOTE"
    "misuse|foreign_stack|tiny mid wide large|both|abort|$FOREIGN"
    "misuse|foreign_static|tiny mid wide large|both|abort|$FOREIGN"
    "misuse|foreign_code|tiny mid wide large|both|abort|$FOREIGN"
    "misuse|foreign_mapping|tiny mid wide large|both|abort|$FOREIGN"
    "misuse|foreign_low|tiny mid wide large|both|abort|$FOREIGN"
    "misuse|foreign_wild|tiny mid wide large|both|abort|$FOREIGN"
    "misuse|foreign_kernel|tiny mid wide large|both|abort|$FOREIGN"
    "misuse|foreign_last|tiny mid wide large|both|abort|$FOREIGN"
    "misuse|foreign_realloc|tiny mid wide large|both|abort|${FOREIGN/in free/in realloc}"
    "misuse|foreign_usable|tiny mid wide large|both|abort|${FOREIGN/free:/malloc_usable_size:}"
    "misuse|foreign_brk|tiny mid wide large|both|alive|"
    "misuse|foreign_loader|tiny mid wide large|both|alive|"
    "misuse|hole|tiny mid wide large|both|abort|$HOLE"
    "misuse|hole_far|tiny mid wide large|both|abort|$HOLE"
    # Behind a mapping of its own there is other reserved memory, or nothing.
    "misuse|hole|huge|both|abort|($HOLE|$FOREIGN)"
)
WRITES=(
    "corrupt|overflow_1|tiny mid wide large huge|both|alive|"
    "corrupt|overflow_16|tiny large huge|both|alive|"
    "corrupt|overflow_16|mid|inband|abort|$HEADER"
    "corrupt|overflow_16|wide|both|abort|${HEADER/mid/large}"
    "corrupt|overflow_16|mid|shadow|abort|$CANARY"
    "corrupt|overflow_64_by_8|tiny large huge|both|alive|"
    "corrupt|overflow_64_by_8|mid|inband|abort|$HEADER"
    "corrupt|overflow_64_by_8|wide|both|abort|${HEADER/mid/large}"
    "corrupt|overflow_64_by_8|mid|shadow|abort|$CANARY"
    "corrupt|overflow_64k|tiny large huge|both|alive|"
    "corrupt|overflow_64k|mid|inband|abort|$HEADER"
    "corrupt|overflow_64k|wide|both|abort|${HEADER/mid/large}"
    "corrupt|overflow_64k|mid|shadow|abort|$CANARY"
    "corrupt|underflow_16|tiny large|both|alive|"
    "corrupt|underflow_16|mid|inband|abort|$HEADER"
    "corrupt|underflow_16|wide|both|abort|${HEADER/mid/large}"
    "corrupt|underflow_16|mid|shadow|abort|$CANARY"
    "corrupt|underflow_zero|tiny large|both|alive|"
    "corrupt|underflow_zero|mid|inband|abort|$HEADER"
    "corrupt|underflow_zero|wide|both|abort|${HEADER/mid/large}"
    "corrupt|underflow_zero|mid|shadow|abort|$CANARY"
    "corrupt|late_garbage|tiny mid wide large|both|alive|"
    "corrupt|late_pointer|tiny mid wide large|both|alive|"
    "corrupt|forged_foreign|tiny mid wide large|both|abort|$FOREIGN"
    "corrupt|forged_inside|tiny mid wide large|both|abort|$INSIDE"
    "corrupt|forged_owner|mid|inband|abort|$HEADER"
    "corrupt|forged_owner|wide|both|abort|${HEADER/mid/large}"
    "corrupt|forged_owner|mid|shadow|abort|$CANARY"
    "corrupt|forged_bits|mid|inband|abort|$HEADER"
    "corrupt|forged_bits|wide|both|abort|${HEADER/mid/large}"
    "corrupt|forged_bits|mid|shadow|abort|$CANARY"
    "corrupt|retyped|tiny mid wide large|both|abort|$INSIDE"
    # In the shadow variant what stood in front of the block depends on the address alone.
    "corrupt|retyped_start|mid|inband|abort|$HEADER"
    "corrupt|retyped_start|wide|both|abort|${HEADER/mid/large}"
    "corrupt|retyped_start|mid|shadow|alive|"
    "corrupt|stale_owner|mid|inband|abort|$HEADER"
    "corrupt|stale_owner|wide|both|abort|${HEADER/mid/large}"
    "corrupt|stale_owner|mid|shadow|alive|"
)

wanted()
{
    [[ "^$1\$" == *"$WORDS"* ]]
}

# Fills in what the text in $1 leaves open for tier $2; sets TEXT.
fill_text()
{
    local cached='owner=0 state=free' remote='owner=0 state=free' addr usable named tier=$2
    read -r addr usable <"$TMP/out"
    # Of blocks that two threads raced for any may be the first that both got to free.
    named=$(sed -n '1s/.*: \(0x[0-9a-f]*\) in .*/\1/p' "$TMP/err")
    grep -qx "raced $named" "$TMP/out" && addr=$named
    [[ $2 != huge ]] && cached='owner=1 state=cached'
    [[ $2 == tiny ]] && remote=$cached
    [[ $2 == mid || $2 == wide ]] && remote='owner=1 state=remote'
    TEXT=${1//ADDR/$addr}
    TEXT=${TEXT//SIZE/$usable}
    [[ $2 != wide && $2 != huge ]] || tier=large
    TEXT=${TEXT//TIER/$tier}
    TEXT=${TEXT/CACHED/$cached}
    TEXT=${TEXT/REMOTE/$remote}
}

# Checks the end in $1 with the text in TEXT; prints why it is not as it should be.
# $2: lines that there must be.
judge()
{
    local lines
    lines=$(wc -l <"$TMP/err")
    if [[ $1 == alive ]]; then
        ((STATUS == 0)) || echo "exit $STATUS"
        ((lines == 0)) || echo 'it said something'
    elif ((STATUS != 134)); then
        echo "exit $STATUS"
    elif ((lines != $2)); then
        echo "$lines lines on stderr"
    elif grep -qvE "^tidepool: $TEXT\$" "$TMP/err"; then
        echo "another line than: tidepool: $TEXT"
    fi
}

# Runs a case with OPTIONS; sets STATUS and TEXT, the line that is wanted.
run_program()
{
    preloaded "$PROGS/prog_$1" "$2" "${BYTES[$3]}"
    STATUS=$?
    fill_text "$4" "$3"
}

# settle NAME WHY: the verdict of the program that ran last.
settle()
{
    if ((STATUS == 77)); then
        skip "$1" "$(tail -n 1 "$TMP/out")"
    elif [[ -z $2 ]]; then
        ok "$1"
    else
        bad "$1: ${2//$'\n'/, }" "$TMP/out" "$TMP/err"
    fi
}

# run_case NAME PROGRAM CASE TIER END TEXT
run_case()
{
    local why lines=1
    run_program "${@:2:3}" "$6"
    [[ $3 == forged_bits ]] && lines=64 # each bit dies with a line of its own
    why=$(judge "$5" "$lines")
    # What is excused is counted.
    if [[ $3 == foreign_* && $5 == alive && $OPTIONS != *ignore* ]]; then
        grep -qx 'leaks 1' "$TMP/out" || why+=' it is not counted as one leak'
    fi
    settle "$1" "$why"
}

run_rows()
{
    local row program case sizes headers end text tier header
    for row in "$@"; do
        IFS='|' read -r program case sizes headers end text <<<"$row"
        for tier in $sizes; do
            for header in ${headers/both/inband shadow}; do
                OPTIONS=header=$header
                wanted "$case, $tier, $header" &&
                    run_case "$case, $tier, $header" "$program" "$case" "$tier" "$end" "$text"
            done
        done
    done
}

# With misuse=warn the same line at least once, and life goes on.
run_warn()
{
    local why=''
    run_program "${@:2}"
    grep -qE "^tidepool: $TEXT\$" "$TMP/err" || why="no line: tidepool: $TEXT"
    ((STATUS == 0)) || why="exit $STATUS"
    settle "$1" "$why"
}

# run_policy POLICY HEADER PROGRAM CASE TIER TEXT. With misuse=ignore there is no line.
run_policy()
{
    local name="$4, $5, $2, misuse=$1"
    wanted "$name" || return
    OPTIONS=header=$2,misuse=$1
    if [[ $1 == warn ]]; then
        run_warn "$name" "${@:3}"
    else
        run_case "$name" "${@:3:3}" alive ''
    fi
}

# Each policy over one of the header variants, if there are two.
run_policies()
{
    local row program case sizes headers end text tier
    for row in "${FREES[@]}"; do
        IFS='|' read -r program case sizes headers end text <<<"$row"
        [[ $end == abort ]] || continue
        for tier in $sizes; do
            run_policy ignore "${headers/both/shadow}" "$program" "$case" "$tier" "$text"
            run_policy warn "${headers/both/inband}" "$program" "$case" "$tier" "$text"
        done
    done
}

run_rows "${FREES[@]}"
run_rows "${WRITES[@]}"
run_policies
for CASE in foreign_stack foreign_static foreign_mapping foreign_wild; do
    OPTIONS=foreign=leak
    wanted "$CASE, foreign=leak" && run_case "$CASE, foreign=leak" misuse "$CASE" mid alive ''
done
finish
