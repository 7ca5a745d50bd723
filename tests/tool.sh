#!/usr/bin/env bash
# tests/tool.sh: the `tidepool` command, all but `info`: help, exit codes, bad input, what a
# program that it runs gets and leaves, failing output.
# BUILD names the build directory (default: build).
set -u
. "$(dirname "$0")/lib_tool.sh"

# ---- programs to run ------------------------------------------------------------------------

# blocks COUNT SIZE CHILDREN: takes COUNT blocks of SIZE and keeps them, in each of CHILDREN forked
# processes too.
build_programs()
{
    cat >"$TMP/blocks.c" <<'C'
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>
void *kept[100000];
int main(int argc, char **argv)
{
    int count = atoi(argv[1]), size = atoi(argv[2]);
    for (int n = argc > 3 ? atoi(argv[3]) : 0; n > 0; n--)
        if (fork() == 0)
            break;
    for (int i = 0; i < count; i++)
        if ((kept[i] = malloc((size_t)size)) == NULL || memset(kept[i], 1, (size_t)size) == NULL)
            return 1;
    while (wait(NULL) > 0)
        ;
    return 0;
}
C
    "${CC:-gcc}" -w -O0 -o "$TMP/blocks" "$TMP/blocks.c" 2>"$TMP/err" || {
        bad 'a test program compiles' "$TMP/err"
        finish
    }
}

# ---- help -----------------------------------------------------------------------------------

test_help()
{
    local name version
    version=$(sed -n 's/^#define TIDE_VERSION_STRING "\(.*\)"/\1/p' include/tidepool/version.h)
    run --version
    same '--version is that of the headers' "tidepool $version" "$(cat "$TMP/out")"
    run --help
    for name in info run stat doctor options help 'Exit codes:' 'tidepool run --stats -- PROGRAM' \
        '  Mid  '; do
        says "--help tells of $name" 0 out "$name"
    done
    cp "$TMP/out" "$TMP/general"
    run help
    check 'help is --help' "$(cmp "$TMP/out" "$TMP/general" && echo same)" = same
    for name in info run stat doctor options; do
        run help $name
        cp "$TMP/out" "$TMP/first"
        says "help $name says how to use it" 0 out "^usage: tidepool $name"
        run $name --help
        check "$name --help is help $name" "$(cmp "$TMP/out" "$TMP/first" && echo same)" = same
        check "$name --help is no error" "$STATUS$(cat "$TMP/err")" = 0
    done
    run run -h
    says '-h is --help' 0 out '^usage: tidepool run'
    run
    says 'without a command it shows the help and exits with 2' 2 err '^Commands:'
    check '... on stderr' ! -s "$TMP/out"
    run run --help
    for name in $("$TOOL" options --json | sed -n 's/.*"key": "\(.*\)".*/\1/p'); do
        says "run has a flag for the option $name" 0 out "^  --${name//_/-}= "
    done
}

# ---- bad input ------------------------------------------------------------------------------

# refuses PATTERN ARGUMENT...: exit 2, one line that says why, nothing on stdout.
refuses()
{
    local arguments="${*:2}"
    run "${@:2}"
    if ((STATUS == 2)) && grep -qF -e "$1" "$TMP/err" && [[ $(wc -l <"$TMP/err") == 1 ]] &&
        [[ ! -s $TMP/out ]]; then
        ok "refuses '${arguments:0:60}'"
    else
        bad "refuses '${arguments:0:60}' (exit $STATUS, expected 2 and '$1')" "$TMP/out" "$TMP/err"
    fi
}

