#!/usr/bin/env bash
# broker_limits.sh - tidepool-broker and peers that are slow, broken or hostile; its options; how
# it starts and ends.
#
# BROKER_NOISE: connections of random bytes, 10000.
set -u
. "$(dirname "$0")/lib_broker.sh"
need_broker

# check NAME SERVER PEER...: what the peer says, and the server lives.
check()
{
    if peer "${@:3}" >"$TMP/said" && answers "$2" && [[ ! -s $TMP/$2.err ]]; then
        ok "$1"
    else
        bad "$1" "$TMP/said" "$TMP/$2.err"
    fi
}

broker rules
check 'broken requests are told, whole ones answered' rules rules "$TMP/rules.sock"

broker slow --max-output 4M --max-buffers 16M --max-message 1M
check 'who reads nothing is bounded, who reads slowly gets all' slow slow "$TMP/slow.sock" "$PID"

broker ahead --max-output 4M --max-buffers 16M
check 'who says all before it reads is heard, up to a bound' ahead ahead "$TMP/ahead.sock" "$PID"

broker names --payload 64K
check 'a reply stays as it was, whatever comes behind it' names names "$TMP/names.sock"

broker half --idle 4 --max-connections 40
check 'half-open peers are left, others served, no more than may be' half half "$TMP/half.sock"

broker noise --payload 1M --max-buffers 16M
check "${BROKER_NOISE:-10000} connections of random bytes, and it stays as it is" noise \
    noise "$TMP/noise.sock" "$PID" "${BROKER_NOISE:-10000}"

# ---- start and end ----

broker port --port any --pidfile "$TMP/pid"
PORT=$(sed -n 's/.* 127\.0\.0\.1:\([0-9]*\) .*/\1/p' "$TMP/port.out")
same 'it listens on loopback alone' 0100007F \
    "$(awk -v end=":$(printf %04X "${PORT:-1}")" '$4 == "0A" && substr($2, length($2) - 4) == end {
        print substr($2, 1, length($2) - 5) }' /proc/net/tcp /proc/net/tcp6)"
same 'it tells its port' PONG "$(env "${TREE[@]}" redis-cli -p "${PORT:-1}" ping)"
same 'and in CONFIG' "port $PORT" "$(cli port config get port | xargs)"
same 'its pidfile' "$PID" "$(cat "$TMP/pid")"
stop "$PID"
same 'TERM ends it with status 0' 0 $?
same 'and it takes its files along' '' "$(ls "$TMP/pid" "$TMP/port.sock" 2>/dev/null)"

LONG=$TMP/$(printf '%0200d/%0200d/%0200d' 1 2 3)
mkdir -p "$LONG"
broker both --listen 127.0.0.1 --listen 127.0.0.2 --port any --pidfile "$LONG/pid"
PORT=$(sed -n 's/.* 127\.0\.0\.1:\([0-9]*\) .*/\1/p' "$TMP/both.out")
same 'it listens where it is told to' "PONG PONG bind 127.0.0.1 127.0.0.2" \
    "$(for HOST in 127.0.0.1 127.0.0.2; do
        env "${TREE[@]}" redis-cli -h "$HOST" -p "${PORT:-1}" ping
    done | xargs) $(cli both config get bind | xargs)"
same 'a long value is told whole' "pidfile $LONG/pid" "$(cli both config get pidfile | xargs)"
bare "$BROKER" --port any --listen nowhere
same 'no address' 1 "$?"
same '... is told' 1 "$(grep -c -- '--listen nowhere, --port' "$TMP/err")"

broker left
{ kill -KILL "$PID" && wait "$PID"; } 2>/dev/null
[[ -S $TMP/left.sock ]] || bad 'a killed one leaves its socket'
broker left
ok 'a socket that was left behind is no hindrance'
bare "$BROKER" --port 0 --unix "$TMP/left.sock"
same 'one that is in use is' "1 tidepool-broker: --unix $TMP/left.sock: address already in use" \
    "$? $(cat "$TMP/err")"

# refused WORDS OPTION...: one line that says why, and status 2.
refused()
{
    bare "$BROKER" "${@:2}"
    same "refused: ${*:2}" "2 tidepool-broker: $1" "$? $(cat "$TMP/err")"
}
refused '--nothing: no such option (see --help)' --nothing
refused '--port: wants a value (see --help)' --port
refused '--port 70000: not a number from 0 to 65535' --port 70000
refused '--payload 1K: not a size from 65536 to 17179869184' --payload 1K
refused '--payload 99T: not a size from 65536 to 17179869184' --payload 99T
refused '--level 3: not 4 or 5' --level 3
refused '--port 0 without --unix: nowhere to listen' --port 0
refused '--max-message 2097152: at most a quarter of a ring of --payload: 1048576' \
    --payload 4M --max-message 2M
refused '--spin 1001: not a number from 0 to 1000' --spin 1001
refused 'word: not an option (see --help)' word
bare "$BROKER" --help
same 'its help says how to begin' '0 1' "$? $(grep -c '^  redis-cli XADD' "$TMP/out")"
while read -r OPTION; do
    grep -qE -- "^  $OPTION( |,|\$)" "$TMP/out" || bad "README names $OPTION, --help does not"
done < <(awk '/^## / { on = $0 == "## A broker in one page" } on' README.md |
    grep -oE -- '--[a-z][a-z-]+' | sort -u)
bare "$BROKER" --listen 1.2.3 --port 0 --unix "$TMP/x.sock" --version
same 'its version' "0 tidepool-broker $(sed -n 's/.*VERSION_STRING *"\(.*\)"/\1/p' \
    include/tidepool/version.h)" "$? $(cat "$TMP/out")"

# Waiting awake.
for SPIN in 0 1000; do
    broker "spin$SPIN" --spin "$SPIN"
    for ((I = 0; I < 300; I++)); do echo PING; done | cli "spin$SPIN" >/dev/null
    (($(figure "spin$SPIN" spins) > 0)) && SAID=waits || SAID='does not wait'
    [[ $SPIN == 0 ]] && WANTED='does not wait' || WANTED=waits
    same "--spin $SPIN: it $WANTED" "spin $SPIN, $WANTED" \
        "$(cli "spin$SPIN" config get spin | xargs), $SAID"
done

# A full log: told, and what is there stays.
broker full --payload 64K
for I in 1 2 3 4; do
    cli full xadd "s$I" '*' f "$(printf '%0300d' 0)" >/dev/null
done
SAID=$(for ((I = 0; I < 300; I++)); do echo "XADD s1 * f $(printf '%0300d' "$I")"; done |
    cli full | grep -m 1 '^OOM')
same 'a full log is told' 'OOM the log has no room for this entry: trim streams' "${SAID%% (*}"
same 'what is there stays' 1 "$(cli full xlen s4)"
cli full xtrim s1 maxlen 1 >/dev/null
same 'trimming makes room' 1 "$(cli full xadd s1 '*' f v | grep -c -- -)"
same 'an entry too large is told' 1 \
    "$(cli full xadd s '*' f "$(printf '%016300d' 0)" | grep -cE '^ERR an entry of|max-message')"
finish
