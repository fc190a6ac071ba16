-- hold_runs.sql: hold back ready runs; their ready rows are gone already
UPDATE $schema.runs r SET state = 'held', state_reason = x.reason
  FROM unnest(%s::text[], %s::uuid[], %s::int[]) AS x(reason, id, attempt)
 WHERE r.id = x.id AND r.state = 'ready' AND r.attempt = x.attempt
