-- save_cached.sql: keep results for runs of the same task with the same parameters; the latest one counts
INSERT INTO result_cache (key, task, run_id, result, result_hash, created_at, expires_at) VALUES (?, ?, ?, ?, ?, ?, ?)
ON CONFLICT (key) DO UPDATE SET task = excluded.task, run_id = excluded.run_id, result = excluded.result,
   result_hash = excluded.result_hash, created_at = excluded.created_at, expires_at = excluded.expires_at
