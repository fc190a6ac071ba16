-- landed_attempts.sql: which attempts of these runs a session has already recorded (a commit whose reply was lost)
SELECT run_id, attempt, outcome, result_hash FROM attempts
 WHERE run_id IN (SELECT value FROM json_each(:ids)) AND session_id = :session
