-- join_turn.sql: give ready runs their turns, or without one that which is being served where they stand now
UPDATE $schema.runs r
   SET turn = coalesce(x.turn, (SELECT k.turn FROM $schema.key_turns k
                                 WHERE k.queue = r.queue AND k.rank = 9 - r.priority AND k.key = ''), 0)
  FROM unnest(%s::bigint[], %s::uuid[]) AS x(turn, id) WHERE r.id = x.id AND r.state = 'ready'
