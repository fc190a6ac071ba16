-- lock_unstarted.sql: lock those of these runs that wait to start, by ascending id. Waiting ones
-- come last: whoever ends a run locks it first, and then those that wait for it.
SELECT id::text, state, attempt, queue, priority, due_at, expires_at, seq, state_reason, created_at FROM $schema.runs
 WHERE id = ANY(%(ids)s::uuid[]) AND state IN ('scheduled', 'waiting', 'held', 'ready')
 ORDER BY state = 'waiting', id FOR UPDATE
