-- lock_waiting.sql: lock those of these runs that wait; returns how many others each still needs. One that is locked is
-- being judged by whoever holds it.
SELECT id::text, needs_left FROM $schema.runs
 WHERE id = ANY(%(ids)s::uuid[]) AND state = 'waiting' ORDER BY id FOR UPDATE SKIP LOCKED
