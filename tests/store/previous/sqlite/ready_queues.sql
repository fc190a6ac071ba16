-- ready_queues.sql: which of these queues have ready runs and are not paused; a look before the write lock is taken
SELECT q.value FROM json_each(:queues) q
 WHERE EXISTS (SELECT 1 FROM ready WHERE queue = q.value)
   AND NOT EXISTS (SELECT 1 FROM queues p WHERE p.name = q.value AND p.paused_at IS NOT NULL)
