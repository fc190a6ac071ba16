-- lock_waiting.sql: those of these runs that wait, and how many others each still needs
SELECT id, needs_left FROM runs
 WHERE id IN (SELECT value FROM json_each(:ids)) AND +state = 'waiting' ORDER BY id
