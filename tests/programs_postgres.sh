#!/usr/bin/env bash
# programs_postgres.sh - PostgreSQL 15: initdb, 30 s of pgbench, and whether the sums agree.
#
# Each arm has a cluster of its own, on a Unix socket, with page checksums. With the same
# seed and count of transactions pgbench must leave the same tables, in whatever order its
# four clients come. Then the served cluster works for 30 s, is stopped, and every page and
# every sum is checked, also by a server without us.
#
# PostgreSQL refuses to run as root: then it is run as nobody, who must be able to read the
# programs and the library. So both are copied.
#
# Statistics: processes of a server are forks of the postmaster and begin with its 6,500
# blocks. PostgreSQL keeps its blocks (8 KiB and more, so Mid) in contexts for re-use; plain
# transactions of pgbench take under 200 more from pages, in all of the 30 s. So every 200th
# transaction opens 1,000 cursors: with it each client's backend takes over 10,000 in
# addition. The helpers (checkpointer, walwriter and such) and `postgres -V', which pg_ctl
# starts, do no such work: their bound is 1,000 blocks, some of them Mid, and the helpers'
# maps are looked at while they live. Of what initdb starts the same is asked.
set -u
umask 022
# Where nobody can go as well.
export TMPDIR=/tmp
. "$(dirname "$0")/lib_real.sh"

CLIENTS=4
DATA_OPTIONS=(-U judge -A trust --locale=C -E UTF8 -k -N)
AS=()

# pg ARM CASE PROGRAM ARGUMENT...: a program of the package as the user who may run it.
pg()
{
    "$1" "$2" "${AS[@]}" "$BIN/$3" "${@:4}"
}

choose_user()
{
    if ((EUID == 0)); then
        AS=(setpriv --reuid nobody --regid nogroup --clear-groups)
        "${AS[@]}" true 2>/dev/null && return
        skip postgres 'this root cannot become another user'
        finish
    elif ! id -un >/dev/null 2>&1; then
        skip postgres 'the user has no name, which initdb wants'
        finish
    fi
}

# The server's files where everybody can read them, without what is for the JIT compiler.
copy_program()
{
    local part
    local -a parts=()
    mkdir "$TMP/root"
    cd "$ROOT" || exit 2
    for part in usr/lib/postgresql usr/share/postgresql usr/lib/*-linux-gnu lib/*-linux-gnu; do
        [[ -d $part ]] && parts+=("$part")
    done
    tar -cf - --exclude=bitcode --exclude='libLLVM*' --exclude='llvmjit*' "${parts[@]}" |
        tar -xf - --no-same-owner -C "$TMP/root"
    ROOT=$TMP/root
    BIN=$ROOT/usr/lib/postgresql/15/bin
    cp "$SO" "$TMP/root/"
    SO=$TMP/root/${SO##*/}
    mkdir "$STATS"
    chmod 755 "$TMP" "$TMP/root"
    chmod 1777 "$STATS"
    EXTRA=(HOME=/ TZ=GMT PGHOST= PGUSER=judge PGDATABASE=postgres)
    cd "$TMP" || exit 2
}

# make_cluster ARM
make_cluster()
{
    local data=$TMP/$1
    mkdir "$data"
    ((EUID == 0)) && chown nobody:nogroup "$data"
    EXTRA[2]=PGHOST=$data
    pg "$1" initdb initdb -D "$data" "${DATA_OPTIONS[@]}" || return
    cat >>"$data/postgresql.conf" <<EOF2
listen_addresses = ''
unix_socket_directories = '$data'
dynamic_shared_memory_type = mmap
shared_buffers = 32MB
fsync = off
jit = off
min_parallel_table_scan_size = 0
parallel_setup_cost = 0
max_wal_size = 256MB
checkpoint_timeout = 30s
EOF2
}

