-- end_session.sql: end a live session by its own will, or when its supervisor saw it die
UPDATE worker_sessions SET state = :state, state_reason = :reason, ended_at = :now WHERE id = :session AND state = 'live'
