-- best_held.sql: the best runs that a limit holds back, of queues that are not paused; others skip what we hold
SELECT r.id::text, r.attempt, r.queue, r.uses, r.concurrency_key,
       (SELECT limits FROM $schema.queues q WHERE q.name = r.queue)
  FROM $schema.holds h JOIN $schema.runs r ON r.id = h.run_id
 WHERE h.resource = %(name)s AND r.state = 'held'
   AND NOT EXISTS (SELECT 1 FROM $schema.queues p WHERE p.name = h.queue AND p.paused_at IS NOT NULL)
 ORDER BY h.rank, h.turn, h.seq LIMIT %(n)s FOR UPDATE OF r SKIP LOCKED
