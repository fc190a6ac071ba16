-- orphaned_runs.sql: running runs whose session is not live
SELECT r.id, r.attempt, r.session_id, r.at_most_once, r.started_at, r.cancel_requested_at IS NOT NULL, s.state,
       s.state_reason, r.losses, r.isolated_losses, r.task
  FROM runs r LEFT JOIN worker_sessions s ON s.id = r.session_id
 WHERE r.state = 'running' AND (s.id IS NULL OR s.state <> 'live')
 ORDER BY r.id LIMIT :n
