#!/usr/bin/env bash
# tests/tool_log.sh: `tidepool log` on logs that nobody has open: every subcommand in both forms,
# levels, bad input.
# BUILD names the build directory (default: build).
set -u
. "$(dirname "$0")/lib_log.sh"

# ---- words -----------------------------------------------------------------------------------

test_help()
{
    local name
    run log --help
    says 'log --help teaches by examples' 0 out '^  tidepool log tail -f /dev/shm/log '
    check '... and names all subcommands' "$(grep -cE \
        '^  (create|stat|dump|tail|check|repair|recover|trim|expel) ' "$TMP/out")" -eq 9
    for name in create stat dump tail check repair recover trim expel; do
        run log "$name" --help
        says "log $name --help" 0 out "^usage: tidepool log $name "
        cp "$TMP/out" "$TMP/help"
        run log help "$name"
        check "log help $name says the same" -z "$(diff "$TMP/help" "$TMP/out")"
        check "log $name --help fits into 100 columns" -z "$(grep -E '.{101}' "$TMP/out")"
    done
    run help log
    says 'help log' 0 out '^usage: tidepool log SUBCOMMAND'
    run --help
    says 'tidepool --help names it' 0 out '^  log  *the shared log'
}

test_bad_words()
{
    local name
    run log
    says 'no subcommand: 2' 2 err '^tidepool log: no subcommand; there are create, stat, dump'
    run log stats /x
    says 'an unknown one: 2' 2 err "^tidepool log: unknown subcommand 'stats'; did you mean 'stat'"
    run log frobnicate
    says '... that is like none' 2 err "unknown subcommand 'frobnicate' .see: tidepool log --help"
    run log --json stat
    says 'flags in front of it: 2' 2 err "unknown flag '--json': flags stand behind the subcommand"
    for name in create stat dump tail check; do
        run log "$name"
        says "log $name without a region: 2" 2 err "^tidepool log $name: no region .usage: "
        run log "$name" "$LOG" "$LOG"
        says "log $name with two: 2" 2 err "^tidepool log $name: unexpected argument '$LOG'"
        run log "$name" --jsn "$LOG"
        says "log $name with an unknown flag: 2" 2 err "unknown flag '--jsn'; did you mean '--json'"
        run log "$name" memfd
        says "log $name of private memory: 2" 2 err "'memfd' is memory that ends with its process"
        run log "$name" file:
        says "log $name of no file: 2" 2 err "'file:' names no file"
    done
    run log trim --all
    says 'log trim without a region: 2' 2 err '^tidepool log trim: no region'
}

test_no_log()
{
    local name code
    echo 'a letter to a friend' >"$TMP/letter"
    head -c 2000000 /dev/urandom >"$TMP/noise"
    mkdir -p "$TMP/directory"
    run log create --payload=4K --slots=16 "$TMP/region"
    LD_PRELOAD=$SO "$PROG" "file:$TMP/region" remove >"$TMP/out" 2>&1
    for name in stat dump tail check 'trim --all'; do
        code=$([[ $name == check ]] && echo 3 || echo 1)
        # shellcheck disable=SC2086 # words
        set -- log $name
        run "$@" "$TMP/nothing"
        says "log $name: no such file" "$code" err "nothing: there is no such file"
        run "$@" "$TMP/region"
        says "log $name: a region without a log" "$code" err 'region: a region without a log'
        run "$@" "$TMP/letter"
        says "log $name: a short file: 3" 3 err 'letter: 21 bytes; a region has at least 1048576'
        run "$@" "$TMP/noise"
        says "log $name: any file: 3" 3 err 'noise: no region: the first word is 0x[0-9a-f]+, and'
        run "$@" "$TMP/directory"
        says "log $name: a directory: 3" 3 err 'directory: is no regular file'
        run "$@" /dev/null
        says "log $name: a device: 3" 3 err '/dev/null: is no regular file .for devdax say dax:'
        run "$@" dax:/dev/null
        says "log $name: no dax device: 3" 3 err '/dev/null: is no dax device'
    done
}

