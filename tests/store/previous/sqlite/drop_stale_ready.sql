-- drop_stale_ready.sql: take cancelled runs out of their queues that came due while they were being cancelled
DELETE FROM ready WHERE run_id IN (SELECT value FROM json_each(:ids)) RETURNING run_id
