-- save_resource_states.sql: keep what happened to resources; one that is not declared gets a row that limits nothing
INSERT INTO resources (name, limits, state, version, updated_at) VALUES (?, '{}', ?, 1, ?)
ON CONFLICT (name) DO UPDATE SET state = excluded.state
