# shellcheck shell=bash disable=SC2034
# lib_broker.sh - for scripts that drive tidepool-broker (section `broker`). BROKER: another
# one than that of $BUILD.
#
#   need_broker             builds it if need be, and unpacks redis and a client library
#   broker NAME OPTION...   starts one on the Unix socket $TMP/NAME.sock, with --port 0 unless
#                           a port is given; sets PID. Its words: $TMP/NAME.out and .err
#   server NAME OPTION...   the same with redis-server
#   cli NAME ARGUMENT...    redis-cli
#   peer ARGUMENT...        tests/broker_peer.py
#   figure NAME KEY         of INFO
#   loaded NAME             `peer load` has got on: a condition for until_true
#   stop PID                by TERM; returns the status

. "$(dirname "${BASH_SOURCE[0]}")/lib_prog.sh"
. tests/lib_stop.sh

BROKER=${BROKER:-$BUILD/tidepool-broker}
ROOT=$BUILD/deps/root/broker
RUNNING=()
trap 'stop_all; rm -rf "$TMP"' EXIT
trap 'exit 143' TERM INT

need_broker()
{
    local dir libs=''
    need "$BROKER"
    if ! tools/deps.sh unpack-all "$ROOT" redis-server redis-tools python3-redis \
        >"$TMP/get" 2>&1; then
        bad 'get redis-server redis-tools python3-redis' "$TMP/get"
        exit 1
    fi
    for dir in "$ROOT"/lib/*-linux-gnu "$ROOT"/usr/lib/*-linux-gnu; do
        [[ -d $dir ]] && libs+=${libs:+:}$dir
    done
    TREE=("PATH=$ROOT/usr/sbin:$ROOT/usr/bin:$ROOT/sbin:$ROOT/bin:$PATH"
        "LD_LIBRARY_PATH=$libs" "PYTHONPATH=$ROOT/usr/lib/python3/dist-packages"
        PYTHONDONTWRITEBYTECODE=1)
}

answers()
{
    [[ $(cli "$1" ping) == PONG ]]
}

# loaded NAME: `peer load` has got on; but for 80 entries at most all is acknowledged.
loaded()
{
    local i count sum=0
    for i in 0 1 2 3; do
        count=$(cli "$1" xlen "load:$i")
        [[ $count =~ ^[0-9]+$ ]] && sum=$((sum + count))
    done
    ((sum > 300))
}

launched()
{
    PID=$!
    RUNNING+=("$PID")
    if ! until_true answers "$1"; then
        bad "$1 starts" "$TMP/$1.out" "$TMP/$1.err"
        exit 1
    fi
}

broker()
{
    local -a port=(--port 0)
    [[ " ${*:2} " == *' --port '* ]] && port=()
    "$BROKER" --unix "$TMP/$1.sock" "${port[@]}" "${@:2}" >"$TMP/$1.out" 2>"$TMP/$1.err" \
        </dev/null &
    launched "$1"
}

server()
{
    env "${TREE[@]}" redis-server --port 0 --unixsocket "$TMP/$1.sock" --dir "$TMP" --save '' \
        "${@:2}" >"$TMP/$1.out" 2>"$TMP/$1.err" </dev/null &
    launched "$1"
}

cli()
{
    timeout -k 5 120 env "${TREE[@]}" redis-cli -s "$TMP/$1.sock" "${@:2}" 2>&1
}

peer()
{
    timeout -k 5 "${TEST_SECONDS:-400}" env "${TREE[@]}" python3 tests/broker_peer.py "$@" 2>&1
}

figure()
{
    cli "$1" info | tr -d '\r' | sed -n "s/^$2://p"
}

# judge NAME STATUS FILE: 0 is well.
judge()
{
    if (($2 == 0)); then ok "$1"; else bad "$1 (exit $2)" "$3"; fi
}

# same NAME WANTED GOT
same()
{
    if [[ $2 == "$3" ]]; then
        ok "$1"
    else
        printf 'wanted: %s\ngot:    %s\n' "$2" "$3" >"$TMP/differs"
        bad "$1" "$TMP/differs"
    fi
}
