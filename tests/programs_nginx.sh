#!/usr/bin/env bash
# programs_nginx.sh - nginx with two workers under wrk, reloaded in the middle.
#
# One server on a free loopback port gives files, compressed where the client asks for it,
# and passes /far/ on to a second one on a Unix socket, at a limited rate: so its workers
# hold some hundred buffers of 4 KiB (Mid) for each client. Every body is compared with the
# file, byte by byte, also while wrk loads the server and the workers change.
#
# Statistics: a worker takes over 10,000 blocks from pages. The master only reads its
# configuration, twice, so it takes some 3,000 (most of them libcrypto's tables), and its
# workers begin with its figures.
#
# As root, the workers are nobody's: they change their user and go on with our memory.
set -u
umask 022
# Where nobody can go as well.
export TMPDIR=/tmp
. "$(dirname "$0")/lib_real.sh"

CLIENTS=32
REQUESTS=300 # of wrk's, that each worker must have served: about 14000 blocks
PATHS=(1k.txt 20k.txt 1m.txt far/1k.txt far/20k.txt far/1m.txt)

# Text that compresses a little: 1 KiB, 20 KiB and 1 MiB of it.
make_files()
{
    local part
    mkdir -p "$TMP/www" "$TMP/run" "$STATS"
    chmod 755 "$TMP" "$TMP/www"
    chmod 1777 "$STATS"
    awk 'BEGIN {
        seed = 42
        for (i = 0; i < 200000; i++) {
            seed = (seed * 1103 + 12345) % 65536
            print seed, i
        }
    }' >"$TMP/text"
    for part in '1k 1024' '20k 20480' '1m 1048576'; do
        head -c "${part#* }" "$TMP/text" >"$TMP/www/${part% *}.txt"
    done
}

# configure PORT
configure()
{
    local name user='' paths=''
    ((EUID == 0)) && user='user nobody nogroup;'
    for name in client_body proxy fastcgi uwsgi scgi; do
        paths+="${name}_temp_path $TMP/run/$name;"
    done
    cat >"$TMP/conf" <<EOF2
$user
daemon off;
worker_processes 2;
pid $TMP/run/pid;
error_log $TMP/log notice;
events { worker_connections 512; }
http {
    access_log off;
    $paths
    default_type text/plain;
    gzip on;
    gzip_types text/plain;
    gzip_http_version 1.0;
    gzip_comp_level 1;
    gzip_min_length 100;
    log_format worker '\$pid';
    proxy_buffers 256 4k;
    proxy_max_temp_file_size 0;
    server {
        listen 127.0.0.1:$1 reuseport;
        access_log $TMP/served worker;
        root $TMP/www;
        location /far/ {
            proxy_pass http://unix:$TMP/run/far:/;
            limit_rate_after 64k;
            limit_rate 4m;
        }
    }
    server {
        listen unix:$TMP/run/far;
        root $TMP/www;
        gzip off;
    }
}
EOF2
}

# fetch PATH FILE [HEADER]: one request; the body into FILE, the head into FILE.head.
fetch()
{
    local line
    exec 8<>"/dev/tcp/127.0.0.1/$PORT" || return
    printf '%s\r\n' "GET /$1 HTTP/1.0" ${3:+"$3"} '' >&8
    while IFS= read -r -t 60 -u 8 line && [[ $line != $'\r' ]]; do
        printf '%s\n' "${line%$'\r'}"
    done >"$2.head"
    timeout 60 cat <&8 >"$2"
    exec 8>&-
} 2>/dev/null

# answers: whether it is our server that listens at the port.
answers()
{
    fetch 1k.txt "$TMP/first" && cmp -s "$TMP/first" "$TMP/www/1k.txt"
}

# server ARM: at a free port. Sets PID and PORT.
server()
{
    local try i
    for ((try = 0; try < 10; try++)); do
        PORT=$((20000 + RANDOM % 10000))
        (exec 8<>"/dev/tcp/127.0.0.1/$PORT") 2>/dev/null && continue
        configure "$PORT"
        rm -f "$TMP/run/far"
        : >"$TMP/log"
        launch "$1" nginx nginx -p "$TMP" -c "$TMP/conf" -e "$TMP/log"
        for ((i = 0; i < 300; i++)); do
            answers && return
            kill -0 "$PID" 2>/dev/null || break
            sleep 0.1
        done
        grep -q 'Address already in use' "$TMP/log" || break
    done
    bad "nginx starts ($1)" "$TMP/log" "$TMP/nginx.$1.err"
    exit 1
}

# quit NAME WORKERS: a graceful end; everybody ends with 0, and nothing went wrong.
quit()
{
    local status i
    kill -QUIT "$PID"
    for ((i = 0; i < 600; i++)); do
        kill -0 "$PID" 2>/dev/null || break
        sleep 0.1
    done
    stop "$PID"
    status=$?
    if ((status == 0)) && ! grep -qE '\[(error|crit|alert|emerg)\]|on signal' "$TMP/log" &&
        (($(grep -c 'worker process [0-9]* exited with code 0' "$TMP/log") == $2)); then
        ok "$1"
    else
        bad "$1 (exit $status)" "$TMP/log"
    fi
}

# settled: nobody is being served any more. A client that left in the middle of a request is
# still that to a worker for a moment, and the master takes the Unix socket away when it quits.
settled()
{
    local i port
    port=$(printf ':%04X' "$PORT")
    for ((i = 0; i < 300; i++)); do
        ! awk -v port="$port" 'index($2, port) && $4 != "0A" && $4 != "06"' /proc/net/tcp |
            grep -q . &&
            ! awk -v path="$TMP/run/far" '$8 == path && $6 != "01"' /proc/net/unix |
            grep -q . && return
        sleep 0.1
    done
    bad 'all clients were served in the end' /proc/net/tcp "$TMP/log"
}

