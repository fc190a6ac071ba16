-- insert_holdings.sql: note what attempts that begin take of limits
INSERT INTO $schema.holdings (resource, run_id, attempt)
SELECT * FROM unnest(%s::text[], %s::uuid[], %s::int[]) AS x(resource, run_id, attempt)
ON CONFLICT (resource, run_id) DO UPDATE SET attempt = excluded.attempt