# lanes_damage OFFSET VALUE BYTES WORD: that in the sound log is a finding.
lanes_damage()
{
    cp "$TMP/good" "$LOG"
    poke "$1" "$2" "$3"
    run log check "$LOG"
    says "log check: a log in lanes: $4: 1" 1 out "^error $4: "
}

# A log of another form is no damage.
test_lanes()
{
    local words sum
    run log create --size=4M --payload=4K --slots=16 "$LOG"
    use lanes
    same 'a log in lanes is made' 0 "$STATUS"
    sum=$(sum <"$LOG")
    for words in stat 'stat --json' dump tail 'trim --all' expel; do
        # shellcheck disable=SC2086 # words
        run log $words "$LOG"
        says "log $words: a log in lanes: 3" 3 err \
            "^tidepool log ${words%% *}: .*/log: a log in lanes .* this command does not know it$"
        same '... and nothing else' 0 "$(wc -l <"$TMP/out")"
    done
    run log create "$LOG"
    says 'log create: it is there already: 3' 3 err 'there is a log in it already .--replace'
    run log check "$LOG"
    says 'log check: a log in lanes that is sound: 0' 0 out \
        '0 errors, 0 notes; 2 batches, 2 messages'
    same '... all of which change nothing' "$sum" "$(sum <"$LOG")"
    run log check --json "$LOG"
    same '... as JSON' '0 2' "$(figure errors) $(figure batches)"
    run log recover --json "$LOG"
    same 'log recover: a log in lanes' 'false 2' "$(figure repaired) $(figure kept)"
    cp "$LOG" "$TMP/good"
    lanes_damage $((AT + 384)) 1000000 8 head-order
    lanes_damage $((AT + $(word $((AT + 160))) + 16)) 77 8 entry-base
    lanes_damage $((AT + $(word $((AT + 168))) + 2 * 64 + 8)) 1 1 slot-entry
    lanes_damage $((AT + $(word $((AT + 176))))) 200 4 payload-frame
    lanes_damage $((AT + 64)) 4 4 head
    rm -f "$LOG"
}

# ---- create ----------------------------------------------------------------------------------

test_create()
{
    run log create --brokers=2 --payload=64K --slots=100 --level=4 --clients=8 "$LOG"
    says 'create tells the bytes of the log' 0 out \
        "^made a log of level 4 in file:$LOG: [0-9]+ bytes \([0-9.]+ KiB\)$"
    says '... its rings' 0 out '^  2 brokers, each 100 slots and 64 KiB of payload$'
    local size
    size=$(grep -o '[0-9]* bytes' "$TMP/out" | grep -o '[0-9]*')
    same '... and the region has room for it' 1048576 "$(stat -c %s "$LOG")"
    run log stat --json "$LOG"
    same '... which is what stat says' "$size 4 2 100 65536 8" "$(figure size) $(figure level) \
$(figure brokers) $(figure slots) $(figure payload) $(figure clients)"
    run log create "$LOG"
    says 'a log that is there is not replaced: 3' 3 err 'there is a log in it already .--replace'
    run log create --replace --level=0 --slots=10 --payload=1K --readers=5 --json "$LOG"
    json 'create --replace --json'
    same '... tells what it made' "0 10 1024 $(stat -c %s "$LOG")" \
        "$(figure level) $(figure slots) $(figure payload) $(figure size)"
    documented create
    run log create --replace --payload=4M "$LOG"
    says 'one that does not fit: 3' 3 err \
        'the log takes [0-9]+ bytes; the longest run .* has 524288'
    run log stat --json "$LOG"
    same '... leaves what was there' '0 10' "$(figure level) $(figure slots)"
    run log create --first=5000 --retain=all --sequencing=stepped --checksum --sessions=mutex \
        --readers=3 --window=7 --lease=1500 --level=4 --slots=16 --payload=4K --clients=2 \
        --replace "$LOG"
    run log stat --json "$LOG"
    same 'all flags arrive' '5000 all stepped true mutex 3 7 1500' "$(figure first) \
$(figure retain) $(figure sequencing) $(figure checksum) $(figure sessions) $(figure readers) \
$(figure window) $(figure lease_ms)"
    rm -f "$LOG"
    run log create --size=3M --payload=4K "file:$LOG"
    same 'create --size' "0 3145728" "$STATUS $(stat -c %s "$LOG")"
    run log create --level=4 --payload=4K --slots=16 "$TMP/region"
    says 'in a region that is there' 0 out '^made a log of level 4'
    run log stat --json "$TMP/region"
    same 'a lease of 10 s is the default' 10000 "$(figure lease_ms)"
    run log create --level=4 --payload=4K --slots=16 --lease=never --replace "$TMP/region"
    run log stat --json "$TMP/region"
    same '... unless it is to be none' 0 "$(figure lease_ms)"
    : >"$LOG"
    run log create "$LOG"
    says 'in an empty file' 0 out '^made a log'
    head -c 4194304 /dev/zero >"$LOG"
    run log create --slots=100 --payload=4K "$LOG"
    same 'in a file of zeroes, all of it' '0 4194304' "$STATUS $(stat -c %s "$LOG")"
    rm -f "$LOG"
}

