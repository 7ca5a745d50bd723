#!/usr/bin/env bash
# programs_redis.sh - Debian's redis-server, its second malloc (jemalloc) included.
#
# Debian's redis is linked with libjemalloc.so. What reaches us under the preload:
#   - everything that redis itself, its Lua, hiredis and libc allocate. Debian builds it
#     against jemalloc's plain names (malloc, calloc, realloc, free,
#     malloc_usable_size), and our library stands in front of libjemalloc in the search
#     order. redis counts its memory (used_memory) with our malloc_usable_size.
# What stays in jemalloc:
#   - calls under names that only jemalloc has: mallctl and malloc_stats_print (INFO,
#     MEMORY PURGE, MEMORY MALLOC-STATS, jemalloc-bg-thread), and nallocx. They answer
#     about an allocator that holds nothing but what it takes for itself, about 28 KiB:
#     so INFO's allocator_* figures mean nothing, and MEMORY PURGE purges nothing of
#     ours. sdsResize asks nallocx what a block would be
#     rounded up to and saves the realloc when malloc_usable_size says the same: a guess
#     about our classes that costs at most a call, never a byte too few.
#   - the background thread of jemalloc, which runs and finds nothing to do.
# Active defragmentation is not part of Debian's build: it wants a patched jemalloc.
#
# Both arms get the same data, so DEBUG DIGEST must give the same. The child of BGSAVE ends
# by _exit and leaves no statistics: it is slowed down and looked at while it saves.
set -u
. "$(dirname "$0")/lib_real.sh"

# cli ARM ARGUMENT...: asks the server of this arm.
cli()
{
    local arm=$1
    settings_of plain cli
    timeout -k 5 120 env "${SETTINGS[@]}" redis-cli -s "$TMP/$arm.sock" "${@:2}" 2>&1
}

# info ARM SECTION KEY
info()
{
    cli "$1" info "$2" | tr -d '\r' | sed -n "s/^$3://p"
}

# until_info ARM SECTION KEY VALUE: waits for it, a minute at most.
until_info()
{
    local i
    for ((i = 0; i < 300; i++)); do
        [[ $(info "$1" "$2" "$3") == "$4" ]] && return
        sleep 0.2
    done
    return 1
}

# server ARM CASE [OPTION...]: over the dump in $TMP/ARM, if there is one. Sets PID.
server()
{
    local arm=$1
    mkdir -p "$TMP/$arm"
    launch "$arm" "$2" redis-server --port 0 --unixsocket "$TMP/$arm.sock" --dir "$TMP/$arm" \
        --save '' --daemonize no --enable-debug-command yes "${@:3}"
    if ! until_info "$arm" persistence loading 0; then
        bad "$2: the server ($arm) starts" "$TMP/$2.$arm.out" "$TMP/$2.$arm.err"
        exit 1
    fi
}

# shut ARM CASE: by the server's own command; it must end with 0 and say so.
shut()
{
    local status answer
    answer=$(cli "$1" shutdown nosave)
    stop "$PID"
    status=$?
    if [[ $status -eq 0 && -z $answer && ! -s $TMP/$2.$1.err ]] &&
        grep -q 'ready to exit, bye bye' "$TMP/$2.$1.out"; then
        ok "$2: clean shutdown ($1)"
    else
        bad "$2: clean shutdown ($1, exit $status) $answer" "$TMP/$2.$1.out" "$TMP/$2.$1.err"
    fi
}

# Commands that make every type and encoding, grow, shrink and delete.
commands()
{
    awk 'BEGIN {
        ORS = "\r\n"
        seed = 42
        while (length(text) < 32768) {
            seed = (seed * 1103 + 12345) % 65536
            text = text seed
        }
        for (i = 0; i < 6000; i++) {
            size = i % 3 ? (i * 7919) % 700 + 1 : (i * 104729) % 24000 + 1
            part = substr(text, i % 997 + 1, size)
            print "SET s:" i " " part
            print "HSET h:" i % 300 " f" i " " substr(part, 1, 300)
            print "RPUSH l:" i % 100 " " substr(part, 1, 4000)
            print "ZADD z:" i % 50 " " i * 7 % 1000 " m" i
            print "SADD t:" i % 60 " " i " e" i
            print "XADD x:" i % 10 " " i + 1 "-1 field " substr(part, 1, 100)
            if (i % 4 == 0) print "APPEND s:" int(i / 2) " " part
            if (i % 7 == 0) print "DEL s:" int(i / 3)
            if (i % 500 == 0) print "SETRANGE big:" i " " 100000 + i * 37 " end"
        }
        print "EVAL \"for i = 1, 3000 do redis.call(\x27rpush\x27, KEYS[1]," \
            " string.rep(\x27v\x27, i)) end\" 1 lua"
    }'
}

# One line of facts about the data.
facts()
{
    echo "keys $(cli "$1" dbsize) digest $(cli "$1" debug digest)"
}

