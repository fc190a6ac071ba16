-- end_session.sql: end a live session by its own will, or when its supervisor saw it die
UPDATE $schema.worker_sessions SET state = %(state)s, state_reason = %(reason)s, ended_at = %(now)s
 WHERE id = %(session)s AND state = 'live'
