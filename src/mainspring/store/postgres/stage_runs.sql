-- stage_runs.sql: make scheduled or waiting runs ready, each with its place in the order of arrival
UPDATE $schema.runs r
   SET state = 'ready', state_reason = NULL, seq = x.seq,
       turn = coalesce(x.turn, (SELECT k.turn FROM $schema.key_turns k
                                 WHERE k.queue = r.queue AND k.rank = 9 - r.priority AND k.key = ''), 0)
  FROM unnest(%s::bigint[], %s::bigint[], %s::uuid[]) AS x(seq, turn, id)
 WHERE r.id = x.id AND r.state IN ('scheduled', 'waiting')
