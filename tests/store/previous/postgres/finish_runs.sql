-- finish_runs.sql: end attempts, each only if it still holds its lease. A row not changed means the lease was lost.
UPDATE $schema.runs r
   SET state = x.state, state_reason = x.state_reason, failure_kind = x.failure_kind, failure_message = x.failure_message,
       tries = r.tries + x.charged, returns = CASE WHEN x.returned THEN r.returns + 1 ELSE 0 END,
       due_at = coalesce(x.due_at, r.due_at), finished_at = x.finished_at
  FROM unnest(%s::text[], %s::text[], %s::text[], %s::text[], %s::int[], %s::boolean[], %s::timestamptz[],
              %s::timestamptz[], %s::uuid[], %s::int[], %s::uuid[])
       AS x(state, state_reason, failure_kind, failure_message, charged, returned, due_at, finished_at, id, attempt, session_id)
 WHERE r.id = x.id AND r.state = 'running' AND r.attempt = x.attempt AND r.session_id = x.session_id
