#!/usr/bin/env bash
# broker_commands.sh - what tidepool-broker answers, against redis-server in the same run, and
# what is its own.
set -u
. "$(dirname "$0")/lib_broker.sh"
need_broker

# Commands whose answers must be Redis's own, to the byte; one a line. Ids are chosen, for those
# that the server chooses differ.
cat >"$TMP/commands" <<'END'
PING
PING hello
PING a b
ECHO text
ECHO
XADD s 1-1 f v
XADD s 1-1 f v
XADD s 1-0 f v
XADD s 0-0 f v
XADD s 0 f v
XADD s 2 f v g w
XADD s 2-* f v
XADD s 2-* f v
XADD s 1-* f v
XADD s 3-a f v
XADD s a f v
XADD s - f v
XADD s + f v
XADD s 3-1-1 f v
XADD s 3-1
XADD s 3-1 f
XADD s 3-1 f v g
XADD s 18446744073709551616 f v
XADD s 3-18446744073709551616 f v
XADD s MAXLEN 3-1 f v
XADD s MAXLEN = -1 3-1 f v
XADD s MAXLEN abc 3-1 f v
XADD s MAXLEN 10 MINID 1 3-1 f v
XADD s MAXLEN 10 LIMIT 5 3-1 f v
XADD s LIMIT 5 3-1 f v
XADD s MAXLEN ~ 10 LIMIT -5 3-1 f v
XADD s MAXLEN ~ 100 LIMIT 5 3-1 f v
XADD s MINID abc 4-1 f v
XADD none NOMKSTREAM 5-1 f v
XADD s NOMKSTREAM 5-1 f v
XADD
XADD s
XLEN s
XLEN none
XLEN
XLEN s s
XRANGE s - +
XRANGE s 2 2
XRANGE s 2-1 +
XRANGE s (1-1 +
XRANGE s - (5-1
XRANGE s (5-1 +
XRANGE s + -
XRANGE s - + COUNT 2
XRANGE s - + COUNT 0
XRANGE s - + COUNT -5
XRANGE s - + COUNT
XRANGE s - + COUNT a
XRANGE s - + LIMIT 5
XRANGE s a +
XRANGE s (18446744073709551615-18446744073709551615 +
XRANGE s - (0-0
XRANGE s ( +
XRANGE none - +
XRANGE none - + COUNT 0
XRANGE s -
XREVRANGE s + -
XREVRANGE s + - COUNT 2
XREVRANGE s 2 1
XREVRANGE s - +
XREVRANGE s (2-1 -
XREVRANGE none + -
XREAD STREAMS s 0
XREAD COUNT 1 STREAMS s 0
XREAD COUNT 0 STREAMS s 0
XREAD COUNT -3 STREAMS s 0
XREAD COUNT a STREAMS s 0
XREAD STREAMS s none 0 0
XREAD STREAMS none s 0-0 2-0
XREAD STREAMS s $
XREAD STREAMS s >
XREAD STREAMS s 18446744073709551615-18446744073709551615
XREAD STREAMS s
XREAD STREAMS s t 0
XREAD STREAMS
XREAD s 0 0
XREAD BLOCK 10 STREAMS s $
XREAD BLOCK -1 STREAMS s $
XREAD BLOCK a STREAMS s $
XREAD BLOCK 10 COUNT 1 STREAMS s 0
XREAD BLOCK 10 STREAMS none 0
XREAD NOTHING 1 STREAMS s 0
XTRIM s MAXLEN 3
XRANGE s - +
XTRIM s MAXLEN = 3
XTRIM s MINID 5
XTRIM s MAXLEN
XTRIM s NOTHING 1
XTRIM s LIMIT 1
XTRIM s MAXLEN -1
XTRIM s MAXLEN 3 LIMIT 1
XTRIM none MAXLEN 3
XTRIM s MAXLEN 0
XLEN s
XRANGE s - +
XADD s 5-1 f v
XADD s 5-2 f v
XADD s 18446744073709551615-18446744073709551615 f v
XADD s * f v
XADD s 18446744073709551615-* f v
XADD t 1-1 {empty} {empty}
XADD t MAXLEN 1 1-2 f v
XADD t MINID 1-3 1-3 f v
XRANGE t - +
DEL s none t
DEL s
DEL
XADD s 1-1 after del
CLIENT SETNAME name
CLIENT GETNAME
CLIENT SETNAME {blank}
HELLO 1
HELLO x
CONFIG GET save
CONFIG GET appendonly
CONFIG GET nothing-of-this-name
FOO
FOO bar baz
XGROUPCREATE a b
SHUTDOWN nothing
END

# A connection of its own for each half: one error must not end it.
run_commands()
{
    peer lines "$TMP/$1.sock" "$TMP/commands" >"$TMP/answers.$1"
}

export TIDEPOOL_OPTIONS=stats_at_exit=$TMP/stats
broker ours
unset TIDEPOOL_OPTIONS
server theirs
run_commands ours
run_commands theirs
if [[ $(wc -l <"$TMP/answers.ours") -ge 110 ]] &&
    diff "$TMP/answers.theirs" "$TMP/answers.ours" >"$TMP/diff"; then
    ok "answers are Redis's own ($(wc -l <"$TMP/answers.ours") commands)"
else
    bad "answers are Redis's own" "$TMP/diff"
fi

peer typed "$TMP/ours.sock" >"$TMP/typed.ours"
peer typed "$TMP/theirs.sock" >"$TMP/typed.theirs"
if [[ $(wc -l <"$TMP/typed.ours") -gt 120 ]] &&
    diff "$TMP/typed.theirs" "$TMP/typed.ours" >"$TMP/diff"; then
    ok "quotes in typed lines are taken as Redis does ($(wc -l <"$TMP/typed.ours") lines)"
else
    bad 'quotes in typed lines are taken as Redis does' "$TMP/diff"
fi

same 'an unknown command is named' \
    "ERR unknown command 'eval', with args beginning with: 'return' '1' '0' " \
    "$(cli ours eval 'return' 1 0 | head -n 1)"
same 'XDEL is refused' 1 "$(cli ours xdel s 1-1 | grep -c '^ERR XDEL is not supported: entries')"
same 'HELLO tells who it is' 'server tidepool-broker' "$(cli ours hello 2 | head -n 2 | xargs)"
same 'HELLO 3 is refused' 'NOPROTO unsupported protocol version' "$(cli ours hello 3 | head -n 1)"
same 'CONFIG SET names itself' 1 "$(cli ours config set a b | grep -c '^ERR CONFIG set is not')"
same 'CLIENT ID grows' 1 "$(($(cli ours client id) < $(cli ours client id)))"
same 'COMMAND COUNT is the length of COMMAND' "$(cli ours command count)" \
    "$(peer elements "$TMP/ours.sock" COMMAND | wc -l)"
same 'CONFIG GET tells the limit' "maxclients 10000" "$(cli ours config get maxclients | xargs)"

# ---- figures ----
BEFORE=$(figure ours entries_added)
for I in 1 2 3; do cli ours xadd figures '*' f "$I" >/dev/null; done
same 'INFO counts entries' $((BEFORE + 3)) "$(figure ours entries_added)"
same 'INFO tells the process' "$PID" "$(figure theirs process_id)"
same 'INFO of one section' 1 "$(cli ours info log | grep -c '^#')"

# ---- ids ----
FIRST=$(cli ours xadd one '*' f v)
SECOND=$(cli ours xadd two '*' f v)
THIRD=$(cli ours xadd one '*' f v)
if [[ ${FIRST#*-} -lt ${SECOND#*-} && ${SECOND#*-} -lt ${THIRD#*-} &&
    ${FIRST%-*} -le ${SECOND%-*} && ${SECOND%-*} -le ${THIRD%-*} ]]; then
    ok 'ids tell one order over all streams'
else
    bad "ids tell one order over all streams: $FIRST $SECOND $THIRD"
fi

# Behind an id that a client chose, too, whatever its second half is; two streams in turn.
cli ours xadd one 99999999999999-18446744073709551610 f v >/dev/null
FOURTH=$(cli ours xadd one '*' f v)
FIFTH=$(cli ours xadd two '*' f v)
SIXTH=$(cli ours xadd one '*' f v)
same 'and behind an id of a client' "100000000000000-$((${THIRD#*-} + 2)) \
$((${THIRD#*-} + 3)) 100000000000000-$((${THIRD#*-} + 4))" "$FOURTH ${FIFTH#*-} $SIXTH"

# ---- waiting ----
peer block "$TMP/ours.sock" >"$TMP/block" && peer block "$TMP/theirs.sock" >"$TMP/block"
judge 'XREAD BLOCK, here and there' $? "$TMP/block"

# ---- the end ----
cli ours shutdown nosave >"$TMP/shutdown"
wait "${RUNNING[0]}"
STATUS=$?
if ((STATUS == 0)) && [[ ! -e $TMP/ours.sock && ! -s $TMP/ours.err && ! -s $TMP/shutdown ]]; then
    ok 'SHUTDOWN ends it with status 0'
else
    bad "SHUTDOWN ends it with status 0 ($STATUS)" "$TMP/ours.err" "$TMP/shutdown"
fi

# Its own malloc is the library's: the replies were built in its blocks. A build with sanitizers has
# theirs.
if grep -q __asan_init "$BROKER"; then
    finish
elif grep -q '"program":".*/tidepool-broker"' "$TMP/stats" &&
    [[ $(sed -nE 's/.*"mid":\{[^[]*"taken_blocks":([0-9]+).*/\1/p' "$TMP/stats") -gt 0 ]]; then
    ok 'it allocates by the library, Mid too'
else
    bad 'it allocates by the library, Mid too' "$TMP/stats"
fi
finish
