-- cancel_waiting.sql: end waiting runs that may never start, each with its reason; says for which of them others wait.
-- Their rows are locked already, by ascending id.
UPDATE $schema.runs r SET state = 'cancelled', state_reason = x.reason, finished_at = x.finished_at
  FROM unnest(%s::text[], %s::timestamptz[], %s::uuid[]) AS x(reason, finished_at, id)
 WHERE r.id = x.id AND r.state = 'waiting'
RETURNING r.id::text, r.awaited
