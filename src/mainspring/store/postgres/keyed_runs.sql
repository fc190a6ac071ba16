-- keyed_runs.sql: those of these runs that take turns, each with its queue, rank and key
SELECT id::text, queue, 9 - priority, concurrency_key FROM $schema.runs
 WHERE id = ANY(%(ids)s::uuid[]) AND concurrency_key IS NOT NULL
