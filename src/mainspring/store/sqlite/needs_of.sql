-- needs_of.sql: what these runs need, by what policy, and how that stands (no state: it does not exist any more)
SELECT d.run_id, d.needs_run_id, d.policy, n.task, n.state, n.attempt
  FROM dependencies d LEFT JOIN runs n ON n.id = d.needs_run_id
 WHERE d.run_id IN (SELECT value FROM json_each(:ids))
