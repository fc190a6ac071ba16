-- limit_usage.sql: how these limits stand: what is declared, what happened, how many attempts use each, how many runs were let go that
-- have not begun, and the best run that each holds back. A holding of an attempt that does not run counts for nothing.
SELECT n.name, s.limits, s.state,
       (SELECT count(*) FROM $schema.holdings h JOIN $schema.runs r ON r.id = h.run_id
         WHERE h.resource = n.name AND r.state = 'running' AND r.attempt = h.attempt),
       (SELECT count(*) FROM $schema.holdings h JOIN $schema.runs r ON r.id = h.run_id
         WHERE h.resource = n.name AND r.state = 'ready' AND r.attempt = h.attempt - 1
           AND NOT EXISTS (SELECT 1 FROM $schema.queues p WHERE p.name = r.queue AND p.paused_at IS NOT NULL)),
       (SELECT json_build_array(h.rank, h.turn, h.seq, r.uses, r.queue, r.concurrency_key, q.limits)::text
          FROM $schema.holds h JOIN $schema.runs r ON r.id = h.run_id LEFT JOIN $schema.queues q ON q.name = h.queue
         WHERE h.resource = n.name AND r.state = 'held' AND q.paused_at IS NULL
         ORDER BY h.rank, h.turn, h.seq LIMIT 1)
  FROM unnest(%(names)s::text[]) AS n(name) LEFT JOIN $schema.resources s ON s.name = n.name
