-- stage_runs.sql: make scheduled or waiting runs ready, each with its place in the order of arrival
UPDATE $schema.runs r SET state = 'ready', state_reason = NULL, seq = x.seq
  FROM unnest(%s::bigint[], %s::uuid[]) AS x(seq, id) WHERE r.id = x.id AND r.state IN ('scheduled', 'waiting')
