#!/usr/bin/env bash
# tests/cross_aarch64.sh: the library, the command and the unit tests for aarch64: compiled by
# Debian's cross compiler without a warning, and run under qemu's emulation of one process.
# Nothing is installed.
#
#   CROSS='a b' tests/cross_aarch64.sh   the unit tests test_a and test_b; else those of SOME
#   CROSS=all   all of them (tests/long/run does it): begins with number CROSS_FIRST, and begins
#               none when CROSS_SECONDS are over
#
# BUILD names the build directory (default: build). Where the compiler cannot be had all is skipped
# with the reason; with CI=true that is a failure.
set -u
. "$(dirname "$0")/lib_prog.sh"

ROOT=$BUILD/deps/root/aarch64
CHECK=$BUILD/deps/root/aarch64-check
OUT=$BUILD/aarch64
JOBS=${TEST_JOBS:-$(nproc)}

# The boxes whose code, or whose memory order, depends on the processor; `make check` has minutes.
SOME=(coh cpu crc medium lock park clock ring order lane crew)

# What a process under the emulator does not have, and the tests that see it.
declare -A EXCUSED=(
    ['limits of memory: setrlimit is not passed on']='heap:nothing_is_born_without_memory
        large:map_fails_when_memory_is_out page:refill_gives_nothing_when_memory_is_out
        remote:without_memory_for_a_batch_blocks_go_back_at_once
        vmem:the_limit_of_address_space magazine:fill_fails_when_memory_is_out
        meta:without_memory_it_gives_null report:errors_of_writing_are_returned
        purge:memory_that_is_kept_does_not_make_malloc_fail route:a_thread_without_a_heap
        route:every_tier_gives_enomem_when_memory_is_out'
    ['another program: the system does not know the emulator']='
        report:a_process_writes_its_line_at_exit
        option_load:the_environment_is_found_before_libc_has_it
        public_options:the_environment_sets_options
        public_options:a_bad_option_is_told_once_per_tree
        public_options:strict_makes_a_bad_option_fatal'
    ['memory that a fork wipes: madvise only says that it did']='logapi:a_child_has_no_log
        loglanes:a_child_has_no_log logref_refused:a_child_has_no_log
        logregion:a_copy_of_a_log logregion:another_process_opens_it
        logsync:a_count_that_grows_by_syncs nameless:a_child_without_handlers_makes_its_page
        vmem:forgotten_pages_are_zero_in_a_child_only'
    ['huge pages that were asked for']='logapi:a_log_asks_for_huge_pages
        vmem:huge_pages_are_asked_for'
    ['the places that mappings get, and what they count']='vmem:reserving_costs_no_memory
        vmem:remap_takes_the_contents_along vmem:memory_that_comes_back_is_new
        region:so_many_can_be_open_and_no_more region:failures_leave_nothing_behind'
    ['madvise: it says that it did']='vmem:decommit_says_what_is_wrong
        numa:populate_brings_every_page_in_and_keeps_it
        purge:freed_memory_goes_back_by_itself purge:memory_of_a_sleeping_thread_goes_back
        purge:memory_of_an_ended_thread_goes_back purge:an_idle_thread_keeps_little'
    ['MAP_SYNC: it takes it for any file']='store:two_mappings_are_the_same_memory
        regions:a_region_tells_what_it_is'
    ['dc cvap: it says that it has it']='medium:lines_are_written_and_stay_what_they_are
        durable:lines_in_order durable:an_entry_that_makes_no_sense_is_left_alone
        log_hostile:a_mark_that_is_long_past log_hostile:a_block_in_a_run_without_an_end'
    ['its identity: /proc/self/stat is made up']='owner:another_program_in_the_same_process
        owner:a_child_lives_then_is_a_zombie_then_gone
        loghosts:who_opens_it_on_the_same_host_follows_at_once'
    ['the heap of brk: no mapping is named so']='foreign:the_brk_heap_is_excused'
    ['valgrind']='cpu:valgrind_is_recognised'
    ['filters of system calls: it takes none']='crew:who_is_not_reached_makes_its_own_barriers
        crew:a_door_stays_where_barriers_reach_all
        store:all_blocks_are_there_and_hold_what_they_held
        store:what_cannot_be_allocated_is_left_as_it_was'
)

