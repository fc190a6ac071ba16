-- holdings_of.sql: what these runs have taken of limits
SELECT run_id, resource, attempt FROM holdings WHERE run_id IN (SELECT value FROM json_each(:ids)) ORDER BY run_id, resource
