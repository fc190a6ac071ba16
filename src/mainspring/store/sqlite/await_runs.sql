-- await_runs.sql: say of those of these runs that have not ended that others wait for them, and return them
UPDATE runs SET awaited = true
 WHERE id IN (SELECT value FROM json_each(:ids)) AND +state NOT IN ('cancelled', 'failed', 'succeeded')
RETURNING id
