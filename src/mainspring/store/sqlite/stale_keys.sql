-- stale_keys.sql: keys that hold nothing any more, at most :n of each kind; a look before the write lock
SELECT * FROM (SELECT k.scope, k.key, k.run_id FROM run_keys k
                WHERE k.until_end = 1 AND NOT EXISTS (
                  SELECT 1 FROM runs r WHERE r.id = k.run_id AND r.state NOT IN ('cancelled', 'failed', 'succeeded'))
                LIMIT :n)
UNION ALL
SELECT * FROM (SELECT k.scope, k.key, k.run_id FROM run_keys k WHERE k.expires_at <= :now LIMIT :n)
