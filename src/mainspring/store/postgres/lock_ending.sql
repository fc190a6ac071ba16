-- lock_ending.sql: lock runs whose attempts end, by ascending id, as the finish does; whoever waits for them is locked last
-- of all, after limits
SELECT id::text FROM $schema.runs
 WHERE id = ANY(%(ids)s::uuid[]) AND state = 'running' ORDER BY id FOR UPDATE