test_create_bad()
{
    local sum
    sum=$(sum <"$TMP/noise")
    run log create "$TMP/noise"
    says 'a file with something else in it: 3' 3 err 'holds something that is no region .--replace'
    same '... stays as it is' "$sum" "$(sum <"$TMP/noise")"
    run log create --replace --payload=4K --slots=16 "$TMP/noise"
    says '... but for --replace' 0 out '^made a log'
    run log create --level=3 "$LOG"
    says 'a level that there is not: 2' 2 err "--level: '3' is not allowed; allowed: 0, 4, 5$"
    run log create --retain=some "$LOG"
    says 'retention: 2' 2 err "--retain: 'some' is not allowed; allowed: unread, recent, all$"
    run log create --brokers=33 "$LOG"
    says 'brokers: 2' 2 err 'brokers: 33, allowed: 1 to 32$'
    run log create --brokers=x "$LOG"
    says 'no number: 2' 2 err "--brokers: 'x' is not allowed; allowed: 1 to 4294967295$"
    run log create --lease=9 "$LOG"
    says 'a lease: 2' 2 err \
        "--lease: '9' is not allowed; allowed: 10 to 3600000 milliseconds, never$"
    run log create --level=5 --lease=10 "$LOG"
    says 'a lease but at level 4: 2' 2 err \
        "^tidepool log create: --lease: '10' is not allowed at level 5: it is for level 4 only$"
    run log create --lease=11 --level=0 "$LOG"
    says '... whatever comes first: 2' 2 err "'11' is not allowed at level 0: it is for level 4"
    run log create --lease=never --payload=4K --slots=16 "$LOG"
    says '... but for none' 0 out '^made a log of level 5'
    rm -f "$LOG"
    run log create --payload=100 "$LOG"
    says 'payload: 2' 2 err 'payload bytes of a broker: 100, allowed: 256 to '
    run log create --payload=1X "$LOG"
    says 'a unit: 2' 2 err "--payload: '1X' is not allowed; allowed: 1 to [0-9]+ bytes, also with K"
    run log create --payload=99999999999999999999G "$LOG"
    says 'more than a number holds: 2' 2 err "--payload: '9{20}G' is not allowed"
    run log create --size=1000 "$LOG"
    says 'a small region: 2' 2 err "--size: '1000' is not allowed; allowed: 1048576 to"
    run log create --size=1048577 "$LOG"
    says 'an odd region: 3' 3 err 'the size 1048577 is no multiple of 524288'
    run log create --size=1M "$LOG"
    says 'a region that is too small: 3' 3 err 'the log takes 176[0-9]{5} bytes; .* has 524288$'
    check '... leaves no file behind' ! -e "$LOG"
    run log create "$TMP/no/such/log"
    says 'no such directory: 3' 3 err 'no/such/log'
}

# ---- dump, tail, stat ------------------------------------------------------------------------

