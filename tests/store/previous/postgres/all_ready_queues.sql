-- all_ready_queues.sql: the names of all queues that have ready runs, by one index step each
WITH RECURSIVE q(name) AS (
  SELECT min(queue) FROM $schema.ready
  UNION ALL
  SELECT (SELECT min(queue) FROM $schema.ready WHERE queue > q.name) FROM q WHERE q.name IS NOT NULL)
SELECT name FROM q WHERE name IS NOT NULL
