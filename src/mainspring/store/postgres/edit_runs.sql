-- edit_runs.sql: change runs that wait to start, as they were when their rows were locked
UPDATE $schema.runs r
   SET queue = x.queue, priority = x.priority, due_at = x.due_at, expires_at = x.expires_at, state = x.state,
       state_reason = x.state_reason, seq = x.seq
  FROM unnest(%s::text[], %s::smallint[], %s::timestamptz[], %s::timestamptz[], %s::text[], %s::text[], %s::bigint[],
              %s::uuid[], %s::int[], %s::text[])
       AS x(queue, priority, due_at, expires_at, state, state_reason, seq, id, attempt, before)
 WHERE r.id = x.id AND r.attempt = x.attempt AND r.state = x.before