test_dump()
{
    fresh --brokers=2 --checksum
    use fill 7
    run log dump "$LOG"
    says 'dump: a batch' 0 out '^batch 1, broker 1, client 1, number 1: 2 messages, 56 B$'
    says '... its messages, numbered over all' 0 out \
        '^  message 2, tag 11, 14 B: "a \\"second\\" one"$'
    says '... escaped' 0 out '^  message 5, tag 22, 2 B: "\\xff\\x01"$'
    same '... all batches' '0 1 2 3 4 5 6' "$(batches)"
    run log dump --from=2 --to=4 "$LOG"
    same 'dump --from --to' '2 3' "$(batches)"
    run log dump --from 5 --count=1 --format=hex "$LOG"
    says 'dump --format=hex' 0 out '^  message 11, tag 52, 2 B: ff01$'
    check '... --count' "$(grep -c '^batch' "$TMP/out")" -eq 1
    run log dump --from=2 --count=1 --format=raw "$LOG"
    same 'dump --format=raw' "$(printf 'first\na "second" one\377\001' | od -c)" \
        "$(od -c "$TMP/out")"
    run log dump --from=1 --count=1 --bytes=4 "$LOG"
    says 'dump --bytes' 0 out '^  message 2, tag 11, 14 B: "a \\"s"\.\.\.$'
    run log dump --json "$LOG"
    json 'dump --json'
    documented dump
    check '... has all batches' "$(grep -c '"position"' "$TMP/out")" -eq 7
    has '... and messages' '"number": 5' '"tag": 22' '"size": 2' '"text": "\\xff\\x01"' \
        '"cut": false'
    run log dump --from=8 "$LOG"
    says 'dump: a position that is not there: 2' 2 err 'position 8 is not there; the log has 0 to 7'
    run log dump --from=x "$LOG"
    says 'dump: no position: 2' 2 err "--from: 'x' is not allowed"
    run log dump --broker=0 "$LOG"
    says 'dump: a broker at level 5: 2' 2 err 'broker is about level 0, and the log is of level 5'
    run log dump --format=octal "$LOG"
    says 'dump: no format: 2' 2 err "--format: 'octal' is not allowed; allowed: text, hex, raw"
    run log dump --format=raw --json "$LOG"
    says 'dump: raw in JSON: 2' 2 err 'raw and --json do not go together'
}

test_level_0()
{
    fresh --brokers=3 --level=0 --first=100
    use fill 7
    run log dump "$LOG"
    same 'level 0: each broker has its positions' '100 101 102 100 101 100 101' \
        "$(batches)"
    run log dump --broker=1 --from=101 --json "$LOG"
    json '... dump --broker'
    same '... one batch' '101 1 1' \
        "$(figure position) $(figure broker) $(grep -c '"position"' "$TMP/out")"
    run log dump --broker=3 "$LOG"
    says '... a broker that is not there: 2' 2 err "--broker: '3' is not allowed; allowed: 0 to 2"
    run log tail -n 1 "$LOG"
    same '... tail: of each broker' '102 101 101' \
        "$(batches)"
    run log stat "$LOG"
    says '... stat: of each broker' 0 out '^ *0 +3 +0 +3 .* 100 +103$'
    run log stat --json "$LOG"
    json '... stat --json'
    documented 'stat at level 0'
    run log check "$LOG"
    says '... check' 0 out ' 0 errors, 0 notes; 7 batches, 13 messages'
    run log trim --to=101 "$LOG"
    says '... trim needs a broker: 2' 2 err '--to at level 0 needs --broker'
    run log trim --all --broker=1 "$LOG"
    says '... trim of one' 0 out '^broker 1: gave up 2 batches: 100 to 101; the earliest is 102 now'
    says '... and of no other' 0 out '^broker 0: nothing given up, the earliest is 100$'
    run log trim --all --json "$LOG"
    json '... trim --all --json'
    run log dump "$LOG"
    same '... all of it' '0 ' "$STATUS $(cat "$TMP/out")"
}

