-- save_turns.sql: remember the last turns of keys, in one order for all; none goes back
INSERT INTO $schema.key_turns AS t (key, queue, rank, turn)
SELECT * FROM unnest(%s::text[], %s::text[], %s::smallint[], %s::bigint[]) AS x(key, queue, rank, turn)
 ORDER BY key, queue, rank
ON CONFLICT (key, queue, rank) DO UPDATE SET turn = greatest(t.turn, excluded.turn)
