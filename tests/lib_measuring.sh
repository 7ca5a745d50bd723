# shellcheck shell=bash disable=SC2034
# lib_measuring.sh - for the tests of the measuring scripts, on top of lib_prog.sh.

. "$(dirname "${BASH_SOURCE[0]}")/lib_prog.sh"
unset LD_PRELOAD NUM_ITERATIONS RUN_SECONDS PROFILE_DURATION BENCH_SECONDS \
    ORDER ACK MESSAGE_SIZE TOTAL_MESSAGE_SIZE CLIENTS
export BUILD

# run COMMAND...: output in $TMP/out and $TMP/err, its status in STATUS.
run()
{
    STATUS=0
    bare "$@" || STATUS=$?
}

# expect NAME STATUS FILE PATTERN COMMAND...: how it must end, and a line of FILE (out, err or a
# path) that it must give.
expect()
{
    local name=$1 want=$2 file=$3 pattern=$4
    run "${@:5}"
    [[ $file == */* ]] || file=$TMP/$file
    if ((STATUS == want)) && grep -q -e "$pattern" "$file" 2>/dev/null; then
        ok "$name"
    else
        bad "$name (exit $STATUS, wanted $want and '$pattern')" "$TMP/out" "$TMP/err"
    fi
}

# gone PID: the process has ended.
gone()
{
    ! kill -0 "$1" 2>/dev/null
}

# interrupted NAME FILE COMMAND...: the command gets a signal when FILE is there, which a bench that
# it runs makes, with its process id, before it hangs. It must end with 143, and end the bench.
interrupted()
{
    local pid file=$2
    "${@:3}" >"$TMP/out" 2>"$TMP/err" </dev/null &
    pid=$!
    until_true test -s "$file"
    kill -TERM $pid
    STATUS=0
    wait $pid || STATUS=$?
    if ((STATUS == 143)) && gone "$(cat "$file")"; then
        ok "$1: it ends with 143, and ends the bench that ran"
    else
        bad "$1: it ends with 143, and ends the bench that ran (exit $STATUS)" "$TMP/err"
    fi
}

# has NAME PATTERN [FILE]: a line of FILE or of what the last command printed.
has()
{
    local file=${3:-out}
    [[ $file == */* ]] || file=$TMP/$file
    if grep -q -e "$2" "$file" 2>/dev/null; then
        ok "$1"
    else
        bad "$1 (no '$2')" "$TMP/out" "$TMP/err"
    fi
}

# same NAME WANT GOT
same()
{
    if [[ $3 == "$2" ]]; then
        ok "$1"
    else
        printf '%s\n' "wanted $2" "got    $3" >"$TMP/differ"
        bad "$1" "$TMP/differ"
    fi
}

# self_tests SCRIPT: its own verdicts, as ours.
self_tests()
{
    local line count=0
    run "$1" --self-test
    cp "$TMP/out" "$TMP/verdicts"
    while IFS= read -r line; do
        case $line in
        'ok - '*) count=$((count + 1)) ;;
        'not ok - '*) bad "${line#not ok - }" "$TMP/out" ;;
        esac
    done <"$TMP/verdicts"
    if ((STATUS == 0 && count > 0)); then
        ok "${1##*/} --self-test: $count verdicts"
    else
        bad "${1##*/} --self-test (exit $STATUS)" "$TMP/out" "$TMP/err"
    fi
}

# fake NAME: a program of this name in $TMP/bin; its text, for bash, from standard input. N is
# how many times it ran before.
fake()
{
    mkdir -p "$TMP/bin"
    rm -f "$TMP/$1.runs"
    {
        echo '#!/bin/bash'
        echo "N=0; [[ ! -e '$TMP/$1.runs' ]] || N=\$(<'$TMP/$1.runs')"
        echo "echo \$((N + 1)) >'$TMP/$1.runs'"
        cat
    } >"$TMP/bin/$1"
    chmod +x "$TMP/bin/$1"
}

# fake_values NAME VALUE...: a bench that gives these values of mops_per_s, one each run.
fake_values()
{
    local name=$1
    shift
    fake "$name" <<<"V=($*); echo \"{\\\"mops_per_s\\\":\${V[N]}}\""
}

# path_without NAME...: sets BARE_PATH to a directory with every command but these.
path_without()
{
    local name
    BARE_PATH=$TMP/without.$1
    if [[ ! -d $BARE_PATH ]]; then
        mkdir "$BARE_PATH"
        ln -sf -t "$BARE_PATH" /bin/* /usr/bin/* /usr/sbin/* 2>/dev/null
    fi
    for name in "$@"; do rm -f "$BARE_PATH/$name"; done
}

# column NAME FILE: the cells below this heading, separated by blanks.
column()
{
    awk -F, -v want="$1" 'NR == 1 { for (i = 1; i <= NF; i++) if ($i == want) at = i; next }
        at { printf "%s%s", n++ ? " " : "", $at }' "$2"
}

# units NAME FILE: every column of a CSV file tells its unit.
units()
{
    local bad_ones
    bad_ones=$(head -n 1 "$2" | tr , '\n' | grep -vE \
        '_(s|no|text|name|count|kib|bytes|percent|points|per_s|per_cpu_s|squared)$')
    same "$1" '' "$bad_ones"
}
