-- finish_runs.sql: end attempts, each only if it still holds its lease. A row not changed means the lease was lost.
-- Returns those that were changed, and whether other runs wait for them.
-- Rows are locked by ascending id first: whoever changes several runs at once does, so that none waits in a circle.
WITH x AS MATERIALIZED (
       SELECT * FROM unnest(%s::text[], %s::text[], %s::text[], %s::text[], %s::text[], %s::int[], %s::int[], %s::int[],
                            %s::boolean[], %s::timestamptz[], %s::timestamptz[], %s::uuid[], %s::int[], %s::uuid[])
           AS x(state, state_reason, failure_kind, failure_message, failure_signature, charged, lost, lost_alone, returned,
                due_at, finished_at, id, attempt, session_id)),
     l AS MATERIALIZED (
       SELECT r.id FROM $schema.runs r WHERE r.id IN (SELECT id FROM x) AND r.state = 'running' ORDER BY r.id FOR UPDATE)
UPDATE $schema.runs r
   SET state = x.state, state_reason = x.state_reason, failure_kind = x.failure_kind, failure_message = x.failure_message,
       failure_signature = x.failure_signature, tries = r.tries + x.charged, losses = r.losses + x.lost,
       isolated_losses = r.isolated_losses + x.lost_alone,
       returns = CASE WHEN x.returned THEN r.returns + 1 ELSE 0 END,
       due_at = coalesce(x.due_at, r.due_at), finished_at = x.finished_at
  FROM x JOIN l ON l.id = x.id
 WHERE r.id = x.id AND r.state = 'running' AND r.attempt = x.attempt AND r.session_id = x.session_id
RETURNING r.id::text, r.awaited