# start ARM CLUSTER CASE: sets POSTMASTER.
start()
{
    CLUSTER=$TMP/$2
    EXTRA[2]=PGHOST=$CLUSTER
    : >"$TMP/log"
    chmod 666 "$TMP/log"
    if ! pg "$1" "$3" pg_ctl -D "$CLUSTER" -l "$TMP/log" -t 120 -w start; then
        bad "$3: the server starts" "$TMP/$3.$1.out" "$TMP/$3.$1.err" "$TMP/log"
        exit 1
    fi
    POSTMASTER=$(head -n 1 "$CLUSTER/postmaster.pid")
}

# end ARM CASE MODE: by pg_ctl; the log must tell of no accident. A vacuum that was at work
# says that it was terminated.
end()
{
    local wrong='PANIC|FATAL|terminated by|was aborted|not properly shut down|TRAP|could not'
    if pg "$1" "$2.stop" pg_ctl -D "$CLUSTER" -m "$3" -t 120 -w stop &&
        grep -q 'database system is shut down' "$TMP/log" &&
        ! grep -v 'terminating autovacuum process' "$TMP/log" | grep -qE "$wrong"; then
        ok "$2: clean stop ($3)"
    else
        bad "$2: clean stop ($3)" "$TMP/$2.stop.$1.out" "$TMP/$2.stop.$1.err" "$TMP/log"
    fi
}

# A server that is still there when the script ends.
# shellcheck disable=SC2317 # called by the trap
stop_postmaster()
{
    local pid
    pid=$(head -n 1 "${CLUSTER:-/nowhere}/postmaster.pid" 2>/dev/null)
    [[ -z $pid ]] || kill -QUIT "$pid"
}

# query ARM CASE SQL: rows in $TMP/CASE.ARM.out.
query()
{
    pg "$1" "$2" psql -X -A -t -q -v ON_ERROR_STOP=1 -c "$3" ||
        bad "query $2 ($1)" "$TMP/$2.$1.err"
}

# Work whose result does not depend on the time it takes.
fixed_work()
{
    pg "$1" fill pgbench -i -q -s 4 || bad "pgbench -i ($1)" "$TMP/fill.$1.err"
    pg "$1" fixed pgbench -n -c "$CLIENTS" -j 2 -t 500 --random-seed=7 ||
        bad "pgbench -t ($1)" "$TMP/fixed.$1.err"
    query "$1" digest "
        SELECT sum(abalance), md5(string_agg(aid || ':' || abalance, ',' ORDER BY aid))
            FROM pgbench_accounts;
        SELECT md5(string_agg(tid || ':' || tbalance, ',' ORDER BY tid)) FROM pgbench_tellers;
        SELECT md5(string_agg(bid || ':' || bbalance, ',' ORDER BY bid)) FROM pgbench_branches;
        SELECT count(*), md5(string_agg(tid || ':' || bid || ':' || aid || ':' || delta, ','
            ORDER BY tid, bid, aid, delta)) FROM pgbench_history;
        SELECT count(*), md5(string_agg(proname || prosrc, ',' ORDER BY oid)) FROM pg_proc;
        SELECT abalance % 10, count(*), percentile_disc(0.5) WITHIN GROUP (ORDER BY aid)
            FROM pgbench_accounts GROUP BY 1 ORDER BY 1"
}

# Facts of the 30 s: the four sums, how many transactions, and whether the trees hold.
facts()
{
    query "$1" "$2" "
        SELECT (SELECT sum(abalance) FROM pgbench_accounts),
            (SELECT sum(tbalance) FROM pgbench_tellers),
            (SELECT sum(bbalance) FROM pgbench_branches),
            (SELECT sum(delta) FROM pgbench_history), (SELECT count(*) FROM pgbench_history);
        CREATE EXTENSION IF NOT EXISTS amcheck;
        SELECT count(bt_index_parent_check(indexrelid, true)) FROM pg_index
            JOIN pg_class c ON c.oid = indexrelid WHERE relname LIKE 'pgbench%'"
}

