#!/usr/bin/env bash
# programs_sqlite.sh - sqlite3 under the preload: a million rows, an index, changes, VACUUM and
# integrity_check give the same words and the same database, byte for byte.
set -u
. "$(dirname "$0")/lib_real.sh"
need "$SO"
get sqlite3

# No statement depends on the time or on chance. The cache is larger than the database, so
# that its pages (4 KiB: Mid) are blocks of the heap; sorting is done in memory.
cat >"$TMP/work.sql" <<'END'
PRAGMA page_size = 4096;
PRAGMA cache_size = -200000;
PRAGMA journal_mode = MEMORY;
PRAGMA synchronous = OFF;
PRAGMA temp_store = MEMORY;
CREATE TABLE item(id INTEGER PRIMARY KEY, word TEXT, number INTEGER, body BLOB);
BEGIN;
WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 1000000)
    INSERT INTO item
    SELECT i, printf('w%08x', (i * 2654435761) & 4294967295), (i * 7919) % 10007,
        CASE WHEN i % 500 = 0 THEN zeroblob(2000 + i % 20000) ELSE NULL END FROM n;
COMMIT;
CREATE INDEX by_word ON item(word);
SELECT count(*), sum(number), max(word), sum(length(body)) FROM item;
SELECT number, count(*), group_concat(word, ' ') FROM item WHERE number % 3000 = 1
    GROUP BY number ORDER BY number;
SELECT count(*) FROM item a JOIN item b ON b.id = a.number WHERE a.word < 'w2' AND b.word > 'w8';
DELETE FROM item WHERE id % 10 IN (1, 3, 4, 7, 9);
UPDATE item SET word = word || hex(number) WHERE number < 1000;
ANALYZE;
SELECT tbl, idx, stat FROM sqlite_stat1 ORDER BY idx;
VACUUM;
PRAGMA integrity_check;
PRAGMA freelist_count;
SELECT count(*), sum(length(word)) FROM item;
END

for ARM in plain served; do
    "$ARM" work sqlite3 -batch -bail "$TMP/db" ".read $TMP/work.sql"
    mv "$TMP/db" "$TMP/db.$ARM"
done
same 'sqlite: the statements say the same' work
if [[ $(grep -c '^ok$' "$TMP/work.served.out") == 1 ]] &&
    grep -q '^500000|' "$TMP/work.served.out"; then
    ok 'sqlite: all rows are there, integrity_check says ok'
else
    bad 'sqlite: all rows are there, integrity_check says ok' "$TMP/work.served.out"
fi
if cmp "$TMP/db.plain" "$TMP/db.served" >"$TMP/diff" 2>&1; then
    ok 'sqlite: the databases are equal byte for byte'
else
    bad 'sqlite: the databases are equal byte for byte' "$TMP/diff"
fi
proof 'sqlite: the process that worked' work 10000 10000
finish
