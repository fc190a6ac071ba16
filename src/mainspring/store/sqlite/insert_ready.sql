-- insert_ready.sql: put ready runs into their queues, at the place that the run itself remembers
INSERT INTO ready (queue, rank, turn, seq, run_id, limited)
SELECT queue, 9 - priority, turn, seq, id, uses IS NOT NULL FROM runs WHERE id = ? AND state = 'ready'
ON CONFLICT DO NOTHING
