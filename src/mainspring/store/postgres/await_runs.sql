-- await_runs.sql: say of those of these runs that have not ended that others wait for them, and return them. They are
-- locked in the order in which runs are locked that end: none ends before those that wait for it are written.
WITH l AS MATERIALIZED (
       SELECT id FROM $schema.runs
        WHERE id = ANY(%(ids)s::uuid[]) AND state NOT IN ('cancelled', 'failed', 'succeeded')
        ORDER BY state = 'waiting', id FOR UPDATE)
UPDATE $schema.runs r SET awaited = true FROM l WHERE r.id = l.id
RETURNING r.id::text
