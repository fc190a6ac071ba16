-- given_any.sql: those of these runs that are given results of others
SELECT DISTINCT run_id FROM dependencies
 WHERE run_id IN (SELECT value FROM json_each(:ids)) AND parameter IS NOT NULL
