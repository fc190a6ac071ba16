-- held_run.sql: a run that a session holds, as its claim would have given it
SELECT r.id, r.attempt, r.task, r.queue, 9 - r.priority, r.turn, r.seq, r.tries, r.losses, r.max_tries, r.at_most_once,
       r.due_at, r.created_at, r.schedule_id, r.fire_at, r.returns, r.expires_at, r.isolated_losses, p.parameters,
       CASE WHEN r.uses IS NULL AND EXISTS (SELECT 1 FROM holdings h WHERE h.run_id = r.id) THEN '[]' ELSE r.uses END
  FROM runs r LEFT JOIN run_payloads p ON p.run_id = r.id
 WHERE r.session_id = :session AND r.state = 'running' AND r.id = :id
