#!/usr/bin/env bash
# broker_restart.sh - tidepool-broker over a file: what it has is there again after a clean end
# and after SIGKILL under load; trims and deletes, too; and acknowledgements that are durable.
set -u
. "$(dirname "$0")/lib_broker.sh"
need_broker
# A file on a disk, for the durable part: $TMP may be a tmpfs.
PLACE=$(mktemp -d "$BUILD/broker.XXXXXX")
trap 'stop_all; rm -rf "$TMP" "$PLACE"' EXIT
FILE=$PLACE/log

# all NAME: everything that three streams have, in words.
all()
{
    local key
    for key in a b c; do
        echo "$key"
        cli "$1" xrange "$key" - + | tr '\n' ' '
        cli "$1" xadd "$key" 0-1 f v # an error that depends on the last id
    done
}

broker first --source "file:$FILE" --payload 4M --brokers 2 --level 4
for I in 1 2 3 4 5 6; do
    echo "XADD a * n $I"
    echo "XADD b MAXLEN 3 * n $I"
    echo "XADD c * n $I"
    echo "XADD d * n $I"
done | cli first >/dev/null
cli first xadd a 99999999999999-7 chosen id >/dev/null
cli first xtrim a maxlen 5 >/dev/null
cli first xtrim c maxlen 0 >/dev/null
cli first del d >/dev/null
all first >"$TMP/before"
stop "$PID"
same 'a clean end' '0 ' "$? $(cat "$TMP/first.err")"

broker again --source "file:$FILE"
all again >"$TMP/after"
cmp -s "$TMP/before" "$TMP/after"
judge 'all is there again: entries, trims, last ids' $? "$TMP/after"
same 'what was deleted is not' 0 "$(cli again xlen d)"
same 'the log keeps its level and rings' '4 2' \
    "$(figure again log_level) $(figure again log_brokers)"
same 'CONFIG tells what the log has' 'payload 4194304' "$(cli again config get payload | xargs)"
FIRST=$(cli again xadd e '*' f v)
same 'numbers go on' 1 "$((${FIRST#*-} == 25))"

{ kill -KILL "$PID" && wait "$PID"; } 2>/dev/null
broker killed --source "file:$FILE"
all killed >"$TMP/after"
cmp -s "$TMP/before" "$TMP/after"
judge 'all is there again after SIGKILL' $? "$TMP/after"

# Others may trim the log: of one that a broker has, not what it needs; else all.
earliest()
{
    figure "$1" log_earliest_position
}
PLACES=$(earliest killed)
bare "$BUILD/tidepool" log trim --all "$FILE"
same 'another process trims the log of a broker: nothing' "0 $PLACES" "$? $(earliest killed)"
all killed >"$TMP/after"
cmp -s "$TMP/before" "$TMP/after"
judge 'all entries are still there' $? "$TMP/after"

bare "$BROKER" --source "file:$FILE" --unix "$TMP/second.sock" --port 0
same 'a log that is open is refused' "1 1" "$? $(grep -c "$PID" "$TMP/err")"
stop "$PID"
bare "$BUILD/tidepool" log trim --all "$FILE"
broker trimmed --source "file:$FILE"
same 'when the broker has ended all goes, and the next one says so' '0 0 0 0' \
    "$(cli trimmed xlen a) $(cli trimmed xlen b) $(cli trimmed xlen e) $(figure trimmed streams)"
SECOND=$(cli trimmed xadd e '*' f v)
same 'ids still grow' 1 "$((${SECOND%-*} >= ${FIRST%-*}))"
stop "$PID"
bare "$BROKER" --source "file:$FILE" --unix "$TMP/second.sock" --port 0 --level 5
same 'another level is refused' \
    "1 tidepool-broker: the log in file:$FILE has level 4, not 5" "$? $(cat "$TMP/err")"
head -c 2M /dev/zero | tr '\0' x >"$PLACE/other"
bare "$BROKER" --source "file:$PLACE/other" --unix "$TMP/second.sock" --port 0
same 'another file is refused' "1 1" "$? $(grep -c -- '--replace makes a new one' "$TMP/err")"
bare "$BROKER" --source file:/nowhere/at/all --unix "$TMP/second.sock" --port 0
same 'no such place is told' "1 1" "$? $(grep -c 'file:/nowhere/at/all: ' "$TMP/err")"

broker fresh --source "file:$FILE" --replace --payload 3M
same '--replace begins anew' '0 1' "$(cli fresh xlen a) $(figure fresh log_brokers)"

# ---- SIGKILL under load: what was acknowledged is there ----
for TURN in 1 2 3; do
    peer load "$TMP/fresh.sock" "$TMP/acked" >"$TMP/said" &
    LOAD=$!
    until_true loaded fresh
    sleep 1
    { kill -KILL "$PID" && wait "$PID"; } 2>/dev/null
    wait "$LOAD"
    broker fresh --source "file:$FILE"
    peer verify "$TMP/fresh.sock" "$TMP/acked" >"$TMP/said"
    judge "turn $TURN: killed under load: $(tail -n 1 "$TMP/said")" $? "$TMP/said"
    cli fresh del load:0 load:1 load:2 load:3 >/dev/null
done
stop "$PID"

# ---- durable ----
bare "$BROKER" --ack durable --port 0 --unix "$TMP/x.sock"
same 'durable wants a medium' \
    '1 tidepool-broker: --ack durable: anon is no medium that lasts: file: on a disk, or dax:' \
    "$? $(cat "$TMP/err")"
"$BUILD/tidepool" log create --retain=all --payload=1M --size=32M "file:$PLACE/bare" >/dev/null
bare "$BROKER" --ack durable --port 0 --unix "$TMP/x.sock" --source "file:$PLACE/bare"
same 'and a log with checksums' \
    "1 tidepool-broker: --ack durable: the log in file:$PLACE/bare has no checksums" \
    "$? $(cat "$TMP/err")"

# durable LEVEL
durable()
{
    broker durable --source "file:$FILE" --replace --payload 3M --ack durable --level "$1"
    peer durable "$TMP/durable.sock" >"$TMP/said"
    judge "level $1: acknowledged when durable" $? "$TMP/said"
    peer load "$TMP/durable.sock" "$TMP/acked" >"$TMP/said" &
    LOAD=$!
    until_true loaded durable
    stop "$PID"
    same "level $1: and ends well while others wait" '0 ' "$? $(cat "$TMP/durable.err")"
    wait "$LOAD"
    broker durable --source "file:$FILE"
    peer verify "$TMP/durable.sock" "$TMP/acked" >"$TMP/said"
    judge "level $1: what was acknowledged is there: $(tail -n 1 "$TMP/said")" $? "$TMP/said"
    stop "$PID"
}
if [[ $(stat -f -c %T "$PLACE") == tmpfs ]]; then
    skip 'acknowledged when durable' "$PLACE is on a tmpfs, which lasts no longer than the machine"
else
    durable 5
    durable 4
fi
finish
