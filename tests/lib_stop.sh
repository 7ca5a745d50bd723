# shellcheck shell=bash
# lib_stop.sh - ends what a script runs in the background: RUNNING has the process ids.
#
#   stop PID    by TERM, after 30 s by KILL; returns its status
#   stop_all    those of RUNNING that are still there

stop()
{
    local pid=$1 i
    kill -TERM "$pid" 2>/dev/null
    for ((i = 0; i < 300; i++)); do
        kill -0 "$pid" 2>/dev/null || break
        sleep 0.1
    done
    kill -KILL "$pid" 2>/dev/null
    wait "$pid" 2>/dev/null
}

stop_all()
{
    local pid
    for pid in $(jobs -rp); do
        [[ " ${RUNNING[*]} " == *" $pid "* ]] && stop "$pid"
    done
}
