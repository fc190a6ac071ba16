-- insert_dependencies.sql: say which runs a waiting run needs
INSERT INTO $schema.dependencies (run_id, needs_run_id, policy) SELECT * FROM unnest(%s::uuid[], %s::uuid[], %s::text[])
ON CONFLICT DO NOTHING