# Unit tests nearly all of whose tests see one of these.
declare -A UNFIT=([logattach]='a process has no identity there'
    [logattach_stopped]='a process has no identity there' [life]='it hangs in forks among threads'
    [segment_limit]='setrlimit is not passed on' [residency]='it has no move_pages')

get_all()
{
    tools/deps.sh unpack-all "$ROOT" gcc-aarch64-linux-gnu libc6-dev-arm64-cross \
        qemu-user-static >"$TMP/get" 2>&1 &&
        tools/deps.sh unpack-foreign arm64 "$CHECK" check libsubunit-dev >>"$TMP/get" 2>&1
}

# cross TARGET...: make for aarch64, its words in $TMP/make.
cross()
{
    local check=$CHECK/usr/lib/aarch64-linux-gnu
    env -u MAKEFLAGS -u MFLAGS -u MAKELEVEL PATH="$ROOT/usr/bin:$PATH" \
        LD_LIBRARY_PATH="$ROOT/usr/lib/x86_64-linux-gnu" \
        make -s -k -j"$JOBS" BUILD="$OUT" WERROR=1 AR=aarch64-linux-gnu-ar \
        CC="aarch64-linux-gnu-gcc --sysroot=$ROOT" CHECK_CFLAGS="-I$CHECK/usr/include" \
        CHECK_LIBS="-L$check -lcheck -lsubunit -lrt -lm -lpthread" "$@" >"$TMP/make" 2>&1
}

built()
{
    if cross "${@:2}"; then ok "$1"; else bad "$1" "$TMP/make"; fi
}

# away COMMAND...: a program for aarch64, as bare does it.
away()
{
    bare "${QEMU[@]}" "$@"
}

# Runs unit tests side by side; the words and the status of each stay in $TMP. Where memory cannot
# be limited a test that is excused takes as long as it may.
run_units()
{
    # shellcheck disable=SC2016 # the inner shell's
    printf '%s\n' "$@" | xargs -P "$JOBS" -I{} bash -c '
        name=$1; shift
        ((EPOCHSECONDS < END)) || exit 0
        case $name in heap | large | page | remote | route) export CK_DEFAULT_TIMEOUT=100 ;; esac
        timeout -k 5 "${TEST_SECONDS:-1800}" "$@" >"$TMP/unit.$name" 2>&1 </dev/null
        echo $? >"$TMP/status.$name"' - {} "${QEMU[@]}" "$OUT/tests/debug/test_{}"
}

# judge NAME: one of them.
judge()
{
    local test status words=$TMP/unit.$1 failed='' sum
    if [[ ! -e $TMP/status.$1 ]]; then
        skip "aarch64: test_$1" "its turn did not come in $CROSS_SECONDS s (CROSS_SECONDS)"
        return
    fi
    status=$(cat "$TMP/status.$1")
    sum=$(sed -n 's/^[0-9]*%: //p' "$words" | tail -n 1)
    while read -r test; do
        [[ " ${EXCUSED[*]} " =~ [[:space:]]"$test"[[:space:]] ]] || failed+=" $test"
    done < <(sed -nE 's/^[^ ]*:[FE]:([^:]+):([^:]+):.*/\1:\2/p' "$words")
    if ((status <= 1)) && [[ -n $sum && -z $failed ]]; then
        ok "aarch64: test_$1 ($sum)"
    else
        bad "aarch64: test_$1 (exit $status):$failed" "$words"
    fi
}

