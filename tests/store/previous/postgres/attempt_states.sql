-- attempt_states.sql: where these runs stand and who holds or held them
SELECT id::text, state, attempt, session_id::text FROM $schema.runs WHERE id = ANY(%(ids)s::uuid[])
