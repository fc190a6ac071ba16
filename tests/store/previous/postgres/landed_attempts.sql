-- landed_attempts.sql: which attempts of these runs a session has already recorded (a commit whose reply was lost)
SELECT run_id::text, attempt, outcome, result_hash FROM $schema.attempts
 WHERE run_id = ANY(%(ids)s::uuid[]) AND session_id = %(session)s