test_bad_input()
{
    local long i
    local -a lots=()
    long=$(printf '%3000s' '' | tr ' ' x)
    for ((i = 0; i < 70; i++)); do
        lots+=(--option "key$i=1")
    done
    refuses "unknown command 'inof'; did you mean 'info'?" inof
    refuses "did you mean 'options'?" option
    refuses "unknown command 'frobnicate' (see: tidepool --help)" frobnicate
    refuses "unknown command ''" ''
    refuses "did you mean 'run'?" help rnu
    refuses "unexpected argument 'info'" help run info
    refuses "unknown flag '--verison'; did you mean '--version'?" --verison
    refuses "unknown flag '-x'" -x
    refuses "unknown flag '--jsno'; did you mean '--json'?" info --jsno
    refuses "--json takes no value, but got 'yes'" info --json=yes
    refuses "unexpected argument 'stray'" info stray
    refuses "unexpected argument 'stray'" options stray
    refuses "unknown flag '--frobnicate' (see: tidepool options --help)" options --frobnicate
    refuses 'no such directory' info --sysfs="$TMP/none"
    refuses 'no such directory' info --sysfs="/$long"
    refuses 'no program' run
    refuses 'no program' run --mid=near --
    refuses "unknown flag '-x'" run -x true
    refuses "did you mean '--tiny-max'?" run --tiny-mx=2047 -- true
    refuses '--mid needs a value' run --mid -- true
    refuses '--mid needs a value' run --mid
    refuses "option tiny_max: '5' is not allowed; allowed: 1023..2047" run --tiny-max=5 -- true
    refuses "option tiny_max: '2048' is not allowed" run --tiny_max 2048 -- true
    refuses "option tiny_max: '' is not allowed" run --tiny-max= -- true
    refuses "option cache: '1X' is not allowed; allowed: 16K..1G" run --cache=1X -- true
    refuses "option cache: '99999999999999999999' is not" run --cache=99999999999999999999 -- true
    refuses "option retain: '-1' is not allowed" run --retain=-1 -- true
    refuses "option header: 'none' is not allowed; allowed: auto|inband" run --header=none -- true
    refuses "option misuse: 'Abort' is not allowed" run --misuse=Abort -- true
    refuses "option mid: 'far' is not allowed; allowed: auto|anon|near" run --mid=far -- true
    refuses "option mid: 'node:' is not allowed" run --mid=node: -- true
    refuses "option mid: 'node:1,tiny' is not allowed" run --mid=node:1,tiny -- true
    refuses "option mid: 'near,delay=-1' is not allowed" run --mid=near,delay=-1 -- true
    refuses "option mid: 'near,tiny_max=2047' is not" run --mid=near,tiny_max=2047 -- true
    refuses "option cache: '1M,retain=0' is not allowed; no value" run --cache=1M,retain=0 -- true
    refuses "unknown option 'cash'; did you mean 'cache'?" run --option cash=1M -- true
    refuses 'KEY=VALUE is needed' run --option cache -- true
    refuses 'KEY=VALUE is needed' run --option =1M -- true
    refuses '--option needs a value' run --option
    refuses "longer than 255 characters" run --stats-at-exit="${long:0:256}" -- true
    refuses 'longer than the library reads' run --option stats_at_exit="$long" --mid="$long" -- true
    refuses 'longer than the library reads' run "${lots[@]}" -- true
    refuses 'exclude each other' run --stats --option stats_at_exit=x -- true
    TIDEPOOL_OPTIONS=tiny_max=1 refuses "TIDEPOOL_OPTIONS: option tiny_max: '1'" run -- true
    TIDEPOOL_OPTIONS=cache refuses 'option cache has no value' run -- true
    TIDEPOOL_OPTIONS=$long refuses 'TIDEPOOL_OPTIONS is longer than' run -- true
    run run --tiny-max=1 --cache=1 -- true
    check 'every bad value is named' "$(wc -l <"$TMP/err")" -eq 2
}

# ---- options --------------------------------------------------------------------------------

test_options()
{
    local key keys
    run options --json
    json 'options --json is valid'
    keys=$(sed -n 's/.*"key": "\(.*\)".*/\1/p' "$TMP/out")
    check 'options --json names the options' "$(wc -w <<<"$keys")" -ge 10
    has 'options --json has a row as documented' '"key": "tiny_max"' '"values": "1023..2047"' \
        '"default": "2047"' '"live": false'
    run options
    for key in $keys; do
        says "options has a row for $key" 0 out "^$key  "
    done
    says 'options shows how to set them' 0 out 'TIDEPOOL_OPTIONS=mid='
}

# ---- run: exit codes and environment --------------------------------------------------------

