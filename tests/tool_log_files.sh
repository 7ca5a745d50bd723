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

# ---- files that are not whole ----------------------------------------------------------------

# SUBCOMMAND...: each of those that look at a log, as words.
LOOKS=(stat dump tail check repair 'repair --yes' recover 'trim --all' expel)

test_cut_off()
{
    local name size
    fresh --checksum
    use fill 3
    cp "$LOG" "$TMP/whole"
    for size in 1048575 600000 4096; do
        cp "$TMP/whole" "$LOG"
        truncate -s "$size" "$LOG"
        for name in "${LOOKS[@]}"; do
            # shellcheck disable=SC2086 # words
            run log $name "$LOG"
            says "log $name: cut off to $size: 3" 3 err \
                "^tidepool log ${name%% *}: .*/log: the region is cut off: $size bytes .* 1048576$"
        done
        use fill 1
        check '... the library refuses it' "$STATUS" -ne 0
    done
    truncate -s 4095 "$LOG"
    run log stat "$LOG"
    says 'a part of the head is no region: 3' 3 err \
        '/log: 4095 bytes; a region has at least 1048576$'
    rm -f "$LOG"
}

# What is behind the region's end is nobody's.
test_longer()
{
    fresh --checksum
    use fill 3
    truncate -s +1000000 "$LOG"
    run log check "$LOG"
    says 'a file that is longer than its region' 0 out ' 0 errors, 0 notes; 3 batches'
    use fill 1
    same '... is opened, too' '0 2048576' "$STATUS $(stat -c %s "$LOG")"
    rm -f "$LOG"
}

test_cut_off_meanwhile()
{
    local follower i
    fresh --checksum
    use fill 3
    "$TOOL" log tail -n 1 -f "$LOG" >"$TMP/followed" 2>"$TMP/err" &
    follower=$!
    for ((i = 0; i < 600; i++)); do
        [[ -s $TMP/followed ]] && break
        sleep 0.1
    done
    truncate -s 4096 "$LOG"
    wait "$follower"
    STATUS=$?
    says 'log tail: cut off meanwhile: 3' 3 err \
        "^tidepool log tail: .*/log: .*: the file was made shorter, from 1048576 to 4096 bytes$"
    rm -f "$LOG"
}

# In a full file system a hole cannot even be read.
test_holes()
{
    local name script holes='cannot be read to its end: the file has holes of [0-9]+ bytes, and'
    script="truncate -s 8M none; cp --sparse=always $TMP/whole sparse; cat /dev/zero >rest 2>&-"
    run log create --payload=2M "$LOG"
    use fill 3
    cp "$LOG" "$TMP/whole"
    for name in stat check repair 'repair --yes' recover 'trim --all'; do
        on_tmpfs 2m "$script; \$TOOL log $name sparse" || return
        says "log $name: holes that cannot be filled: 3" 3 err \
            "^tidepool log ${name%% *}: ('sparse' needs [0-9]+ more.* and|sparse: $holes.*) 0 "
        on_tmpfs 2m "$script; \$TOOL log $name none"
        says '... a file of one hole: 3' 3 err "^tidepool log ${name%% *}: none: $holes"
    done
    for name in none sparse; do # the program's own exit code, and no signal's
        on_tmpfs 2m "$script; LD_PRELOAD=$SO $PROG file:$FULL/$name fill 1"
        same "a program that opens it: $name" 1 "$STATUS"
    done
    rm -f "$LOG"
}

# ---- files of others -------------------------------------------------------------------------

test_others()
{
    local name mode modes=0000
    as_other true
    if ((STATUS != 0)); then
        skip 'files of others' 'setpriv does not work'
        return
    fi
    fresh --checksum
    ((EUID != 0)) || modes='0000 0400' # else it is the same user
    for mode in $modes; do
        for name in "${LOOKS[@]}" 'create' 'create --replace'; do
            chmod "$mode" "$LOG"
            # shellcheck disable=SC2086 # words
            as_other "$TMP/tidepool" log $name "$LOG"
            says "log $name: mode $mode, of somebody else: 3" 3 err \
                "^tidepool log ${name%% *}: $LOG: Permission denied$"
        done
    done
    poke "$STATE" 1 # there is something to do
    chmod 0444 "$LOG"
    for name in 'repair --yes' recover 'trim --all' "create --replace $SMALL"; do
        # shellcheck disable=SC2086 # words
        as_other "$TMP/tidepool" log $name "$LOG"
        says "log $name: only to be read: 3" 3 err \
            "^tidepool log ${name%% *}: '$LOG' may not be read and written by this user$"
    done
    as_other "$TMP/tidepool" log stat "$LOG"
    says 'log stat: only to be read: 0' 0 out '.'
    mkdir -p "$TMP/closed"
    chmod 0 "$TMP/closed"
    for name in stat check recover create; do
        as_other "$TMP/tidepool" log "$name" "$TMP/closed/log"
        says "log $name: in a directory of somebody else: 3" 3 err "/closed/log: Permission denied$"
    done
    chmod 0555 "$TMP/closed"
    as_other "$TMP/tidepool" log create "$TMP/closed/log"
    says 'log create: where nothing may be made: 3' 3 err \
        "'$TMP/closed/log' may not be made in its directory by this user$"
    rm -rf "$TMP/closed" "$LOG"
}

# shellcheck disable=SC2086 # words
test_modes()
{
    rm -f "$LOG"
    (umask 0 && run log create $SMALL "$LOG")
    same 'a new file is for its user' 600 "$(stat -c %a "$LOG")"
    chmod 0640 "$LOG"
    run log create --replace $SMALL "$LOG"
    same '... and one that is there keeps its mode' '0 640' "$STATUS $(stat -c %a "$LOG")"
    : >"$LOG"
    run log create $SMALL "$LOG"
    same '... an empty one, too' '0 640' "$STATUS $(stat -c %a "$LOG")"
    rm -f "$LOG"
}

test_no_space
test_create_fails
test_create_unheard
test_cut_off
test_longer
test_cut_off_meanwhile
test_holes
test_others
test_modes
finish
