-- insert_attempts.sql: record ended attempts
INSERT INTO attempts (run_id, attempt, session_id, started_at, finished_at, outcome, charged, reason, error_type,
                      error_message, traceback, result_hash)
VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
