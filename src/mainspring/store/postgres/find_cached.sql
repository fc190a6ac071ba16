-- find_cached.sql: results under these keys that have not expired
SELECT key, run_id::text, result, result_hash, created_at FROM $schema.result_cache
 WHERE key = ANY(%(keys)s::text[]) AND expires_at > %(now)s
