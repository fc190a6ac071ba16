-- given_results.sql: the results that runs are given, where each goes, and how the runs stand that gave them
SELECT d.run_id, d.needs_run_id, d.parameter, n.state, p.result
  FROM dependencies d LEFT JOIN runs n ON n.id = d.needs_run_id LEFT JOIN run_payloads p ON p.run_id = d.needs_run_id
 WHERE d.run_id IN (SELECT value FROM json_each(:ids)) AND d.parameter IS NOT NULL
