-- lock_dependants.sql: all waiting runs that need these, or need what needs them; the transaction holds the only lock
WITH RECURSIVE c(id) AS (
  SELECT run_id FROM dependencies WHERE needs_run_id IN (SELECT value FROM json_each(:ids))
  UNION
  SELECT d.run_id FROM c JOIN dependencies d ON d.needs_run_id = c.id)
SELECT r.id FROM c CROSS JOIN runs r ON r.id = c.id WHERE +r.state = 'waiting' ORDER BY r.id
