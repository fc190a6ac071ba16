-- given_any.sql: those of these runs that are given results of others
SELECT DISTINCT run_id::text FROM $schema.dependencies
 WHERE run_id = ANY(%(ids)s::uuid[]) AND parameter IS NOT NULL
