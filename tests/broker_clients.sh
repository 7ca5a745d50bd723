#!/usr/bin/env bash
# broker_clients.sh - tidepool-broker driven by clients that were written for Redis:
# redis-benchmark, and Debian's client library for Python.
set -u
. "$(dirname "$0")/lib_broker.sh"
need_broker

# benchmark NAME COUNT KEY OPTION...: adds COUNT entries; all of them are there.
benchmark()
{
    local name=$1 count=$2 key=$3
    if timeout -k 5 300 env "${TREE[@]}" redis-benchmark -s "$TMP/level$LEVEL.sock" -n "$count" \
        "${@:4}" --csv xadd "$key" '*' field __data__ >"$TMP/said" 2>&1 &&
        ! grep -qi error "$TMP/said" &&
        [[ $(cli "level$LEVEL" xlen "$key") == "$count" ]]; then
        ok "level $LEVEL: $name"
    else
        bad "level $LEVEL: $name ($(cli "level$LEVEL" xlen "$key") entries)" "$TMP/said"
    fi
}

for LEVEL in 5 4; do
    broker "level$LEVEL" --level "$LEVEL" --brokers 4 --payload 128M
    benchmark 'redis-benchmark, one request at a time' 5000 "$LEVEL-one" -c 20
    benchmark 'redis-benchmark, pipelines' 51200 "$LEVEL-pipe" -c 20 -P 32
    benchmark 'redis-benchmark, large entries' 2000 "$LEVEL-large" -c 10 -P 4 -d 20000
    benchmark 'redis-benchmark, two threads' 20000 "$LEVEL-threads" -c 20 -P 8 --threads 2
    peer mixed "$TMP/level$LEVEL.sock" >"$TMP/said"
    judge "level $LEVEL: each answer is in its place" $? "$TMP/said"
    if peer library "$TMP/level$LEVEL.sock" >"$TMP/said"; then
        ok "level $LEVEL: the client library"
    else
        bad "level $LEVEL: the client library" "$TMP/said" "$TMP/level$LEVEL.err"
    fi
    same "level $LEVEL: all were connections" 0 "$(figure "level$LEVEL" rejected_connections)"
    stop "$PID"
    same "level $LEVEL: ends well" '0 ' "$? $(cat "$TMP/level$LEVEL.err")"
done

# At level 4 an appending connection has a session of the log; it is given back.
LEVEL=4
broker few --level 4 --sessions 2
peer sessions "$TMP/few.sock" >"$TMP/said"
judge 'level 4: sessions are limited, told and given back' $? "$TMP/said"
finish
