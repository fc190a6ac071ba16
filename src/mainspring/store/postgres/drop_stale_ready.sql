-- drop_stale_ready.sql: take cancelled runs out of their queues that came due while they were being cancelled.
-- A row that somebody else has locked is being claimed or cancelled: that one, or the next claim, takes it away.
WITH c AS MATERIALIZED (
       SELECT run_id FROM $schema.ready WHERE run_id = ANY(%(ids)s::uuid[]) ORDER BY run_id FOR UPDATE SKIP LOCKED)
DELETE FROM $schema.ready r USING c WHERE r.run_id = c.run_id RETURNING r.run_id::text
