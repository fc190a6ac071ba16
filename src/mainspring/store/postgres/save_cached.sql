-- save_cached.sql: keep results for runs of the same task with the same parameters, by ascending key; the latest counts
INSERT INTO $schema.result_cache (key, task, run_id, result, result_hash, created_at, expires_at)
SELECT * FROM unnest(%s::text[], %s::text[], %s::uuid[], %s::text[], %s::text[], %s::timestamptz[], %s::timestamptz[])
           AS c(key, task, run_id, result, result_hash, created_at, expires_at) ORDER BY key
ON CONFLICT (key) DO UPDATE SET task = excluded.task, run_id = excluded.run_id, result = excluded.result,
   result_hash = excluded.result_hash, created_at = excluded.created_at, expires_at = excluded.expires_at
