-- save_turns.sql: remember the last turns of keys; none goes back
INSERT INTO key_turns (key, queue, rank, turn) VALUES (?, ?, ?, ?)
ON CONFLICT (key, queue, rank) DO UPDATE SET turn = max(turn, excluded.turn)
