#!/usr/bin/env bash
# tests/tool_log_files.sh: `tidepool log` and the files that logs are in: no space, files that are
# cut off, that have holes or belong to others, and what a failed `create` leaves.
# BUILD names the build directory (default: build).
set -u
. "$(dirname "$0")/lib_log.sh"

SMALL='--payload=4K --slots=16' # a log for a region of 1 MiB
FULL=$TMP/full

# on_tmpfs SIZE SCRIPT: as root of a namespace, in a file system of that size; the status is the
# script's. False after a skipped test where that is not allowed.
on_tmpfs()
{
    mkdir -p "$FULL"
    if ! unshare -rm mount -t tmpfs none "$FULL" 2>/dev/null; then
        skip 'a full file system' 'no tmpfs can be mounted here'
        return 1
    fi
    bare unshare -rm bash -c "mount -t tmpfs -o size=$1 none $FULL && cd $FULL || exit 77
        TOOL=$TOOL; $2"
    STATUS=$?
}

# ---- space -----------------------------------------------------------------------------------

# shellcheck disable=SC2086 # words
test_no_space()
{
    bare bash -c "ulimit -f 2000; exec $TOOL log create $LOG"
    STATUS=$?
    says 'a limit of the process: 3, and no signal' 3 err \
        "/log' may not have 18350080 bytes: this process may make files of 2048000 .ulimit -f.$"
    check '... leaves no file' ! -e "$LOG"
    on_tmpfs 2m "\$TOOL log create $SMALL one && \$TOOL log create two; s=\$?; ls >&2; exit \$s" ||
        return
    says 'a full file system: 3' 3 err \
        "^tidepool log create: 'two' needs 18350080 more bytes, and 1048576 are free on its"
    same '... leaves no file' 'one' "$(tail -n +2 "$TMP/err")"
    on_tmpfs 2m "truncate -s 8M part; \$TOOL log create $SMALL part; s=\$?
        stat -c %s part >&2; exit \$s"
    says 'a file whose holes it does not hold: 3' 3 err \
        "'part' needs 83[0-9]{5} more bytes, and 20[0-9]{5} are free on its file system$"
    same '... keeps its size' 8388608 "$(tail -n 1 "$TMP/err")"
}

# ---- create that fails -----------------------------------------------------------------------

# untouched TITLE PATTERN FLAG...: create with these fails so, and leaves $LOG as it is, or not
# there.
untouched()
{
    local title=$1 pattern=$2
    rm -f "$TMP/before"
    [[ ! -e $LOG ]] || cp "$LOG" "$TMP/before"
    shift 2
    run log create "$@" "$LOG"
    says "$title: 3" 3 err "$pattern"
    if [[ -e $TMP/before ]]; then
        check '... and the file is as it was' -z "$(cmp "$LOG" "$TMP/before" 2>&1)"
    else
        check '... and there is no file' ! -e "$LOG"
    fi
}

# shellcheck disable=SC2086 # words
test_create_fails()
{
    local room='the log takes [0-9]+ bytes; the longest run that is free in the region, or would'
    head -c 3145728 /dev/zero >"$LOG"
    untouched 'a file of zeroes that is too small' "$room be, has 2621440$"
    untouched '... with --replace' "$room be, has 2621440$" --replace
    untouched '... of which a part is asked for' "$room be, has 524288$" --size=1M
    untouched '... and more than it has' 'has 3145728 bytes, and not the 4194304 that are' $SMALL \
        --size=4M
    head -c 3145728 /dev/urandom >"$LOG"
    untouched 'a file of noise that is too small' "$room be, has 2621440$" --replace
    echo 'a letter' >"$LOG"
    untouched 'a letter' '/log: 9 bytes; a region has at least 1048576$' --replace
    : >"$LOG"
    untouched 'an empty file' "$room be, has 524288$" --size=1M
    rm -f "$LOG"
    untouched 'no file' "$room be, has 524288$" --size=1M
    fresh --checksum
    use fill 3
    untouched 'a log that is there' 'there is a log in it already'
    untouched '... and a larger one' "$room be, has 524288$" --replace
    untouched '... and a larger region' 'size of the region is 1048576, and not 2097152' --replace \
        $SMALL --size=2M
    LD_PRELOAD=$SO "$PROG" "file:$LOG" remove >"$TMP/out" 2>&1
    untouched 'a region without a log' "$room be, has 524288$"
}

# shellcheck disable=SC2086 # words
test_create_unheard()
{
    rm -f "$LOG"
    bare bash -c "$TOOL log create $SMALL $LOG >/dev/full"
    STATUS=$?
    says 'nobody hears of the log: 3' 3 err '.'
    check '... and there is no file' ! -e "$LOG"
    : >"$LOG"
    bare bash -c "$TOOL log create $SMALL $LOG >/dev/full"
    STATUS=$?
    same '... or an empty one' '3 0' "$STATUS $(stat -c %s "$LOG")"
    rm -f "$LOG"
}

test_no_space
test_create_fails
test_create_unheard
finish
