-- lock_unfinished.sql: lock those of these runs that have not ended, by ascending id; after that nothing about them moves
SELECT id::text, state FROM $schema.runs
 WHERE id = ANY(%(ids)s::uuid[]) AND state NOT IN ('cancelled', 'failed', 'succeeded') ORDER BY id FOR UPDATE
