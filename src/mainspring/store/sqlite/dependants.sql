-- dependants.sql: which runs need these, by what policy, and how the needed ones stand
SELECT d.run_id, n.id, d.policy, n.task, n.state, n.attempt FROM dependencies d JOIN runs n ON n.id = d.needs_run_id
 WHERE d.needs_run_id IN (SELECT value FROM json_each(:ids))
