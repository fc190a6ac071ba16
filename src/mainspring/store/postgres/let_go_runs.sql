-- let_go_runs.sql: make held runs ready again, at the places that they had
UPDATE $schema.runs r SET state = 'ready', state_reason = NULL
  FROM unnest(%s::uuid[], %s::int[]) AS x(id, attempt) WHERE r.id = x.id AND r.state = 'held' AND r.attempt = x.attempt