test_exit_codes()
{
    run run -- sh -c 'exit 7'
    check "run ends as the program does" $STATUS -eq 7
    run run --stats -- sh -c 'exit 7'
    check "run --stats ends as the program does" $STATUS -eq 7
    run run -- sh -c 'kill -9 $$'
    check "run dies by the program's signal" $STATUS -eq 137
    run run --stats -- sh -c 'kill -USR1 $$'
    check "run --stats dies by the program's signal" $STATUS -eq 138
    says '... and says that nothing was left' 138 err 'no process left statistics'
    run run -- "$TMP/no-such-program"
    says 'a program that does not exist: 127' 127 err "$TMP/no-such-program: No such file"
    run run --stats -- no-such-program-anywhere
    says '... with --stats too' 127 err 'no-such-program-anywhere: No such file'
    check '... without a summary' "$(wc -l <"$TMP/err")" -eq 1
    run run -- "$TMP/blocks.c"
    says 'a program that cannot be executed: 126' 126 err 'blocks.c: Permission denied'
    run run --stats "$TMP/blocks.c"
    says '... with --stats too' 126 err 'blocks.c: Permission denied'
    run run -- printf '<%s>' 'a b' '' --stats '*'
    same 'arguments arrive as they are' '<a b><><--stats><*>' "$(cat "$TMP/out")"
    run run --mid near printf %s --help
    same 'without -- the first word is the program' --help "$(cat "$TMP/out")"
    echo 'echo script' >"$TMP/script"
    chmod +x "$TMP/script"
    PATH=$TMP:$PATH run run -- script
    same 'a script without #! is run by the shell, found in PATH' script "$(cat "$TMP/out")"
}

# environment VARIABLE: its value in the program of the last run (which was env).
environment()
{
    sed -n "s/^$1=//p" "$TMP/out"
}

test_environment()
{
    run run -- env
    same 'the library is preloaded' "$(realpath "$SO")" "$(environment LD_PRELOAD)"
    check 'no options, no variable' -z "$(grep TIDEPOOL_OPTIONS "$TMP/out")"
    LD_PRELOAD=libm.so.6:libc.so.6 run run -- env
    same 'LD_PRELOAD: what was there comes behind' "$(realpath "$SO"):libm.so.6:libc.so.6" \
        "$(environment LD_PRELOAD)"
    run run -- "$TOOL" run -- env
    same 'LD_PRELOAD: nested, once' "$(realpath "$SO")" "$(environment LD_PRELOAD)"
    TIDEPOOL_OPTIONS=mid=near,delay=50,cache=1M,,retain=0 run run --cache=2M --header shadow \
        --option misuse=warn --option retain=1K --retain=2K -- env
    same 'options are merged, flags over the environment' \
        mid=near,delay=50,cache=2M,retain=2K,header=shadow,misuse=warn \
        "$(environment TIDEPOOL_OPTIONS)"
    run run --foreign=leak --strict=1 --tiny_max=1K -- env
    same 'every option is a flag' foreign=leak,strict=1,tiny_max=1K \
        "$(environment TIDEPOOL_OPTIONS)"
    TIDEPOOL_OPTIONS=tiny_max=1 run run --tiny-max=1500 -- env
    same 'a flag mends a bad value of the environment' tiny_max=1500 \
        "$(environment TIDEPOOL_OPTIONS)"
    TIDEPOOL_OPTIONS=mid=near,cache=1M,delay=3 run run -- true
    says 'the environment is cut as the library cuts it' 2 err "unknown option 'delay'"
}

# ---- run: statistics ------------------------------------------------------------------------

# taken TIER: blocks taken, in the summary of the last run; not a number without one.
taken()
{
    awk -v tier="$1" '$1 == tier { gsub(",", ""); print $2; found = 1 }
        END { if (!found) print "none" }' "$TMP/err"
}

