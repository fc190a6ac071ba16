-- session_state.sql: whether a session lives
SELECT state FROM worker_sessions WHERE id = :session
