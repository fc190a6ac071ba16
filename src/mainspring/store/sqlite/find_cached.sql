-- find_cached.sql: results under these keys that have not expired
SELECT key, run_id, result, result_hash, created_at FROM result_cache
 WHERE key IN (SELECT value FROM json_each(:keys)) AND expires_at > :now
