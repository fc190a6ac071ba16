-- lock_schedules.sql: where these schedules stand now, inside the transaction that will advance them
SELECT id, version, last_at, effective_at, catch_up_until, paused_at, paused_until FROM schedules
 WHERE id IN (SELECT value FROM json_each(:ids)) AND deleted_at IS NULL
