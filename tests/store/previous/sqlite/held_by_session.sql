-- held_by_session.sql: every attempt that the database says this session holds, and whether it is asked to cancel
SELECT id, attempt, claim_id, cancel_requested_at IS NOT NULL FROM runs WHERE session_id = :session AND state = 'running'
