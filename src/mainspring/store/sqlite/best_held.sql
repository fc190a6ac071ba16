-- best_held.sql: the best runs that a limit holds back, of queues that are not paused
SELECT r.id, r.attempt, r.queue, r.uses, r.concurrency_key, (SELECT limits FROM queues q WHERE q.name = r.queue)
  FROM holds h JOIN runs r ON r.id = h.run_id
 WHERE h.resource = :name AND +r.state = 'held'
   AND NOT EXISTS (SELECT 1 FROM queues p WHERE p.name = h.queue AND p.paused_at IS NOT NULL)
 ORDER BY h.rank, h.turn, h.seq LIMIT :n
