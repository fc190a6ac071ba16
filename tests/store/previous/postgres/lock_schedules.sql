-- lock_schedules.sql: where these schedules stand now; locked, and those that another scheduler has locked are left out
SELECT id::text, version, last_at, effective_at, catch_up_until, paused_at, paused_until FROM $schema.schedules
 WHERE id = ANY(%(ids)s::uuid[]) AND deleted_at IS NULL ORDER BY id FOR UPDATE SKIP LOCKED