test_stats()
{
    local lines key
    mkdir "$TMP/tmp"
    TMPDIR=$TMP/tmp run run --stats --mid=near,delay=5 -- "$TMP/blocks" 1000 4096
    says 'the summary names source and header' 0 err \
        '^tidepool: 1 process, Mid from near,delay=5, header shadow$'
    check 'blocks of 4 KiB are in Mid' "$(taken Mid)" -ge 1000
    check '... and not in Large' "$(taken Large)" -lt 1000
    check 'the summary is not on stdout' ! -s "$TMP/out"
    check 'nothing stays behind' -z "$(ls -A "$TMP/tmp")"
    run run --stats --header=inband -- "$TMP/blocks" 500 100
    says 'the header is the one asked for' 0 err 'header inband$'
    check 'small blocks are in Tiny' "$(taken Tiny)" -ge 500
    check '... and not in Mid' "$(taken Mid)" -lt 500
    run run --stats --tiny-max=1023 -- "$TMP/blocks" 500 1500
    check 'tiny_max moves the border' "$(taken Mid)" -ge 500
    run run --stats -- "$TMP/blocks" 300 100000
    check 'big blocks are in Large' "$(taken Large)" -ge 300
    run run --stats="$TMP/lines" --cache=1M -- "$TMP/blocks" 100 8000 3
    says 'children are counted' 0 err '^tidepool: 4 processes'
    check '... with their blocks' "$(taken Mid)" -ge 400
    lines=$(grep -c '"cache":"1048576"' "$TMP/lines")
    check 'the file has a line for each process' "$lines" -eq 4
    head -n 1 "$TMP/lines" >"$TMP/line"
    check '... of valid JSON' "$(is_json "$TMP/line" && echo valid)" = valid
    while read -r key; do
        check "tidepool options knows $key" -n "$("$TOOL" options | grep "^$key ")"
    done < <(sed 's/.*"options":{\([^}]*\)}.*/\1/' "$TMP/line" | grep -o '"[a-z_]*":' | tr -d '":')
    run run --stats=/dev/full -- "$TMP/blocks" 1 1
    says 'a file that cannot be written is noticed' 3 err '--stats=/dev/full: cannot write'
    run run --stats="$TMP" -- true
    says 'a file that cannot be opened, too' 3 err "--stats=$TMP: Is a directory"
    mkdir "$TMP/a,b"
    TMPDIR=$TMP/a,b run run --stats -- "$TMP/blocks" 10 4096
    check 'a TMPDIR that no option can name is not used' "$(taken Mid)" -ge 10
    TIDEPOOL_OPTIONS=stats_at_exit=$TMP/own run run --stats -- true
    says '--stats says that it replaces stats_at_exit' 0 err 'replaces stats_at_exit'
    check '... and does' ! -e "$TMP/own"
}

# ---- run: signals and processes that stay ---------------------------------------------------

test_signals()
{
    local pid
    "$TOOL" run --stats -- bash -c "trap 'exit 9' TERM; : >'$TMP/ready'
        while :; do sleep 0.1; done" >"$TMP/out" 2>"$TMP/err" </dev/null &
    pid=$!
    until_true test -e "$TMP/ready"
    kill -TERM "$pid"
    wait "$pid"
    STATUS=$?
    says 'a signal sent to the command reaches the program, the summary comes' 9 err '^  Tiny '
    bare bash -c "trap '' HUP; '$TOOL' run --stats -- sh -c 'kill -HUP \$\$; exit 4'"
    STATUS=$?
    check 'a signal that is ignored stays so' $STATUS -eq 4
    bare bash -c "trap '' CHLD; exec '$TOOL' run --stats -- sh -c 'exit 5'"
    STATUS=$?
    check 'an ignored SIGCHLD does no harm' $STATUS -eq 5
}

# shellcheck disable=SC2317 # until_true calls it
has_files()
{
    [[ -n $(ls "$1") ]]
}

