-- A table in memory, grown, thinned and grown again; "ready" when it is right.
CREATE TABLE item (id INTEGER PRIMARY KEY, key TEXT, value TEXT);
CREATE TABLE proof (holds INTEGER CHECK (holds));
WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 6000)
INSERT INTO item SELECT i, 'key' || (i * 7919 % 6000),
    replace(hex(zeroblob(200)), '00', printf('%010d', i)) FROM n;
CREATE INDEX by_key ON item (key);
DELETE FROM item WHERE id % 3 = 0;
INSERT INTO item SELECT id + 6000, key || 'b', value || 'b' FROM item WHERE id % 2 = 0;
INSERT INTO proof SELECT count(*) = 6000 AND sum(length(value)) = 12002000 FROM item;
INSERT INTO proof SELECT count(*) = 6000 AND count(DISTINCT key) = 6000 FROM item;
INSERT INTO proof SELECT value LIKE '0000000007%' FROM item WHERE key = 'key1433';
SELECT 'ready';
