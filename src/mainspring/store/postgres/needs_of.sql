-- needs_of.sql: what these runs need, by what policy, and how that stands (no state: it does not exist any more).
-- OFFSET 0: no plan may hash all runs.
SELECT d.run_id::text, d.needs_run_id::text, d.policy, n.task, n.state, n.attempt
  FROM $schema.dependencies d
  LEFT JOIN LATERAL (SELECT task, state, attempt FROM $schema.runs WHERE id = d.needs_run_id OFFSET 0) n ON true
 WHERE d.run_id = ANY(%(ids)s::uuid[])