test_left_behind()
{
    local directory
    mkdir -p "$TMP/stay"
    TMPDIR=$TMP/stay run run --stats -- sh -c \
        "(while [ ! -e '$TMP/go' ]; do sleep 0.05; done; exec env true) >/dev/null 2>'$TMP/late' &"
    says 'processes that still run are told of' 0 err 'still run: .* in /'
    directory=$(echo "$TMP"/stay/*)
    : >"$TMP/go"
    until_true has_files "$directory"
    check '... and may leave their statistics' -n "$(ls "$directory")"
    check '... in silence' ! -s "$TMP/late"
}

# ---- run: programs that cannot be preloaded -------------------------------------------------

test_warnings()
{
    local owner=65534
    if "${CC:-gcc}" -static -w -o "$TMP/static" "$TMP/blocks.c" 2>/dev/null; then
        run run -- "$TMP/static" 1 1
        says 'warns of a static program, and runs it' 0 err 'warning: .*/static is statically'
        printf '#!%s 1 1\n' "$TMP/static" >"$TMP/static.script"
        chmod +x "$TMP/static.script"
        run run -- "$TMP/static.script"
        says '... behind #!, too' 0 err 'warning: .*/static is statically'
        run run --stats -- "$TMP/static" 1 1
        says '... and finds no statistics' 0 err 'no process left statistics'
    else
        skip 'warns of a static program' 'no static libc'
    fi
    cp "$TMP/blocks" "$TMP/setuid"
    if chown $owner "$TMP/setuid" 2>/dev/null && chmod 4755 "$TMP/setuid"; then
        run run -- "$TMP/setuid" 1 1
        says 'warns of a set-uid program' 0 err 'warning: .*/setuid is set-uid'
    else
        skip 'warns of a set-uid program' 'only root can make one'
    fi
    run run -- "$TMP/blocks" 1 1
    check 'no warning for other programs' ! -s "$TMP/err"
}

# ---- run: finding the library ---------------------------------------------------------------

test_library()
{
    TIDEPOOL_LIBRARY=$TMP/none.so run run -- true
    says 'TIDEPOOL_LIBRARY that is not there: 1' 1 err "TIDEPOOL_LIBRARY=$TMP/none.so: No such file"
    TIDEPOOL_LIBRARY=$TMP/blocks.c run run -- true
    says 'TIDEPOOL_LIBRARY that is no library: 1' 1 err 'blocks.c: no shared library'
    TIDEPOOL_LIBRARY=$TMP/blocks run run -- true
    says 'TIDEPOOL_LIBRARY that is a program: 1' 1 err 'blocks: no shared library'
    mkdir -p "$TMP/place/bin" "$TMP/place/lib" "$TMP/with space"
    cp "$TOOL" "$TMP/place/bin"
    cp "$SO" "$TMP/place/lib/libtidepool.so.0"
    cp "$SO" "$TMP/with space/a.so"
    ln -s place/bin/tidepool "$TMP/link"
    bare "$TMP/link" run -- env
    STATUS=$?
    same 'the library is found in ../lib of the real path' \
        "$(realpath "$TMP/place/lib/libtidepool.so.0")" "$(environment LD_PRELOAD)"
    cp "$SO" "$TMP/place/bin"
    bare "$TMP/link" run -- env
    STATUS=$?
    same '... but first next to the command' "$(realpath "$TMP/place/bin/libtidepool.so")" \
        "$(environment LD_PRELOAD)"
    (
        cd "$TMP" || exit
        TIDEPOOL_LIBRARY=place/lib/libtidepool.so.0 run run -- env
    )
    same 'TIDEPOOL_LIBRARY may be relative' "$(realpath "$TMP/place/lib/libtidepool.so.0")" \
        "$(environment LD_PRELOAD)"
    TIDEPOOL_LIBRARY=$TMP/with\ space/a.so run run -- true
    says 'a path that cannot be preloaded is refused' 1 err 'with a space or a colon'
}

# ---- run: memory that is not there ----------------------------------------------------------

test_absent_node()
{
    if [[ -d /sys/devices/system/node/node63 ]]; then
        skip 'a node that is not there' 'this machine has node 63'
        return
    fi
    run run --mid=node:63 -- true
    says 'run --mid=node:63 says that there is no such memory' 0 err 'mid=node:63: .*no memory here'
    check '... once' "$(wc -l <"$TMP/err")" -eq 1
    run run --mid=node:63 --strict=1 -- echo ran
    says 'with strict=1 it does not run: 1' 1 err 'strict=1 forbids it'
    check '... at all' ! -s "$TMP/out"
    run run --stats --mid=node:63 -- "$TMP/blocks" 100 4096
    says 'near memory is used instead' 0 err 'Mid from near, header inband'
}

# ---- output that fails ----------------------------------------------------------------------

test_output()
{
    local arguments
    for arguments in --help --version info 'info --json' 'info --help' options 'options --json' \
        'help run'; do
        # shellcheck disable=SC2086
        "$TOOL" $arguments >/dev/full 2>"$TMP/err"
        STATUS=$?
        says "$arguments >/dev/full is noticed" 3 err 'cannot write the output: No space left'
    done
    "$TOOL" info >&- 2>"$TMP/err"
    STATUS=$?
    says 'a closed stdout is noticed' 3 err 'cannot write the output'
    (
        trap '' PIPE
        while echo 2>"$TMP/err"; do sleep 0.01; done # until the reader is gone
        "$TOOL" info 2>"$TMP/err"
        echo $? >"$TMP/status"
    ) | true
    STATUS=$(cat "$TMP/status")
    says 'a closed pipe is noticed' 3 err 'cannot write the output: Broken pipe'
}

build_programs
test_help
test_bad_input
test_options
test_exit_codes
test_environment
test_stats
test_signals
test_left_behind
test_warnings
test_library
test_absent_node
test_output
finish
