-- lock_unfinished.sql: lock those of these runs that have not ended, and the waiting ones that may have to end with them;
-- after that nothing about them moves. Waiting ones come last, and all by ascending id: whoever ends a run locks it first,
-- and then those that wait for it. Returns the ids that were asked for. OFFSET 0: no plan may hash all dependencies.
WITH RECURSIVE c(id) AS (
       SELECT * FROM unnest(%(ids)s::uuid[])
       UNION
       SELECT d.run_id FROM c
        CROSS JOIN LATERAL (SELECT run_id FROM $schema.dependencies WHERE needs_run_id = c.id OFFSET 0) d),
     l AS MATERIALIZED (
       SELECT r.id, r.state FROM $schema.runs r
        WHERE r.id IN (SELECT id FROM c) AND r.state NOT IN ('cancelled', 'failed', 'succeeded')
          AND (r.state = 'waiting' OR r.id = ANY(%(ids)s::uuid[]))
        ORDER BY r.state = 'waiting', r.id FOR UPDATE)
SELECT id::text, state FROM l WHERE id = ANY(%(ids)s::uuid[])
