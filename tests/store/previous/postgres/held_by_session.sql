-- held_by_session.sql: every attempt that the database says this session holds, and whether it is asked to cancel
SELECT id::text, attempt, claim_id::text, cancel_requested_at IS NOT NULL FROM $schema.runs WHERE session_id = %(session)s AND state = 'running'
