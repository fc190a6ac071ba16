-- limited_runs.sql: what is asked for when limits decide about these runs, best place first
SELECT r.id, r.attempt, r.state, r.queue, 9 - r.priority, r.turn, r.seq, r.uses, r.concurrency_key,
       (SELECT limits FROM queues q WHERE q.name = r.queue)
  FROM runs r WHERE r.id IN (SELECT value FROM json_each(:ids)) ORDER BY 5, r.turn, r.seq
