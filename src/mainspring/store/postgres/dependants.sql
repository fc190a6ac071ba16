-- dependants.sql: which runs need these, by what policy, and how the needed ones stand. OFFSET 0: no plan may hash all runs.
SELECT d.run_id::text, n.id::text, d.policy, n.task, n.state, n.attempt
  FROM $schema.dependencies d
 CROSS JOIN LATERAL (SELECT id, task, state, attempt FROM $schema.runs WHERE id = d.needs_run_id OFFSET 0) n
 WHERE d.needs_run_id = ANY(%(ids)s::uuid[])
