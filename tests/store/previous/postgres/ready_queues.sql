-- ready_queues.sql: which of these queues have ready runs and are not paused
SELECT q.name FROM unnest(%(queues)s::text[]) AS q(name)
 WHERE EXISTS (SELECT 1 FROM $schema.ready WHERE queue = q.name)
   AND NOT EXISTS (SELECT 1 FROM $schema.queues p WHERE p.name = q.name AND p.paused_at IS NOT NULL)