test_tail()
{
    fresh --brokers=2
    use fill 14
    run log tail "$LOG"
    same 'tail: the last 10' '4 5 6 7 8 9 10 11 12 13' "$(batches)"
    run log tail -n 3 "$LOG"
    same 'tail -n 3' '11 12 13' "$(batches)"
    run log tail -n 2 --json "$LOG"
    json_lines 'tail --json: an object in each line' 2
    documented tail
    run log tail -n x "$LOG"
    says 'tail -n x: 2' 2 err "--lines: 'x' is not allowed"
    rm -f "$TMP/followed"
    "$TOOL" log tail -n 1 -f --count=5 "$LOG" >"$TMP/followed" 2>&1 &
    local follower=$!
    until_true test -s "$TMP/followed" # it has said what was there, and waits for more
    use fill 4
    wait "$follower"
    STATUS=$?
    cp "$TMP/followed" "$TMP/out"
    same 'tail -f: what comes, too' "0 13 14 15 16 17" \
        "$STATUS $(batches)"
    rm -f "$TMP/followed"
    "$TOOL" log tail -f "$LOG" >"$TMP/followed" 2>"$TMP/err" &
    follower=$!
    until_true test -s "$TMP/followed"
    run log create --replace --payload=4K --slots=16 "$LOG"
    wait "$follower"
    STATUS=$?
    check 'tail -f ends with its log: 1' "$STATUS" -eq 1
}

test_stat_bad()
{
    run log stat -w 0 "$LOG"
    says 'stat -w 0: 2' 2 err "--watch: '0' is not allowed; allowed: 0.1 to 86400 seconds"
    run log stat -w x "$LOG"
    says 'stat -w x: 2' 2 err "--watch: 'x' is not allowed"
    run log stat -n 0 "$LOG"
    says 'stat -n 0: 2' 2 err "--count: '0' is not allowed"
    fresh
    use fill 3
    run log stat --json "$LOG"
    case $(stat -f -c %T "$LOG") in # closing puts it on the medium, where there is one
    tmpfs | hugetlbfs) same 'stat: nothing is durable in memory' null "$(figure durable)" ;;
    *) same 'stat: what is durable' 3 "$(figure durable)" ;;
    esac
    run log stat -w 0.1 -n 3 --json "$LOG"
    json_lines 'stat -w -n 3 --json: three lines' 3
}

# ---- trim ------------------------------------------------------------------------------------

test_trim()
{
    fresh --brokers=2 --retain=all
    use fill 12
    run log trim --to=4 "$LOG"
    says 'trim --to' 0 out '^gave up 4 batches: 0 to 3; the earliest is 4 now$'
    says '... and the bytes' 0 out '^payload held: [0-9]+ B, before [0-9.]+ (B|KiB)$'
    run log dump "$LOG"
    same '... the rest is there' '4 5 6 7 8 9 10 11' "$(batches)"
    run log trim --keep=256 --json "$LOG"
    json 'trim --keep --json'
    documented trim
    check '... keeps no more' "$(figure held)" -le 256
    check '... and had more' "$(figure held_before)" -gt 256
    run log trim --all "$LOG"
    says 'trim --all' 0 out '; the earliest is 12 now$'
    run log trim --all "$LOG"
    says '... twice' 0 out '^nothing given up, the earliest is 12$'
    run log check "$LOG"
    says '... and it is right' 0 out ' 0 errors, 0 notes; 0 batches'
    use fill 3
    run log dump --from=12 "$LOG"
    check '... and goes on' "$(grep -c '^batch' "$TMP/out")" -eq 3
    run log trim "$LOG"
    says 'trim of nothing said: 2' 2 err 'say one of --to=POSITION, --keep=BYTES and --all'
    run log trim --all --keep=1K "$LOG"
    says 'trim of two things said: 2' 2 err 'say one of'
    run log trim --to=-1 "$LOG"
    says 'trim: no position: 2' 2 err "--to: '-1' is not allowed"
    run log trim --keep=1Q "$LOG"
    says 'trim: no bytes: 2' 2 err "--keep: '1Q' is not allowed"
    run log trim --all --broker=1 "$LOG"
    says 'trim: a broker at level 5: 2' 2 err 'broker is about level 0'
}

test_help
test_bad_words
test_no_log
test_lanes
test_create
test_create_bad
test_dump
test_level_0
test_tail
test_stat_bad
test_trim
finish
