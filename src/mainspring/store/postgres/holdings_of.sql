-- holdings_of.sql: what these runs have taken of limits
SELECT run_id::text, resource, attempt FROM $schema.holdings WHERE run_id = ANY(%(ids)s::uuid[]) ORDER BY run_id, resource
