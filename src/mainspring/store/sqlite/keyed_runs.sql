-- keyed_runs.sql: those of these runs that take turns, each with its queue, rank and key
SELECT id, queue, 9 - priority, concurrency_key FROM runs
 WHERE id IN (SELECT value FROM json_each(:ids)) AND concurrency_key IS NOT NULL
