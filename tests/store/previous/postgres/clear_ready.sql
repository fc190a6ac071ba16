-- clear_ready.sql: take these runs out of their queues; returns those that were there
WITH c AS MATERIALIZED (SELECT run_id FROM $schema.ready WHERE run_id = ANY(%(ids)s::uuid[]) ORDER BY run_id FOR UPDATE)
DELETE FROM $schema.ready r USING c WHERE r.run_id = c.run_id RETURNING r.run_id::text
