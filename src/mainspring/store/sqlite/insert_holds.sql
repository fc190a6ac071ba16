-- insert_holds.sql: remember what holds runs back, until when as far as that is known, and at which place they go on waiting
INSERT INTO holds (resource, until_at, held_at, queue, rank, turn, seq, run_id) VALUES (?, ?, ?, ?, ?, ?, ?, ?)
ON CONFLICT (run_id) DO NOTHING