# judge_facts NAME ARM CASE: DONE is the count of transactions that pgbench told of.
judge_facts()
{
    local accounts tellers branches deltas count
    IFS='|' read -r accounts tellers branches deltas count <"$TMP/$3.$2.out"
    if [[ -n $accounts && $accounts == "$tellers" && $accounts == "$branches" &&
        $accounts == "$deltas" && $count == "$DONE" && $(tail -n 1 "$TMP/$3.$2.out") == 3 ]]; then
        ok "$1 ($count transactions)"
    else
        bad "$1: $DONE were done" "$TMP/$3.$2.out" "$TMP/$3.$2.err"
    fi
}

# long_work SECONDS: pgbench under our eyes; sets DONE.
long_work()
{
    local client i
    cat >"$TMP/cursors.sql" <<'EOF2'
DO $$
DECLARE
    one refcursor;
BEGIN
    FOR i IN 1..1000 LOOP
        OPEN one FOR SELECT * FROM pgbench_tellers WHERE tid = i ORDER BY tbalance;
        one := NULL;
    END LOOP;
END $$;
INSERT INTO pgbench_history (tid, bid, aid, delta) VALUES (1, 1, 1, 0);
EOF2
    pg served long pgbench -n -c "$CLIENTS" -j 2 -T "$1" -b tpcb-like@199 \
        -f "$TMP/cursors.sql@1" &
    client=$!
    for ((i = 0; i < 300; i++)); do
        (($(descendants "$POSTMASTER" | wc -l) >= 6 + CLIENTS)) && break
        sleep 0.1
    done
    proof_tree 'postmaster, helpers and backends have the library mapped' "$POSTMASTER" \
        $((6 + CLIENTS))
    if wait "$client" && grep -q 'failed transactions: 0 ' "$TMP/long.served.out"; then
        ok "pgbench for $1 s"
    else
        bad "pgbench for $1 s" "$TMP/long.served.out" "$TMP/long.served.err" "$TMP/log"
    fi
    # Both scripts leave one row in the history, and those of before did.
    DONE=$(sed -n 's/.*transactions actually processed: *//p' "$TMP/long.served.out")
    DONE=$((${DONE:-0} + 500 * CLIENTS))
}

# The backends of the clients, beyond what they got from the postmaster.
judge_backends()
{
    table server >"$TMP/table"
    if awk -v postmaster="$POSTMASTER" -v clients="$CLIENTS" '
        { all[$1] = $2; far[$1] = $3 }
        END {
            for (pid in all)
                count += all[pid] >= all[postmaster] + 10000 && far[pid] >= far[postmaster] + 1000
            exit !(all[postmaster] > 0 && count >= clients)
        }' "$TMP/table"; then
        ok "each client's backend took 10000 blocks of its own"
    else
        bad "each client's backend took 10000 blocks of its own" "$TMP/table"
    fi
}

get postgresql-15 postgresql-client-15
need "$SO"
STATS=$TMP/stats
choose_user
copy_program
trap 'stop_postmaster; stop_all; rm -rf "$TMP"' EXIT

make_cluster plain
start plain plain server
fixed_work plain
end plain server fast

make_cluster served
same 'initdb says the same' initdb sed "s|$TMP/[a-z]*|DIR|g"
start served served server
fixed_work served
same 'same tables after the same transactions' digest
long_work 30
facts served check
judge_facts 'the sums agree' served check
end served server smart
if pg served pages pg_checksums --check -D "$CLUSTER" &&
    grep -q '^Bad checksums: *0$' "$TMP/pages.served.out"; then
    ok 'every page has its checksum'
else
    bad 'every page has its checksum' "$TMP/pages.served.out" "$TMP/pages.served.err"
fi

proof 'initdb took blocks' initdb 10000 1 '*/initdb'
proof 'the servers that initdb started took blocks' initdb 1000 1 '*/postgres'
proof 'every process of the server took blocks' server 1000 1 '*/postgres'
judge_backends
proof 'pgbench took blocks' long 1000 1

start plain served again
facts plain again.check
judge_facts 'the sums agree without us' plain again.check
end plain again fast

finish
