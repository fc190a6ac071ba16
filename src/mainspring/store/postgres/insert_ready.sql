-- insert_ready.sql: put ready runs into their queues, at the place that the run itself remembers
INSERT INTO $schema.ready (queue, rank, turn, seq, run_id, limited)
SELECT r.queue, 9 - r.priority, r.turn, r.seq, r.id, r.uses IS NOT NULL
  FROM unnest(%s::uuid[]) AS x(id) JOIN $schema.runs r ON r.id = x.id WHERE r.state = 'ready'
ON CONFLICT DO NOTHING
