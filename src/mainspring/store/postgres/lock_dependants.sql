-- lock_dependants.sql: lock all waiting runs that need these, or need what needs them, by ascending id.
-- OFFSET 0: no plan may hash all dependencies there are.
WITH RECURSIVE c(id) AS (
       SELECT run_id FROM $schema.dependencies WHERE needs_run_id = ANY(%(ids)s::uuid[])
       UNION
       SELECT d.run_id FROM c
        CROSS JOIN LATERAL (SELECT run_id FROM $schema.dependencies WHERE needs_run_id = c.id OFFSET 0) d)
SELECT r.id::text FROM $schema.runs r WHERE r.id IN (SELECT id FROM c) AND r.state = 'waiting' ORDER BY r.id FOR UPDATE
