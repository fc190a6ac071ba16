-- insert_dependencies.sql: say which runs a waiting run needs, and where their results go
INSERT INTO $schema.dependencies (run_id, needs_run_id, policy, parameter)
SELECT * FROM unnest(%s::uuid[], %s::uuid[], %s::text[], %s::text[]) ON CONFLICT DO NOTHING
