-- insert_attempts.sql: record ended attempts
INSERT INTO $schema.attempts (run_id, attempt, session_id, started_at, finished_at, outcome, charged, reason, error_type,
                              error_message, traceback, result_hash)
SELECT * FROM unnest(%s::uuid[], %s::int[], %s::uuid[], %s::timestamptz[], %s::timestamptz[], %s::text[], %s::boolean[],
                     %s::text[], %s::text[], %s::text[], %s::text[], %s::text[])