# Loads and measures without -r: the benchmark's commands are then the same in every run,
# whatever the order of its 20 clients and two threads.
drive()
{
    local arm=$1 case=$2 row part
    cli "$arm" --pipe <"$TMP/commands" >"$TMP/pipe.$arm"
    grep -q 'errors: 0,' "$TMP/pipe.$arm" || bad "$case: loads data ($arm)" "$TMP/pipe.$arm"
    : >"$TMP/bench.$arm"
    for row in '100 20000 incr,sadd,zadd' '3000 8000 set,get,lpush,rpush,lpop,hset,mset' \
        '40000 600 set,get,rpush'; do
        read -ra part <<<"$row"
        "$arm" "bench${part[0]}" redis-benchmark -s "$TMP/$arm.sock" -c 20 -P 4 --threads 2 \
            --csv -d "${part[0]}" -n "${part[1]}" -t "${part[2]}" ||
            bad "$case: redis-benchmark -d ${part[0]} ($arm)" "$TMP/bench${part[0]}.$arm.err"
        cut -d, -f1 "$TMP/bench${part[0]}.$arm.out" >>"$TMP/bench.$arm"
    done
    facts "$arm" >"$TMP/facts.$arm"
}

# The data goes through a file and back in the living server, and a long list is freed by
# the thread for lazy frees.
shake()
{
    cli "$1" debug reload
    cli "$1" unlink mylist
    until_info "$1" memory lazyfree_pending_objects 0 && facts "$1"
}

compare()
{
    if [[ -s $TMP/$2.plain ]] && diff "$TMP/$2.plain" "$TMP/$2.served" >"$TMP/diff"; then
        ok "$1"
    else
        bad "$1" "$TMP/diff"
    fi
}

# A child that saves for some seconds, with clients all the while.
background_save()
{
    cli served config set rdb-key-save-delay 1000 >/dev/null
    cli served bgsave >/dev/null
    proof_tree 'server and BGSAVE child have the library mapped' "$PID" 2
    served load redis-benchmark -s "$TMP/served.sock" -d 5000 -c 100 -P 4 -n 5000 -r 2000 -q \
        -t set,get
    cli served config set rdb-key-save-delay 0 >/dev/null
    if [[ $(cat "$TMP/load.served.status") == 0 ]] &&
        until_info served persistence rdb_bgsave_in_progress 0 &&
        [[ $(info served persistence rdb_last_bgsave_status) == ok ]]; then
        ok 'BGSAVE while clients write'
    else
        bad 'BGSAVE while clients write' "$TMP/load.served.err" "$TMP/server.served.out"
    fi
}

# What the comment at the top says about the second malloc.
second_malloc()
{
    local plain ours used
    plain=$(cat "$TMP/allocated.plain")
    ours=$(info served memory allocator_allocated)
    used=$(info served memory used_memory)
    if [[ $(info served memory mem_allocator) == jemalloc-* &&
        $(cli served memory purge) == OK ]] &&
        cli served memory malloc-stats | grep -q 'End jemalloc statistics' &&
        ((plain > 16 << 20 && used > 16 << 20 && ours < 1 << 20)); then
        ok "jemalloc answers, and holds $ours of $used bytes (without us $plain)"
    else
        bad "jemalloc answers, and holds little: $ours of $used bytes (without us $plain)"
    fi
}

# figure KEY: of the statistics of the first server.
figure()
{
    sed -n "s/.*\"$1\":\\([0-9]*\\).*/\\1/p" "$TMP/figures"
}

judge_figures()
{
    local batches
    cat "$STATS"/stats.server.[0-9]* >"$TMP/figures" 2>/dev/null
    if [[ $(figure foreign_leaks) == 0 && $(figure misuses) == 0 ]]; then
        ok 'no block of jemalloc reached us'
    else
        bad 'no block of jemalloc reached us' "$TMP/figures"
    fi
    batches=$(figure remote_batches)
    if ((${batches:-0} > 0)); then
        ok 'lazy frees crossed threads'
    else
        bad 'lazy frees crossed threads' "$TMP/figures"
    fi
}

# reload ARM CASE: a new server of this arm, over what the served one saved, has the same.
reload()
{
    [[ $1 == served ]] || cp "$TMP/served/dump.rdb" "$TMP/$1/dump.rdb"
    server "$1" "$2"
    facts "$1" >"$TMP/again.$1"
    if cmp -s "$TMP/saved" "$TMP/again.$1"; then
        ok "$2: same data as before"
    else
        bad "$2: same data as before" "$TMP/saved" "$TMP/again.$1"
    fi
    shut "$1" "$2"
}

get redis-server
need "$SO"
commands >"$TMP/commands"

server plain reference
drive plain reference
info plain memory allocator_allocated >"$TMP/allocated.plain"
shake plain >"$TMP/shake.plain"
shut plain reference

# Threads read and write for the clients: blocks go from thread to thread. They spin while
# there are clients, so no more of them than needed.
server served server --io-threads 2 --io-threads-do-reads yes
drive served server
compare 'same keys and digest after the load' facts
compare 'redis-benchmark ran the same commands' bench
second_malloc
shake served >"$TMP/shake.served"
compare 'same keys and digest after DEBUG RELOAD and UNLINK' shake
background_save
facts served >"$TMP/saved"
[[ $(cli served save) == OK ]] || bad 'SAVE' "$TMP/server.served.out"
shut served server
judge_figures

reload served reload
reload plain 'reload without us'
proof 'redis-server took blocks' server 10000 1
proof 'redis-server took blocks when it loaded' reload 10000 1
proof 'redis-benchmark took blocks' load 1000 1
finish