# bodies NAME [FILE]: every path, as it is and compressed, has the bytes of its file. Notes
# heads and sums in FILE.
bodies()
{
    local path file wrong='' note=${2:-/dev/null} got=$TMP/body
    for path in "${PATHS[@]}"; do
        file=$TMP/www/${path##*/}
        fetch "$path" "$got"
        cmp -s "$got" "$file" || wrong+=" $path"
        fetch "$path" "$got.gz" 'Accept-Encoding: gzip'
        gzip -dc <"$got.gz" 2>/dev/null | cmp -s - "$file" || wrong+=" $path(gzip)"
        { cat "$got.head" "$got.gz.head" && cksum <"$got" && cksum <"$got.gz"; } |
            grep -v '^Date:' >>"$note"
    done
    if [[ -z $wrong ]]; then
        ok "$1"
    else
        bad "$1:$wrong" "$got.head" "$got.gz.head"
    fi
}

# What each of wrk's clients asks for, and what it reports in the end.
write_script()
{
    cat >"$TMP/wrk.lua" <<'EOF2'
local paths = {"/1k.txt", "/20k.txt", "/far/1m.txt", "/1m.txt", "/far/20k.txt", "/far/1m.txt"}
local turn = 0
function request()
    turn = turn + 1
    local head = {}
    if turn % 4 == 0 then
        head["Accept-Encoding"] = "gzip"
    end
    return wrk.format("GET", paths[turn % #paths + 1], head)
end
function done(summary)
    local wrong = summary.errors
    io.write(string.format("judge %d %d %d %d %d %d\n", summary.requests, wrong.status,
        wrong.connect, wrong.write, wrong.timeout, wrong.read))
end
EOF2
}

# A worker that shuts down closes its clients' idle connections: wrk counts each as one
# failed read and connects anew.
judge_load()
{
    local requests status connect write timeout read
    read -r requests status connect write timeout read \
        < <(sed -n 's/^judge //p' "$TMP/wrk.served.out")
    if ((${requests:-0} > 100 && status + connect + write + timeout == 0 && read <= CLIENTS)); then
        ok 'wrk met no error'
    else
        bad 'wrk met no error' "$TMP/wrk.served.out" "$TMP/wrk.served.err"
    fi
}

# busy: each of the two workers of now has served as many requests as it shall.
# shellcheck disable=SC2317 # until_true calls it
busy()
{
    local pid count=0
    for pid in $(descendants "$PID"); do
        (($(grep -cx "$pid" "$TMP/served") >= REQUESTS)) && count=$((count + 1))
    done
    ((count == 2))
}

# changed OLD OLD: none of the two old workers is there any more. Sets NOW.
# shellcheck disable=SC2317 # until_true calls it
changed()
{
    NOW=" $(descendants "$PID" | tr '\n' ' ')"
    [[ $NOW != *" $1 "* && $NOW != *" $2 "* ]]
}

# reload: by HUP; two new workers come, the old two go when their clients are served.
reload()
{
    local old
    mapfile -t old < <(descendants "$PID")
    kill -HUP "$PID"
    # shellcheck disable=SC2086 # words
    if until_true changed "${old[@]:1:2}" && set -- $NOW && (($# == 3)); then
        ok 'HUP: new workers, and the old ones left'
    else
        bad "HUP: new workers, and the old ones left: ${old[*]} -> $NOW" "$TMP/log"
    fi
}

# wrk gets an INT when all workers have had their part, however long that takes: then it reports.
load()
{
    local wrk server=$PID
    launch served wrk wrk -t 2 -c "$CLIENTS" -d 500s --timeout 60s \
        -s "$TMP/wrk.lua" "http://127.0.0.1:$PORT/"
    wrk=$PID
    PID=$server
    proof_tree 'master and workers have the library mapped' "$PID" 3
    bodies 'bodies equal the files under load'
    until_true busy
    reload
    proof_tree 'master and new workers have the library mapped' "$PID" 3
    bodies 'bodies equal the files after the reload'
    until_true busy
    kill -INT "$wrk"
    wait "$wrk"
    judge_load
    settled
}

# Of the master and four workers.
judge_workers()
{
    table nginx >"$TMP/table"
    if awk -v master="$PID" '
        $1 == master { all += $2 >= 2000 && $3 > 0 }
        $1 != master { workers += $2 >= 10000 && $3 >= 1000 }
        END { exit !(NR == 5 && all == 1 && workers == 4) }' "$TMP/table"; then
        ok 'four workers took 10000 blocks, the master 2000'
    else
        bad 'four workers took 10000 blocks, the master 2000' "$TMP/table"
    fi
}

get nginx wrk
need "$SO"
STATS=$TMP/stats
make_files
write_script

server plain
bodies 'bodies equal the files without us' "$TMP/notes.plain"
quit 'clean end without us' 2

server served
bodies 'bodies equal the files' "$TMP/notes.served"
if diff "$TMP/notes.plain" "$TMP/notes.served" >"$TMP/diff"; then
    ok 'same heads and same compressed bytes as without us'
else
    bad 'same heads and same compressed bytes as without us' "$TMP/diff"
fi
load
quit 'clean end of the master and four workers' 4
judge_workers
proof 'wrk took blocks' wrk 1 0
finish