# One log, written here and there: the format is the same, byte for byte in meaning.
test_command()
{
    local here=$TMP/here there=$TMP/there
    away "$OUT/tidepool" log create --payload=64K --slots=64 --level=4 --checksum "$there"
    "$BUILD/tidepool" log create --payload=64K --slots=64 --level=4 --checksum "$here" >/dev/null
    LD_PRELOAD=$SO "$PROGS/prog_logtool" "file:$here" fill 40
    away -E LD_PRELOAD="$OUT/libtidepool.so" "$OUT/tests/prog_logtool" "file:$there" fill 40
    STATUS=$?
    "$BUILD/tidepool" log check "$there" >"$TMP/out" 2>&1
    if ((STATUS == 0)) && grep -q ' 0 errors, 0 notes; 40 batches' "$TMP/out"; then
        ok 'aarch64: a log that it wrote is right on x86-64'
    else
        bad "aarch64: a log that it wrote is right on x86-64 (exit $STATUS)" "$TMP/out" "$TMP/err"
    fi
    "$BUILD/tidepool" log dump "$here" >"$TMP/dump.here"
    away "$OUT/tidepool" log dump "$here"
    if cmp -s "$TMP/out" "$TMP/dump.here" && (($(grep -c '^batch' "$TMP/out") == 40)); then
        ok 'aarch64: a log of x86-64 says the same there'
    else
        bad 'aarch64: a log of x86-64 says the same there' "$TMP/out" "$TMP/err"
    fi
}

test_preload()
{
    local name='aarch64: random work against a model, under preload'
    if away -E LD_PRELOAD="$OUT/libtidepool.so" "$OUT/tests/plain/stress_shadow" 40000; then
        ok "$name"
    else
        bad "$name (exit $?)" "$TMP/out" "$TMP/err"
    fi
}

if [[ $(uname -m) == aarch64 ]]; then
    skip 'aarch64 from elsewhere' 'this machine is one'
    finish
fi
if ! get_all; then
    if [[ ${CI:-} == true ]]; then
        bad 'the compiler, the C library and the emulator' "$TMP/get"
    else
        skip 'aarch64' "$(grep -v '^$' "$TMP/get" | tail -n 1)"
    fi
    finish
fi
# Ten thousand deaths at any access take too long here; those at each named point are all made.
export TMP CK_DEFAULT_TIMEOUT=${CK_DEFAULT_TIMEOUT:-600} CRASH_DEATHS=${CRASH_DEATHS:-330}
export END=$((EPOCHSECONDS + ${CROSS_SECONDS:-1000000}))
QEMU=("$ROOT/usr/bin/qemu-aarch64-static" -L "$ROOT/usr/aarch64-linux-gnu")
need "$BUILD/tidepool" "$SO" "$PROGS/prog_logtool"
if [[ ${CROSS-} == all ]]; then
    WISH=(tests/test_*.c)
    WISH=("${WISH[@]#tests/test_}")
    FIRST=$((${CROSS_FIRST:-0} % ${#WISH[@]}))
    WISH=("${WISH[@]:FIRST}" "${WISH[@]:0:FIRST}")
    SOME=()
    for NAME in "${WISH[@]%.c}"; do
        if [[ -n ${UNFIT[$NAME]:-} ]]; then
            skip "aarch64: test_$NAME" "under the emulator: ${UNFIT[$NAME]}"
        else
            SOME+=("$NAME")
        fi
    done
elif [[ -n ${CROSS-} ]]; then
    read -ra SOME <<<"$CROSS"
fi
built 'aarch64: the library and the command compile without a warning' lib "$OUT/tidepool"
built 'aarch64: so do the tests' "${SOME[@]/#/$OUT/tests/debug/test_}" \
    "$OUT/tests/plug_own_malloc.so" "$OUT/tests/prog_logtool" "$OUT/tests/plain/stress_shadow"
test_command
test_preload
run_units "${SOME[@]}"
for NAME in "${SOME[@]}"; do
    judge "$NAME"
done
finish
