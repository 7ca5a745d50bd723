#!/usr/bin/env bash
# tests/tool_log_expel.sh: `tidepool log expel`: who has a log open, who may be expelled, and what
# becomes of it.
# BUILD names the build directory (default: build).
set -u
. "$(dirname "$0")/lib_log.sh"

SYNCER=$((4096 + 640)) # of the area for a log
SPACE=$((4096 + 1024 + 24))
TODAY='[0-9]{4}-[0-9]{2}-[0-9]{2} [0-9:]{8}'

# row STATE CLIENTS READERS REST: the last output has this line about $PID.
row()
{
    grep -qE "^ *[0-9]+ +$PID  $1 +$TODAY +$2 +$3  $4\$" "$TMP/out"
}

# halt: the program stands still, and nobody takes it for running.
halt()
{
    local i
    kill -STOP "$PID"
    for ((i = 0; i < 600; i++)); do
        [[ $(cut -d' ' -f3 "/proc/$PID/stat") == T ]] && return
        sleep 0.1
    done
    bad 'the program stops'
}

test_words()
{
    run log expel
    says 'log expel without a region: 2' 2 err '^tidepool log expel: no region .usage: '
    run log expel "$LOG" 1 2
    says '... with three words: 2' 2 err "^tidepool log expel: unexpected argument '2'"
    run log expel --forc "$LOG" 1
    says '... with an unknown flag: 2' 2 err "unknown flag '--forc'; did you mean '--force'"
    run log expel "$LOG" first
    says '... of no number: 2' 2 err "PROCESS: 'first' is not allowed; allowed: 1 to 4194304$"
    run log expel "$LOG" 0
    says '... of process 0: 2' 2 err "PROCESS: '0' is not allowed"
    run log expel --force "$LOG"
    says '... --force of nobody: 2' 2 err '^tidepool log expel: --force: of which process'
    run log expel memfd
    says '... of private memory: 2' 2 err "'memfd' is memory that ends with its process"
    run log expel "$TMP/nothing"
    says '... no such file: 1' 1 err 'nothing: there is no such file'
}

test_list()
{
    fresh --brokers=2 --checksum
    run log expel "$LOG"
    says 'nobody has it' 0 out '^file:.*: nobody has it open$'
    run log expel --json "$LOG"
    json '... in JSON'
    has '... no processes' '"expelled": null' '"processes": []'
    run log expel "$LOG" $$
    says 'who does not have it cannot lose it: 1' 1 err "process $$ does not have it open .0 have"
    begin "file:$LOG" hold
    run log expel "$LOG"
    says 'who has it: how many' 0 out '^file:.*: 1 of 32 processes$'
    check '... since when it runs, its clients, its readers, its name' \
        -n "$(row alive 1 2 prog_logtool && echo so)"
    run log expel --json "$LOG"
    json '... in JSON'
    documented expel
    has '... who it is' "\"pid\": $PID" '"state": "alive"'
    has '... what it does' '"program": "prog_logtool"' '"clients": 1' '"readers": 2' \
        '"lends": false' '"syncs": false' '"locks": false'
    check '... and when it began' $(($(date +%s) - $(figure started))) -lt 600
    end 'the program does not notice'
    fresh --size=4M
    begin "file:$LOG" lend
    run log expel "$LOG"
    check 'who lends blocks' -n "$(row alive 1 0 'prog_logtool; lends blocks' && echo so)"
    end 'the lender does not notice'
    fresh
    use die
    run log expel "$LOG"
    says 'one that ended is dead' 0 out '^ *0 +[0-9]+  dead +- +1 +0  -$'
    local dead
    dead=$(sed -n 's/^ *0 *\([0-9]*\)  dead.*/\1/p' "$TMP/out")
    run log expel --force "$LOG" "$dead"
    says '... and need not be expelled: 1' 1 err "process $dead ended; whoever has the log"
}

test_refused()
{
    local space
    fresh --brokers=2
    begin "file:$LOG" hold
    run log expel "$LOG" "$PID"
    says 'one that runs: 3' 3 err \
        "process $PID .prog_logtool. runs: .* clients .1. and readers .2. .* --force expels it"
    space=$(word "$SPACE")
    poke "$SPACE" 4026531000
    run log expel "$LOG" "$PID"
    says 'one of whom nobody can tell: 3' 3 err "whether process $PID runs nobody here can tell"
    run log expel "$LOG"
    says '... which is said' 0 out "^ *0 +$PID  unknown +- +1 +2  -$"
    poke "$SPACE" "$space"
    poke "$SYNCER" 1
    run log expel "$LOG"
    check 'who syncs' -n "$(row alive 1 2 'prog_logtool; syncs' && echo so)"
    run log expel --force "$LOG" "$PID"
    says '... cannot be expelled: 3' 3 err "process $PID is in the middle of a call, or syncs: let"
    poke "$SYNCER" 0
    run log expel "$LOG"
    says '... and nobody was' 0 out ': 1 of 32 processes$'
    end 'the program does not notice'
}

# expelled FLAG...: the program is, and sees it.
expelled()
{
    run log expel "$@" "$LOG" "$PID"
    says '... is expelled' 0 out "^expelled process $PID, with its clients .1. and readers .1.$"
    run log expel "$LOG"
    check '... which the list says' -n "$(row expelled 1 1 prog_logtool && echo so)"
    run log stat "$LOG"
    says '... its reader holds nobody back' 0 out "^ *0  gate .* detached +$PID "
    run log expel "$LOG" "$PID"
    says '... again: 1' 1 err "process $PID was expelled already$"
    kill -CONT "$PID"
    end '... and sees it in every call'
    run log check "$LOG"
    says '... the log is right, and has all' 0 out ' 0 errors, 0 notes; 5 batches'
    run log expel "$LOG"
    says '... and nobody has it then' 0 out 'nobody has it open$'
}

test_expelled()
{
    fresh --brokers=2 --checksum
    begin "file:$LOG" expelled
    halt
    run log expel "$LOG"
    check 'a stopped process' -n "$(row stopped 1 1 prog_logtool && echo so)"
    expelled
    fresh --brokers=2 --checksum
    begin "file:$LOG" expelled
    check 'a running process' -n "$PID"
    expelled --force
    fresh
    begin "file:$LOG" expelled
    halt
    run log expel --json "$LOG" "$PID"
    json 'expelled, in JSON'
    has '... who' "\"expelled\": $PID" '"processes": ['
    has '... and who is left' "\"pid\": $PID" '"state": "expelled"'
    kill -CONT "$PID"
    end '... it sees it'
}

test_words
test_list
test_refused
test_expelled
finish
