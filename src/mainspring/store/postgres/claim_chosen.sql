-- claim_chosen.sql: open an attempt of each of these ready runs, which we have locked and for which limits were asked.
WITH d AS (DELETE FROM $schema.ready WHERE run_id = ANY(%(ids)s::uuid[]) RETURNING run_id),
     u AS (UPDATE $schema.runs r
              SET state = 'running', state_reason = NULL, attempt = attempt + 1, session_id = %(session)s,
                  claim_id = %(claim)s, started_at = %(now)s
             FROM d WHERE r.id = d.run_id AND r.state = 'ready'
          RETURNING r.id, r.attempt, r.task, r.queue, 9 - r.priority AS rank, r.turn, r.seq, r.tries, r.losses,
                    r.max_tries, r.at_most_once, r.due_at, r.created_at, r.schedule_id, r.fire_at, r.returns, r.expires_at,
                    r.isolated_losses, r.uses)
SELECT u.id::text, u.attempt, u.task, u.queue, u.rank, u.turn, u.seq, u.tries, u.losses, u.max_tries, u.at_most_once,
       u.due_at, u.created_at, u.schedule_id::text, u.fire_at, u.returns, u.expires_at, u.isolated_losses, p.parameters,
       u.uses
  FROM u LEFT JOIN $schema.run_payloads p ON p.run_id = u.id
