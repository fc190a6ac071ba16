-- attempt_states.sql: where these runs stand and who holds or held them
SELECT id, state, attempt, session_id FROM runs WHERE id IN (SELECT value FROM json_each(:ids))
