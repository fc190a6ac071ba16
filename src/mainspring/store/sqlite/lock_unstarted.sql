-- lock_unstarted.sql: those of these runs that wait to start; the transaction holds the only write lock there is
SELECT id, state, attempt, queue, priority, due_at, expires_at, seq, state_reason, created_at FROM runs
 WHERE id IN (SELECT value FROM json_each(:ids)) AND +state IN ('scheduled', 'waiting', 'held', 'ready') ORDER BY id
