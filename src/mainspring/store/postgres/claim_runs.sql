-- claim_runs.sql: take the best ready runs of a queue for a live session and open an attempt of each.
-- Those for which limits must be asked are only locked; they follow at the end, without an attempt.
-- MATERIALIZED keeps the planner from reading past the limit; FOR SHARE keeps the session alive until we commit.
-- A run whose row somebody holds is left where it is: a claim waits for nobody, so it stands in no circle of waiters.
WITH s AS MATERIALIZED (
       SELECT id FROM $schema.worker_sessions
        WHERE id = %(session)s AND state = 'live' AND lease_until > coalesce(%(lease_now)s, clock_timestamp()) FOR SHARE),
     c AS MATERIALIZED (
       SELECT run_id, limited OR coalesce((SELECT limits <> '{}' FROM $schema.queues WHERE name = %(queue)s), false) AS limited
         FROM $schema.ready
        WHERE EXISTS (SELECT 1 FROM s) AND queue = %(queue)s
          AND NOT EXISTS (SELECT 1 FROM $schema.queues WHERE name = %(queue)s AND paused_at IS NOT NULL)
        ORDER BY rank, turn, seq LIMIT %(n)s FOR UPDATE SKIP LOCKED),
     l AS MATERIALIZED (SELECT r.id, c.limited FROM c JOIN $schema.runs r ON r.id = c.run_id FOR UPDATE OF r SKIP LOCKED),
     d AS (DELETE FROM $schema.ready USING l WHERE ready.run_id = l.id AND NOT l.limited RETURNING ready.run_id),
     u AS (UPDATE $schema.runs r
              SET state = 'running', state_reason = NULL, attempt = attempt + 1, session_id = %(session)s,
                  claim_id = %(claim)s, started_at = %(now)s
             FROM d WHERE r.id = d.run_id AND r.state = 'ready'
          RETURNING r.id, r.attempt, r.task, r.queue, 9 - r.priority AS rank, r.turn, r.seq, r.tries, r.losses,
                    r.max_tries, r.at_most_once, r.due_at, r.created_at, r.schedule_id, r.fire_at, r.returns, r.expires_at,
                    r.isolated_losses)
SELECT u.id::text, u.attempt, u.task, u.queue, u.rank, u.turn, u.seq, u.tries, u.losses, u.max_tries, u.at_most_once,
       u.due_at, u.created_at, u.schedule_id::text, u.fire_at, u.returns, u.expires_at, u.isolated_losses, p.parameters,
       NULL::text
  FROM u LEFT JOIN $schema.run_payloads p ON p.run_id = u.id
UNION ALL
SELECT l.id::text, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL,
       NULL, NULL
  FROM l WHERE l.limited
