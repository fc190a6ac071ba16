-- given_results.sql: the results that runs are given, where each goes, and how the runs stand that gave them.
-- OFFSET 0: no plan may hash all runs.
SELECT d.run_id::text, d.needs_run_id::text, d.parameter, n.state, p.result
  FROM $schema.dependencies d
  LEFT JOIN LATERAL (SELECT state FROM $schema.runs WHERE id = d.needs_run_id OFFSET 0) n ON true
  LEFT JOIN LATERAL (SELECT result FROM $schema.run_payloads WHERE run_id = d.needs_run_id OFFSET 0) p ON true
 WHERE d.run_id = ANY(%(ids)s::uuid[]) AND d.parameter IS NOT NULL
