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

test_no_space
finish
