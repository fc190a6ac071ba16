-- orphaned_runs.sql: running runs whose session is not live; others skip what we hold
SELECT r.id::text, r.attempt, r.session_id::text, r.at_most_once, r.started_at, r.cancel_requested_at IS NOT NULL, s.state,
       s.state_reason, r.losses, r.isolated_losses, r.task
  FROM $schema.runs r LEFT JOIN $schema.worker_sessions s ON s.id = r.session_id
 WHERE r.state = 'running' AND (s.id IS NULL OR s.state <> 'live')
 ORDER BY r.id LIMIT %(n)s FOR UPDATE OF r SKIP LOCKED
