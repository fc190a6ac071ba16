-- save_resource_states.sql: keep what happened to resources, by name; one that is not declared gets a row that limits nothing
INSERT INTO $schema.resources (name, limits, state, version, updated_at)
SELECT x.name, '{}', x.state, 1, x.updated_at
  FROM unnest(%s::text[], %s::text[], %s::timestamptz[]) AS x(name, state, updated_at) ORDER BY x.name
ON CONFLICT (name) DO UPDATE SET state = excluded.state
