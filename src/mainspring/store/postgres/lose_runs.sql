-- lose_runs.sql: take attempts away from a session that is not live; the fence is the same as for finishing.
-- Returns those that were taken, and whether other runs wait for them. Their rows are locked already, by ascending id.
UPDATE $schema.runs r
   SET state = x.state, state_reason = x.state_reason, failure_kind = x.failure_kind, failure_message = x.failure_message,
       failure_signature = x.failure_signature, losses = r.losses + x.lost,
       isolated_losses = r.isolated_losses + x.lost_alone, finished_at = x.finished_at
  FROM unnest(%s::text[], %s::text[], %s::text[], %s::text[], %s::text[], %s::int[], %s::int[], %s::timestamptz[],
              %s::uuid[], %s::int[], %s::uuid[])
       AS x(state, state_reason, failure_kind, failure_message, failure_signature, lost, lost_alone, finished_at, id,
            attempt, session_id)
 WHERE r.id = x.id AND r.state = 'running' AND r.attempt = x.attempt AND r.session_id = x.session_id
RETURNING r.id::text, r.awaited
