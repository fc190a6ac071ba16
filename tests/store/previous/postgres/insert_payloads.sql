-- insert_payloads.sql: add the parameters of runs
INSERT INTO $schema.run_payloads (run_id, parameters) SELECT * FROM unnest(%s::uuid[], %s::text[])
ON CONFLICT (run_id) DO NOTHING
