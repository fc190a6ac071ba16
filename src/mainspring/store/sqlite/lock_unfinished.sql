-- lock_unfinished.sql: those of these runs that have not ended; the transaction holds the only write lock there is
SELECT id, state FROM runs
 WHERE id IN (SELECT value FROM json_each(:ids)) AND +state NOT IN ('cancelled', 'failed', 'succeeded') ORDER BY id
