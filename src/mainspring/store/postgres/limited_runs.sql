-- limited_runs.sql: what is asked for when limits decide about these runs, best place first
SELECT r.id::text, r.attempt, r.state, r.queue, 9 - r.priority, r.turn, r.seq, r.uses, r.concurrency_key,
       (SELECT limits FROM $schema.queues q WHERE q.name = r.queue)
  FROM $schema.runs r WHERE r.id = ANY(%(ids)s::uuid[]) ORDER BY 5, r.turn, r.seq
