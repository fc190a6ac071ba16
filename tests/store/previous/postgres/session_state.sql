-- session_state.sql: whether a session lives
SELECT state FROM $schema.worker_sessions WHERE id = %(session)s
